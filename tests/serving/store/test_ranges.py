"""Which bytes are there: against a set of every byte."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ultraread.serving.store.ranges import Range, gaps, inside, length_of_start, with_range

pairs = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (min(pair), max(pair)))


def bytes_of(ranges: list[Range]) -> set[int]:
    return {byte for start, end in ranges for byte in range(start, end)}


@given(st.lists(pairs), pairs)
def test_ranges_hold_what_was_added_and_stay_apart(added: list[Range], asked: Range) -> None:
    there: list[Range] = []
    for start, end in added:
        there = with_range(there, start, end)
    held, wanted = bytes_of(added), bytes_of([asked])
    assert bytes_of(there) == held
    assert all(end < start for (_, end), (start, _) in pairwise(there))
    assert bytes_of(inside(there, *asked)) == held & wanted
    assert bytes_of(gaps(there, *asked)) == wanted - held
    assert length_of_start(there) == next(n for n in range(42) if n not in held)
