"""What ranges of filed slides are held against when they are fetched."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ultraread.serving.store.tables import SiteOwned, Table


class SlideBlocksRow(SiteOwned, Table):
    """sha256 of every block of a slide's files, in the order of the files: 32 bytes a block."""

    __tablename__ = "slide_blocks"

    slide_id: Mapped[str] = mapped_column(ForeignKey("slides.id", ondelete="CASCADE"), primary_key=True)
    block_bytes: Mapped[int]
    digests: Mapped[bytes]
