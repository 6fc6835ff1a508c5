"""Wall clocks that jump, run apart and meet a leap day."""

import random
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from chaos.house import House, nursery, seeded
from chaos.invariants import Verdict
from chaos.room import Room, row
from chaos.rows_kills import on_postgresql, settled
from real_parts import need
from sqlalchemy import select

from ultraread.serving.store.tables import AuditRow

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
JUMPS = ("+1h", "-1d", "-1h", "+5m", "@2028-02-29 23:59:55")
RIGHT = "+0"
LEASE_S = 5.0
"""Far longer than a busy machine keeps a heartbeat waiting, far shorter than the jumps."""


@row("clock", "wall clock +1 h, -1 h, back a day, 5 min apart, leap day", small=5, night=40, a_slice=10)
def clock_jumps(room: Room, count: int, seed: int) -> Verdict:
    """The clock of two of three workers jumps: no lease is stolen, the trail keeps its order."""
    need("libfaketime", LIBRARY is not None)
    with ExitStack() as stack:
        on_server = seed % 2 == 1
        load = replace(room.load, lease_s=LEASE_S)
        open_house = on_postgresql(room, load=load) if on_server else room.house(load=load)
        house = stack.enter_context(open_house)
        return _jumping(room, house, count, seeded(seed))


def _jumping(room: Room, house: House, count: int, chance: random.Random) -> Verdict:
    clock = house.folder / "clock"
    clock.write_text(RIGHT)
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with nursery(**faked) as elsewhere:
        house.start(1)
        house.start(2, nursery=elsewhere)
        for number in range(count):
            house.keep_busy(3, chance)
            time.sleep(chance.uniform(0.1, 0.4))
            clock.write_text(JUMPS[number % len(JUMPS)])
            time.sleep(0.7)
        verdict = settled(room, house)
    verdict.kills = count
    _refuse_thefts(verdict, house)
    return verdict


def _refuse_thefts(verdict: Verdict, house: House) -> None:
    """Nobody died: every read has had one owner. The trail is in its order, whatever times say."""
    owners = Counter(event.subject for event in house.events() if event.what == "claimed")
    for read_id, claims in owners.items():
        if claims > 1:
            verdict.err(read_id, f"its lease was stolen: {claims} claims")
    with house.store.reading() as session:
        numbers = session.scalars(select(AuditRow.site_sequence).order_by(AuditRow.sequence)).all()
    if list(numbers) != sorted(numbers):
        verdict.notes.append("the trail is not in its order")
