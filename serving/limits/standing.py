"""Who is still let in, of those who hold something open for long."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from ultraread.serving.access.principal import Principal
from ultraread.serving.access.tokens import principal_of


def no_more_let_in(session: Session, principals: Iterable[Principal]) -> set[Principal]:
    """Those whose token is revoked or over, or who are somebody else by now: other roles, other scopes."""
    return {one for one in principals if one.token_id and principal_of(session, one.token_id) != one}
