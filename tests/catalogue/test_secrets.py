"""Secrets that an operator gives the service come out nowhere: answers, logs, errors, command lines."""

import logging
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from command_line import SCRIPT
from serving_api import asked, owner_token, served

from ultraread.errors import ConfigInsecure, UltraReadError
from ultraread.serving.api.app import create_api
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


UNSAFE: dict[str, Any] = {
    "every interface": {"host": "0.0.0.0"},  # noqa: S104
    "every interface, IPv6": {"host": "::"},
    "an address of the network": {"host": "192.0.2.1"},
    "a database's address that others may read": {"database_url_file": _world_readable},
    "a login's secret that others may read": {
        "oidc_issuer": HTTPS, "oidc_client_id": "u", "oidc_client_secret_file": _world_readable,
        "oidc_client_secret": None,
    },
    "a provider without TLS": {"oidc_issuer": "http://login.hospital.example", "oidc_client_id": "u"},
}  # fmt: skip


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_settings_refuse_to_start(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ULTRAREAD_OIDC_CLIENT_SECRET")
    stated = {key: made(tmp_path) if callable(made) else made for key, made in UNSAFE[name].items()}
    with pytest.raises(ConfigInsecure):
        create_api(load_settings(data_dir=tmp_path / "data", **stated))
