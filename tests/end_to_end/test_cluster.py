"""Profile cluster as it runs: three Ray nodes, PostgreSQL, S3 and MLflow servers; one node dies."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from canaries import files_with, spilt_by
from mlflow_server import CLIENT_PATIENCE, MlflowServer
from object_store import ObjectStore
from ray_nodes import OF_NODES, Node, Nodes, started_nodes
from real_parts import free_ports
from serving_api import bearer
from simulated import simulated_tissue, write_tiff
from tiny_model import write_tiny_model

from ultraread.datasets.scale import operator_scale
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import find_model
from ultraread.serving.local_read import LocalReader
from ultraread.serving.read_slide import ReadRequest
from ultraread.serving.score_tiles import RangeScorer
from ultraread.serving.settings import Settings, load_settings

ULTRAREAD = Path(sys.executable).with_name("ultraread")
READS = 20
RANGE_TILES = 8
SIDE_PX = 512
NM_PER_PX = 4.6
WAIT_S = 300.0
SCALE = {"nm_per_px": NM_PER_PX, "tolerance": 0.05, "reason": "simulated"}


@dataclass(frozen=True, slots=True)
class Deployed:
    """A service on a cluster, and how to ask it."""

    settings: Settings
    nodes: tuple[Node, ...]
    url: str
    token: str

    def ask(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401  # JSON
        """A connection to a node that dies is made again: to another one."""
        for attempt in range(60):
            try:
                answer = httpx.request(
                    method, self.url + path, headers=self._headers(options), timeout=20, **options
                )
                if answer.status_code < 500:
                    assert answer.is_success, answer.text
                    return answer
            except httpx.TransportError:
                pass
            time.sleep(0.5 + 0.05 * attempt)
        raise AssertionError(f"{path} is not answered")

    def _headers(self, options: dict[str, Any]) -> dict[str, str]:
        return bearer(self.token) | options.pop("headers", {})


@pytest.fixture
def deployed(
    tmp_path: Path,
    postgres_url: str,
    object_store: ObjectStore,
    mlflow_server: MlflowServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployed]:
    for name, value in CLIENT_PATIENCE.items():
        monkeypatch.setenv(name, value)
    model = write_tiny_model(tmp_path / "tiny")
    began = time.monotonic()
    with started_nodes(3) as nodes:
        print(f"three nodes up after {time.monotonic() - began:.1f} s")
        config = tmp_path / "cluster.toml"
        stated = _stated(tmp_path, postgres_url, object_store, mlflow_server, nodes, model)
        config.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in stated.items()))
        _ultraread("serve", config)
        print(f"deployed after {time.monotonic() - began:.1f} s")
        settings = load_settings(config)
        token = settings.owner_token_file.read_text().strip()
        yield Deployed(settings, nodes.nodes, f"http://127.0.0.1:{settings.port}", token)
        _ultraread("stop", config)


def _ultraread(command: str, config: Path) -> None:
    environment = os.environ | OF_NODES
    subprocess.run([ULTRAREAD, command, "--config", config], env=environment, check=True, timeout=WAIT_S)


def _stated(
    tmp_path: Path, postgres_url: str, store: ObjectStore, mlflow: MlflowServer, nodes: Nodes, model: Path
) -> dict[str, object]:
    return {
        "profile": "cluster",
        "ray_address": nodes.address,
        "database_url": postgres_url,
        "slides_url": f"{store.bucket()}/slides",
        "mlflow_url": mlflow.url,
        "data_dir": str(tmp_path / "data"),
        "port": free_ports(1)[0],
        "models": [str(model)],
        "cpus": 1,
        "replicas": 2,
        "runners": 2,
        "ingresses": 2,
        "range_tiles": RANGE_TILES,
        "lease_s": 3,
        "heartbeat_s": 1,
        "shadow_fraction": 0,
        "owner_token": True,
    }


def test_a_node_dies_during_twenty_reads_and_each_ends_once_with_the_bytes_of_a_quiet_run(
    deployed: Deployed, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    slide = write_tiff(tmp_path / "simulated.tif", simulated_tissue(SIDE_PX, SIDE_PX))
    slide_id = _filed(deployed, slide)
    ids = [_requested(deployed, slide_id, number) for number in range(READS)]
    _wait(lambda: _states(deployed, ids)["succeeded"] >= 3)
    began = time.monotonic()
    killed = deployed.nodes[1].kill()
    _wait(lambda: _states(deployed, ids)["succeeded"] == READS)
    print(f"{len(killed)} processes killed; all reads ended {time.monotonic() - began:.1f} s later")
    expected = _read_here(deployed.settings, slide, tmp_path)
    told = {deployed.ask("GET", f"/v1/reads/{one}/findings").content for one in ids}
    assert {json.loads(one)["digest"] for one in told} == {json.loads(expected)["digest"]}
    assert told == {expected}
    _wait(lambda: all(len(mlflow_server.runs_of(one)) == 1 for one in ids))
    password = str(urlsplit(deployed.settings.database_address).password)
    pids = [pid for node in (deployed.nodes[0], deployed.nodes[2]) for pid in node.pids()]
    assert len(password) > 12
    assert spilt_by(pids, [password]) == []
    assert files_with([password], deployed.settings.data_dir) == []


def _filed(deployed: Deployed, path: Path) -> str:
    data = path.read_bytes()
    upload = deployed.ask("POST", "/v1/uploads", json={"file_name": path.name, "bytes": len(data)}).json()
    whole = {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
    deployed.ask("PUT", f"/v1/uploads/{upload['id']}", content=data, headers=whole)
    return str(deployed.ask("POST", "/v1/slides", json={"upload_ids": [upload["id"]]}).json()["id"])


def _requested(deployed: Deployed, slide_id: str, number: int) -> str:
    key = {"Idempotency-Key": f"read-{number}"}
    body = {"slide_ids": [slide_id], "scale": SCALE}
    return str(deployed.ask("POST", "/v1/reads", json=body, headers=key).json()["id"])


def _states(deployed: Deployed, ids: list[str]) -> Counter[str]:
    listed = deployed.ask("GET", "/v1/reads", params={"limit": 50}).json()["items"]
    found = Counter(read["state"] for read in listed)
    ended = [read for read in listed if read["state"] in {"failed", "partial", "cancelled"}]
    assert ended == []
    assert sum(found.values()) == len(ids)
    return found


def _read_here(settings: Settings, slide: Path, tmp_path: Path) -> bytes:
    model = find_model(settings.models[0])
    scorer = RangeScorer(OnnxClassifier(model, threads=1))
    request = ReadRequest(operator_scale(NM_PER_PX, str(SCALE["reason"])), range_tiles=RANGE_TILES)
    (outcome,) = LocalReader(model, lambda tasks: map(scorer, tasks), tmp_path / "out", request).read([slide])
    scorer.close()
    assert outcome.error is None
    return (outcome.folder / "findings.json").read_bytes()


def _wait(look: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.3)
