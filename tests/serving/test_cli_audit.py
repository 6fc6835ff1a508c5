"""`ultraread audit`: an auditor with a public key needs no trust in whoever owns the database."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from command_line import ultraread
from working_house import WorkingHouse, working_house

from ultraread.errors import ConfigInsecure, NotFound
from ultraread.serving.audit.checkpoints import signer_of
from ultraread.serving.settings import load_settings


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingHouse]:
    """A slide that was read: three events."""
    with working_house(tmp_path_factory.mktemp("house")) as working:
        working.read(working.file())
        yield working


@pytest.fixture(scope="module")
def key(working: WorkingHouse) -> Path:
    key = working.folder / "audit.key"
    assert ultraread("audit", "init-key", key).status == 0
    return key


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch, key: Path) -> None:
    monkeypatch.setenv("ULTRAREAD_AUDIT_KEY_FILE", str(key))


def data_dir(working: WorkingHouse) -> list[str]:
    return ["--data-dir", str(working.house.settings.data_dir)]


def public(key: Path) -> list[str]:
    return ["--public-key", f"{key}.pub"]


def test_a_key_is_for_its_owner_alone_and_never_replaced(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    again = ultraread("audit", "init-key", key, "--json")
    assert (again.status, again.problem["code"]) == (3, "output_exists")


def test_a_key_without_a_folder_is_told_what_is_missing(tmp_path: Path) -> None:
    told = ultraread("audit", "init-key", tmp_path / "none" / "audit.key", "--json")
    assert (told.status, told.problem["code"]) == (2, "request_invalid")
    assert "none/audit.key cannot be written (No such file or directory)" in told.problem["detail"]
    assert "folder" in told.problem["remedy"]


def test_a_key_is_not_made_in_the_data_folder(working: WorkingHouse) -> None:
    within = working.house.settings.data_dir / "keys" / ".." / "audit.key"
    told = ultraread("audit", "init-key", within, *data_dir(working), "--json")
    assert (told.status, told.problem["code"]) == (6, "config_insecure")
    assert "lies in data_dir" in told.problem["detail"]
    assert not within.resolve().exists()


@pytest.mark.usefixtures("signing")
def test_signing_without_a_file_for_it_is_told_and_made_good(
    working: WorkingHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "worm" / "kept.jsonl"
    monkeypatch.setenv("ULTRAREAD_AUDIT_CHECKPOINT_FILE", str(file))
    told = ultraread("audit", "sign", *data_dir(working), "--json")
    assert (told.status, told.problem["code"]) == (6, "service_unavailable")
    assert f"audit_checkpoint_file {file} cannot be written" in told.problem["detail"]
    assert "kept in the database" in told.problem["remedy"]
    file.parent.mkdir()
    assert ultraread("audit", "sign", *data_dir(working)).out == "0 signed\n"
    verified = ultraread("audit", "verify", "--checkpoint", file, *data_dir(working), "--json")
    signed = [json.loads(line)["sequence"] for line in file.read_text().splitlines()]
    assert signed[-1] == verified.printed[0]["signed_upto"]


@pytest.mark.usefixtures("signing")
def test_a_key_that_others_may_read_or_that_lies_with_the_data_is_refused(key: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigInsecure, match="lies in data_dir"):
        signer_of(load_settings(data_dir=key.parent))
    key.chmod(0o640)
    with pytest.raises(ConfigInsecure, match="others may read"):
        signer_of(load_settings(data_dir=tmp_path))
    key.chmod(0o600)


def test_a_read_has_one_accepted_and_one_ended_event(working: WorkingHouse) -> None:
    (read,) = {one["subject"] for one in events(working) if one["what"].startswith("read_")}
    assert [one["what"] for one in events(working) if one["subject"] == read] == [
        "read_requested",
        "read_ended",
    ]


def events(working: WorkingHouse) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = ultraread("audit", "ls", "--json", *data_dir(working)).printed
    return listed


@pytest.mark.usefixtures("signing")
def test_a_signed_trail_is_verified_here_in_an_export_in_a_backup_and_after_a_restore(
    working: WorkingHouse, key: Path, tmp_path: Path
) -> None:
    backup, restored, export = (str(tmp_path / name) for name in ("backup", "restored", "trail.jsonl"))
    assert ultraread("backup", backup, *data_dir(working)).status == 0
    assert ultraread("audit", "export", "--out", export, *data_dir(working)).status == 0
    assert ultraread("restore", backup, "--data-dir", restored).status == 0
    for place in ([export], ["--backup", backup], ["--data-dir", restored], data_dir(working)):
        verified = ultraread("audit", "verify", *place, *public(key), "--json")
        assert verified.status == 0, verified.err
        (report,) = verified.printed
        assert report["signed_upto"] >= 3
    assert not any(path.name == key.name for path in Path(backup).rglob("*"))


@pytest.mark.usefixtures("signing")
def test_a_changed_event_ends_with_its_code_and_names_the_event(
    working: WorkingHouse, key: Path, tmp_path: Path
) -> None:
    assert ultraread("audit", "sign", *data_dir(working)).status == 0
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    with (
        closing(sqlite3.connect(working.house.settings.database_file)) as there,
        closing(sqlite3.connect(copy / "ultraread.db")) as here,
    ):
        there.backup(here)
        here.execute("DROP TRIGGER audit_events_refuse_update")
        here.execute("UPDATE audit_events SET who = 'nobody' WHERE site_sequence = 2")
        here.commit()
    ended = ultraread("audit", "verify", "--data-dir", copy, *public(key), "--json")
    assert (ended.status, ended.problem["code"]) == (7, "audit_chain_broken")
    assert "main, event 2, edited" in ended.problem["detail"]
    (report,) = ended.printed
    assert report["fault"]["sequence"] == 2


def test_an_export_for_table_programs_has_a_row_an_event(working: WorkingHouse, tmp_path: Path) -> None:
    out = tmp_path / "trail.csv"
    told = ultraread("audit", "export", "--csv", "--out", out, *data_dir(working))
    header, *rows = out.read_text().splitlines()
    assert (told.status, told.out) == (0, "")
    assert told.err == f"main: {len(rows)} events written to {out}\n"
    assert header.startswith("sequence,at,who,what,subject,why")
    assert len(rows) == len(events(working))
    assert ultraread("audit", "verify", out).status == 2


@pytest.mark.parametrize("form", [(), ("--csv",)])
def test_an_export_that_cannot_be_written_is_told_and_noted_nowhere(
    working: WorkingHouse, tmp_path: Path, form: tuple[str, ...]
) -> None:
    before, out = len(events(working)), tmp_path / "none" / "x.csv"
    told = ultraread("audit", "export", *form, "--out", out, *data_dir(working))
    assert (told.status, told.err.startswith("error[service_unavailable]")) == (6, True)
    assert f"--out {out} cannot be written (No such file or directory)" in told.err
    assert len(events(working)) == before


def test_a_list_for_a_program_is_cut_nowhere(working: WorkingHouse) -> None:
    listed = ultraread("audit", "ls", *data_dir(working)).out
    for one in events(working):
        row = next(line for line in listed.splitlines() if line.split()[:1] == [str(one["sequence"])])
        assert all(one[name] in row for name in ("who", "what", "subject"))
    assert "\u2026" not in listed


def test_a_site_that_is_not_there_gets_no_trail_from_being_exported(
    working: WorkingHouse, tmp_path: Path
) -> None:
    told = ultraread("audit", "export", "--site", "mian", "--out", tmp_path / "a.jsonl", *data_dir(working))
    assert (told.status, (tmp_path / "a.jsonl").exists()) == (NotFound.exit_status, False)
    told = ultraread("audit", "verify", "--json", *data_dir(working))
    assert [one["site"] for one in told.printed] == ["main"]


def test_without_a_key_the_trail_is_unsigned_and_says_so(tmp_path: Path) -> None:
    with working_house(tmp_path) as working:
        working.file()
        told = ultraread("audit", "verify", *data_dir(working))
        assert (told.status, "main: 1 events, whole, unsigned" in told.out) == (0, True)
        assert "main" in ultraread("audit", "verify", "--site", "main", *data_dir(working)).out
        unknown = ultraread("audit", "verify", "--site", "north", *data_dir(working), "--json")
        assert json.loads(unknown.err)["code"] == "not_found"
