"""Which ranges of a read are scored, and the digests that their files have to have."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.job_tables import ReadRangeRow

RangeDigests = dict[tuple[int, int], str]
"""Image and number of a range of one slide to the sha256 of its file."""


@dataclass(frozen=True, slots=True)
class ScoredRange:
    """A range whose file is durable."""

    slide_id: str
    image: int
    number: int
    sha256: str
    tiles: int


def note_range(session: Session, read_id: str, epoch: int, scored: ScoredRange) -> bool:
    """Keep its digest; False where the same owner noted it before, which repeats a write in doubt."""
    key = (read_id, scored.slide_id, scored.image, scored.number)
    row = session.get(ReadRangeRow, key)
    if row is None:
        told = {"sha256": scored.sha256, "tiles": scored.tiles, "runs": 1}
        names = ("read_id", "slide_id", "image", "number")
        session.add(ReadRangeRow(epoch=epoch, **dict(zip(names, key, strict=True)), **told))
        return True
    is_new = row.epoch != epoch
    row.runs, row.epoch, row.sha256, row.at = row.runs + is_new, epoch, scored.sha256, utc_now()
    return is_new


def digests_of(session: Session, read_id: str) -> Mapping[str, RangeDigests]:
    """Of every slide of a read the ranges that are scored."""
    found: defaultdict[str, RangeDigests] = defaultdict(dict)
    for row in session.scalars(select(ReadRangeRow).where(ReadRangeRow.read_id == read_id)):
        found[row.slide_id][row.image, row.number] = row.sha256
    return found


def forget_ranges(session: Session, read_id: str) -> None:
    """Nobody goes on from them: the read has ended, or its files were written to."""
    session.execute(delete(ReadRangeRow).where(ReadRangeRow.read_id == read_id))
