"""The audit trail only grows."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import Store


def trail(store: Store) -> list[str]:
    with store.reading() as session:
        return [event.what for event in AuditLog(session).list()]


@pytest.fixture
def told(store: Store) -> Store:
    for what in ("case_opened", "slide_filed", "read_requested"):
        with store.writing() as session:
            AuditLog(session).append("a test", what, "subject-1", {"why": "a test"})
    return store


@pytest.mark.parametrize("change", ["UPDATE audit_events SET who = 'nobody'", "DELETE FROM audit_events"])
def test_an_event_cannot_be_changed_or_removed(told: Store, change: str) -> None:
    with pytest.raises(IntegrityError, match="never changed"), told.writing() as session:
        session.execute(text(change))
    assert trail(told) == ["case_opened", "slide_filed", "read_requested"]


def test_events_are_listed_in_order_and_by_subject(told: Store) -> None:
    with told.reading() as session:
        first, second, _ = AuditLog(session).list()
        assert list(AuditLog(session).list(after=first.sequence, limit=1)) == [second]
        assert AuditLog(session).list(subject="another") == []
    assert first.at <= second.at
    assert first.detail == {"why": "a test"}


def test_an_event_is_not_written_when_what_it_tells_of_did_not_happen(store: Store) -> None:
    def file_half() -> None:
        with store.writing() as session:
            AuditLog(session).append("a test", "slide_filed", "subject-1")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        file_half()
    assert trail(store) == []
