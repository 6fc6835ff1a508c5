"""The digests of a slide's blocks, as they are kept and found again."""

from collections.abc import Sequence

from sqlalchemy import delete
from sqlalchemy.orm import Session

from ultraread.datasets.block_digests import BLOCK_BYTES, DIGEST_BYTES, BlockDigests, blocks_in
from ultraread.errors import IntegrityFailed
from ultraread.serving.store.block_tables import SlideBlocksRow
from ultraread.serving.store.tables import SlideRow


def keep_blocks(session: Session, slide_id: str, site: str, digests: bytes) -> None:
    """Note the digests of all blocks of a slide, file after file, unless they are there."""
    if not has_blocks(session, slide_id):
        row = SlideBlocksRow(slide_id=slide_id, site=site, block_bytes=BLOCK_BYTES, digests=digests)
        session.add(row)
        session.flush()


def has_blocks(session: Session, slide_id: str) -> bool:
    """Whether they are known: slides that were filed by an earlier version have none until a scrub."""
    return session.get(SlideBlocksRow, slide_id) is not None


def blocks_of(session: Session, slide: SlideRow) -> tuple[BlockDigests, ...]:
    """Those of each file; nothing where none are known. Raises IntegrityFailed where they are others'."""
    row = session.get(SlideBlocksRow, slide.id)
    if row is None:
        return ()
    counts = [blocks_in(file["bytes"], row.block_bytes) for file in slide.files]
    if len(row.digests) != DIGEST_BYTES * sum(counts):
        raise IntegrityFailed(f"the digests of the blocks of slide {slide.id} are not those of its files")
    return tuple(_split(row, slide, counts))


def drop_blocks(session: Session, slide_id: str) -> None:
    """Forget those of a slide whose files are gone."""
    session.execute(delete(SlideBlocksRow).where(SlideBlocksRow.slide_id == slide_id))


def _split(row: SlideBlocksRow, slide: SlideRow, counts: Sequence[int]) -> list[BlockDigests]:
    split, start = list[BlockDigests](), 0
    for number, (file, count) in enumerate(zip(slide.files, counts, strict=True)):
        end = start + DIGEST_BYTES * count
        split.append(BlockDigests(number, file["bytes"], row.digests[start:end], row.block_bytes))
        start = end
    return split
