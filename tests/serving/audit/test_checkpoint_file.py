"""Every checkpoint gets into its file, late where the file was away; and the file only grows."""

import json
import resource
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from ultraread.errors import AuditChainBroken, StorageFull, Unavailable
from ultraread.serving.audit import checkpoint_file
from ultraread.serving.audit.checkpoint_file import checkpoints_in, lacks_newest, refuse_unwritable
from ultraread.serving.audit.checkpoints import Checkpointer
from ultraread.serving.audit.signing import Checkpoint, load_signer, make_key
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import Store


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = tmp_path_factory.mktemp("key") / "audit.key"
    make_key(key)
    return key


@pytest.fixture
def checkpointer(shared_store: Store, key: Path, tmp_path: Path) -> Checkpointer:
    """Its file lies in a folder that is not there yet."""
    signer = load_signer(key, tmp_path / "data")
    return Checkpointer(shared_store, signer, tmp_path / "worm" / "kept.jsonl", every_events=1, every_s=3600)


@pytest.fixture
def mounted(checkpointer: Checkpointer) -> Checkpointer:
    """Its file can be made."""
    checkpointer.file.parent.mkdir()
    return checkpointer


def tell(store: Store, *sites: str) -> None:
    with store.writing() as session:
        for site in sites:
            AuditLog(session, site).append("a test", "case_opened", "case-1")


def kept(checkpointer: Checkpointer, site: str) -> list[int]:
    return [one.sequence for one in checkpoints_in(checkpointer.file) if one.site == site]


def lacks(checkpointer: Checkpointer, before_s: float = 0) -> bool:
    with checkpointer.store.reading() as session:
        return lacks_newest(checkpointer.file, session, before_s)


def sign_without_file(checkpointer: Checkpointer, *sites: str) -> None:
    tell(checkpointer.store, *sites)
    with pytest.raises(Unavailable):
        replace(checkpointer, file=checkpointer.file.parent / "away" / "kept.jsonl").step()


def test_a_file_without_a_folder_is_told_with_its_setting_and_keeps_nobody_from_signing(
    checkpointer: Checkpointer, site: str
) -> None:
    with pytest.raises(Unavailable, match=r"audit_checkpoint_file /.*kept.jsonl cannot be written \(No such"):
        refuse_unwritable(checkpointer.file)
    for act in (checkpointer.step, checkpointer.sign_all):
        tell(checkpointer.store, site)
        with pytest.raises(Unavailable) as refused:
            act()
        assert "audit_checkpoint_file" in refused.value.what
        assert "kept in the database" in refused.value.remedy
    assert lacks(checkpointer)
    checkpointer.file.parent.mkdir()
    refuse_unwritable(checkpointer.file)
    assert not checkpointer.file.exists(), "who looks makes nothing"
    assert checkpointer.sign_all() == []
    assert kept(checkpointer, site) == [1, 2]
    assert not lacks(checkpointer)


def test_what_is_no_file_is_told(mounted: Checkpointer) -> None:
    mounted.file.mkdir()
    with pytest.raises(Unavailable, match="Is a directory"):
        refuse_unwritable(mounted.file)
    with pytest.raises(Unavailable, match="Is a directory"):
        mounted.sign_all()


def test_what_was_missed_comes_before_the_next_in_the_order_of_each_site(
    mounted: Checkpointer, site: str
) -> None:
    north = f"{site}-north"
    tell(mounted.store, site, north)
    mounted.step()
    there = mounted.file.read_bytes()
    sign_without_file(mounted, site)
    sign_without_file(mounted, site, north)
    tell(mounted.store, site)
    mounted.step()
    assert mounted.file.read_bytes().startswith(there)
    assert (kept(mounted, site), kept(mounted, north)) == ([1, 2, 3, 4], [1, 2])
    mounted.sign_all()
    assert (kept(mounted, site), kept(mounted, north)) == ([1, 2, 3, 4], [1, 2])


def test_a_checkpoint_of_another_key_at_the_same_event_is_missed_too(
    mounted: Checkpointer, site: str, tmp_path: Path
) -> None:
    tell(mounted.store, site)
    mounted.step()
    make_key(tmp_path / "new.key")
    renewed = replace(mounted, signer=load_signer(tmp_path / "new.key", tmp_path / "data"))
    with pytest.raises(Unavailable):
        replace(renewed, file=tmp_path / "away" / "kept.jsonl").sign_all()
    mounted.sign_all()
    keys = [one.public_key for one in checkpoints_in(mounted.file) if one.site == site]
    assert [kept(mounted, site), len(set(keys))] == [[1, 1], 2]


def test_forged_lines_hide_nothing_that_is_missing(mounted: Checkpointer, site: str, tmp_path: Path) -> None:
    tell(mounted.store, site)
    mounted.step()
    make_key(tmp_path / "forger.key")
    forger = load_signer(tmp_path / "forger.key", tmp_path / "data")
    far = Checkpoint(site, 2**40, "0" * 64, "9999")
    bodies = [forger.sign(far).as_json(), {**far.as_json(), "sequence": 2**80}, {"site": site}, [site], "\0"]
    with mounted.file.open("a") as lines:
        lines.writelines(f"{json.dumps(body)}\n" for body in bodies)
        lines.write("no JSON\n")
    sign_without_file(mounted, site)
    tell(mounted.store, site)
    mounted.step()
    good = mounted.file.read_text().splitlines()[-2:]
    assert [json.loads(line)["sequence"] for line in good if json.loads(line)["site"] == site] == [2, 3]


def test_a_checkpoint_that_somebody_changed_in_the_table_gets_into_no_file(
    mounted: Checkpointer, site: str
) -> None:
    is_sqlite = mounted.store.engine.dialect.name == "sqlite"
    tell(mounted.store, site)
    mounted.step()
    sign_without_file(mounted, site)
    trigger = "audit_checkpoints_refuse_update"
    with mounted.store.writing() as session:
        session.execute(text(f"DROP TRIGGER {trigger}{'' if is_sqlite else ' ON audit_checkpoints'}"))
        change = "UPDATE audit_checkpoints SET hash = '00' WHERE site = :site AND sequence = 2"
        session.execute(text(change), {"site": site})
    assert lacks(mounted)
    tell(mounted.store, site)
    mounted.step()
    assert kept(mounted, site) == [1, 3]


def test_what_was_signed_a_moment_ago_may_still_be_on_its_way(checkpointer: Checkpointer, site: str) -> None:
    tell(checkpointer.store, site)
    with pytest.raises(Unavailable):
        checkpointer.step()
    assert (lacks(checkpointer), lacks(checkpointer, before_s=3600)) == (True, False)


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_a_line_that_a_crash_cut_spoils_no_checkpoint_after_it(
    mounted: Checkpointer, site: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_file, "BLOCK_BYTES", block)
    tell(mounted.store, site)
    mounted.step()
    whole = mounted.file.read_bytes()
    mounted.file.write_bytes(whole + whole[:20])  # as a crash cuts a line
    tell(mounted.store, site)
    mounted.step()
    assert mounted.file.read_bytes().startswith(whole)
    assert kept(mounted, site) == [1, 2]


def test_the_newest_checkpoint_is_found_without_reading_what_is_old(mounted: Checkpointer, site: str) -> None:
    tell(mounted.store, site)
    mounted.step()
    end = mounted.file.read_bytes()
    with mounted.file.open("wb") as sparse:
        sparse.seek(1 << 40)
        sparse.write(b"\n" + end)
    assert not lacks(mounted)


def test_a_file_that_can_only_grow_takes_checkpoints(mounted: Checkpointer, site: str) -> None:
    mounted.file.touch()
    if subprocess.run(["chattr", "+a", mounted.file], check=False).returncode:
        pytest.skip("this file system, or this user, makes no file that can only grow")
    try:
        refuse_unwritable(mounted.file)
        for _ in range(2):
            tell(mounted.store, site)
            mounted.step()
    finally:
        subprocess.run(["chattr", "-a", mounted.file], check=True)
    assert kept(mounted, site) == [1, 2]


def test_a_checkpoint_that_fits_by_half_is_not_said_to_be_written(mounted: Checkpointer, site: str) -> None:
    tell(mounted.store, site)
    mounted.step()
    sign_without_file(mounted, site)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (mounted.file.stat().st_size + 20, most[1]))
    try:
        with pytest.raises(StorageFull, match="audit_checkpoint_file"):
            mounted.sign_all()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert lacks(mounted)
    mounted.sign_all()
    assert kept(mounted, site) == [1, 2]


@pytest.mark.parametrize("lie", ["7", None, 1e999, [7]])
def test_a_kept_checkpoint_without_a_number_is_a_damaged_line(lie: object, tmp_path: Path) -> None:
    file = tmp_path / "checkpoints.jsonl"
    file.write_text(json.dumps({**Checkpoint("main", 1, "", "").as_json(), "sequence": lie}) + "\n")
    with pytest.raises(AuditChainBroken, match="line 1"):
        list(checkpoints_in(file))
