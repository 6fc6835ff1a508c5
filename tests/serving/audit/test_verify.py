"""Whatever somebody does to a trail who may write to the database, is found, named and placed."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from ultraread.serving.audit.chain import Event
from ultraread.serving.audit.checkpoint_file import checkpoints_in
from ultraread.serving.audit.checkpoints import Checkpointer, seal_all
from ultraread.serving.audit.export import csv_row, exported, open_export
from ultraread.serving.audit.signing import Checkpoint, Signer, load_public_key, load_signer, make_key
from ultraread.serving.audit.trail import DatabaseTrail, readable
from ultraread.serving.audit.verify import SiteReport, verify_recent, verify_trail
from ultraread.serving.store.audit import AuditLog, event_of
from ultraread.serving.store.engine import Store

EVENTS = 6
TRIGGERS = [
    (table, change) for table in ("audit_events", "audit_checkpoints") for change in ("update", "delete")
]
COLUMNS = "at, what, subject, detail, why, old, new, sealed, previous, hash"
MINE = "FROM audit_events WHERE site = :site AND site_sequence"
CHANGE = "UPDATE audit_events SET {} WHERE site = :site AND site_sequence {}".format
COPY = (
    f"INSERT INTO audit_events (site, who, site_sequence, {COLUMNS}) "
    f"SELECT site, 'somebody', {{}}, {COLUMNS} {MINE} = {{}}"
).format
UP, DOWN = "site_sequence = site_sequence + 1", "site_sequence = site_sequence - 1"
SWAP = "site_sequence = 7 - site_sequence"


@pytest.fixture(scope="module")
def store(shared_store: Store) -> Store:
    """As somebody can make it who owns the database: without triggers, without the index."""
    is_sqlite = shared_store.engine.dialect.name == "sqlite"
    drops = [f"{table}_refuse_{change}{'' if is_sqlite else f' ON {table}'}" for table, change in TRIGGERS]
    with shared_store.writing() as session:
        for drop in drops:
            session.execute(text(f"DROP TRIGGER {drop}"))
        session.execute(text("DROP INDEX audit_events_of_site"))
    return shared_store


@pytest.fixture
def trail(store: Store, site: str) -> Store:
    """EVENTS events of the test's site."""
    tell(store, site, EVENTS)
    return store


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("key")
    make_key(folder / "audit.key")
    return folder / "audit.key"


@pytest.fixture
def public(key: Path) -> str:
    return load_public_key(key.with_name("audit.key.pub"))


@pytest.fixture
def checkpointer(trail: Store, key: Path, tmp_path: Path) -> Checkpointer:
    signer: Signer = load_signer(key, tmp_path / "data")
    return Checkpointer(trail, signer, tmp_path / "checkpoints.jsonl", every_events=2, every_s=3600)


def tell(store: Store, site: str, count: int) -> None:
    with store.writing() as session:
        for number in range(1, count + 1):
            AuditLog(session, site).append("a test", "case_opened", f"case-{number}", new={"n": number})


def report(
    store: Store, site: str, keys: Sequence[str] = (), elsewhere: Sequence[Checkpoint] = ()
) -> SiteReport:
    with store.reading() as session, readable(session):
        return verify_trail(DatabaseTrail(session, site), keys, elsewhere)


def recent(store: Store, site: str, most: int = 1000, elsewhere: Sequence[Checkpoint] = ()) -> SiteReport:
    with store.reading() as session, readable(session):
        return verify_recent(DatabaseTrail(session, site), most, elsewhere)


def found_in(checked: SiteReport) -> tuple[int, str] | None:
    return (checked.fault.sequence, checked.fault.kind.value) if checked.fault else None


def tamper(store: Store, site: str, *statements: str) -> None:
    with store.writing() as session:
        for statement in statements:
            session.execute(text(statement), {"site": site})


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        ([CHANGE("who = 'nobody'", "= 3")], (3, "edited")),
        ([CHANGE("at = '2020-01-01T00:00:00.000Z'", "= 1")], (1, "edited")),
        ([CHANGE("why = 'because'", "= 3")], (3, "edited")),
        ([CHANGE("new = NULL", "= 3")], (3, "edited")),
        ([CHANGE("detail = '[1]'", "= 3")], (3, "edited")),
        ([CHANGE("hash = 'x'", "= 3")], (3, "edited")),
        ([CHANGE("sealed = NOT sealed", "= 6")], (6, "edited")),
        ([f"DELETE {MINE} = 3"], (3, "removed")),
        ([f"DELETE {MINE} < 3"], (1, "removed")),
        ([f"DELETE {MINE} = 3", CHANGE(DOWN, "> 3")], (3, "removed")),
        ([f"DELETE {MINE} > 4"], (5, "truncated")),
        (["DELETE FROM audit_events WHERE site = :site"], (1, "truncated")),
        (["DELETE FROM audit_heads WHERE site = :site"], (EVENTS, "removed")),
        ([CHANGE(SWAP, "IN (3, 4)")], (3, "reordered")),
        ([CHANGE(SWAP, "IN (1, 6)")], (1, "reordered")),
        ([CHANGE(UP, "> 2"), COPY(3, 2)], (3, "inserted")),
        ([COPY(3, 3)], (3, "inserted")),
        ([COPY(EVENTS + 1, EVENTS)], (EVENTS + 1, "inserted")),
        ([CHANGE("site = 'elsewhere'", "= 6")], (6, "truncated")),
    ],
)
def test_the_first_bad_event_is_named(
    trail: Store, site: str, statements: list[str], found: tuple[int, str]
) -> None:
    tamper(trail, site, *statements)
    assert found_in(report(trail, site)) == found


def test_a_whole_trail_has_no_fault(trail: Store, site: str) -> None:
    found = report(trail, site)
    assert (found.events, found.sealed, found.signed_upto, found.fault) == (EVENTS, 0, 0, None)


def test_an_event_written_anew_with_its_hash_does_not_fit_the_next(trail: Store, site: str) -> None:
    _write_anew(trail, site, 3, upto=3)
    assert found_in(report(trail, site)) == (3, "replaced")


def test_a_chain_written_anew_to_its_end_is_found_by_a_checkpoint(
    trail: Store, site: str, checkpointer: Checkpointer
) -> None:
    checkpointer.sign_all()
    _write_anew(trail, site, 3, upto=EVENTS)
    assert found_in(report(trail, site)) == (EVENTS, "replaced")


def test_an_end_cut_off_with_its_checkpoints_is_found_by_those_kept_elsewhere(
    trail: Store, site: str, checkpointer: Checkpointer
) -> None:
    checkpointer.sign_all()
    cut = f"UPDATE audit_heads SET sequence = 4, hash = (SELECT hash {MINE} = 4) WHERE site = :site"  # noqa: S608
    tamper(trail, site, cut, f"DELETE {MINE} > 4")
    assert found_in(report(trail, site)) == (5, "truncated")
    tamper(trail, site, "DELETE FROM audit_checkpoints WHERE site = :site")
    assert report(trail, site).fault is None
    elsewhere = [*checkpoints_in(checkpointer.file)]
    assert found_in(report(trail, site, elsewhere=elsewhere)) == (5, "truncated")


def test_the_recent_part_of_a_trail_is_held_from_its_last_checkpoint_on(
    trail: Store, site: str, checkpointer: Checkpointer
) -> None:
    assert recent(trail, site).first == 1
    checkpointer.sign_all()
    tell(trail, site, 3)
    found = recent(trail, site)
    assert (found.first, found.events, found.signed_upto, found.fault) == (EVENTS, EVENTS + 3, EVENTS, None)
    found = recent(trail, site, most=2)
    assert (found.first, found.events, found.signed_upto, found.fault) == (EVENTS + 2, EVENTS + 3, 0, None)
    tamper(trail, site, CHANGE("who = 'nobody'", "= 2"))
    assert recent(trail, site).fault is None
    tamper(trail, site, f"DELETE {MINE} = 8")
    assert found_in(recent(trail, site)) == (8, "removed")
    tamper(trail, site, CHANGE("who = 'nobody'", "= 6"))
    assert found_in(recent(trail, site)) == (6, "edited")


def test_what_was_done_to_the_newest_events_is_found_by_checkpoints_alone(
    trail: Store, site: str, checkpointer: Checkpointer
) -> None:
    checkpointer.sign_all()
    _write_anew(trail, site, 5, upto=EVENTS)
    assert found_in(recent(trail, site)) == (EVENTS, "replaced")
    cut = f"UPDATE audit_heads SET sequence = 4, hash = (SELECT hash {MINE} = 4) WHERE site = :site"  # noqa: S608
    tamper(trail, site, cut, f"DELETE {MINE} > 4", "DELETE FROM audit_checkpoints WHERE site = :site")
    assert recent(trail, site).fault is None
    assert found_in(recent(trail, site, elsewhere=[*checkpoints_in(checkpointer.file)])) == (5, "truncated")


def test_checkpoints_are_made_when_due_and_hold_for_the_public_key(
    trail: Store, site: str, checkpointer: Checkpointer, public: str
) -> None:
    assert checkpointer.step()
    tell(trail, site, 1)
    assert not checkpointer.step()
    tell(trail, site, 1)
    assert checkpointer.step()
    found = report(trail, site, [public])
    assert (found.signed_upto, found.public_keys, found.fault) == (EVENTS + 2, [public], None)
    signed = [one.sequence for one in checkpoints_in(checkpointer.file) if one.site == site]
    assert signed == [EVENTS, EVENTS + 2]


@pytest.mark.parametrize("lie", ["at = '00'", "sequence = 4", "signature = '00'", "public_key = '00'"])
def test_a_checkpoint_that_was_changed_does_not_hold(
    trail: Store, site: str, checkpointer: Checkpointer, lie: str
) -> None:
    checkpointer.sign_all()
    tamper(trail, site, f"UPDATE audit_checkpoints SET {lie} WHERE site = :site")  # noqa: S608
    found = report(trail, site).fault
    assert found
    assert found.kind == "forged"


def test_a_checkpoint_that_is_no_text_any_more_does_not_hold(
    trail: Store, site: str, checkpointer: Checkpointer
) -> None:
    if trail.engine.dialect.name == "sqlite":  # PostgreSQL holds no such text
        checkpointer.sign_all()
        tamper(trail, site, "UPDATE audit_checkpoints SET signature = X'00' WHERE site = :site")
        assert found_in(report(trail, site)) == (EVENTS, "forged")


def test_a_checkpoint_by_another_key_is_a_fault_for_those_who_know_the_signer(
    trail: Store, site: str, checkpointer: Checkpointer, tmp_path: Path
) -> None:
    checkpointer.sign_all()
    another = load_public_key(make_key(tmp_path / "another.key"))
    assert report(trail, site).fault is None
    assert found_in(report(trail, site, [another])) == (EVENTS, "forged")


def test_an_export_is_verified_without_the_database(
    trail: Store, site: str, checkpointer: Checkpointer, public: str, tmp_path: Path
) -> None:
    checkpointer.sign_all()
    file = tmp_path / "trail.jsonl"
    with trail.reading() as session:
        lines = [json.dumps(line) + "\n" for line in exported(DatabaseTrail(session, site), "now")]
    file.write_text("".join(lines))
    found = verify_trail(open_export(file), [public])
    assert (found.events, found.signed_upto, found.fault) == (EVENTS, EVENTS, None)
    file.write_text("".join(line for line in lines if '"sequence": 3,' not in line))
    assert found_in(verify_trail(open_export(file))) == (3, "removed")
    file.write_text("".join(lines).replace("case-5", "case-9"))
    assert found_in(verify_trail(open_export(file))) == (5, "edited")


def test_every_flipped_bit_of_an_event_is_found() -> None:
    event = Event("main", 3, "2026", "a", "b", "c", "d", {"e": 1.5}, None, [True], False, "0" * 64)
    canonical = json.dumps(event.as_json())
    for at in range(8 * len(canonical)):
        flipped = bytearray(canonical.encode())
        flipped[at // 8] ^= 1 << at % 8
        assert _hash_of(bytes(flipped)) != event.hash or json.loads(flipped) == json.loads(canonical)


def test_what_is_no_text_any_more_is_still_named(trail: Store, site: str) -> None:
    if trail.engine.dialect.name == "sqlite":  # PostgreSQL holds no such text
        tamper(trail, site, CHANGE("who = CAST(X'61ff62' AS TEXT)", "= 2"))
        assert found_in(report(trail, site)) == (2, "edited")
    tamper(trail, site, CHANGE("detail = '{\"a\": 1e999}'", "= 1"))
    assert found_in(report(trail, site)) == (1, "edited")


def test_sealed_events_are_told_of(trail: Store, site: str) -> None:
    older = "'2026-01-01', 'an older version', 'case_opened', 'case-7', '{}'"
    tamper(
        trail,
        site,
        f"INSERT INTO audit_events (site, at, who, what, subject, detail) VALUES (:site, {older})",  # noqa: S608
    )
    assert report(trail, site).unsealed == 1
    seal_all(trail)
    found = report(trail, site)
    assert (found.events, found.sealed, found.unsealed, found.fault) == (EVENTS + 1, 1, 0, None)


def test_a_table_program_runs_nothing_of_an_export() -> None:
    event = Event("main", 1, "2026", "=cmd", "+b", "@c", "-d", {"e": "=1"}, None, None, False, "0" * 64)
    row = csv_row({**event.as_json(), "hash": event.hash})
    assert row[2:6] == ["'=cmd", "'+b", "'@c", "'-d"]
    assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@"))]


def _write_anew(store: Store, site: str, first: int, upto: int) -> None:
    """Another `who` for these events, and hashes that fit each other again up to and with the last one."""
    with store.reading() as session:
        events = [event_of(row) for row in AuditLog(session, site).list(first - 1, upto - first + 1)]
    previous = events[0].previous
    for event in events:
        anew = Event(**event.as_json() | {"who": "nobody", "previous": previous})
        columns = f"who = 'nobody', previous = '{previous}', hash = '{anew.hash}'"
        tamper(store, site, CHANGE(columns, f"= {event.sequence}"))
        previous = anew.hash
    if upto == EVENTS:
        tamper(store, site, f"UPDATE audit_heads SET hash = '{previous}' WHERE site = :site")  # noqa: S608


def _hash_of(data: bytes) -> str:
    """Empty where these bytes are no event."""
    try:
        return Event.from_json(json.loads(data)).hash
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


@pytest.mark.parametrize("lie", [7, ["00"]])
@pytest.mark.parametrize("field", ["public_key", "signature", "at", "hash", "site"])
def test_a_checkpoint_of_an_export_that_holds_no_text_is_forged(
    checkpointer: Checkpointer, site: str, field: str, lie: object, tmp_path: Path
) -> None:
    checkpointer.sign_all()
    file = tmp_path / "trail.jsonl"
    with checkpointer.store.reading() as session:
        lines = [*exported(DatabaseTrail(session, site), "now")]
    (genuine,) = [line for line in lines if line["kind"] == "checkpoint"]
    lines.append({**genuine, field: lie})  # both are at the same event: they are compared
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert found_in(verify_trail(open_export(file))) == (EVENTS, "forged")


def test_events_since_a_minute_or_second_are_those_from_its_beginning_on(trail: Store, site: str) -> None:
    with trail.reading() as session:
        log = AuditLog(session, site)
        (first,) = log.list(limit=1)
        for since in (first.at[:16] + "Z", first.at[:19] + "Z", first.at[:19], first.at):
            assert log.list(since=since)[0].sequence == first.sequence, since
