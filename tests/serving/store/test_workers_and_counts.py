"""Processes say that they are there and add up what they count; keyed requests of the silent are taken up."""

import threading

import pytest

from ultraread.errors import IdempotencyRunning
from ultraread.serving import metrics
from ultraread.serving.presence import Presence
from ultraread.serving.store import counts, workers
from ultraread.serving.store.clock import steady_in
from ultraread.serving.store.engine import Store
from ultraread.serving.store.idempotency import Answer, Reserved, begin, complete
from ultraread.serving.store.operation_tables import WorkerRow
from ultraread.serving.store.tables import MAIN_SITE

SAMPLE: metrics.Sample = ("ultraread_tiles_scored_total", (("model", "tiny/1"),))


@pytest.fixture
def main(store: Store) -> Store:
    return store.of_site(MAIN_SITE)


def _silent(store: Store, worker: str) -> None:
    with store.writing() as session:
        session.get_one(WorkerRow, worker).seen = steady_in(-workers.GONE_S - 1)


def test_who_beats_is_there_until_it_leaves_or_falls_silent(store: Store) -> None:
    first = Presence(store, "Runner", lambda: ["tiny/1"]).begin()
    other = Presence(store, "Ingress").begin()
    with store.reading() as session:
        there = workers.there(session)
        assert {row.deployment: row.body["live"] for row in there} == {"Runner": ["tiny/1"], "Ingress": []}
        assert all(row.body["resident_bytes"] > 0 and row.body["open_files"] > 0 for row in there)
    other.leave()
    _silent(store, first.id)
    with store.reading() as session:
        assert list(workers.there(session)) == []
    first.leave()


def test_sums_of_many_processes_at_once_lose_nothing(store: Store) -> None:
    def add() -> None:
        for _ in range(10):
            counts.add(store, {SAMPLE: 1.0, ("other", ()): 2.0})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as session:
        assert dict(counts.sums(session)) == {SAMPLE: 40.0, ("other", ()): 80.0}


def test_what_is_counted_while_the_store_is_away_is_added_later() -> None:
    pending = metrics._Pending()
    pending.add("a", {"x": "1"}, 2)
    taken = pending.take()
    pending.add("a", {"x": "1"}, 3)
    pending.give_back(taken)
    assert pending.take() == {("a", (("x", "1"),)): 5}


def test_a_request_of_a_worker_that_is_there_is_not_taken_up(main: Store) -> None:
    worker = Presence(main, "Ingress").begin()
    begin(main, "k", "0" * 64, worker.id)
    with pytest.raises(IdempotencyRunning):
        begin(main, "k", "0" * 64, "another")
    worker.leave()


def test_a_request_of_a_silent_worker_is_taken_up_once_under_its_id(main: Store) -> None:
    dead, alive = Presence(main, "Ingress").begin(), Presence(main, "Ingress").begin()
    first = begin(main, "k", "0" * 64, dead.id)
    _silent(main, dead.id)
    taken = begin(main, "k", "0" * 64, alive.id)
    assert isinstance(first, Reserved)
    assert taken == Reserved(first.subject_id, was_interrupted=True)
    with pytest.raises(IdempotencyRunning):
        begin(main, "k", "0" * 64, "a third")
    complete(main, "k", answer := Answer(201, "/v1/cases/C-1", {"id": "C-1"}))
    assert begin(main, "k", "0" * 64, dead.id) == answer
    for worker in (dead, alive):
        worker.leave()
