"""The wall between sites, at the one place that every statement passes."""

from collections.abc import Iterable
from typing import cast

from sqlalchemy import Column, ColumnClause, Select, TableClause, TextClause, Update, event
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction, with_loader_criteria
from sqlalchemy.sql import visitors
from sqlalchemy.sql.visitors import ExternallyTraversible

from ultraread.serving.store.tables import MAIN_SITE, SiteOwned

_SITE = "site"
SITE_COLUMN = "site"


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
    _refuse_ways_around(state)
    site = state.session.info[_SITE]
    of_site = with_loader_criteria(SiteOwned, lambda row: row.site == site, include_aliases=True)
    state.statement = state.statement.options(of_site)


def _refuse_ways_around(state: ORMExecuteState) -> None:
    """Raise RuntimeError, a fault of ours, for a statement that the condition would not be added to."""
    kept = {mapper.local_table for mapper in state.all_mappers}
    names_tables = False
    for element in visitors.iterate(cast(ExternallyTraversible, state.statement)):
        _refuse_words(element)
        names_tables = names_tables or (isinstance(element, TableClause) and SITE_COLUMN in element.c)
        if isinstance(element, Select):
            for chosen in element._raw_columns:
                _refuse_bare(chosen)
        elif isinstance(element, Column) and element.table not in kept:
            _refuse_bare(element)
    if names_tables and not state.is_orm_statement:
        raise RuntimeError("a table of sites without its class")
    if state.is_insert and _is_of_sites(state):
        raise RuntimeError("rows of sites are added to the session")
    if isinstance(state.statement, Update) and SITE_COLUMN in _changed(state.statement):
        raise RuntimeError("what is a site's stays there")


def _refuse_words(element: object) -> None:
    """Text that nobody can look into, but for the star of EXISTS."""
    is_literal = isinstance(element, ColumnClause) and element.is_literal and element.name != "*"
    is_named = isinstance(element, TableClause) and not isinstance(element, SqlTable)
    if isinstance(element, TextClause) or is_literal or is_named:
        raise RuntimeError("SQL as text")


def _refuse_bare(element: object) -> None:
    """A table of sites, or its column, that was not named by the class, so that no condition follows it."""
    if not isinstance(element, Column | SqlTable) or "parententity" in element._annotations:
        return
    of = element.table if isinstance(element, Column) else element
    if SITE_COLUMN in getattr(of, "c", ()):
        raise RuntimeError("a table of sites without its class")


def _is_of_sites(state: ORMExecuteState) -> bool:
    mapper = state.bind_mapper
    return mapper is not None and issubclass(mapper.class_, SiteOwned)


def _changed(statement: Update) -> set[str]:
    return {str(getattr(column, "key", column)) for column in (statement._values or {})}


def _add_to_the_site(session: Session, _context: UOWTransaction, _instances: Iterable[object] | None) -> None:
    site = session.info[_SITE]
    for row in session.new:
        if isinstance(row, SiteOwned):
            row.site = site
    for row in session.dirty:
        if isinstance(row, SiteOwned) and row.site != site:
            raise RuntimeError("what is a site's stays there")
