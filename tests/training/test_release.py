"""The stages leave a model folder that is whole, repeatable, and says what it stands on."""

from pathlib import Path

import numpy as np
import pytest
from made_run import Ran, silent
from made_tissue import write_recipe, write_tissue

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import ModelParityFailed, OutputExists, RequestInvalid
from ultraread.models.card import ModelCard, load_card
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import find_model
from ultraread.training import release
from ultraread.training.config import TrainingConfig, changed, load_config
from ultraread.training.export import export_onnx
from ultraread.training.model_card import weights_licence
from ultraread.training.network import PatchNetwork, make_network
from ultraread.training.onnx_session import OUTPUTS, open_onnx, run_onnx
from ultraread.training.release import MODEL_FILE, export_recipe, run_folder, train_recipe, trained_network
from ultraread.training.train import weights_digest

CROSS_VALIDATED, LEFT_OUT = "tissue, cross-validated", "elsewhere, left out"
SHARE_OF_SYNAPSES = """
[[derived_measurements]]
name = "share_of_synapses"
formula = "synapse / (synapse + mitochondria)"
unit = "1"
source = "tests"
"""


@pytest.fixture(scope="module")
def card(ran: Ran) -> ModelCard:
    return load_card(ran.folder)


def quiet(_said: str) -> None:
    """Nobody reads."""


def test_the_folder_holds_a_model_a_golden_pair_and_a_card_that_names_their_bytes(
    ran: Ran, card: ModelCard
) -> None:
    assert sorted(file.name for file in ran.folder.iterdir()) == ["card.json", "golden.npz", "model.onnx"]
    assert card.sha256 == sha256_of_file(ran.folder / MODEL_FILE)
    assert card.golden_pair.sha256 == sha256_of_file(ran.folder / "golden.npz")
    assert [file.name for file in ran.folder.parent.iterdir()] == ["1.0.0"]


def test_the_service_loads_it(ran: Ran) -> None:
    served = OnnxClassifier(find_model(str(ran.folder)), threads=1)
    found = served(np.zeros((1, 1, 128, 128), np.float32))
    assert found.probabilities.shape == (1, 3)
    assert found.out_of_domain is not None


def test_the_golden_pair_is_what_the_model_answers(ran: Ran) -> None:
    with np.load(ran.folder / "golden.npz") as golden:
        pair = dict(golden)
    assert {one.dtype for one in pair.values()} == {np.dtype(np.float32)}
    answered = run_onnx(open_onnx(ran.folder / MODEL_FILE), pair["input"])
    assert all(np.array_equal(one, pair[name]) for one, name in zip(answered, OUTPUTS, strict=True))


def test_the_card_states_the_calibration_and_the_model_holds_it(ran: Ran, card: ModelCard) -> None:
    assert card.calibration.classes == ran.record.classes
    assert card.thresholds == ran.record.thresholds
    assert card.abstention.coverage[:3] == ran.record.coverage
    assert card.out_of_domain is not None
    assert card.out_of_domain.threshold == ran.record.strangeness_threshold


def test_the_card_s_metrics_are_those_of_the_record_and_of_left_out_data(ran: Ran, card: ModelCard) -> None:
    said = {(one.dataset, one.metric, one.code): one.value for one in card.metrics}
    assert {key[1:]: value for key, value in said.items() if key[0] == CROSS_VALIDATED} == {
        (one.metric, one.code): one.value for one in ran.record.figures
    }
    elsewhere = {key[1:] for key in said if key[0] == LEFT_OUT}
    assert ("auc_tile", "UR-MITO") in elsewhere or ("area_error_points", "UR-MITO") in elsewhere
    assert ("out_of_domain_flagged", "") in elsewhere
    assert {code for _, code in elsewhere} == {"UR-MITO", ""}, "what the other laboratory labels"
    assert card.abstention.coverage[3].dataset == LEFT_OUT


def test_the_card_names_the_data_and_the_run(ran: Ran, card: ModelCard, tiny: TrainingConfig) -> None:
    assert (card.margin_px, card.core_px) == (32, 64)
    (data,) = card.training_data
    assert (data.name, data.files, data.licence) == ("tissue", 6 * 4, "CC0-1.0")
    assert card.training_run is not None
    assert card.training_run.config_sha256 == sha256_of_file(ran.recipe)
    assert (card.training_run.seed, card.training_run.steps) == (tiny.optimisation.seed, 4)
    assert {"torch", "onnxruntime"} <= set(card.training_run.library_versions)


def test_exporting_again_gives_the_same_bytes(ran: Ran, card: ModelCard, tmp_path: Path) -> None:
    again = export_recipe(ran.recipe, tmp_path / "again", ran.results, ran.runs, quiet)
    assert again.sha256 == card.sha256
    assert again.model_dump(exclude={"golden_pair", "training_run"}) == card.model_dump(
        exclude={"golden_pair", "training_run"}
    )


def test_a_new_folder_replaces_the_old_one_whole(ran: Ran, tmp_path: Path) -> None:
    out = tmp_path / "zoo" / "1.0.0"
    out.mkdir(parents=True)
    for name in ("card.json", "left-over.txt"):
        (out / name).write_text("old")
    export_recipe(ran.recipe, out, ran.results, ran.runs, quiet)
    assert sorted(file.name for file in out.iterdir()) == ["card.json", "golden.npz", "model.onnx"]
    assert [file.name for file in out.parent.iterdir()] == ["1.0.0"]


def test_a_folder_that_is_no_model_is_not_replaced(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExists):
        export_recipe(ran.recipe, tmp_path, ran.results, ran.runs, quiet)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_export_that_is_another_network_is_refused_and_leaves_the_old_folder(
    ran: Ran, tiny: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_network(changed(tiny, optimisation=changed(tiny.optimisation, seed=1)))

    def export_another(_network: PatchNetwork, config: TrainingConfig, file: Path) -> None:
        export_onnx(other, config, file)

    monkeypatch.setattr(release, "export_onnx", export_another)
    out = tmp_path / "zoo" / "1.0.0"
    with pytest.raises(ModelParityFailed):
        export_recipe(ran.recipe, out, ran.results, ran.runs, quiet)
    assert list((tmp_path / "zoo").iterdir()) == []
    out.mkdir()
    (out / "card.json").write_text("the old one")
    with pytest.raises(ModelParityFailed):
        export_recipe(ran.recipe, out, ran.results, ran.runs, quiet)
    assert (out / "card.json").read_text() == "the old one"


def test_without_calibration_no_class_is_ever_called_present_or_not_seen(ran: Ran, tmp_path: Path) -> None:
    card = export_recipe(ran.recipe, tmp_path / "plain", tmp_path / "no-results", ran.runs, quiet)
    assert {(one.present, one.not_seen) for one in card.thresholds} == {(1.0, 0.0)}
    assert card.metrics == ()
    assert card.calibration.method == "none"
    assert card.out_of_domain is None
    assert OnnxClassifier(find_model(str(tmp_path / "plain")), threads=1).golden_difference < 1e-5


def test_what_was_learned_from_is_not_judged_as_left_out(
    ran: Ran, manifest: Path, left_out: Path, tmp_path: Path
) -> None:
    """Fields are told apart by their bytes: both data sets call a picture 00.png."""
    recipe = write_recipe(tmp_path / "both.toml", manifest, judged=(manifest, left_out))
    card = export_recipe(recipe, tmp_path / "both", ran.as_if_of(recipe), ran.runs, quiet)
    judged = {one.dataset: one.n for one in card.metrics if one.metric == "out_of_domain_flagged"}
    assert judged[LEFT_OUT] == 2
    assert judged.get("tissue, left out", 0) == 0


def test_figures_of_derived_measurements_are_in_the_card_and_say_what_they_count(
    ran: Ran, manifest: Path, tmp_path: Path
) -> None:
    other = write_tissue(tmp_path / "other", range(30, 32), name="other")
    recipe = write_recipe(tmp_path / "derived.toml", manifest, judged=(other,))
    recipe.write_text(f"{recipe.read_text()}\n{SHARE_OF_SYNAPSES}")
    card = export_recipe(recipe, tmp_path / "derived", ran.as_if_of(recipe), ran.runs, quiet)
    found = {one.metric: one.how for one in card.metrics if one.metric.startswith("share_of_synapses")}
    assert found.keys() == {"share_of_synapses_error", "share_of_synapses_covered"}
    assert found["share_of_synapses_error"].startswith("mean over fields of the absolute difference")
    assert found["share_of_synapses_covered"].startswith("share of fields whose interval holds")
    strange = next(one for one in card.metrics if one.metric == "out_of_domain_flagged")
    assert strange.how.startswith("share of tiles above the out-of-domain threshold")


def test_the_weights_licence_joins_those_of_all_data(tmp_path: Path) -> None:
    free = write_tissue(tmp_path / "free", range(1), name="free", licence="MIT")
    bound = write_tissue(tmp_path / "bound", range(1), name="bound", licence="CC-BY-NC-SA-3.0")
    other = write_tissue(tmp_path / "other", range(1), name="other", licence="own terms")
    licence = weights_licence(load_config(write_recipe(tmp_path / "recipe.toml", free, bound, other)))
    assert licence.name == "CC-BY-NC-SA-3.0 AND MIT AND own terms"
    assert licence.binds_users_to.startswith("Attribution, non-commercial use")
    assert "keeping the notice; the terms of own terms" in licence.binds_users_to
    assert "The weights started at random." in licence.binds_users_to


def test_the_weights_kept_are_those_that_were_trained(ran: Ran) -> None:
    kept = (run_folder(ran.recipe, ran.runs) / "final.weights.sha256").read_text().strip()
    assert weights_digest(trained_network(ran.recipe, ran.runs)) == kept
    network, fields = train_recipe(ran.recipe, ran.runs, silent)
    assert weights_digest(network) == kept
    assert len(fields) == 6


def test_a_recipe_that_is_not_trained_yet_is_refused_with_its_command(ran: Ran, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid) as refused:
        export_recipe(ran.recipe, tmp_path / "out", ran.results, tmp_path / "no-runs", quiet)
    assert "ultraread train" in refused.value.remedy


@pytest.mark.parametrize(
    ("line", "afresh"),
    [
        ("steps = 5", True),
        ("seed = 1", True),
        ("margin_px = 16", True),
        ("components = 7", True),
        ("version = '9.0.0'", False),
        ("error_rate = 0.1", False),
        ("int8 = true", False),
    ],
)
def test_a_change_starts_afresh_where_weights_or_predictions_depend_on_it(
    ran: Ran, manifest: Path, tmp_path: Path, line: str, afresh: bool
) -> None:
    key, _, value = line.partition(" = ")
    recipe = write_recipe(tmp_path / ran.recipe.name, manifest, **{key: value})
    assert (run_folder(recipe, ran.runs) != run_folder(ran.recipe, ran.runs)) == afresh


def test_changed_data_start_afresh(ran: Ran, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / ran.recipe.name, write_tissue(tmp_path, range(5)))
    assert run_folder(recipe, ran.runs) != run_folder(ran.recipe, ran.runs)
