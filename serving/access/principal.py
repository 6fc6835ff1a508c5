"""Who asks: a person or program, of one site, with roles."""

from dataclasses import dataclass
from enum import StrEnum

from ultraread.serving.store.tables import MAIN_SITE


class Role(StrEnum):
    """What somebody may do; `serving/access` says which route takes which."""

    SUBMITTER = "submitter"
    """Sends slides, asks for reads, fetches results."""
    PATHOLOGIST = "pathologist"
    ML_ENGINEER = "ml_engineer"
    """Evaluates, promotes, rolls back and withdraws models."""
    AUDITOR = "auditor"
    """Sees the audit trail of the site."""
    ADMIN = "admin"
    """Makes tokens, users and webhooks of the site."""


@dataclass(frozen=True, slots=True)
class Principal:
    """`who` stands in the audit trail; `site` is all that it can see."""

    who: str
    site: str
    roles: frozenset[Role]


LOCAL = Principal("local", MAIN_SITE, frozenset(Role))
"""Whoever works on the machine itself, with the rights of its files."""
