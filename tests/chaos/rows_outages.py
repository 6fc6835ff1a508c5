"""Servers that go away, hang, lie and come back: database, MLflow, object store."""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from chaos.house import House, seeded
from chaos.invariants import Verdict
from chaos.room import Room, row
from chaos.rows_kills import settled
from cutting_proxy import (
    Answer,
    CutAfter,
    CutReply,
    CuttingProxy,
    Fault,
    FlipByte,
    Reset,
    Slow,
    Stall,
    cutting,
)
from mlflow_server import CLIENT_PATIENCE
from postgres import Postgres, cluster

OPEN = 3
EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
MEETS_S = 30.0
LONGEST_S = 120.0
"""How long the first outage of a night lasts; the others of its list are short."""

Make = Callable[[], Fault]


@row("mlflow", "MLflow away, 500, hanging, slow, answering without keeping, replies lost", 7, 100, a_slice=20)
def mlflow_away(room: Room, count: int, seed: int) -> Verdict:
    """Reads end as if nothing were; the outbox drains to one run a read."""
    kinds: list[Make] = [
        Reset, lambda: Answer(500, b"{}"), lambda: CutReply(b"/runs/create"), lambda: Answer(200, b"{}"),
        Stall, lambda: Slow(0.2), lambda: CutReply(b"/runs/update"),
    ]  # fmt: skip
    patience = CLIENT_PATIENCE | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with ExitStack() as stack:
        proxy = stack.enter_context(cutting(room.mlflow.url))
        house = stack.enter_context(room.house(mlflow_url=proxy.endpoint, environment=patience))
        return _under_faults(room, house, proxy, kinds, count, seed)


@row("s3", "S3: 503, 404 now and then, reset, stall, short body, expired credential", 6, 500, a_slice=30)
def object_store_away(room: Room, count: int, seed: int) -> Verdict:
    """Reads wait for their slides, and none is failed by an outage."""
    kinds: list[Make] = [
        lambda: Answer(503), lambda: Answer(404, each=2), Reset, lambda: CutAfter(9_000, in_order=True),
        Stall, lambda: Answer(403, EXPIRED),
    ]  # fmt: skip
    with _slides_behind_a_proxy(room) as (house, proxy):
        return _under_faults(room, house, proxy, kinds, count, seed)


@row("s3-wrong-bytes", "S3 answers with a wrong byte", 3, 100, a_slice=20)
def object_store_lies(room: Room, count: int, seed: int) -> Verdict:
    """What is not as its digest says is fetched again, and never a result; a lie that lasts is damage."""
    chance, lies = seeded(seed), list[FlipByte]()

    def lie() -> FlipByte:
        lies.append(FlipByte(chance.randrange(600, 60_000)))
        return lies[-1]

    with _slides_behind_a_proxy(room) as (house, proxy):
        ends = (None, "integrity_failed", "read_input_changed")
        verdict = _under_faults(room, house, proxy, [lie], count, seed, ends=ends)
    if not any(each.flipped for each in lies):
        verdict.notes.append("no wrong byte was delivered")
    return verdict


@row(
    "postgresql-away",
    "PostgreSQL stopped, killed, cut off, COMMIT done and its answer lost",
    5,
    200,
    a_slice=20,
)
def postgresql_away(room: Room, count: int, seed: int) -> Verdict:
    """Reads pause; a commit of which nobody knows whether it happened is resolved by looking."""
    with cluster() as server, server.database() as url, cutting(f"http://127.0.0.1:{server.port}") as proxy:
        seen = url.replace(f":{server.port}/", f":{proxy.port}/")
        with room.house(database_url=url, seen_as=seen) as house:
            return _without_database(room, house, server, proxy, count, seed)


@row("sqlite-locked", "SQLite locked by another writer", 2, 20, a_slice=5)
def sqlite_locked(room: Room, count: int, seed: int) -> Verdict:
    """Who writes waits, past the lease too; nothing is lost."""
    chance, lock_s = seeded(seed), 30.0 if room.is_first else 1.5
    with room.house() as house:
        house.start(2)
        for _ in range(count):
            house.keep_busy(2, chance)
            time.sleep(chance.uniform(0.05, 0.3))
            other = sqlite3.connect(house.database_url.removeprefix("sqlite:///"), isolation_level=None)
            other.execute("PRAGMA busy_timeout = 10000")
            other.execute("BEGIN IMMEDIATE")
            time.sleep(lock_s)
            other.execute("ROLLBACK")
            other.close()
            house.other_faults += 2
        return settled(room, house)


def _under_faults(
    room: Room,
    house: House,
    proxy: CuttingProxy,
    kinds: list[Make],
    count: int,
    seed: int,
    **ask: Any,  # noqa: ANN401
) -> Verdict:
    """One fault after the other while reads come in; the first one of a night is long."""
    chance, unmet = seeded(seed), 0
    house.start(OPEN)
    for number in range(count):
        _keep_asking(house, chance, ask)
        time.sleep(chance.uniform(0.0, 0.2))
        before, proxy.fault = proxy.met, kinds[number % len(kinds)]()
        until = time.monotonic() + MEETS_S
        while proxy.met == before and time.monotonic() < until:
            _keep_asking(house, chance, ask)
            time.sleep(0.05)
        unmet += proxy.met == before
        time.sleep(LONGEST_S if room.is_first and number == 0 else chance.uniform(0.4, 1.2))
        proxy.heal()
        house.other_faults += OPEN
    verdict = settled(room, house)
    verdict.notes += [f"{unmet} faults were met by nobody"] if unmet else []
    return verdict


def _keep_asking(house: House, chance: random.Random, ask: dict[str, Any]) -> None:
    for _ in range(OPEN - len(house.open_reads())):
        house.ask(chance.randrange(len(house.slides)), **ask)


@contextmanager
def _slides_behind_a_proxy(room: Room) -> Iterator[tuple[House, CuttingProxy]]:
    store = room.part("object_store")
    with cutting(store.endpoint) as proxy:
        keys = store.environment | {"AWS_ENDPOINT_URL": proxy.endpoint}
        with room.house(slides_url=store.bucket(), environment=keys) as house:
            yield house, proxy


def _without_database(
    room: Room, house: House, server: Postgres, proxy: CuttingProxy, count: int, seed: int
) -> Verdict:
    chance = seeded(seed)

    def away(leave: Callable[[], None]) -> None:
        leave()
        time.sleep(LONGEST_S if room.is_first and number == 0 else 1.0)
        server.start()

    def cut_off() -> None:
        proxy.fault = Reset()
        proxy.cut_all()
        time.sleep(1.0)
        proxy.heal()

    def lose_an_answer() -> None:
        proxy.fault = CutReply(b"COMMIT", times=chance.randint(1, 4))
        time.sleep(1.0)
        proxy.heal()

    faults: list[Callable[[], None]] = [
        lambda: away(server.stop), lambda: away(server.kill), cut_off, lose_an_answer, lose_an_answer,
    ]  # fmt: skip
    house.start(OPEN)
    for number in range(count):
        house.keep_busy(OPEN, chance)
        time.sleep(chance.uniform(0.0, 0.3))
        faults[number % len(faults)]()
        house.other_faults += OPEN
        house.reopen()
    return settled(room, house)
