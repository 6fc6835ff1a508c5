"""What doctor says of secrets, disk, database, clocks, MLflow, Ray and certificates, on real ones."""

from contextlib import closing
from pathlib import Path

import pytest
from mlflow_server import MlflowServer
from nginx_server import write_certificate
from real_parts import free_ports
from sqlalchemy import text

from ultraread.errors import AuditChainBroken, Unavailable
from ultraread.serving.audit.checkpoints import open_checkpointer
from ultraread.serving.audit.signing import make_key
from ultraread.serving.doctor import EVERY_CHECK, Check, examine
from ultraread.serving.settings import load_settings, prepare_folders
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import open_store


@pytest.fixture
def told(tmp_path: Path) -> "Told":
    return Told(tmp_path)


class Told:
    """Runs doctor with settings, and returns its checks by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, **stated: object) -> dict[str, Check]:
        config = self.folder / "ultraread.toml"
        settings = {"data_dir": self.folder / "data", "port": free_ports(1)[0], **stated}
        config.write_text("\n".join(f"{name} = {_toml(value)}" for name, value in settings.items()))
        return {check.name: check for check in examine(config)}


def _toml(value: object) -> str:
    return str(value) if isinstance(value, int | float) else f'"{value}"'


def test_a_fresh_machine_is_well(told: Told) -> None:
    checks = told()
    assert tuple(checks) == EVERY_CHECK
    assert [check for check in checks.values() if not check.ok] == []


def test_settings_that_cannot_be_end_the_examination(told: Told) -> None:
    checks = told(profile="cluster")
    assert not checks["settings"].ok
    assert "error[config_incomplete]" in checks["settings"].told
    for lacking in ("ray_address", "PostgreSQL", "s3://", "mlflow_url"):
        assert lacking in checks["settings"].told


def test_a_database_that_is_none_hides_no_other_check(told: Told) -> None:
    (told.folder / "data").mkdir(mode=0o700)
    (told.folder / "data" / "ultraread.db").write_bytes(b"no database" * 1000)
    checks = told()
    assert tuple(checks) == EVERY_CHECK
    assert [name for name, check in checks.items() if not check.ok] == ["schema", "trail"]
    assert checks["schema"].told == "error[internal]: this cannot be looked at (DatabaseError)"


def test_a_token_that_others_may_read(told: Told) -> None:
    told()
    token = told.folder / "data" / "owner.token"
    token.parent.mkdir(mode=0o700, exist_ok=True)
    token.write_text("x")
    token.chmod(0o644)
    assert "error[config_insecure]" in told()["secrets"].told


def test_a_disk_with_too_little_room(told: Told) -> None:
    assert "error[storage_full]" in told(least_free_bytes=2**60)["disk"].told


def test_postgresql_is_named_with_version_encoding_and_collation(told: Told, postgres_url: str) -> None:
    checks = told(database_url=postgres_url)
    assert checks["database"].told.startswith("PostgreSQL 1")
    assert "UTF8" in checks["database"].told
    assert checks["clock"].told.endswith("s from the database's")
    assert postgres_url.split(":")[2].split("@", maxsplit=1)[0] not in str(checks)


def test_a_database_that_is_away(told: Told) -> None:
    checks = told(database_url=f"postgresql://u:Tr0ub4dor@127.0.0.1:{free_ports(1)[0]}/ultraread")
    assert [name for name, check in checks.items() if not check.ok] == [
        "database",
        "schema",
        "clock",
        "trail",
    ]
    assert "Tr0ub4dor" not in str(checks)


def test_an_mlflow_server_that_answers_and_one_that_does_not(told: Told, mlflow_server: MlflowServer) -> None:
    assert told(mlflow_url=mlflow_server.url)["mlflow"].told == "127.0.0.1 answers"
    assert not told(mlflow_url=f"http://127.0.0.1:{free_ports(1)[0]}")["mlflow"].ok


@pytest.mark.parametrize(("days", "ok"), [(90, True), (20, False)])
def test_a_certificate_that_ends_soon(told: Told, tmp_path: Path, days: float, ok: bool) -> None:
    check = told(certificate_file=write_certificate(tmp_path, days))["certificate"]
    assert check.ok is ok
    assert "ends on 20" in check.told


def test_a_trail_that_somebody_changed(told: Told) -> None:
    told()
    settings = load_settings(data_dir=told.folder / "data")
    prepare_folders(settings)
    with closing(open_store(settings.database_address)) as store:
        for number in (1, 2, 3):
            with store.writing() as session:
                AuditLog(session).append("a test", "case_opened", f"C-{number}")
        assert told()["trail"].told == "whole, as far as looked at (main: events 1 to 3)"
        with store.writing() as session:
            session.execute(text("DROP TRIGGER audit_events_refuse_update"))
            session.execute(text("UPDATE audit_events SET who = 'nobody' WHERE sequence = 2"))
    found = told()["trail"]
    assert found.exit_status == AuditChainBroken.exit_status
    assert "error[audit_chain_broken]: main, event 2: " in found.told


def test_an_unsigned_trail_is_a_warning_that_says_what_to_do(told: Told) -> None:
    check = told()["audit"]
    assert (check.ok, check.is_warning) == (True, True)
    assert "ultraread audit init-key" in check.told
    assert [name for name, one in told().items() if one.is_warning] in (["audit"], ["decoding", "audit"])


def test_a_file_of_checkpoints_that_cannot_be_written_or_lacks_some(told: Told, tmp_path: Path) -> None:
    key, file = tmp_path / "audit.key", tmp_path / "worm" / "kept.jsonl"
    make_key(key)
    check = told(audit_key_file=key, audit_checkpoint_file=file)["audit"]
    assert not check.ok
    assert f"audit_checkpoint_file {file} cannot be written (No such file or directory)" in check.told
    settings = load_settings(tmp_path / "ultraread.toml")
    prepare_folders(settings)
    with closing(open_store(settings.database_address)) as store:
        with store.writing() as session:
            AuditLog(session).append("a test", "case_opened", "C-1")
        checkpointer = open_checkpointer(settings, store)
        with pytest.raises(Unavailable):
            checkpointer.sign_all()
        file.parent.mkdir()
        checks = told(audit_key_file=key, audit_checkpoint_file=file)
        assert (checks["audit"].ok, checks["audit"].is_warning) == (True, False)
        assert "lacks checkpoints" in checks["trail"].told
        assert checks["trail"].exit_status == Unavailable.exit_status
        checkpointer.sign_all()
    assert told(audit_key_file=key, audit_checkpoint_file=file)["trail"].ok


def test_ray_without_tokens(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "error[config_ray_exposed]" in told()["ray"].told
