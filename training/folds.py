"""Blocked cross-validation: runs of neighbouring sections are held out, sections beside them left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Protocol, TypeVar


class InBlock(Protocol):
    """What has a place in a tissue block."""

    @property
    def specimen(self) -> str: ...
    @property
    def block(self) -> str: ...
    @property
    def section(self) -> int: ...


One = TypeVar("One", bound=InBlock)


@dataclass(frozen=True, slots=True)
class Fold:
    """Places, in the list that was split, of what is trained on and of the section runs tested on."""

    number: int
    train: tuple[int, ...]
    test: tuple[int, ...]


def blocked_folds(fields: Sequence[InBlock], folds: int, gap_sections: int) -> list[Fold]:
    """Split fields into folds; each is tested once, in a fold that saw neither it nor its neighbours.

    Every block is cut into `folds` runs of neighbouring sections (a short block into fewer), and fold n
    tests run n of each block. Sections of a block within `gap_sections` of a tested one are in neither
    part: neighbours show the same cells.
    """
    runs = [section_runs(places, folds) for places in _places_by_block(fields)]
    tested = [tuple(sorted(place for run in runs for place in _run(run, number))) for number in range(folds)]
    return [_fold(number, test, fields, gap_sections) for number, test in enumerate(tested) if test]


def section_runs(sections: Sequence[int], runs: int) -> list[tuple[int, ...]]:
    """Cut sections into at most `runs` runs of neighbours whose lengths differ by at most one."""
    runs = min(runs, len(sections))
    cuts = [number * len(sections) // runs for number in range(runs + 1)]
    return [tuple(sections[low:high]) for low, high in pairwise(cuts)]


def _places_by_block(fields: Sequence[InBlock]) -> list[list[int]]:
    def block(place: int) -> tuple[str, str]:
        return fields[place].specimen, fields[place].block

    ordered = sorted(range(len(fields)), key=lambda place: (*block(place), fields[place].section, place))
    return [list(places) for _, places in groupby(ordered, key=block)]


def _run(runs: Sequence[tuple[int, ...]], number: int) -> tuple[int, ...]:
    return runs[number] if number < len(runs) else ()


def _fold(number: int, test: tuple[int, ...], fields: Sequence[InBlock], gap_sections: int) -> Fold:
    near = {place for place in range(len(fields)) if _is_near(fields, place, test, gap_sections)}
    return Fold(number, tuple(place for place in range(len(fields)) if place not in near), test)


def _is_near(fields: Sequence[InBlock], place: int, test: Sequence[int], gap_sections: int) -> bool:
    one = fields[place]
    return place in test or any(
        (fields[other].specimen, fields[other].block) == (one.specimen, one.block)
        and abs(fields[other].section - one.section) <= gap_sections
        for other in test
    )
