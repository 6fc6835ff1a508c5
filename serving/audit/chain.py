"""The hash chain of a site's audit trail: what is hashed, and how. This format never changes."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import rfc8785

GENESIS = "0" * 64
"""What the first event of a site names as the hash before it."""
LARGEST_EXACT = 2**53 - 1
"""RFC 8785 knows numbers of IEEE 754 double precision only."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is hashed. `sequence` counts 1, 2, 3 ... in its site, without a gap."""

    site: str
    sequence: int
    at: str
    who: str
    what: str
    subject: str
    why: str
    detail: Mapping[str, Any]
    old: Any
    new: Any
    sealed: bool
    """Taken into the chain after it was written: by a migration, or written by a version without a chain."""
    previous: str

    @property
    def hash(self) -> str:
        """sha256, in hex, of the canonical JSON (RFC 8785) of all fields; of `plain` values only."""
        return hashlib.sha256(rfc8785.dumps(self.as_json())).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"detail": dict(self.detail)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Raises KeyError where a field is missing."""
        return cls(**{name: body[name] for name in cls.__slots__})


def plain(value: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
    """The value as it comes back from storage, in what RFC 8785 can write.

    Numbers without an exact double, and characters that are none (lone surrogates, NUL), become text.
    """
    return _exact(json.loads(json.dumps(value)))


def _exact(value: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
    if isinstance(value, dict):
        return {_exact(name): _exact(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_exact(inner) for inner in value]
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) > LARGEST_EXACT:
        return str(value)
    return value


def text_of(value: str) -> str:
    """Text that every database keeps as it is."""
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
