"""Slides that harm who reads them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
from chaos.house import TILE_PX, House, seeded
from chaos.invariants import Verdict
from chaos.room import Room, row
from simulated import simulated_tissue, write_tiff

from ultraread.errors import AttemptsExhausted, DecodeCrash, TooManyFailedTiles

MOST_ATTEMPTS = 3
DECODE_MIB = 64
WIDE_PX = 8192
"""One stored tile of 64 Mpx needs more than DECODE_MIB to decode."""


@row("poison", "a slide that kills whoever scores it", small=2, night=20, a_slice=5, again=False)
def poisoned(room: Room, count: int, seed: int) -> Verdict:
    """It is failed after three attempts without progress, and the queue behind it flows."""
    chance = seeded(seed)
    with room.house(load=replace(room.load, max_attempts=MOST_ATTEMPTS)) as house:
        bad = house.file(write_tiff(house.folder / "bad.tif", simulated_tissue(4 * TILE_PX, 4 * TILE_PX, 99)))
        house.slides.remove(bad)
        for _ in range(count):
            house.slides.append(bad)
            house.ask(len(house.slides) - 1, (AttemptsExhausted.code,))
            house.slides.remove(bad)
            house.ask(chance.randrange(len(house.slides)))
        verdict = _replacing_the_dead(room, house, bad)
        attempts = sum(event.what == "dies" for event in house.events())
        if attempts > MOST_ATTEMPTS * count:
            verdict.notes.append(f"{attempts} workers died of {count} slides")
        verdict.kills = count
        return verdict


@row("memory", "a tile that needs more memory than decoding may take", small=2, night=50, a_slice=10)
def short_of_memory(room: Room, count: int, seed: int) -> Verdict:
    """That read ends with a code; its worker lives, and the other reads are unharmed."""
    chance = seeded(seed)
    with room.house(decode_mib=DECODE_MIB) as house:
        large = house.file(_one_huge_tile(house))
        house.slides.remove(large)
        house.start(2)
        for _ in range(count):
            house.slides.append(large)
            house.ask(len(house.slides) - 1, (DecodeCrash.code, TooManyFailedTiles.code))
            house.slides.remove(large)
            house.ask(chance.randrange(len(house.slides)))
        house.settle()
        dead = [child for child in house.children if not child.is_alive()]
        house.stop()
        verdict = room.judge(house)
        verdict.notes += [f"worker {child.spec.name} died with it" for child in dead]
        verdict.kills = count
        return verdict


def _replacing_the_dead(room: Room, house: House, bad: str) -> Verdict:
    from ultraread.serving.store import outbox

    while house.open_reads() or outbox.pending(house.store):
        for child in [child for child in house.children if not child.is_alive()]:
            house.bury(child)
        house.start(2 - len(house.children), poison=bad)
        house.wait(lambda: not all(child.is_alive() for child in house.children) or not house.open_reads())
        if not house.open_reads():
            house.start()
            house.settle()
    house.stop()
    return room.judge(house)


def _one_huge_tile(house: House) -> Path:
    path = house.folder / "huge.tif"
    grey = np.zeros((WIDE_PX, WIDE_PX), np.uint8)
    tissue = simulated_tissue(512, 512, 5)
    grey[:] = np.tile(tissue, (WIDE_PX // 512, WIDE_PX // 512))
    tifffile.imwrite(
        path, grey, tile=(WIDE_PX, WIDE_PX), compression="zlib", photometric="minisblack", metadata=None
    )
    return path
