"""Who goes first: urgent before routine, sites in turn, and nobody waits for ever."""

from collections.abc import Sequence
from dataclasses import replace

from filed import file_a_slide, new_read
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from ultraread.serving.store.clock import LONG_AGO
from ultraread.serving.store.engine import Store
from ultraread.serving.store.jobs import ClaimedRead, Jobs, ReadResult
from ultraread.serving.store.tables import Priority, ReadRow, ReadState

Asked = tuple[str, bool]
"""Site, and whether it is urgent."""
SITES = ("main", "north", "south")
MOST_READS, SLOTS = 12, 2


def ask(jobs: Jobs, site: str, urgent: bool = False, waited: bool = False) -> str:
    """A read of a site; one that `waited` came long before all others."""
    store = jobs.store.of_site(site)
    priority = Priority.URGENT if urgent else Priority.ROUTINE
    read = replace(new_read(file_a_slide(store)), priority=priority)
    read_id = replace(jobs, store=store).enqueue(read, "a test").id
    if waited:
        with jobs.store.writing() as session:
            session.execute(update(ReadRow).where(ReadRow.id == read_id).values(created=LONG_AGO))
    return read_id


def serve(jobs: Jobs, most: int, slots: int = SLOTS) -> list[tuple[str, str, int]]:
    """Id and site of reads in the order in which they are taken; and how many of that site ran already."""
    taken, running = [], list[ClaimedRead]()
    while len(taken) < most and (claim := jobs.claim("a test")):
        taken.append(
            (claim.read.id, claim.read.site, [one.read.site for one in running].count(claim.read.site))
        )
        running.append(claim)
        if len(running) == slots:
            jobs.finish(running.pop(0), ReadState.SUCCEEDED, ReadResult())
    for claim in running:
        jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())
    return taken


def test_urgent_reads_go_before_routine_ones_of_any_site(jobs: Jobs) -> None:
    routine = ask(jobs, "main")
    urgent = [ask(jobs, site, urgent=True) for site in ("north", "main")]
    taken = [read_id for read_id, *_ in serve(jobs, 3)]
    assert (set(taken[:2]), taken[2]) == (set(urgent), routine)


def test_a_routine_read_that_waited_long_enough_overtakes_urgent_ones(jobs: Jobs) -> None:
    waited = ask(jobs, "main", waited=True)
    later = [ask(jobs, "main", urgent=True) for _ in range(3)]
    assert [read_id for read_id, *_ in serve(jobs, 4)] == [waited, *later]


def test_a_site_with_one_read_does_not_wait_behind_the_many_of_another(jobs: Jobs) -> None:
    for _ in range(5):
        ask(jobs, "main")
    ask(jobs, "north")
    assert [site for _, site, _ in serve(jobs, 3)] == ["main", "north", "main"]


def test_every_site_is_served_in_turn_and_each_in_its_own_order(store: Store) -> None:
    jobs = Jobs(store, 600, 3)

    @settings(max_examples=8, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(SITES), st.booleans()), min_size=1, max_size=MOST_READS))
    def holds(asked: list[Asked]) -> None:
        ids = {ask(jobs, *one): one for one in asked}
        taken = [(ids[read_id], read_id, beside) for read_id, _, beside in serve(jobs, len(asked))]
        assert {read_id for _, read_id, _ in taken} == set(ids), "every read is served"
        urgencies = [urgent for (_, urgent), *_ in taken]
        assert urgencies == sorted(urgencies, reverse=True), "urgent ones first"
        for one in set(asked):
            mine = [read_id for kind, read_id, _ in taken if kind == one]
            assert mine == sorted(mine), "a site's reads in the order in which they came"
        _refuse_unfair(taken)

    holds()


def _refuse_unfair(taken: Sequence[tuple[Asked, str, int]]) -> None:
    """Nobody is served beside a read of its own while a site with none running waits in the same class."""
    running: list[str] = []
    for n, ((site, urgent), _, _) in enumerate(taken):
        waiting = {kind[0] for kind, *_ in taken[n:] if kind[1] == urgent}
        fewest = min(running.count(other) for other in waiting)
        assert running.count(site) == fewest
        running.append(site)
        if len(running) == SLOTS:
            running.pop(0)
