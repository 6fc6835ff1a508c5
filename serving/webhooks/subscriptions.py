"""Who wants to be told, and how that went."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ultraread.errors import NotFound
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.deliveries import WEBHOOK, send_again
from ultraread.serving.store.tables import OutboxRow
from ultraread.serving.store.webhook_tables import WebhookRow


@dataclass(frozen=True, slots=True)
class Told:
    """Deliveries of a subscription: those that arrived, wait, or are given up; why the last one failed."""

    sent: int
    pending: int
    given_up: int
    last_error: str | None


def add(session: Session, webhook_id: str, url: str, with_case: bool, who: str) -> WebhookRow:
    """Subscribe; what is there under this id already is returned as it stands."""
    if there := session.get(WebhookRow, webhook_id):
        return there
    row = WebhookRow(id=webhook_id, url=url, with_case=with_case, who=who)
    session.add(row)
    AuditLog(session).append(who, "webhook_added", webhook_id, {"with_case": with_case})
    session.flush()
    session.refresh(row)
    return row


def find(session: Session, webhook_id: str) -> WebhookRow:
    """Raises NotFound; one that is removed is not there."""
    row = session.get(WebhookRow, webhook_id)
    if row is None or row.removed is not None:
        raise NotFound(f"no webhook {webhook_id}")
    return row


def standing(session: Session) -> Sequence[WebhookRow]:
    """In the order in which they were added."""
    rows = select(WebhookRow).where(WebhookRow.removed.is_(None)).order_by(WebhookRow.id)
    return session.scalars(rows).all()


def remove(session: Session, webhook_id: str, who: str) -> None:
    """Tell it nothing from now on. Raises NotFound."""
    find(session, webhook_id).removed = utc_now()
    AuditLog(session).append(who, "webhook_removed", webhook_id)


def retry(session: Session, who: str, webhook_id: str | None = None, read_id: str | None = None) -> int:
    """Send again what was given up: all of the site, or of one webhook or read; return how many.

    Raises NotFound for a webhook that is not there.
    """
    if webhook_id is not None:
        find(session, webhook_id)
    again = send_again(session, webhook_id=webhook_id, read_id=read_id)
    if again:
        told_of = {"deliveries": again, "webhook_id": webhook_id, "read_id": read_id}
        AuditLog(session).append(who, "deliveries_retried", webhook_id or read_id or "deliveries", told_of)
    return again


def told(session: Session, webhook_id: str) -> Told:
    """Of a subscription that the session has found: the outbox itself knows no sites."""
    of_webhook = OutboxRow.kind == f"{WEBHOOK}{webhook_id}"
    sent, given_up, rows = session.execute(
        select(func.count(OutboxRow.sent), func.count(OutboxRow.given_up), func.count()).where(of_webhook)
    ).one()
    failed = select(OutboxRow.error).where(of_webhook, OutboxRow.error.is_not(None))
    last_error = session.scalars(failed.order_by(OutboxRow.due.desc()).limit(1)).first()
    return Told(sent, rows - sent - given_up, given_up, last_error)
