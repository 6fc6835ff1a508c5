"""The audit trail: events are added, never changed or removed, and each site's are one chain of hashes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, event, insert, select, text, update
from sqlalchemy.orm import Session, SessionTransaction

from ultraread.serving.audit.chain import GENESIS, Event, plain, text_of
from ultraread.serving.store.audit_tables import AuditHeadRow
from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.scope import kept_to
from ultraread.serving.store.tables import MAIN_SITE, AuditRow

_PENDING = "audit_events"
SEALED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Writes into the transaction of what it tells about: both happen or neither.

    Events are of the session's site, or of `site` where the session is the service's own. They are written at
    the very end of the transaction: only from there to its commit do writers of one site wait for each other.
    """

    session: Session
    site: str | None = None

    def append(
        self,
        who: str,
        what: str,
        subject: str,
        detail: Mapping[str, Any] | None = None,
        *,
        why: str = "",
        old: Any = None,  # noqa: ANN401  # whatever JSON holds
        new: Any = None,  # noqa: ANN401  # whatever JSON holds
    ) -> None:
        """Add an event; `what` is a past participle (`read_requested`), `subject` an id.

        No patient data, but for old and new values of a scan record, whose trail is guarded as it is itself.
        """
        told = _Told(
            site=self._site,
            who=text_of(who),
            what=what,
            subject=text_of(subject),
            why=text_of(why),
            detail=plain(detail or {}),
            old=plain(old),
            new=plain(new),
        )
        _pending(self.session).append((self.session.get_nested_transaction(), told))

    def list(
        self,
        after: int = 0,
        limit: int = 100,
        subject: str | None = None,
        who: str | None = None,
        what: str | None = None,
        since: str | None = None,
    ) -> Sequence[AuditRow]:
        """Events in the order of the site's chain, from the one that follows number `after`.

        `since` is ISO 8601 in UTC, as events have it, or the beginning of that: text order is time order.
        """
        query = select(AuditRow).where(AuditRow.site == self._site, AuditRow.site_sequence > after)
        same = {AuditRow.subject: subject, AuditRow.who: who, AuditRow.what: what}
        query = query.where(*(column == value for column, value in same.items() if value is not None))
        if since is not None:
            query = query.where(AuditRow.at >= since.removesuffix("Z"))
        return self.session.scalars(query.order_by(AuditRow.site_sequence).limit(limit)).all()

    @property
    def _site(self) -> str:
        """What a session is kept to, nothing leaves."""
        return kept_to(self.session) or self.site or MAIN_SITE


@dataclass(frozen=True, slots=True)
class _Told:
    """An event before it has its place in the chain."""

    site: str
    who: str
    what: str
    subject: str
    why: str
    detail: Mapping[str, Any]
    old: Any
    new: Any


_Pending = list[tuple[SessionTransaction | None, _Told]]


def event_of(row: AuditRow) -> Event:
    """A row of the chain as it is hashed. Only rows with a place in the chain have one."""
    return Event(
        site=row.site,
        sequence=row.site_sequence or 0,
        at=row.at,
        who=row.who,
        what=row.what,
        subject=row.subject,
        why=row.why,
        detail=row.detail,
        old=row.old,
        new=row.new,
        sealed=row.sealed,
        previous=row.previous or "",
    )


def seal(connection: Connection, site: str, at_once: int = SEALED_AT_ONCE) -> int:
    """Take rows of a site into its chain that a version without one wrote; return how many.

    They are marked as sealed: their order is that of the table, and nobody vouches for them before now.
    """
    columns = AuditRow.__table__.c
    told = [columns[name] for name in ("at", "who", "what", "subject", "why", "detail", "old", "new")]
    unsealed = (columns.site == site, columns.hash.is_(None))
    late = select(columns.sequence, *told).where(*unsealed).order_by(columns.sequence)
    if connection.execute(late.limit(1)).first() is None:
        return 0
    head = _Head.locked(connection, site)
    rows = connection.execute(late.limit(at_once)).mappings().all()
    for row in rows:
        link = head.take(**{column.name: row[column.name] for column in told}, sealed=True)
        mine = update(AuditRow).where(columns.sequence == row["sequence"])
        connection.execute(mine.values(link))
    head.put(connection)
    return len(rows)


def sites_unsealed(connection: Connection) -> list[str]:
    """Sites with rows that are not in their chain."""
    columns = AuditRow.__table__.c
    return list(connection.scalars(select(columns.site).where(columns.hash.is_(None)).distinct()))


@dataclass(slots=True)
class _Head:
    """The end of a site's chain, locked until the transaction ends."""

    site: str
    sequence: int
    hash: str
    now: str

    @classmethod
    def locked(cls, connection: Connection, site: str) -> "_Head":
        heads = AuditHeadRow.__table__.c
        query = select(heads.sequence, heads.hash, utc_now()).where(heads.site == site).with_for_update()
        row = connection.execute(query).first()
        if row is None:
            first = text(
                "INSERT INTO audit_heads (site, sequence, hash) VALUES (:site, 0, :hash) "
                "ON CONFLICT (site) DO NOTHING"
            )
            connection.execute(first, {"site": site, "hash": GENESIS})
            row = connection.execute(query).one()
        return cls(site, *row)

    def take(self, **told: Any) -> dict[str, Any]:  # noqa: ANN401  # fields of an Event
        """The next place in the chain for what is told: the columns that only the chain gives."""
        link = Event(site=self.site, sequence=self.sequence + 1, previous=self.hash, **told)
        self.sequence, self.hash = link.sequence, link.hash
        return {
            "site_sequence": link.sequence,
            "previous": link.previous,
            "hash": link.hash,
            "sealed": link.sealed,
        }

    def put(self, connection: Connection) -> None:
        heads = update(AuditHeadRow).where(AuditHeadRow.__table__.c.site == self.site)
        connection.execute(heads.values(sequence=self.sequence, hash=self.hash))


def _pending(session: Session) -> _Pending:
    """What the session's transaction tells; from the first call on, its commit writes it."""
    if _PENDING not in session.info:
        session.info[_PENDING] = []
        event.listen(session, "before_commit", _write)
        event.listen(session, "after_soft_rollback", _forget)
    pending: _Pending = session.info[_PENDING]
    return pending


def _write(session: Session) -> None:
    """Everything else is written before: the heads are locked last, in one order for all transactions."""
    if session.in_nested_transaction():
        return
    session.flush()
    by_site: defaultdict[str, list[_Told]] = defaultdict(list)
    for _, told in session.info[_PENDING]:
        by_site[told.site].append(told)
    for site in sorted(by_site):
        _extend(session.connection(), site, by_site[site])
    session.info[_PENDING].clear()


def _extend(connection: Connection, site: str, told: Iterable[_Told]) -> None:
    head, rows = _Head.locked(connection, site), []
    for one in told:
        fields = {name: getattr(one, name) for name in _Told.__slots__ if name != "site"} | {"at": head.now}
        rows.append({"site": site, **fields, **head.take(**fields, sealed=False)})
    connection.execute(insert(AuditRow), rows)
    head.put(connection)


def _forget(session: Session, ended: SessionTransaction) -> None:
    """What was told inside a savepoint that was rolled back did not happen; nor what a whole one told."""
    kept = [one for one in session.info[_PENDING] if ended.nested and one[0] is not ended]
    session.info[_PENDING][:] = kept
