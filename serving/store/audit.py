"""The audit trail: events are added, never changed or removed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ultraread.serving.store.scope import site_of
from ultraread.serving.store.tables import AuditRow


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Writes into the transaction of what it tells about: both happen or neither.

    Events are of the session's site, or of `site` where the session is the service's own.
    """

    session: Session
    site: str | None = None

    def append(self, who: str, what: str, subject: str, detail: Mapping[str, Any] | None = None) -> None:
        """Add an event; `what` is a past participle (`read_requested`), `subject` an id.

        No patient data, but for old and new values of a scan record, whose trail is guarded as it is itself.
        """
        site = self.site or site_of(self.session)
        self.session.add(AuditRow(site=site, who=who, what=what, subject=subject, detail=dict(detail or {})))

    def list(self, after: int = 0, limit: int = 100, subject: str | None = None) -> Sequence[AuditRow]:
        """Events in the order in which they happened, from the one that follows `after`."""
        query = select(AuditRow).where(AuditRow.sequence > after).order_by(AuditRow.sequence).limit(limit)
        if subject is not None:
            query = query.where(AuditRow.subject == subject)
        return self.session.scalars(query).all()
