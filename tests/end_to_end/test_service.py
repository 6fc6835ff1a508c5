"""The whole service: Ray Serve, ONNX Runtime, SQLite and MLflow as they run for users."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from canaries import IN_ENVIRONMENT, Canaries, decoding, files_with, processes_of_service, spilt_by
from command_line import ultraread
from end_to_end.conftest import RANGE_TILES, SCALE, StartService
from real_parts import listening_beyond_loopback

from ultraread.datasets.corpora import fetch
from ultraread.errors import ScaleMissing
from ultraread.serving.audit.signing import make_key
from ultraread.serving.client import Client
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import open_store

SAME_BYTES = ("findings.json", "tiles.csv")
WAIT_S = 150


def test_one_replica_gives_the_bytes_of_a_local_read_and_files_its_run(
    start_service: StartService,
    montage: Path,
    read_here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    canaries = Canaries(tmp_path)
    monkeypatch.setenv(IN_ENVIRONMENT, canaries.of_environment)
    blocked = tmp_path / "data" / "mlflow.db"
    blocked.mkdir(parents=True)
    (tmp_path / "data").chmod(0o700)
    key = make_key(tmp_path / "audit.key")
    stated = {"audit_key_file": tmp_path / "audit.key", **canaries.settings()}
    with start_service(replicas=1, **stated) as client:
        webhook = client.add_webhook("http://127.0.0.1:9/told")["secret"]
        upload = client.upload(montage, file_name=f"{canaries.of_nobody}.tif")
        slide = client.file_slide([upload], accession=canaries.of_nobody, case_id=None)
        read = client.wait(client.request_read(slide_ids=[slide["id"]], scale=SCALE)["id"])
        folder = _fetched(client, read, tmp_path) / slide["id"]
        assert read["state"] == "succeeded", read["error"]
        assert _differing(folder, read_here) == []
        assert client.read(read["id"])["mlflow_run_id"] is None, "MLflow's store cannot be written"
        blocked.rmdir()
        run_id = _waited_for(lambda: client.read(read["id"])["mlflow_run_id"])
        assert _runs_of(tmp_path / "data", read["id"]) == [run_id]
        digests = {"ultrastructure-vnc": read["model"]["onnx_sha256"]}
        _waited_for(lambda: _registered(tmp_path / "data") == digests)
        _a_field_without_scale_is_filed_but_not_read(client)
        assert listening_beyond_loopback() == []
        _nothing_is_spilt(canaries, webhook, tmp_path / "data")
    _the_read_can_be_repeated_and_its_trail_is_signed_to_the_end(tmp_path / "data", read["id"], key)


def test_two_replicas_give_the_same_bytes_although_one_is_killed(
    start_service: StartService, montage: Path, read_here: Path, tmp_path: Path
) -> None:
    with start_service(replicas=2) as client:
        slide = client.file_slide([client.upload(montage)])
        replicas = _classifier_pids()
        read = client.request_read(slide_ids=[slide["id"]], scale=SCALE)
        _waited_for(lambda: client.read(read["id"])["ranges_done"] >= 3)
        victim = replicas[0]
        psutil.Process(victim).kill()
        ended = client.wait(read["id"])
        folder = _fetched(client, ended, tmp_path) / slide["id"]
    assert ended["state"] == "succeeded", ended["error"]
    assert _differing(folder, read_here) == []
    ranges_by_pid = json.loads((folder / "provenance.json").read_text())["ranges_by_process"]
    scored_by = {int(pid): ranges for pid, ranges in ranges_by_pid.items()}
    print("ranges by process:", scored_by, "killed:", victim)
    assert os.getpid() not in scored_by
    assert set(replicas) <= set(scored_by), "each replica scored at least one range"
    assert sum(scored_by.values()) == -(-(19 * 19) // RANGE_TILES), "19 x 19 tiles of 224 px"


def test_cancelling_ends_a_read_and_its_progress_is_told_on_the_way(
    start_service: StartService, montage: Path
) -> None:
    told: list[int] = []
    with start_service(replicas=1) as client:
        slide = client.file_slide([client.upload(montage)])
        read = client.request_read(slide_ids=[slide["id"]], scale=SCALE)
        _waited_for(lambda: client.read(read["id"])["ranges_done"] >= 1)
        client.cancel(read["id"])
        ended = client.wait(read["id"], lambda now: told.append(now["tiles_done"]))
    assert ended["state"] == "cancelled"
    assert ended["error"]["code"] == "read_cancelled"
    assert 0 < max(told) < 256


def _a_field_without_scale_is_filed_but_not_read(client: Client) -> None:
    kidney = client.file_slide([client.upload(fetch("kidney_tem_najafian/good.png"))])
    with pytest.raises(ScaleMissing) as refused:
        client.request_read(slide_ids=[kidney["id"]])
    assert "--nm-per-px" in refused.value.remedy
    assert client.slide(kidney["id"])["id"] == kidney["id"]


def _the_read_can_be_repeated_and_its_trail_is_signed_to_the_end(data: Path, read_id: str, key: Path) -> None:
    again = ultraread("replay", read_id, "--data-dir", data, "--json")
    assert (again.status, again.out and again.printed["is_identical"]) == (0, True), again.err + again.out
    store = open_store(f"sqlite:///{data / 'ultraread.db'}")
    with store.reading() as session:
        trail = AuditLog(session).list(limit=10_000)
    store.close()
    of_read = [event.what for event in trail if event.subject == read_id]
    assert of_read == ["read_requested", "read_ended", "result_exported", "read_replayed"]
    verified = ultraread("audit", "verify", "--data-dir", data, "--public-key", key, "--json")
    assert verified.status == 0, verified.err
    (report,) = verified.printed
    assert report["events"] == report["signed_upto"] + 1, "all but the replay, when the service had stopped"


def _nothing_is_spilt(canaries: Canaries, webhook: str, data: Path) -> None:
    """While everything runs: by no process, no log and nothing that MLflow was told."""
    from ray._private.worker import global_worker

    token = (data / "owner.token").read_text().strip()
    of_files = (canaries.oidc, canaries.webhook, webhook, token)
    pids = processes_of_service()
    assert len(pids) > 8
    assert decoding(pids)
    assert spilt_by(pids, (*of_files, canaries.of_nobody), [canaries.of_environment]) == []
    secret = (*of_files, canaries.of_environment)
    assert files_with(secret, data, "owner.token") == []
    assert files_with([canaries.of_nobody], data, "ultraread.db") == []
    assert (data / "mlflow.db").is_file()
    logs = Path(global_worker.node.get_logs_dir_path())
    assert len(list(logs.iterdir())) > 8
    assert files_with((*secret, canaries.of_nobody), logs) == []


def _fetched(client: Client, read: dict[str, Any], tmp_path: Path) -> Path:
    client.fetch(read["id"], tmp_path / "fetched")
    return tmp_path / "fetched"


def _differing(folder: Path, other: Path) -> list[str]:
    return [name for name in SAME_BYTES if (folder / name).read_bytes() != (other / name).read_bytes()]


def _waited_for(look: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever `look` finds
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def _classifier_pids() -> list[int]:
    """Process ids of the classifier replicas that this process's Ray started."""
    return [
        process.pid
        for process in psutil.Process().children(recursive=True)
        if any("TileClassifier" in part for part in process.cmdline())
    ]


def _runs_of(data_dir: Path, read_id: str) -> list[str]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{data_dir}/mlflow.db")
    experiment = client.get_experiment_by_name("ultraread")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.read_id = '{read_id}'")
    return [run.info.run_id for run in found]


def _registered(data_dir: Path) -> dict[str, str]:
    """Registered model names with the digest of their version; the card travels with it."""
    from mlflow import MlflowClient

    client = MlflowClient(
        registry_uri=f"sqlite:///{data_dir}/mlflow.db", tracking_uri=f"sqlite:///{data_dir}/mlflow.db"
    )
    versions = client.search_model_versions("")
    assert all(
        json.loads(version.tags["card"])["version"] == version.tags["card_version"] for version in versions
    )
    return {version.name: version.tags["onnx_sha256"] for version in versions}
