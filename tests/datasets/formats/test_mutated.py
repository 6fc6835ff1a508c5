"""Damaged files are refused, or give the right pixels; none kills, hangs or fills the process that opens it.

Some bytes of a header say something else as validly (another offset, another table): those mutants are
counted, another library has to agree on what they say, and the table tells how many there may be.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mutated_formats import MUTATED_FORMATS
from mutation import MutatedFormat, Outcome, Worker, judge, mutants, same

FAILURES = {Outcome.UNEXPLAINED, Outcome.DIED, Outcome.HUNG, Outcome.RAISED}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("scratch")) as started:
        yield started


def _told() -> dict[tuple[str, int], int]:
    with (Path(__file__).parent / "mutants.csv").open(newline="") as rows:
        return {(row["format"], int(row["mutants"])): int(row["says_else"]) for row in csv.DictReader(rows)}


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.full)])
@pytest.mark.parametrize("format_", MUTATED_FORMATS, ids=lambda format_: format_.name)
def test_mutants_are_refused_or_give_the_right_pixels(
    format_: MutatedFormat, count: int, worker: Worker, tmp_path: Path
) -> None:
    for folder in ("original", "mutant"):
        (tmp_path / folder).mkdir()
    original = format_.write(tmp_path / "original")
    pixels = worker.pixels(original, "ultraread")
    other = worker.pixels(original, format_.oracle)
    assert isinstance(pixels, list)
    assert isinstance(other, list)
    assert same(pixels, other, format_.step)
    found: Counter[Outcome] = Counter()
    for mutant in mutants(format_, original, tmp_path / "mutant", count):
        outcome = judge(worker, format_, mutant, pixels)
        assert outcome not in FAILURES, f"seed {mutant.seed}: {mutant.what}: {outcome}"
        found[outcome] += 1
    print(f"{format_.name}, {count} mutants: " + ", ".join(f"{n} {what}" for what, n in found.items()))
    assert found[Outcome.SAYS_ELSE] <= _told().get((format_.name, count), 0)


def test_a_worker_that_dies_or_hangs_is_replaced(worker: Worker, tmp_path: Path) -> None:
    assert worker.pixels(tmp_path, "die") == Outcome.DIED
    assert worker.pixels(tmp_path, "hang", limit_s=1) == Outcome.HUNG
    assert worker.pixels(tmp_path / "no such file", "ultraread") == "slide_not_found"


def test_a_worker_may_not_take_more_memory_than_its_bound(worker: Worker, tmp_path: Path) -> None:
    assert worker.pixels(tmp_path, "fill") == Outcome.RAISED
