"""What is done about a slide that identifies somebody: stated for a service, for a slide, for a command."""

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from ultraread.datasets.identity.found import Identity, IdentityPolicy
from ultraread.errors import IdentityPresent, RequestInvalid

MOST_PLACES = 20
"""Places that a refusal names."""
OF_SERVICE = "the policy of this service is to keep identity"
"""The reason where nobody stated another one."""
_STRICTNESS = (IdentityPolicy.KEEP, IdentityPolicy.STRIP, IdentityPolicy.REFUSE)

PolicyOption = Annotated[
    IdentityPolicy | None,
    typer.Option(
        "--identity",
        help="What to do about patient names, dates and the like: refuse, strip or keep. Stated, strip names "
        "every result by digest; without the option, only those whose names identify somebody.",
    ),
]
PolicyReason = Annotated[
    str, typer.Option("--identity-reason", help="Why identity is kept; provenance shows it.")
]


@dataclass(frozen=True, slots=True)
class IdentityStatement:
    """A policy and, where identity is kept, why. `is_stated`: somebody chose it, it is no default."""

    policy: IdentityPolicy = IdentityPolicy.STRIP
    reason: str = ""
    is_stated: bool = False


STRIP_BY_DEFAULT = IdentityStatement()


def identity_stated(policy: IdentityPolicy | None, reason: str) -> IdentityStatement:
    """What options or a request say. Raises RequestInvalid where identity is kept without a reason."""
    if policy == IdentityPolicy.KEEP and not reason.strip():
        raise RequestInvalid("identity is kept without a reason", "Say why: --identity-reason TEXT.")
    if policy is None:
        return STRIP_BY_DEFAULT
    return IdentityStatement(policy, reason.strip(), is_stated=True)


def stricter_or_reasoned(of_service: IdentityPolicy, stated: IdentityStatement) -> IdentityStatement:
    """What holds for a slide: the service's policy, or what was stated for the slide.

    Raises RequestInvalid where that is less strict than the service's, and no reason is given.
    """
    if not stated.is_stated:
        kept = of_service == IdentityPolicy.KEEP
        return IdentityStatement(of_service, OF_SERVICE if kept else "")
    if _STRICTNESS.index(stated.policy) < _STRICTNESS.index(of_service) and not stated.reason:
        raise RequestInvalid(
            f"identity policy {stated.policy} is less strict than the service's, {of_service}",
            "Give a reason for it, or leave it out.",
        )
    return stated


def under(found: Identity, stated: IdentityStatement) -> Identity:
    """The finds under the policy. Raises IdentityPresent where it is to refuse, naming where, never what."""
    if stated.policy == IdentityPolicy.REFUSE and found.places:
        places = ", ".join(found.places[:MOST_PLACES])
        more = len(found.places) - MOST_PLACES
        raise IdentityPresent(f"identity was found in {places}" + (f" and {more} more" if more > 0 else ""))
    return replace(found, policy=stated.policy, reason=stated.reason)
