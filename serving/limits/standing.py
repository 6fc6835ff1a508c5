"""Who is still let in, of those who hold something open for long."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from ultraread.serving.access.principal import Principal
from ultraread.serving.access.sessions import SessionRules, is_still_in


def no_more_let_in(session: Session, principals: Iterable[Principal], rules: SessionRules) -> set[Principal]:
    """Those whose token or session is over, locked or idle, or who have other roles or scopes by now."""
    return {one for one in principals if not is_still_in(session, one, rules)}
