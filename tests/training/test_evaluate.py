"""A model folder is judged on data sets, under artefacts, and against another version, with a verdict."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from labelled import filed_row, texture, write_manifest
from made_run import Ran
from onnx import numpy_helper
from tiny_model import (
    change_card,
    replace_graph,
    seal,
    tiny_graph,
    write_golden_pair,
    write_tiny_model,
)

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.manifest import Manifest, load_manifest
from ultraread.errors import LabelsRefused, RequestInvalid
from ultraread.models.evaluation import Evaluation, Verdict, load_evaluation, write_evaluation
from ultraread.models.registry import ModelFolder, find_model
from ultraread.training.artefacts import ARTEFACTS
from ultraread.training.evaluate import COMPARED_FIGURES, evaluate, verdict
from ultraread.training.evaluation_page import write_page

SECTIONS = 4
DARK = "T-DARK"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """`dark` is high where a patch is darker than its image."""
    return find_model(str(write_tiny_model(tmp_path_factory.mktemp("model") / "1.0.0")))


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """The same graph, its last weights exchanged: `dark` is high where a patch is bright."""
    folder = write_tiny_model(tmp_path_factory.mktemp("worse") / "0.9.0", version="0.9.0")
    replace_graph(folder, exchanged(tiny_graph()))
    write_golden_pair(folder)
    return find_model(str(seal(folder)))


def exchanged(graph: onnx.ModelProto) -> onnx.ModelProto:
    weights = next(one for one in graph.graph.initializer if one.name == "weights")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[::-1].copy(), "weights"))
    return graph


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Sections with masks of what is darker than most, and one that nobody labelled."""
    folder = tmp_path_factory.mktemp("dark")
    stated = {"nm_per_px": 4.6, "split": "test", "code": DARK}
    rows = []
    for seed in range(SECTIONS):
        grey = texture(seed, 192)
        mask = ((grey < np.quantile(grey, 0.3)) * 255).astype(np.uint8)
        rows.append(filed_row(folder, f"{seed}", grey, mask, **stated))
    unlabelled = {**stated, "code": ""}
    rows.append(filed_row(folder, "unlabelled", texture(9, 192), None, **unlabelled))
    return load_manifest(write_manifest(folder, rows, "dark.csv"))


@pytest.fixture(scope="module")
def evaluation(model: ModelFolder, worse: ModelFolder, dark: Manifest) -> Evaluation:
    """The worse model judged, and compared with the other one."""
    return evaluate(worse, [dark], 1, lambda said: None, model)


def quiet(_said: str) -> None:
    """Nobody reads."""


def figures_of(found: Evaluation) -> dict[str, float]:
    return {one.metric: one.value for one in found.sets[0].figures if one.code == DARK}


@pytest.mark.parametrize(
    ("low", "high", "direction", "said"),
    [
        (0.01, 0.02, 1, Verdict.BETTER),
        (-0.02, -0.01, 1, Verdict.WORSE),
        (0.01, 0.02, -1, Verdict.WORSE),
        (-0.02, -0.01, -1, Verdict.BETTER),
        (-0.01, 0.02, 1, Verdict.CANNOT_TELL),
        (0.0, 0.02, 1, Verdict.CANNOT_TELL),
        (0.0, 0.0, -1, Verdict.CANNOT_TELL),
    ],
)
def test_an_interval_that_holds_0_cannot_tell(low: float, high: float, direction: int, said: Verdict) -> None:
    assert verdict(low, high, direction) == said


def test_a_model_that_finds_the_class_ranks_it_high(model: ModelFolder, dark: Manifest) -> None:
    found = evaluate(model, [dark], 1, quiet, robustness=False)
    assert figures_of(found)["auc_patch"] > 0.97
    assert found.robustness == found.comparisons == ()
    assert found.model == "tiny/1.0.0"
    assert (found.onnx_sha256, found.card_sha256) == (model.card.sha256, model.card_sha256)
    (judged,) = found.sets
    assert (judged.dataset, judged.fields, judged.specimens) == ("dark", SECTIONS + 1, ("one",))
    assert {one.n for one in judged.figures} == {SECTIONS}, "unlabelled fields have no figures"


def test_a_worse_model_is_called_worse(evaluation: Evaluation) -> None:
    assert figures_of(evaluation)["auc_patch"] < 0.03
    verdicts = {one.metric: one.verdict for one in evaluation.comparisons}
    assert set(verdicts) <= set(COMPARED_FIGURES)
    for metric in ("auc_patch", "average_precision", "dice"):
        assert verdicts[metric] == Verdict.WORSE
    assert {(one.against, one.code) for one in evaluation.comparisons} == {("tiny/1.0.0", DARK)}


def test_the_better_model_is_called_better(model: ModelFolder, worse: ModelFolder, dark: Manifest) -> None:
    found = evaluate(model, [dark], 1, quiet, worse, robustness=False)
    assert next(one for one in found.comparisons if one.metric == "auc_patch").verdict == Verdict.BETTER


def test_of_a_model_against_itself_nothing_can_be_told(model: ModelFolder, dark: Manifest) -> None:
    found = evaluate(model, [dark], 1, quiet, model, robustness=False)
    assert len(found.comparisons) >= 4
    for one in found.comparisons:
        assert (one.difference, one.ci95, one.verdict) == (0, (0, 0), Verdict.CANNOT_TELL)


def test_every_artefact_is_tried_at_each_strength(evaluation: Evaluation) -> None:
    tried = [(one.artefact, one.strength, one.unit) for one in evaluation.robustness]
    assert tried == [(one.name, strength, one.unit) for one in ARTEFACTS for strength in one.strengths]
    assert all({one.metric for one in row.figures} >= {"auc_patch", "dice"} for row in evaluation.robustness)


def test_figures_fall_with_noise(model: ModelFolder, dark: Manifest) -> None:
    found = evaluate(model, [dark], 1, quiet)
    dice = {
        row.strength: figure.value
        for row in found.robustness
        for figure in row.figures
        if row.artefact == "noise" and (figure.metric, figure.code) == ("dice", DARK)
    }
    assert dice[2.0] < dice[0.5]


def test_a_data_set_that_labels_no_class_of_the_model_is_refused(model: ModelFolder, manifest: Path) -> None:
    with pytest.raises(LabelsRefused, match=r"tiny/1\.0\.0"):
        evaluate(model, [load_manifest(manifest)], 1, quiet)


def test_what_training_saw_is_marked(ran: Ran, manifest: Path, left_out: Path) -> None:
    found = evaluate(
        find_model(str(ran.folder)),
        [load_manifest(manifest), load_manifest(left_out)],
        1,
        quiet,
        robustness=False,
    )
    assert [(one.dataset, one.seen_in_training) for one in found.sets] == [
        ("tissue", True),
        ("elsewhere", False),
    ]
    assert all("out_of_domain_flagged" in {one.metric for one in judged.figures} for judged in found.sets)


def test_images_that_training_saw_are_recognised_by_their_bytes(dark: Manifest, tmp_path: Path) -> None:
    """Another name, another split or another folder of the manifest hides nothing."""
    said = {"licence": "CC0-1.0", "citation": "", "files": 1, "files_sha256": "0" * 64, "split": "all"}
    images = [dark.fields[0].image_sha256]
    seen = {}
    for case, entry in {
        "image": {"name": "renamed", "images_sha256": images},
        "others": {"name": "dark", "images_sha256": ["0" * 64]},
        "unlisted": {"name": "dark"},
    }.items():
        folder = write_tiny_model(tmp_path / case)
        change_card(folder, training_data=[{**said, **entry}])
        found = evaluate(find_model(str(folder)), [dark], 1, quiet, robustness=False)
        seen[case] = found.sets[0].seen_in_training
    assert seen == {"image": True, "others": False, "unlisted": True}


def test_two_manifests_of_one_name_are_refused(dark: Manifest, tmp_path: Path) -> None:
    model = find_model(str(write_tiny_model(tmp_path / "model")))
    with pytest.raises(RequestInvalid, match="one name"):
        evaluate(model, [dark, dark], 1, quiet, robustness=False)


def test_fields_of_which_nothing_is_said_are_counted(dark: Manifest, tmp_path: Path) -> None:
    rates = []
    for name, present, not_seen in (("sure", 0.0, 0.0), ("unsure", 1.0, 0.0)):
        folder = write_tiny_model(tmp_path / name)
        limits = {"present": present, "not_seen": not_seen, "operating_point": "tests"}
        change_card(folder, thresholds=[{"code": code, **limits} for code in ("T-BRIGHT", DARK)])
        rates.append(evaluate(find_model(str(folder)), [dark], 1, quiet, robustness=False).abstention_rate)
    assert rates == [0, 1]


def test_fields_that_are_strange_as_a_whole_count_as_not_assessed(
    ran: Ran, manifest: Path, tmp_path: Path
) -> None:
    """The same model with a threshold that every tile lies above, and limits that call every field."""
    shutil.copytree(ran.folder, tmp_path / "strange")
    card = find_model(str(ran.folder)).card
    sure = [{**one.model_dump(), "present": 0.0, "not_seen": 0.0} for one in card.thresholds]
    rates = []
    for limit in (1e9, -1.0):
        assert card.out_of_domain is not None
        strange = {**card.out_of_domain.model_dump(), "threshold": limit}
        change_card(tmp_path / "strange", thresholds=sure, out_of_domain=strange)
        judged = find_model(str(tmp_path / "strange"))
        rates.append(evaluate(judged, [load_manifest(manifest)], 1, quiet, robustness=False).abstention_rate)
    assert rates == [0, 1]


def test_an_evaluation_is_read_as_it_was_written(evaluation: Evaluation, tmp_path: Path) -> None:
    write_evaluation(evaluation, tmp_path / "evaluation.json")
    assert load_evaluation(tmp_path / "evaluation.json") == evaluation


def test_the_page_shows_figures_artefacts_and_verdicts_with_a_plot(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    page = write_page(evaluation, tmp_path / "pages" / "evaluation.md")
    text, plot = page.read_text(), tmp_path / "pages" / "evaluation-dark.png"
    figure = next(one for one in evaluation.sets[0].figures if one.metric == "auc_patch")
    assert f"| {DARK} | auc_patch | {figure.value:.4g} |" in text
    assert f"| dark | jpeg | 10 quality | {DARK} | auc_patch |" in text
    assert f"| tiny/1.0.0 | dark | {DARK} | dice |" in text
    assert "| worse |" in text
    assert "not seen in training" in text
    assert f"({plot.name})" in text
    assert plot.read_bytes().startswith(b"\x89PNG")
    again = tmp_path / "again" / "evaluation.md"
    write_page(evaluation, again)
    assert sha256_of_file(again.with_name(plot.name)) == sha256_of_file(plot)


def test_each_field_has_its_own_ranking_in_file_and_page(dark: Manifest, tmp_path: Path) -> None:
    found = evaluate(
        find_model(str(write_tiny_model(tmp_path / "model"))), [dark], 1, quiet, robustness=False
    )
    rows = found.sets[0].by_field
    assert {row.metric for row in rows} == {"auc_patch"}
    assert 0 < len(rows) <= len(dark.fields) * len(found.sets[0].figures)
    assert all(0 <= row.value <= 1 for row in rows)
    page = write_page(found, tmp_path / "page.md").read_text()
    assert all(f"| {row.field} | {row.value:.4f} |" in page for row in rows)
