"""What checkpoints of a read are bound to: never mix ranges of different slides, models or plans."""

from collections.abc import Mapping
from typing import Any

WRITTEN = "written"
"""Of one slide: when its files were written to, as a digest. What they are may still be the same."""

Binding = Mapping[str, Mapping[str, Any]]
"""Of every slide of a read what its ranges depend on."""


def differ_in_time_only(one: Binding, other: Binding) -> bool:
    """Whether the files are the same, and were written to between the two."""
    return _timeless(one) == _timeless(other)


def _timeless(binding: Binding) -> Binding:
    return {slide_id: {**bound, WRITTEN: None} for slide_id, bound in binding.items()}
