"""The wall between sites, at the one place that every statement passes."""

from collections.abc import Iterable

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction, with_loader_criteria

from ultraread.serving.store.tables import MAIN_SITE, SiteOwned

_SITE = "site"


def keep_to_site(session: Session, site: str | None) -> None:
    """From now on the session finds, changes and adds only rows of `site`; None: the service itself, all."""
    session.info[_SITE] = site
    if site is not None:
        event.listen(session, "do_orm_execute", _see_the_site_alone)
        event.listen(session, "before_flush", _add_to_the_site)


def site_of(session: Session) -> str:
    """The site that the session is kept to; MAIN_SITE where it is the service's own."""
    return kept_to(session) or MAIN_SITE


def kept_to(session: Session) -> str | None:
    """The site that the session is kept to; None where it is the service's own."""
    site: str | None = session.info.get(_SITE)
    return site


def _see_the_site_alone(state: ORMExecuteState) -> None:
    site = state.session.info[_SITE]
    of_site = with_loader_criteria(SiteOwned, lambda row: row.site == site, include_aliases=True)
    state.statement = state.statement.options(of_site)


def _add_to_the_site(session: Session, _context: UOWTransaction, _instances: Iterable[object] | None) -> None:
    for row in session.new:
        if isinstance(row, SiteOwned):
            row.site = session.info[_SITE]
