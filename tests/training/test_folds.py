from hypothesis import given
from hypothesis import strategies as st

from ultraread.training.folds import blocked_folds


@given(sections=st.integers(6, 40), folds=st.integers(2, 6), gap=st.integers(0, 3))
def test_no_fold_trains_within_the_gap_of_what_it_tests(sections: int, folds: int, gap: int) -> None:
    for fold in blocked_folds(range(sections), folds, gap):
        apart = [abs(one - other) for one in fold.train for other in fold.test]
        assert all(distance > gap for distance in apart)


@given(sections=st.integers(6, 40), folds=st.integers(2, 6), gap=st.integers(0, 3))
def test_every_section_is_tested_once_and_used_where_it_may(sections: int, folds: int, gap: int) -> None:
    made = blocked_folds(range(sections), folds, gap)
    assert sorted(index for fold in made for index in fold.test) == list(range(sections))
    assert all(len(fold.train) >= sections - len(fold.test) - 2 * gap for fold in made)


def test_fifteen_sections_make_five_runs_of_three() -> None:
    folds = blocked_folds(range(15), 5, 1)
    assert [fold.test for fold in folds] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (12, 13, 14)]
    assert folds[1].train == (0, 1, 7, 8, 9, 10, 11, 12, 13, 14)
