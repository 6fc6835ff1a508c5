"""Blocked folds: every section is tested once, by a model that saw neither it nor its neighbours."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from ultraread.training.folds import Fold, blocked_folds, section_runs


@dataclass(frozen=True)
class Section:
    """A place in a block."""

    section: int
    block: str = "one-a"
    specimen: str = "one"


def in_block(sections: int, block: str = "one-a", specimen: str = "one") -> list[Section]:
    return [Section(section, block, specimen) for section in range(sections)]


several_blocks = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def laid_out(sizes: list[int]) -> list[Section]:
    """Blocks of these sizes, their sections mixed."""
    listed = [one for number, size in enumerate(sizes) for one in in_block(size, f"block-{number}")]
    return listed[::2] + listed[1::2]


def neighbours(one: Section, other: Section, gap: int) -> bool:
    return one.block == other.block and abs(one.section - other.section) <= gap


@settings(deadline=None)
@given(sizes=several_blocks, folds=st.integers(2, 6), gap=st.integers(0, 3))
def test_no_fold_trains_within_the_gap_of_what_it_tests(sizes: list[int], folds: int, gap: int) -> None:
    fields = laid_out(sizes)
    for fold in blocked_folds(fields, folds, gap):
        pairs = [(fields[one], fields[other]) for one in fold.train for other in fold.test]
        assert not any(neighbours(one, other, gap) for one, other in pairs)


@settings(deadline=None)
@given(sizes=several_blocks, folds=st.integers(2, 6), gap=st.integers(0, 3))
def test_every_section_is_tested_once_and_used_where_it_may(sizes: list[int], folds: int, gap: int) -> None:
    fields = laid_out(sizes)
    made = blocked_folds(fields, folds, gap)
    assert sorted(place for fold in made for place in fold.test) == list(range(len(fields)))
    for fold in made:
        unused = set(range(len(fields))) - {*fold.train, *fold.test}
        assert all(any(neighbours(fields[one], fields[test], gap) for test in fold.test) for one in unused)


def test_fifteen_sections_make_five_runs_of_three() -> None:
    folds = blocked_folds(in_block(15), 5, 1)
    assert [fold.test for fold in folds] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (12, 13, 14)]
    assert folds[1].train == (0, 1, 7, 8, 9, 10, 11, 12, 13, 14)


def test_fold_n_tests_run_n_of_each_block() -> None:
    fields = [*in_block(4, "one-a"), *in_block(2, "one-b")]
    assert [fold.test for fold in blocked_folds(fields, 2, 0)] == [(0, 1, 4), (2, 3, 5)]


def test_a_gap_holds_within_a_block_and_not_across_blocks_or_specimens() -> None:
    fields = [*in_block(2, "a"), *in_block(2, "b"), *in_block(2, "a", specimen="two")]
    assert blocked_folds(fields, 2, 5) == [Fold(0, (), (0, 2, 4)), Fold(1, (), (1, 3, 5))]
    alone = [*in_block(2, "a"), *in_block(1, "b"), *in_block(1, "a", specimen="two")]
    assert blocked_folds(alone, 2, 5)[1] == Fold(1, (2, 3), (1,))


def test_a_block_shorter_than_the_folds_is_tested_in_the_first_ones() -> None:
    fields = [*in_block(5, "long"), *in_block(2, "short")]
    folds = blocked_folds(fields, 5, 0)
    assert [fold.test for fold in folds] == [(0, 5), (1, 6), (2,), (3,), (4,)]
    assert {5, 6} <= set(folds[4].train)


def test_folds_that_would_test_nothing_are_left_out() -> None:
    assert [fold.number for fold in blocked_folds(in_block(3), 6, 0)] == [0, 1, 2]


def test_sections_follow_their_number_and_not_the_order_of_the_list() -> None:
    assert [fold.test for fold in blocked_folds(in_block(4)[::-1], 2, 0)] == [(2, 3), (0, 1)]


@settings(deadline=None)
@given(sections=st.integers(1, 40), runs=st.integers(1, 8))
def test_runs_are_neighbours_and_of_one_length_give_or_take_one(sections: int, runs: int) -> None:
    made = section_runs(range(sections), runs)
    assert [one for run in made for one in run] == list(range(sections))
    lengths = {len(run) for run in made}
    assert max(lengths) - min(lengths) <= 1
