"""Curves and pictures of a training run, in MLflow."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ultraread.training.config import config_sha256, load_config
from ultraread.training.fields import Field
from ultraread.training.model_view import view_of_recipe
from ultraread.training.network import PatchNetwork
from ultraread.training.predict import of_network, predict_field

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "ultraread-training"
LOG_EVERY = 20
"""Steps between points of the loss curve."""
SHOWN_FIELDS = 3
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66))
"""Okabe and Ito's colours, which colour-blind readers tell apart; one a class."""

OnStep = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Tracker:
    """Writes to one MLflow run; to none where there is no client."""

    config_file: Path
    client: "MlflowClient | None" = None
    run_id: str = ""

    def on_step(self, show: OnStep) -> OnStep:
        """Show each step, and log every LOG_EVERY-th loss."""

        def note(steps: int, loss: float) -> None:
            show(steps, loss)
            if self.client and steps % LOG_EVERY == 0:
                self.client.log_metric(self.run_id, "loss", loss, step=steps)

        return note

    def show_predictions(self, network: PatchNetwork, fields: Sequence[Field]) -> None:
        """Log a picture of what the network says of the first fields, beside their masks."""
        if self.client is None:
            return
        view = view_of_recipe(load_config(self.config_file))
        for number, field in enumerate(fields[:SHOWN_FIELDS]):
            predicted = predict_field(of_network(network), field, view).predicted
            picture = side_by_side(field, predicted, view.patch_px)
            self.client.log_image(self.run_id, picture, artifact_file=f"predictions/{number}.png")


@contextmanager
def tracked(config_file: Path, runs: Path, mlflow_uri: str) -> Iterator[Tracker]:
    """A run of experiment EXPERIMENT for this recipe; a resumed training goes on in the run that it began."""
    if not mlflow_uri:
        yield Tracker(config_file)
        return
    from mlflow import MlflowClient

    runs.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=mlflow_uri)
    run_id = _run_of(client, config_file, runs)
    try:
        yield Tracker(config_file, client, run_id)
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def side_by_side(field: Field, predicted: NDArray[np.float32], patch_px: int) -> NDArray[np.uint8]:
    """(H, 2 W, 3): the field with its masks, and with the predicted patches, in the classes' colours."""
    height, width = (side * patch_px for side in predicted.shape[1:])
    grey = np.repeat(field.grey[0, :height, :width].numpy()[..., None], 3, axis=2)
    maps = predicted.repeat(patch_px, axis=1).repeat(patch_px, axis=2)
    masks = field.masks[:, :height, :width].numpy().astype(np.float32)
    painted = np.concatenate([_painted(grey, masks), _painted(grey, maps)], axis=1)
    return np.asarray(255 * painted, np.uint8)


def _painted(grey: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    shown = grey.copy()
    for colour, share in zip(COLOURS, shares, strict=False):
        weight = 0.5 * share[..., None]
        shown = (1 - weight) * shown + weight * (np.array(colour, np.float32) / 255)
    return np.asarray(shown, np.float32)


def _run_of(client: "MlflowClient", config_file: Path, runs: Path) -> str:
    digest = config_sha256(config_file)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = (
        experiment.experiment_id
        if experiment
        else client.create_experiment(EXPERIMENT, (runs.resolve() / "mlflow-artifacts").as_uri())
    )
    found = client.search_runs([experiment_id], f"tags.config_sha256 = '{digest}'", max_results=1)
    if found:
        client.update_run(found[0].info.run_id, "RUNNING")
        return str(found[0].info.run_id)
    tags = {"config_sha256": digest, "research_use_only": "true"}
    run = client.create_run(experiment_id, tags=tags, run_name=config_file.stem)
    for name, value in _flat(load_config(config_file).model_dump(mode="json", exclude={"card"})):
        client.log_param(run.info.run_id, name, str(value)[:500])
    return str(run.info.run_id)


def _flat(table: dict[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
