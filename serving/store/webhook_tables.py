"""Who is told when a read ends."""

from sqlalchemy.orm import Mapped, mapped_column

from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.tables import SiteOwned, Table


class WebhookRow(SiteOwned, Table):
    """A subscription; what is told to it, and how often in vain, stands in the outbox."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(primary_key=True)
    url: Mapped[str]
    with_case: Mapped[bool] = mapped_column(default=False)
    """Whether the case's id is told."""
    who: Mapped[str]
    created: Mapped[str] = mapped_column(default=utc_now())
    removed: Mapped[str | None]
    """When; nothing is told since, what was told stays visible."""
