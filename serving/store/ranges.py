"""Which bytes of a file are there: half-open ranges [start, end), sorted, with a gap between any two."""

from collections.abc import Sequence

Range = tuple[int, int]


def with_range(there: Sequence[Range], start: int, end: int) -> list[Range]:
    """The same ranges and [start, end), joined with what it touches."""
    if start >= end:
        return list(there)
    touched = [each for each in there if each[0] <= end and start <= each[1]]
    joined = (min([start, *(low for low, _ in touched)]), max([end, *(high for _, high in touched)]))
    return sorted([*(each for each in there if each not in touched), joined])


def inside(there: Sequence[Range], start: int, end: int) -> list[Range]:
    """What of [start, end) is there."""
    cut = [(max(low, start), min(high, end)) for low, high in there]
    return [(low, high) for low, high in cut if low < high]


def gaps(there: Sequence[Range], start: int, end: int) -> list[Range]:
    """What of [start, end) is missing."""
    edges = [start, *(edge for found in inside(there, start, end) for edge in found), end]
    return [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high]


def length_of_start(there: Sequence[Range]) -> int:
    """Bytes from 0 up to the first gap."""
    return there[0][1] if there and there[0][0] == 0 else 0
