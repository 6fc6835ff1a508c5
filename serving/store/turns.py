"""Who goes first in the queue.

1. Urgent reads before routine ones. A routine read that waited for `waits_at_most_s` counts as urgent, so a
   stream of urgent reads cannot keep it waiting for ever.
2. Among these the site with the fewest running reads; among those the one that was served longest ago.
3. Among a site's reads the oldest.
"""

from sqlalchemy import ColumnElement, Select, and_, case, func, not_, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from ultraread.serving.store.clock import steady_now, utc_in
from ultraread.serving.store.job_tables import SiteTurnRow
from ultraread.serving.store.tables import Priority, ReadRow, ReadState

UNOWNED: ColumnElement[bool] = or_(
    ReadRow.state == ReadState.QUEUED.value,
    and_(ReadRow.state == ReadState.RUNNING.value, ReadRow.lease < steady_now()),
)
"""Nobody began it, or whoever did fell silent."""


def next_read(session: Session, waits_at_most_s: float, hopeless: ColumnElement[bool]) -> ReadRow | None:
    """The read whose turn it is, locked; what another session is taking, or has no hope, is passed over."""
    mine = _in_order(waits_at_most_s).where(not_(hopeless)).with_for_update(of=ReadRow, skip_locked=True)
    return session.scalars(mine.limit(1)).first()


def note_turn(session: Session, site: str) -> None:
    """A read of this site was taken just now."""
    next_turn = select(func.coalesce(func.max(SiteTurnRow.turn), 0) + 1).scalar_subquery()
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    first = insert(SiteTurnRow).values(site=site, turn=next_turn)
    session.execute(first.on_conflict_do_update(index_elements=["site"], set_={"turn": first.excluded.turn}))


def _in_order(waits_at_most_s: float) -> Select[ReadRow]:
    other = aliased(ReadRow)
    runs = and_(other.state == ReadState.RUNNING.value, other.lease >= steady_now())
    running = select(other.site, func.count().label("reads")).where(runs).group_by(other.site).subquery()
    pressing = or_(ReadRow.priority == Priority.URGENT.value, ReadRow.created < utc_in(-waits_at_most_s))
    return (
        select(ReadRow)
        .outerjoin(running, running.c.site == ReadRow.site)
        .outerjoin(SiteTurnRow, SiteTurnRow.site == ReadRow.site)
        .where(UNOWNED)
        .order_by(
            case((pressing, 0), else_=1),
            func.coalesce(running.c.reads, 0),
            func.coalesce(SiteTurnRow.turn, 0),
            ReadRow.id,
        )
    )
