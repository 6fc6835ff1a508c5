"""Curves and pictures of a training are in MLflow, one run a recipe."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from made_run import silent
from mlflow import MlflowClient
from mlflow.entities import Run

from ultraread.training import tracking
from ultraread.training.config import TrainingConfig, config_sha256
from ultraread.training.fields import Field
from ultraread.training.network import make_network
from ultraread.training.tracking import EXPERIMENT, side_by_side, tracked


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Making its tables takes seconds, so it is shared."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def client(store: str) -> MlflowClient:
    return MlflowClient(tracking_uri=store)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def runs_of(client: MlflowClient, recipe: Path) -> list[Run]:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return []
    digest = config_sha256(recipe)
    return list(client.search_runs([experiment.experiment_id], f"tags.config_sha256 = '{digest}'"))


def test_the_curve_the_pictures_and_the_recipe_are_in_the_run(
    client: MlflowClient,
    store: str,
    runs: Path,
    tiny_recipe: Path,
    tiny: TrainingConfig,
    fields: list[Field],
    tmp_path: Path,
) -> None:
    shown: list[int] = []
    with tracked(tiny_recipe, runs, store) as tracker:
        note = tracker.on_step(lambda steps, loss: shown.append(steps))
        for step in range(1, 41):
            note(step, 1 / step)
        tracker.show_predictions(make_network(tiny).eval(), fields)
    (run,) = runs_of(client, tiny_recipe)
    assert shown == list(range(1, 41)), "every step is shown, and one in twenty logged"
    curve = client.get_metric_history(run.info.run_id, "loss")
    assert [(one.step, one.value) for one in curve] == [(20, 1 / 20), (40, 1 / 40)]
    pictures = client.list_artifacts(run.info.run_id, "predictions")
    assert [one.path for one in pictures] == [f"predictions/{number}.png" for number in range(3)]
    assert (run.data.params["optimisation.steps"], run.info.status) == ("4", "FINISHED")
    assert run.data.tags["research_use_only"] == "true"


def test_a_training_that_was_stopped_goes_on_in_its_run(
    client: MlflowClient, store: str, runs: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "stopped.toml"
    recipe.write_text(tiny_recipe.read_text() + "\n# another recipe\n")
    with suppress(KeyboardInterrupt), tracked(recipe, runs, store) as tracker:
        tracker.on_step(silent)(20, 0.5)
        raise KeyboardInterrupt
    (stopped,) = runs_of(client, recipe)
    assert stopped.info.status == "FAILED"
    with tracked(recipe, runs, store) as tracker:
        assert runs_of(client, recipe)[0].info.status == "RUNNING"
        tracker.on_step(silent)(40, 0.25)
    (finished,) = runs_of(client, recipe)
    assert finished.info.run_id == stopped.info.run_id
    assert finished.info.status == "FINISHED"
    assert [one.step for one in client.get_metric_history(finished.info.run_id, "loss")] == [20, 40]


def test_without_a_store_nothing_is_tracked(
    tiny_recipe: Path, fields: list[Field], tiny: TrainingConfig, tmp_path: Path
) -> None:
    shown: list[int] = []
    with tracked(tiny_recipe, tmp_path / "runs", "") as tracker:
        tracker.on_step(lambda steps, loss: shown.append(steps))(20, 0.5)
        tracker.show_predictions(make_network(tiny), fields)
    assert tracker.client is None
    assert shown == [20]
    assert list(tmp_path.iterdir()) == []


def test_a_picture_shows_masks_on_the_left_and_patches_on_the_right(fields: list[Field]) -> None:
    """Predicted: the first class everywhere."""
    predicted = np.zeros((3, 16, 16), np.float32)
    predicted[0] = 1
    picture = side_by_side(fields[0], predicted, patch_px=16)
    assert picture.shape == (256, 512, 3)
    grey = fields[0].grey[0].numpy()
    mask = fields[0].masks[0].bool().numpy() & ~fields[0].masks[1:].bool().numpy().any(axis=0)
    orange = np.array(tracking.COLOURS[0]) / 255
    painted = 255 * (0.5 * grey[..., None] + 0.5 * orange)
    np.testing.assert_allclose(picture[:, :256][mask], painted[mask], atol=1.01)
    np.testing.assert_allclose(picture[:, 256:], painted, atol=1.01)
    bare = ~fields[0].masks.bool().numpy().any(axis=0)
    np.testing.assert_allclose(picture[:, :256][bare], np.repeat(255 * grey[bare][:, None], 3, 1), atol=1.01)
