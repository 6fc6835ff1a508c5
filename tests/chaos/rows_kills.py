"""Workers that are killed, frozen and stopped."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from chaos.deaths import POINTS
from chaos.house import Child, House, seeded
from chaos.invariants import Verdict
from chaos.room import Room, row

OPEN = 4
"""Reads in the queue: one fewer than workers, so that whoever is free takes over."""
GRACE_S = 5.0
MOMENT_S = 0.8
"""A kill comes within it: long enough that reads are killed while they are scored, too."""


@row("kill-random", "kill -9 of a worker at a random time, SQLite", small=12, night=1000, a_slice=50)
def killed_at_random(room: Room, count: int, seed: int) -> Verdict:
    """Kill whoever works, start another one at once."""
    with room.house() as house:
        return _killed(room, house, count, seed)


@row("kill-random-postgresql", "kill -9 of a worker at a random time, PostgreSQL", 8, 1000, a_slice=50)
def killed_at_random_on_postgresql(room: Room, count: int, seed: int) -> Verdict:
    """The same on a server."""
    with on_postgresql(room) as house:
        return _killed(room, house, count, seed)


@contextmanager
def on_postgresql(room: Room, **changes: Any) -> Iterator[House]:  # noqa: ANN401
    """A house whose store is a database of the shared cluster."""
    with ExitStack() as stack:
        url = stack.enter_context(room.part("postgres").database())
        yield stack.enter_context(room.house(database_url=url, **changes))


@row("kill-points", "kill -9 before and after each write, SQLite", small=1, night=20, a_slice=5)
def killed_at_points(room: Room, count: int, seed: int) -> Verdict:
    """Every named point, `count` times each: a worker dies there by its own hand, another one goes on."""
    chance = seeded(seed)
    with room.house() as house:
        return _dying_at_points(room, house, count, chance)


@row("kill-points-postgresql", "kill -9 before and after each write, PostgreSQL", 1, 20, a_slice=5)
def killed_at_points_on_postgresql(room: Room, count: int, seed: int) -> Verdict:
    """The same on a server."""
    with on_postgresql(room) as house:
        return _dying_at_points(room, house, count, seeded(seed))


@row("freeze", "SIGSTOP of the owner past its lease, then SIGCONT", small=3, night=200, a_slice=20)
def frozen_past_the_lease(room: Room, count: int, seed: int) -> Verdict:
    """Others take over from the sleeper; awake again, it may write nothing."""
    chance = seeded(seed)
    with room.house() as house:
        house.start(3)
        for _ in range(count):
            house.keep_busy(2, chance)
            time.sleep(chance.uniform(0.0, 0.3))
            sleeper = chance.choice(house.wait(house.busy))
            sleeper.send(signal.SIGSTOP)
            house.other_faults += 1
            time.sleep(room.load.lease_s * chance.uniform(1.2, 1.8))
            sleeper.send(signal.SIGCONT)
        return settled(room, house)


@row("drain", "SIGTERM under load", small=3, night=50, a_slice=10)
def drained(room: Room, count: int, seed: int) -> Verdict:
    """A worker that is asked to stop gives its read back at once and is gone within its grace."""
    chance = seeded(seed)
    late: list[str] = []
    with room.house() as house:
        house.start(2)
        for _ in range(count):
            house.keep_busy(1, chance)
            time.sleep(chance.uniform(0.0, 0.3))
            asked = chance.choice(house.wait(house.busy))
            told_s = time.monotonic()
            asked.send(signal.SIGTERM)
            if not asked.wait(GRACE_S):
                late.append(f"a worker did not stop within {GRACE_S:g} s")
                house.kill(asked)
            else:
                house.children.remove(asked)
                house.other_faults += 1
                print(f"drained in {time.monotonic() - told_s:.2f} s")
            house.start()
        verdict = settled(room, house)
        verdict.notes += late
        return verdict


def settled(room: Room, house: House) -> Verdict:
    """Let all reads end, stop the workers, judge."""
    house.settle()
    house.stop()
    return room.judge(house)


def _killed(room: Room, house: House, count: int, seed: int) -> Verdict:
    chance = seeded(seed)
    house.start(OPEN + 1)
    for _ in range(count):
        house.keep_busy(OPEN, chance)
        house.wait(house.are_ready)
        time.sleep(chance.uniform(0.0, MOMENT_S))
        house.kill(chance.choice(house.wait(partial(_busy, house, chance))))
        house.start()
    return settled(room, house)


def _busy(house: House, chance: random.Random) -> list[Child]:
    """Small reads may all have ended meanwhile: there is always one more."""
    house.keep_busy(OPEN, chance)
    return house.busy()


def _dying_at_points(room: Room, house: House, count: int, chance: random.Random) -> Verdict:
    points = [point for point in POINTS for _ in range(count)]
    chance.shuffle(points)
    deaths = []
    while points or house.children:
        while points and len(house.children) < 3:
            passing = chance.randint(1, 4) if "checkpoint" in points[-1] else 1
            house.start(dies_at=(points.pop(), passing))
        house.keep_busy(4, chance)
        for child in [child for child in house.children if not child.is_alive()]:
            house.bury(child)
            deaths.append(child)
        time.sleep(0.02)
    house.start(2)
    verdict = settled(room, house)
    verdict.notes += [f"nobody died at {c.spec.dies_at}" for c in deaths if c.killed_s is None]
    return verdict
