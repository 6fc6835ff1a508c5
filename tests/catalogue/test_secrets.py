"""Secrets that an operator gives the service come out nowhere: answers, logs, errors, command lines."""

import logging
import os
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from command_line import SCRIPT
from pydantic import SecretStr
from ray_nodes import started_head
from serving_api import asked, owner_token, served

from ultraread.errors import ConfigInsecure, ConfigRayExposed, UltraReadError, Unavailable
from ultraread.serving.api.app import create_api
from ultraread.serving.cluster import deploy_on_cluster
from ultraread.serving.embedded import running
from ultraread.serving.insecure import refuse_insecure
from ultraread.serving.ray_ports import keep_token_private, refuse_open_cluster
from ultraread.serving.settings import Settings, load_settings

CANARY = secrets.token_hex(12)
DATABASE = f"postgresql://ultraread:{CANARY}-database@127.0.0.1:9/reads"
ENVIRONMENT = {
    "ULTRAREAD_OIDC_CLIENT_SECRET": f"{CANARY}-oidc",
    "AWS_ACCESS_KEY_ID": f"{CANARY}-key",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-s3",
    "MLFLOW_TRACKING_PASSWORD": f"{CANARY}-mlflow",
}
HTTPS = "https://login.hospital.example"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def _private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def test_no_dump_of_the_settings_shows_one(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, database_url=DATABASE)
    assert CANARY not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


def test_no_error_about_settings_shows_one() -> None:
    for wrong in ({"database_url": [DATABASE]}, {"port": f"{CANARY}"}):
        with pytest.raises(UltraReadError) as refused:
            _ = load_settings(**wrong).database_address
        told = f"{refused.value} {refused.value.remedy}"
        assert f"{CANARY}-database" not in told


def test_a_service_with_secrets_tells_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    webhook_key = _private(tmp_path / "webhook.key", f"{CANARY}-webhook-{'0' * 40}")
    app = create_api(
        Settings(
            data_dir=tmp_path / "data",
            oidc_issuer=HTTPS,
            oidc_client_id="ultraread",
            webhook_key_file=webhook_key,
        )
    )
    with served(app) as address, asked(address) as http:
        token = owner_token(app)
        paths = (
            "/v1/openapi.json",
            "/healthz",
            "/readyz",
            "/metrics",
            "/v1/audit",
            "/v1/nothing",
            "/v1/reads",
        )
        told = [http.get(path).text for path in paths]
        told.append(httpx.get(f"{address}/v1/reads", headers={"Authorization": f"Bearer {token}x"}).text)
    everything = "\n".join([*told, caplog.text, *(str(vars(one)) for one in caplog.records)])
    for secret in (*ENVIRONMENT.values(), f"{CANARY}-webhook", token, token.rpartition("_")[2]):
        assert secret not in everything


def test_no_command_shows_one_to_the_process_list_or_the_terminal(tmp_path: Path) -> None:
    address = _private(tmp_path / "database_url", DATABASE)
    stated = {"ULTRAREAD_DATABASE_URL_FILE": str(address), "ULTRAREAD_DATA_DIR": str(tmp_path / "data")}
    (tmp_path / "data").mkdir(mode=0o700)
    with subprocess.Popen(
        [SCRIPT, "doctor", "--json"],
        env=os.environ | ENVIRONMENT | stated,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        listed = " ".join(_command_lines(child.pid))
        told = child.communicate(timeout=120)[0]
    assert CANARY not in listed
    assert CANARY not in told
    assert "Traceback" not in told


def _command_lines(pid: int) -> list[str]:
    root = psutil.Process(pid)
    return [" ".join(one.cmdline()) for one in (root, *root.children(recursive=True))]


def _world_readable(folder: Path) -> Path:
    path = _private(folder / "secret", "a" * 64)
    path.chmod(0o644)
    return path


def _readable_in(name: str) -> Callable[[Path], Path]:
    """A secret of the service's own, in a data folder that was copied with other rights."""

    def made(folder: Path) -> Path:
        (folder / "data").mkdir(mode=0o700)
        _world_readable(folder).rename(folder / "data" / name)
        return folder / "data"

    return made


def _open_folder(folder: Path) -> Path:
    (folder / "data").mkdir(mode=0o755)
    return folder / "data"


LOGIN = {"oidc_issuer": HTTPS, "oidc_client_id": "u"}
UNSAFE: dict[str, Any] = {
    "every interface": {"host": "0.0.0.0"},  # noqa: S104
    "every interface, IPv6": {"host": "::"},
    "an address of the network": {"host": "192.0.2.1"},
    "a database's address that others may read": {"database_url_file": _world_readable},
    "a login's secret that others may read": {**LOGIN, "oidc_client_secret_file": _world_readable},
    "a key of webhooks that others may read": {"webhook_key_file": _world_readable},
    "a key of the audit trail that others may read": {"audit_key_file": _world_readable},
    "the owner's token, which others may read": {"data_dir": _readable_in("owner.token")},
    "its own key of webhooks, which others may read": {"data_dir": _readable_in("webhook.key")},
    "data that others may enter": {"data_dir": _open_folder},
    "a provider without TLS": {"oidc_issuer": "http://login.hospital.example", "oidc_client_id": "u"},
    "a database with the password of its documentation": {
        "database_url": "postgresql://ultraread:postgres@127.0.0.1:9/reads"
    },
    "a database with the password of a server as it comes": {
        "database_url": "postgresql+psycopg://u:change%2Dme@127.0.0.1:9/reads"
    },
    "a database without password": {"database_url": "postgresql://u:@127.0.0.1:9/reads"},
    "results of all sites where one may fetch slides": {
        "ingest_urls": ["s3://scans/in"],
        "deliver_url": "s3://scans/in/results",
    },
    "results of all sites where each may fetch slides": {
        "ingest_urls": ["s3://scans/{site}/in"],
        "deliver_url": "s3://scans/results/",
    },
    "a login with a secret that everybody tries": {**LOGIN, "oidc_client_secret": "Secret"},
}
ENVIRONMENTS = {
    "MinIO as it comes": {"AWS_SECRET_ACCESS_KEY": "minioadmin"},
    "MLflow as it comes": {"MLFLOW_TRACKING_PASSWORD": "password1234"},
    "MLflow whoever it is": {"MLFLOW_TRACKING_INSECURE_TLS": "true"},
    "Ray's debugger": {"RAY_DEBUG_POST_MORTEM": "1"},
    "keys of TLS for a debugger, in a file of a short name": {"SSLKEYLOGFILE": "0"},
    "keys of TLS for a debugger": {"SSLKEYLOGFILE": "/nowhere/keys"},
}
RAY_EXPOSED = {
    "without tokens": {"RAY_AUTH_MODE": "disabled"},
    "without tokens, in capitals": {"RAY_AUTH_MODE": "DISABLED"},
    "in a mode that is none": {"RAY_AUTH_MODE": ""},
    "with the cluster's manager for tokens": {"RAY_AUTH_MODE": "k8s"},
}


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_settings_refuse_to_start(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ULTRAREAD_OIDC_CLIENT_SECRET")
    stated = {key: made(tmp_path) if callable(made) else made for key, made in UNSAFE[name].items()}
    with pytest.raises(ConfigInsecure):
        create_api(load_settings(**({"data_dir": tmp_path / "data"} | stated)))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_unsafe_environment_refuses_to_start(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in ENVIRONMENTS[name].items():
        monkeypatch.setenv(variable, value)
    settings = load_settings(data_dir=tmp_path / "data")
    for start in (create_api, lambda settings: running(settings).__enter__()):
        with pytest.raises(ConfigInsecure) as refused:
            start(settings)
        assert not [
            value for value in ENVIRONMENTS[name].values() if len(value) > 4 and value in str(refused)
        ]
    assert not (tmp_path / "data").exists()


def test_debugging_that_is_off_is_no_debugging(tmp_path: Path) -> None:
    off = {"RAY_DEBUG_POST_MORTEM": "0", "SSLKEYLOGFILE": "", "AWS_SECRET_ACCESS_KEY": ""}
    refuse_insecure(load_settings(data_dir=tmp_path), off)


def test_a_password_of_any_letters_is_no_known_one(tmp_path: Path) -> None:
    refuse_insecure(
        load_settings(data_dir=tmp_path, database_url="postgresql://u:a[/#b@127.0.0.1:9/reads"), {}
    )


@pytest.mark.parametrize("name", RAY_EXPOSED)
def test_a_ray_that_takes_orders_from_anybody_is_not_started(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in RAY_EXPOSED[name].items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigRayExposed), running(load_settings(data_dir=tmp_path / "data")):
        pass
    with pytest.raises(ConfigRayExposed):
        deploy_on_cluster(_on_cluster(tmp_path, "127.0.0.1:9"))
    assert not (tmp_path / "data").exists()


def test_a_ray_imported_with_open_ports_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    settings = load_settings(data_dir=tmp_path / "data")
    with pytest.raises(ConfigRayExposed, match="imported before"), running(settings):
        pass
    assert not (tmp_path / "data").exists()


def test_a_token_of_ray_that_others_may_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(_world_readable(tmp_path)))
    with pytest.raises(ConfigRayExposed), running(load_settings(data_dir=tmp_path / "data")):
        pass


@pytest.mark.parametrize("there", [False, True])
def test_ray_s_own_token_is_for_its_owner_alone(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".ray" / "auth_token"
    if there:
        token.parent.mkdir()
        token.write_text("a" * 64)
    keep_token_private({})
    assert (token.stat().st_mode & 0o777, len(token.read_text())) == (0o600, 64)
    assert (token.read_text() == "a" * 64) is there


def test_without_a_home_ray_s_token_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.touch()
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(ConfigRayExposed, match="cannot be kept private"):
        keep_token_private({})


def test_a_cluster_that_takes_orders_from_anybody_is_not_joined(tmp_path: Path) -> None:
    """Whatever this process has been told: what counts is what the head answers."""
    with started_head(tmp_path, "disabled") as address, pytest.raises(ConfigRayExposed) as refused:
        deploy_on_cluster(_on_cluster(tmp_path, address))
    assert "without tokens" in refused.value.what
    assert not (tmp_path / "data").exists()


def test_a_cluster_that_wants_a_token_is_not_open(tmp_path: Path) -> None:
    with started_head(tmp_path, "token") as address:
        refuse_open_cluster(address)


def test_a_cluster_that_is_away_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="ray_address"):
        deploy_on_cluster(_on_cluster(tmp_path, "127.0.0.1:9"))


def _on_cluster(folder: Path, ray_address: str) -> Settings:
    return Settings(
        profile="cluster",
        data_dir=folder / "data",
        ray_address=ray_address,
        database_url=SecretStr(DATABASE),
        slides_url="s3://bucket/slides",
        mlflow_url="http://127.0.0.1:9",
    )
