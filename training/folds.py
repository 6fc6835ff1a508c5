"""Blocked cross-validation: runs of neighbouring sections are held out, sections beside them left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Fold:
    """Sections to train on and the run of sections to test on."""

    number: int
    train: tuple[int, ...]
    test: tuple[int, ...]


def blocked_folds(sections: Sequence[int], folds: int, gap_sections: int) -> list[Fold]:
    """Split sections, given in their order in the tissue, into runs; each is once the test run.

    Sections within `gap_sections` of the test run are in neither part: neighbours show the same cells.
    """
    runs = section_runs(sections, folds)
    return [_fold(number, run, sections, gap_sections) for number, run in enumerate(runs)]


def section_runs(sections: Sequence[int], runs: int) -> list[tuple[int, ...]]:
    """Cut sections into `runs` runs of neighbours whose lengths differ by at most one."""
    cuts = [number * len(sections) // runs for number in range(runs + 1)]
    return [tuple(sections[low:high]) for low, high in pairwise(cuts)]


def _fold(number: int, test: tuple[int, ...], sections: Sequence[int], gap_sections: int) -> Fold:
    low, high = test[0] - gap_sections, test[-1] + gap_sections
    return Fold(number, tuple(one for one in sections if not low <= one <= high), test)
