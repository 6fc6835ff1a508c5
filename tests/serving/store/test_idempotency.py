"""A request that is sent again is answered as it was the first time."""

import pytest

from ultraread.errors import IdempotencyConflict, IdempotencyRunning
from ultraread.serving.store.engine import Store
from ultraread.serving.store.idempotency import (
    Answer,
    Reserved,
    begin,
    complete,
    forget,
    release_interrupted,
)

ANSWER = Answer(201, "/v1/cases/c", {"id": "c"})


def test_a_repeat_gets_the_first_answer(store: Store) -> None:
    begin(store, "key", "request")
    complete(store, "key", ANSWER)
    assert begin(store, "key", "request") == ANSWER


def test_a_repeat_while_the_first_is_being_answered_has_to_wait(store: Store) -> None:
    begin(store, "key", "request")
    with pytest.raises(IdempotencyRunning):
        begin(store, "key", "request")


def test_a_key_belongs_to_one_request(store: Store) -> None:
    begin(store, "key", "request")
    with pytest.raises(IdempotencyConflict):
        begin(store, "key", "another request")


def test_a_refused_request_may_be_sent_again(store: Store) -> None:
    begin(store, "key", "request")
    forget(store, "key")
    assert isinstance(begin(store, "key", "request"), Reserved)


def test_a_repeat_after_a_crash_makes_the_same_thing_not_a_second_one(store: Store) -> None:
    reserved = begin(store, "key", "request")
    assert isinstance(reserved, Reserved)
    release_interrupted(store)
    assert begin(store, "key", "request") == Reserved(reserved.subject_id, was_interrupted=True)
