"""Who is still let in, of those who hold something open for long."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from ultraread.serving.access.principal import Principal
from ultraread.serving.access.sessions import is_still_in


def no_more_let_in(session: Session, principals: Iterable[Principal]) -> set[Principal]:
    """Those whose token or session is over or locked, or who have other roles or scopes by now."""
    return {one for one in principals if not is_still_in(session, one)}
