"""Disks that fill up, and files that may not grow."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from chaos.house import SMALL, seeded
from chaos.invariants import Verdict
from chaos.room import Room, row
from chaos.rows_kills import settled
from real_parts import need

from ultraread.errors import StorageFull
from ultraread.serving.storage.scrub import check_database

DISK_MIB = 64
"""Room for the results of a slice, and little more."""
FULL = (None, StorageFull.code)
STEP_BYTES = 50_000


@row("disk-full", "a full disk of 64 MiB: 0 to 400 KB are left", small=4, night=500, a_slice=25)
def disk_full(room: Room, count: int, seed: int) -> Verdict:
    """Reads wait, none fails; the database is whole; with room again, they are done.

    Small reads at night, too: what counts is how often the disk fills in the middle of one.
    """
    chance, verdict, small = seeded(seed), Verdict(), replace(room, load=SMALL, oracle={})
    with _small_disk(room) as disk, small.house(data_dir=disk / "data") as house:
        house.start(2)
        for _ in range(count):
            house.wait(lambda: not house.open_reads(), what="an idle house")
            for slide in range(2):
                house.ask(slide)
            time.sleep(chance.uniform(0.0, 0.3))
            filler = _fill(disk, leave_bytes=chance.randrange(0, 8) * STEP_BYTES)
            time.sleep(1.0)
            filler.unlink()
            house.other_faults += 2
        house.ask()
        verdict.add(settled(small, house))
        verdict.notes += [f"database: {wrong}" for wrong in check_database(house.store)]
    return verdict


@row("file-size", "no file may grow past a limit, in steps of 50 KB", small=4, night=200, a_slice=20)
def file_size_limited(room: Room, count: int, seed: int) -> Verdict:
    """RLIMIT_FSIZE on a worker, lifted with its death: another one goes on from what is whole.

    Small reads at night, too: they come as far as their results.
    """
    chance, small = seeded(seed), replace(room, load=SMALL, oracle={})
    with small.house() as house:
        for _ in range(count):
            for slide in range(2):
                house.ask(slide, FULL)
            (starved,) = house.start(file_bytes=chance.randrange(1, 20) * STEP_BYTES)
            time.sleep(chance.uniform(0.3, 1.0))
            house.kill(starved)
        house.start(2)
        house.ask()
        verdict = settled(small, house)
        verdict.notes += [f"database: {wrong}" for wrong in check_database(house.store)]
        return verdict


@contextmanager
def _small_disk(room: Room) -> Iterator[Path]:
    need("the right to mount a small disk", os.geteuid() == 0)
    folder = room.folder / f"disk-{os.urandom(3).hex()}"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "tmpfs", str(folder)]
    need("the right to mount a small disk", subprocess.run(mount, check=False).returncode == 0)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(disk: Path, leave_bytes: int) -> Path:
    """Take all room but this; workers take some meanwhile."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        while (count := shutil.disk_usage(disk).free - leave_bytes) > 0:
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, count)
                break
    return filler
