"""What the queue itself has to remember: scored ranges, whose turn it is, boots of the machine."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.tables import Table


class ReadRangeRow(Table):
    """A range of a read that is scored and whose file is durable; rows go when the read ends.

    A file counts only with this digest. `runs` counts how often the range was scored, `epoch` is that of
    the owner that did it last.
    """

    __tablename__ = "read_ranges"

    read_id: Mapped[str] = mapped_column(ForeignKey("reads.id"), primary_key=True)
    slide_id: Mapped[str] = mapped_column(primary_key=True)
    image: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    sha256: Mapped[str]
    tiles: Mapped[int]
    runs: Mapped[int] = mapped_column(default=1)
    at: Mapped[str] = mapped_column(default=utc_now())


class SiteTurnRow(Table):
    """When a site was last given a runner: `turn` only rises, over all sites together."""

    __tablename__ = "site_turns"

    site: Mapped[str] = mapped_column(primary_key=True)
    turn: Mapped[int]


class BootRow(Table):
    """What the wall clock said when the machine's clock since boot stood at zero: see `store/clock.py`."""

    __tablename__ = "boots"

    boot_id: Mapped[str] = mapped_column(primary_key=True)
    zero_at: Mapped[str]
