"""A real MLflow server process on loopback over a SQLite file, one for the whole session."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from real_parts import LOOPBACK, free_ports, kill_with_children

START_S = 90.0
STOP_S = 10.0
EXPERIMENT = "ultraread"
CLIENT_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""For processes under test: MLflow's own client would try for minutes before it tells that nobody answers."""


@dataclass(slots=True)
class MlflowServer:
    """`url` stays the same over stop, kill and start; what was told is kept in `folder`."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(self.port),
            "--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db",
            "--default-artifact-root", str(self.folder / "artifacts"), "--no-serve-artifacts",
        ]  # fmt: skip
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True
            )
        self._wait()

    def stop(self) -> None:
        """An orderly stop."""
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the server and its workers."""
        if self.process is None:
            return
        kill_with_children(self.process)
        self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def runs_of(self, read_id: str) -> list[str]:
        """Ids of the runs that carry this read's tag, asked of the server itself."""
        return [run["info"]["run_id"] for run in all_runs(self.url, f"tags.read_id = '{read_id}'")]

    def _wait(self) -> None:
        until = time.monotonic() + START_S
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", timeout=5).is_success:
                    return
            ended = self.process is None or self.process.poll() is not None
            if ended or time.monotonic() > until:
                told = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"MLflow does not start: {told}")
            time.sleep(0.1)


def all_runs(url: str, words: str = "", experiment: str = EXPERIMENT) -> list[dict[str, Any]]:
    """Runs of the service's experiment as MLflow's REST answers them, page by page."""
    runs: list[dict[str, Any]] = []
    with httpx.Client(base_url=f"{url}/api/2.0/mlflow", timeout=30) as http:
        found = http.get("/experiments/get-by-name", params={"experiment_name": experiment})
        if found.status_code == httpx.codes.NOT_FOUND:
            return runs
        asked = {"experiment_ids": [found.json()["experiment"]["experiment_id"]], "filter": words}
        page: str | None = ""
        while page is not None:
            told = {"max_results": 1000} | ({"page_token": page} if page else {})
            answer = http.post("/runs/search", json=asked | told).json()
            runs += answer.get("runs", [])
            page = answer.get("next_page_token")
        return runs


@pytest.fixture(scope="session")
def mlflow_server() -> Iterator[MlflowServer]:
    """The session's server. A test that stops or kills it starts it again."""
    with mlflow_started() as server:
        yield server


@contextmanager
def mlflow_started() -> Iterator[MlflowServer]:
    """A server of its own, gone at the end."""
    with TemporaryDirectory(prefix="mlflow-", ignore_cleanup_errors=True) as folder:
        server = MlflowServer(Path(folder), free_ports(1)[0])
        try:
            server.start()
            yield server
        finally:
            server.kill()
