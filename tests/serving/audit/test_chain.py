"""One gapless chain a site, whoever writes, however many at once, with or without a chain in his version."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from ultraread.serving.audit.chain import GENESIS
from ultraread.serving.store.audit import AuditLog, event_of, seal, sites_unsealed
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import AuditRow

WRITERS, EACH = 20, 3


def chain(store: Store, site: str) -> list[AuditRow]:
    with store.reading() as session:
        return list(AuditLog(session, site).list(limit=10_000))


def assert_chained(rows: list[AuditRow], count: int) -> None:
    assert [row.site_sequence for row in rows] == list(range(1, count + 1))
    assert [row.previous for row in rows] == [GENESIS, *(row.hash for row in rows[:-1])]
    assert [event_of(row).hash for row in rows] == [row.hash for row in rows]


def tell(store: Store, site: str, number: int) -> None:
    with store.writing() as session:
        AuditLog(session, site).append("a test", "case_opened", f"case-{number}", {"number": number})


def test_parallel_writers_give_one_gapless_chain_a_site(shared_store: Store, site: str) -> None:
    def write(writer: int) -> None:
        for number in range(EACH):
            tell(shared_store, site if writer % 4 else f"{site}-north", writer * EACH + number)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    north = WRITERS // 4 * EACH
    assert_chained(chain(shared_store, site), WRITERS * EACH - north)
    assert_chained(chain(shared_store, f"{site}-north"), north)


def test_a_site_sees_its_own_trail_and_its_own_numbers(shared_store: Store, site: str) -> None:
    for one in ("north", "south", "north"):
        tell(shared_store, site + one, 1)
    with shared_store.of_site(f"{site}south").writing() as session:
        AuditLog(session, f"{site}north").append(
            "a test", "case_opened", "case-2"
        )  # kept to a site, it stays there
    with shared_store.of_site(f"{site}south").reading() as session:
        assert [row.subject for row in AuditLog(session).list()] == ["case-1", "case-2"]
    assert_chained(chain(shared_store, f"{site}north"), 2)
    assert_chained(chain(shared_store, f"{site}south"), 2)


def test_values_that_no_double_holds_are_kept_as_text(shared_store: Store, site: str) -> None:
    with shared_store.writing() as session:
        detail = {"large": 2**60, "nan": float("nan"), "text": "a\0b\ud800", "half": 0.1}
        new = "neu \U0001f52c"
        AuditLog(session, site).append(
            "a test", "case_opened", "case\0", detail, old=[1, {"a": 2.5}], new=new
        )
    (row,) = chain(shared_store, site)
    assert row.detail == {"large": str(2**60), "nan": "nan", "text": "a\ufffdb?", "half": 0.1}
    assert (row.old, row.new, row.subject) == ([1, {"a": 2.5}], new, "case\ufffd")
    assert_chained([row], 1)


def test_what_a_savepoint_told_goes_with_it(shared_store: Store, site: str) -> None:
    with shared_store.writing() as session:
        log = AuditLog(session, site)
        log.append("a test", "kept", "1")
        savepoint = session.begin_nested()
        log.append("a test", "dropped", "2")
        savepoint.rollback()
        with session.begin_nested():
            log.append("a test", "kept", "3")
    assert [row.subject for row in chain(shared_store, site)] == ["1", "3"]


def test_rows_of_a_version_without_a_chain_are_sealed_and_marked(shared_store: Store, site: str) -> None:
    tell(shared_store, site, 1)
    _write_as_before(shared_store, site, "case-2")
    tell(shared_store, site, 3)
    assert [row.subject for row in chain(shared_store, site)] == ["case-1", "case-3"]
    with shared_store.writing() as session:
        assert site in sites_unsealed(session.connection())
        assert seal(session.connection(), site) == 1
        assert seal(session.connection(), site) == 0
    rows = chain(shared_store, site)
    assert_chained(rows, 3)
    marks = [(row.subject, row.sealed) for row in rows]
    assert marks == [("case-1", False), ("case-3", False), ("case-2", True)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_events SET who = 'nobody'",
        "UPDATE audit_events SET hash = NULL",
        "DELETE FROM audit_events",
    ],
)
def test_the_database_refuses_to_change_what_is_chained(shared_store: Store, site: str, change: str) -> None:
    tell(shared_store, site, 1)
    with pytest.raises(DatabaseError, match="never changed"), shared_store.writing() as session:
        session.execute(text(change))
    assert_chained(chain(shared_store, site), 1)


def test_sealing_cannot_be_used_to_change_an_event(shared_store: Store, site: str) -> None:
    _write_as_before(shared_store, site, "case-1")
    with pytest.raises(DatabaseError, match="never changed"), shared_store.writing() as session:
        session.execute(text("UPDATE audit_events SET who = 'nobody', hash = 'x' WHERE hash IS NULL"))


def _write_as_before(store: Store, site: str, subject: str) -> None:
    """As a replica of the version before wrote: without the columns of the chain."""
    now = "'2026-01-01T00:00:00.000Z', 'an older version', 'case_opened'"
    insert = (
        "INSERT INTO audit_events (site, at, who, what, subject, detail) "  # noqa: S608
        f"VALUES (:site, {now}, :subject, '{{}}')"
    )
    with store.writing() as session:
        session.execute(text(insert), {"site": site, "subject": subject})
