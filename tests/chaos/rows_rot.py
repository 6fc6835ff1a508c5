"""Bytes that change by themselves, and machines that are gone: what is found, and what comes back."""

import random
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from chaos.house import House, digests_of, seeded
from chaos.invariants import Verdict
from chaos.room import Room, row
from chaos.rows_kills import settled
from chaos.worker import settings_of
from sqlalchemy import func, select
from tiny_model import tiny_model

from ultraread.errors import IntegrityFailed, UltraReadError
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import find_model
from ultraread.serving.audit.trail import DatabaseTrail, readable
from ultraread.serving.audit.verify import verify_trail
from ultraread.serving.storage.backup import Backup, verify_backup
from ultraread.serving.storage.house import House as Kept
from ultraread.serving.storage.places import target_at
from ultraread.serving.storage.restore import Restore
from ultraread.serving.storage.scrub import Scrubber
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.tables import AuditRow, ReadRow, SlideRow

Flip = Callable[[House, random.Random], str]
"""Flips one byte of its kind; returns what is wrong with how it was found, or nothing."""


@row(
    "bit-rot",
    "one byte flipped: slide, result, model, checkpoint, audit trail, backup",
    6,
    500,
    a_slice=30,
    again=False,
)
def bytes_flipped(room: Room, count: int, seed: int) -> Verdict:
    """Each is found by the command that looks for it, and named."""
    chance = seeded(seed)
    flips: list[Flip] = [_slide, _result, _model, _audit, _backup]
    with room.house() as house:
        house.start()
        house.ask()
        house.settle()
        house.stop()
        verdict = Verdict()
        for number in range(count):
            flip = [*flips, _checkpoint][number % (len(flips) + 1)]
            if wrong := flip(house, chance):
                verdict.err(flip.__name__, wrong)
        verdict.add(settled(room, house))
        verdict.kills = count
        return verdict


@row("restore", "a backup restored on an empty machine", small=1, night=1, again=False)
def restored(room: Room, count: int, seed: int) -> Verdict:
    """Same results, same counts, a trail that verifies, and it works on."""
    chance = seeded(seed)
    with room.house() as house:
        house.start(2)
        for _ in range(4):
            house.ask(chance.randrange(len(house.slides)))
        house.settle()
        verdict = settled(room, house)
        place = target_at(str(house.folder / "backup"))
        Backup(_kept(house), place).make(lambda _total: lambda _bytes: None)
        there = settings_of(replace(house.spec, data_dir=str(house.folder / "elsewhere")))
        Restore(place, there, "a test").run(None, lambda _total: lambda _bytes: None)
        store = open_store(f"sqlite:///{there.data_dir}/ultraread.db")
        with closing(store):
            _compare(verdict, house, store, there.reads_dir)
        verdict.kills = count
        return verdict


def _compare(verdict: Verdict, house: House, store: Store, reads: Path) -> None:
    for table in (ReadRow, SlideRow):
        counts = [_count(each, table) for each in (house.store, store)]
        if counts[0] != counts[1]:
            verdict.lose(table.__tablename__, f"{counts[1]} of {counts[0]} rows came back")
    for read_id in house.accepted:
        (result,) = house.result_dirs(read_id)
        again = reads / read_id / result.name
        if not again.is_dir() or digests_of(again) != digests_of(result):
            verdict.err(read_id, "its result is another one after restoring")
    if fault := _trail_fault(store):
        verdict.err("trail", fault)


def _count(store: Store, table: type[ReadRow] | type[SlideRow]) -> int:
    with store.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _flipped(path: Path, chance: random.Random) -> Callable[[], None]:
    """Flip a byte; what is returned flips it back."""
    place, bit = chance.randrange(path.stat().st_size), 1 << chance.randrange(8)

    def flip() -> None:
        with path.open("r+b") as file:
            file.seek(place)
            (byte,) = file.read(1)
            file.seek(place)
            file.write(bytes([byte ^ bit]))

    flip()
    return flip


def _kept(house: House) -> Kept:
    return Kept(settings_of(house.spec), house.store)


def _scrubbed(house: House, file: Path, chance: random.Random) -> str:
    back = _flipped(file, chance)
    named = [damage.name for damage in Scrubber(_kept(house)).scrub().remaining]
    back()
    found = [name for name in named if str(file).endswith(name)]
    return "" if len(named) == len(found) == 1 else f"{file.name} was flipped, {named} were named"


def _slide(house: House, chance: random.Random) -> str:
    folder = Path(house.spec.data_dir) / "slides" / chance.choice(house.slides)
    return _scrubbed(house, chance.choice(sorted(folder.iterdir())), chance)


def _result(house: House, chance: random.Random) -> str:
    (folder,) = house.result_dirs(next(iter(house.accepted)))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return _scrubbed(house, chance.choice(files), chance)


def _model(house: House, chance: random.Random) -> str:
    path = house.folder / "flipped-model"
    model = find_model(str(path)) if path.exists() else tiny_model(path)
    back = _flipped(model.path / "model.onnx", chance)
    try:
        OnnxClassifier(find_model(str(path)), threads=1)
    except UltraReadError:
        return ""
    else:
        return "a flipped model was loaded"
    finally:
        back()


def _trail_fault(store: Store) -> str:
    with store.reading() as session, readable(session):
        fault = verify_trail(DatabaseTrail(session, "main")).fault
    return "" if fault is None else f"event {fault.sequence}: {fault.kind}"


def _audit(house: House, chance: random.Random) -> str:
    """Past the triggers, as a flipped bit is: in one letter of one event."""
    with house.store.reading() as session:
        rows = list(session.execute(select(AuditRow.sequence, AuditRow.site_sequence)))
    sequence, number = chance.choice(rows)
    file = house.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as session:
        triggers = session.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_events'"
        ).fetchall()
        session.execute("BEGIN IMMEDIATE")
        for name, _ in triggers:
            session.execute(f"DROP TRIGGER {name}")
        (before,) = session.execute("SELECT who FROM audit_events WHERE sequence = ?", [sequence]).fetchone()
        place = chance.randrange(len(before))
        other = before[:place] + chr(ord(before[place]) ^ 1) + before[place + 1 :]
        session.execute("UPDATE audit_events SET who = ? WHERE sequence = ?", [other, sequence])
        session.execute("COMMIT")
        told = _trail_fault(house.store)
        session.execute("UPDATE audit_events SET who = ? WHERE sequence = ?", [before, sequence])
        for _, made in triggers:
            session.execute(made)
    return (
        ""
        if told.startswith(f"event {number}:")
        else f"event {number} was changed; found: {told or 'nothing'}"
    )


def _backup(house: House, chance: random.Random) -> str:
    place = house.folder / "backup"
    target = target_at(str(place))
    if not place.exists():
        Backup(_kept(house), target).make(lambda _total: lambda _bytes: None)
    file = chance.choice(sorted(path for path in place.rglob("*") if path.is_file()))
    back = _flipped(file, chance)
    try:
        verify_backup(target)
    except (IntegrityFailed, UltraReadError, ValueError):
        return ""
    else:
        return f"{file.name} of the backup was flipped and not found"
    finally:
        back()


def _checkpoint(house: House, chance: random.Random) -> str:
    """Flip a byte of a scored range of a read whose owner died; the next owner must not use it."""
    (worker,) = house.start()
    read_id = house.ask(chance.randrange(len(house.slides)))
    house.wait(lambda: house.read(read_id).ranges_done >= 2)
    worker.send(signal.SIGSTOP)
    house.kill(worker)
    files = sorted((Path(house.spec.data_dir) / "reads" / read_id / "work").rglob("*.npz"))
    _flipped(chance.choice(files), chance)
    house.start()
    house.settle()
    house.stop()
    return ""
