"""What checkpoints of a read are bound to: never mix ranges of different slides, models or plans."""

from collections.abc import Mapping
from typing import Any

STAMPS = "stamps_sha256"
"""Of one slide the digest of its files' stamps: others, although the files may hold the same."""

Binding = Mapping[str, Mapping[str, Any]]
"""Of every slide of a read what its ranges depend on."""


def differ_in_stamps_only(one: Binding, other: Binding) -> bool:
    """Whether the files are the same, and were written to between the two."""
    return _without_stamps(one) == _without_stamps(other)


def _without_stamps(binding: Binding) -> Binding:
    return {slide_id: {**bound, STAMPS: None} for slide_id, bound in binding.items()}
