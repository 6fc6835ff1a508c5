"""Note, in the transaction that ends a read, which webhooks have to be told."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from ultraread.serving.store import outbox
from ultraread.serving.store.deliveries import WEBHOOK
from ultraread.serving.store.tables import ReadRow
from ultraread.serving.store.webhook_tables import WebhookRow


def announce(session: Session, row: ReadRow) -> None:
    """For each subscription of the read's site, a row of the outbox."""
    standing = select(WebhookRow.id).where(WebhookRow.site == row.site, WebhookRow.removed.is_(None))
    for webhook_id in session.scalars(standing).all():
        outbox.put(session, row.id, {}, f"{WEBHOOK}{webhook_id}")
