"""Tokens as text, and as what is kept of them."""

import re
import secrets
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PREFIX = 8
_SECRET_BYTES = 32
_TOKEN = re.compile(rf"urt_([{_ALPHABET}]{{{_PREFIX}}})_[A-Za-z0-9_-]{{43}}")
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""argon2id with OWASP's least parameters: 19 MiB and 25 ms. The secret has 256 bits."""
_OF_NOBODY = _hasher.hash(secrets.token_urlsafe())


class NewSecret(NamedTuple):
    """The token is shown once; prefix and hash are kept."""

    token: str
    prefix: str
    hash: str


def new_secret() -> NewSecret:
    """A token: `urt_`, eight letters by which it is found, `_`, 256 random bits."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(_PREFIX))
    token = f"urt_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return NewSecret(token, prefix, _hasher.hash(token))


def prefix_of(text: str) -> str | None:
    """None where the text is no token of ours."""
    token = _TOKEN.fullmatch(text)
    return token.group(1) if token else None


def is_proved(text: str, kept_hash: str | None) -> bool:
    """Whether the text is the token of the hash; takes as long where there is no such token."""
    try:
        return _hasher.verify(kept_hash or _OF_NOBODY, text) and kept_hash is not None
    except (Argon2Error, InvalidHashError):
        return False
