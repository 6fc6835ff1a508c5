"""What keeps the audit trail whole: where each site's chain ends, and what was signed of it."""

from sqlalchemy.orm import Mapped, mapped_column

from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.tables import MAIN_SITE, SiteOwned, Table


class AuditHeadRow(SiteOwned, Table):
    """The last event of a site's chain. Whoever adds one locks this row until his transaction ends."""

    __tablename__ = "audit_heads"

    site: Mapped[str] = mapped_column(default=MAIN_SITE, primary_key=True)
    sequence: Mapped[int]
    hash: Mapped[str]


class AuditCheckpointRow(SiteOwned, Table):
    """A signed statement of where a chain stood: rows are added, never changed or removed."""

    __tablename__ = "audit_checkpoints"

    site: Mapped[str] = mapped_column(default=MAIN_SITE, primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    public_key: Mapped[str] = mapped_column(primary_key=True)
    """Of the signer: 32 bytes in hex. Whoever verifies must know from elsewhere whose it is."""
    hash: Mapped[str]
    at: Mapped[str] = mapped_column(default=utc_now())
    signature: Mapped[str]
