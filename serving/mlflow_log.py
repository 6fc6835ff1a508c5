"""What MLflow shows of reads and models. Fed from the outbox: no read waits for MLflow or fails with it.

Runs hold ids, digests, versions and figures; names, paths and patient data never leave the store.
"""

import hashlib
import logging
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ultraread.errors import Unavailable
from ultraread.models.card import CARD_FILE, ModelCard
from ultraread.serving.store import outbox
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import ReadState

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "ultraread"
READ, SHADOW = "read", "shadow"
"""Tag `kind` of a run."""
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
"""Characters that MLflow takes; a longer list of scan records is cut, the store has it whole."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""The outbox tries again: MLflow's own seven tries would hold a row past `outbox.SENDING_S`, and repeat what
a server did whose answer was lost. An operator's own values stand.
"""

_RUN_STATUS = {ReadState.FAILED: "FAILED", ReadState.CANCELLED: "KILLED"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One ended read, or its repetition by a shadow (`kind`), as MLflow shows it."""

    read_id: str
    scan_record_ids: tuple[str, ...]
    model_name: str
    model_version: str
    model_onnx_sha256: str
    state: ReadState
    error_code: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    kind: str = READ
    more_tags: Mapping[str, str] = field(default_factory=dict)

    def tags(self) -> dict[str, str]:
        tags = {
            "read_id": self.read_id,
            "scan_record_ids": ",".join(self.scan_record_ids)[:LONGEST_TAG],
            "model_name": self.model_name,
            "model_version": self.model_version,
            "model_onnx_sha256": self.model_onnx_sha256,
            "state": self.state.value,
            "kind": self.kind,
            "research_use_only": "true",
            **self.more_tags,
        }
        return tags | ({"error_code": self.error_code} if self.error_code else {})


@dataclass(frozen=True, slots=True)
class OutboxSender:
    """Tells MLflow what the outbox holds; blocks while it does, so give it a thread of its own."""

    store: Store
    tracking_uri: str
    first_wait_s: float = 2.0
    hold_s: float = outbox.SENDING_S

    def send_pending(self) -> int:
        """Send what is due until one fails, which then waits in the outbox; return how many were sent."""
        sent = 0
        while (taken := outbox.take_due(self.store, self.hold_s)) and self._send(taken):
            sent += 1
        return sent

    def _send(self, taken: outbox.PendingRun) -> bool:
        try:
            run_id = log_read(entry_of(taken), self.tracking_uri)
        except Exception as failure:  # of MLflow, its database or the network: the row waits
            log.warning("MLflow did not take read %s: %s", taken.read.id, type(failure).__name__)
            error = f"{type(failure).__name__}: {failure}"[:1000]
            outbox.mark_failed(self.store, taken, error, self.first_wait_s)
            return False
        outbox.mark_sent(self.store, taken, run_id)
        return True


def log_read(entry: RunEntry, tracking_uri: str) -> str:
    """File the read as a run of experiment `ultraread` and return the run's id; a read has one run only.

    A run that an interrupted sender left behind is found by its tag and completed. Raises Unavailable where
    MLflow answered and kept nothing.
    """
    client = mlflow_client(tracking_uri)
    experiment_id = _experiment(client, tracking_uri)
    run = next(iter(_runs_of(client, experiment_id, entry)), None)
    if run is None:
        run = client.create_run(experiment_id, tags=entry.tags(), run_name=f"{entry.kind} {entry.read_id}")
    if run.info.status == "RUNNING":
        _complete(client, run, entry)
    return _only_run(client, _runs_of(client, experiment_id, entry))


def entry_of(taken: outbox.PendingRun) -> RunEntry:
    """What the outbox holds, as MLflow shows it."""
    read, is_shadow = taken.read, taken.kind == outbox.SHADOW_RUN
    error_code = taken.body["error_code"] if is_shadow else read.error_code
    return RunEntry(
        read_id=read.id,
        scan_record_ids=taken.scan_record_ids,
        model_name=read.model_name,
        model_version=read.model_version,
        model_onnx_sha256=read.model_onnx_sha256,
        state=ReadState.FAILED if is_shadow and error_code else ReadState(read.state),
        error_code=error_code,
        params=taken.body["params"],
        metrics=taken.body["metrics"],
        kind=SHADOW if is_shadow else READ,
        more_tags=taken.body.get("tags", {}),
    )


def register_model(card: ModelCard, folder: Path, tracking_uri: str) -> str:
    """Register the model version with its card and return MLflow's number for it; once done, it stays so."""
    client = mlflow_client(tracking_uri)
    tags = {
        "card_version": card.version,
        "onnx_sha256": card.sha256,
        "card_sha256": hashlib.sha256((folder / CARD_FILE).read_bytes()).hexdigest(),
    }
    return _version_with(client, card.name, tags) or _create_version(client, card, folder, tags)


def mlflow_client(tracking_uri: str) -> "MlflowClient":
    """A client of tracking and registry alike. Raises Unavailable where its store cannot be opened."""
    _refuse_closed_store(tracking_uri)
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _refuse_closed_store(tracking_uri: str) -> None:
    """MLflow itself would try for almost two minutes, and hold up what waits behind it."""
    file = tracking_uri.removeprefix("sqlite:///")
    if file == tracking_uri:
        return
    try:
        with closing(sqlite3.connect(file)) as probe:
            probe.execute("PRAGMA schema_version")
    except sqlite3.Error as failure:
        raise Unavailable(f"MLflow's store cannot be opened ({failure})") from failure


def _experiment(client: "MlflowClient", tracking_uri: str) -> str:
    there = client.get_experiment_by_name(EXPERIMENT)
    return there.experiment_id if there else client.create_experiment(EXPERIMENT, _artifacts(tracking_uri))


def _artifacts(tracking_uri: str) -> str | None:
    """Beside the database, where it is a file: MLflow would take the folder that the process runs in."""
    file = tracking_uri.removeprefix("sqlite:///")
    return None if file == tracking_uri else (Path(file).parent / "mlflow-artifacts").as_uri()


def _runs_of(client: "MlflowClient", experiment_id: str, entry: RunEntry) -> "list[Run]":
    """The read's runs of this kind; the first versions of UltraRead had no kinds."""
    found = client.search_runs([experiment_id], f"tags.read_id = '{entry.read_id}'")
    return [run for run in found if run.data.tags.get("kind", READ) == entry.kind]


def _only_run(client: "MlflowClient", runs: "list[Run]") -> str:
    """Keep the first run that is complete, delete what stands beside it, and return its id.

    MLflow's client repeats a request whose answer it lost, and a sender that slept for long may have been
    overtaken: either leaves a second run behind.
    """
    complete = [run for run in runs if run.info.status != "RUNNING"]
    if not complete:
        raise Unavailable("MLflow answered, but shows no run of the read")
    kept = min(complete, key=lambda run: (run.info.start_time, run.info.run_id))
    for run in runs:
        if run.info.run_id != kept.info.run_id:
            client.delete_run(run.info.run_id)
    return str(kept.info.run_id)


def _complete(client: "MlflowClient", run: "Run", entry: RunEntry) -> None:
    from mlflow.entities import Metric, Param

    started = run.info.start_time  # the same at every try, so that a figure is not shown twice
    metrics = [Metric(name, value, started, 0) for name, value in entry.metrics.items()]
    params = [Param(name, value[:LONGEST_PARAM]) for name, value in entry.params.items()]
    client.log_batch(run.info.run_id, metrics, params)
    client.set_terminated(run.info.run_id, _RUN_STATUS.get(entry.state, "FINISHED"))


def _version_with(client: "MlflowClient", name: str, tags: Mapping[str, str]) -> str | None:
    for version in client.search_model_versions(f"name = '{name}'"):
        if tags.items() <= version.tags.items():
            return str(version.version)
    return None


def _create_version(client: "MlflowClient", card: ModelCard, folder: Path, tags: dict[str, str]) -> str:
    if not client.search_registered_models(f"name = '{card.name}'"):
        client.create_registered_model(card.name, description=card.intended_use)
    version = client.create_model_version(
        card.name,
        source=folder.resolve().as_uri(),
        tags=tags | {"card": (folder / CARD_FILE).read_text(), "research_use_only": "true"},
        description=f"{card.intended_use}\n\nNot for: {card.not_intended_use}",
    )
    return str(version.version)
