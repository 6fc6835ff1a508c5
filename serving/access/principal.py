"""Who asks: a person or program, of one site, with roles."""

from dataclasses import dataclass
from enum import StrEnum

from ultraread.serving.store.tables import MAIN_SITE


class Role(StrEnum):
    """What somebody may do; `serving/access/routes.py` says which route takes which."""

    SUBMITTER = "submitter"
    """Sends slides, asks for reads, fetches results."""
    PATHOLOGIST = "pathologist"
    """The same, and signs what people say of a slide."""
    ML_ENGINEER = "ml_engineer"
    """Promotes, rolls back and withdraws models; at the main site alone, for all of them."""
    AUDITOR = "auditor"
    """Sees everything of the site, the audit trail too, and changes nothing."""
    ADMIN = "admin"
    """Makes tokens, users and webhooks of the site."""


class Scope(StrEnum):
    """What a token may be used for, of that which its roles allow."""

    READ = "read"
    """Methods that change nothing, but for the figures of the service."""
    WRITE = "write"
    """All other methods."""
    METRICS = "metrics"
    """The figures of the service."""


@dataclass(frozen=True, slots=True)
class Principal:
    """`who` stands in the audit trail; `site` is all that it can see."""

    who: str
    site: str
    roles: frozenset[Role]
    scopes: frozenset[Scope] = frozenset(Scope)
    user_id: str | None = None
    token_id: str | None = None
    session: str | None = None
    """Key of the browser's session that it came with."""


PRINCIPAL = "ultraread.principal"
"""Where the gate leaves who asks in the scope of ASGI, once that is proved; it may still be forbidden."""

LOCAL = Principal("local", MAIN_SITE, frozenset(Role))
"""Whoever works on the machine itself, with the rights of its files."""
