"""One record holds what the out-of-fold predictions say: scales, limits, figures, the strange tiles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_run import Ran

from ultraread.errors import ClassEmpty, IntegrityFailed, RequestInvalid
from ultraread.training.calibrate import CalibrationRecord, calibrate, limits_of, load_calibration
from ultraread.training.calibration_page import write_page
from ultraread.training.config import TrainingConfig, changed, config_sha256
from ultraread.training.release import calibrate_recipe, calibration_file, calibration_of

SHA256 = "0" * 64


@pytest.fixture
def record(ran: Ran) -> CalibrationRecord:
    return ran.record


def test_the_record_names_its_recipe_and_says_something_of_every_class(
    record: CalibrationRecord, ran: Ran, tiny: TrainingConfig
) -> None:
    assert record.config_sha256 == config_sha256(ran.recipe)
    for part in (record.classes, record.thresholds, record.coverage):
        assert [one.code for one in part] == list(tiny.codes)
    assert {one.code for one in record.figures} == set(tiny.codes) == set(record.reliability)
    assert {one.n_of for one in record.figures} == {"section runs"}


def test_calibrated_scores_err_less(record: CalibrationRecord) -> None:
    for one in record.classes:
        assert one.ece_after < one.ece_before
        assert one.brier_after < one.brier_before


def test_the_figures_are_those_of_cross_fitted_scores(record: CalibrationRecord) -> None:
    stated = {one.code: one.value for one in record.figures if one.metric == "ece_area"}
    assert stated == pytest.approx({one.code: one.ece_after for one in record.classes}, abs=1e-5)


def test_a_reliability_diagram_counts_every_patch(record: CalibrationRecord) -> None:
    assert {sum(count for *_, count in rows) for rows in record.reliability.values()} == {6 * 16 * 16}


def test_no_more_out_of_fold_tiles_are_strange_than_said(record: CalibrationRecord, ran: Ran) -> None:
    strangeness = np.concatenate([one.strangeness for one in ran.predictions])
    flagged = (strangeness > record.strangeness_threshold).mean()
    assert record.strange_fraction_out_of_fold == pytest.approx(flagged, abs=1e-6)
    assert 0 < flagged <= 0.05


def test_figures_without_a_value_are_left_out_so_that_the_record_can_be_read_again(
    record: CalibrationRecord, ran: Ran
) -> None:
    """No patch is half covered by a class of thin lines, so patches cannot be ranked."""
    assert load_calibration(calibration_file(ran.recipe, ran.results)) == record
    assert np.isfinite([(one.value, *one.ci95) for one in record.figures]).all()
    told = {(one.code, one.metric) for one in record.figures}
    assert ("UR-MEM", "auc_patch") not in told
    assert ("UR-MITO", "auc_patch") in told


def test_without_calibration_scores_stay_as_they_are(ran: Ran, tiny: TrainingConfig) -> None:
    plain = changed(tiny, calibration=changed(tiny.calibration, method="none"))
    record = calibrate(ran.predictions, plain, SHA256)
    assert {(one.temperature, one.bias) for one in record.classes} == {(1, 0)}
    stated = {one.code: one.value for one in record.figures if one.metric == "ece_area"}
    assert stated == pytest.approx({one.code: one.ece_before for one in record.classes}, abs=1e-5)


def test_a_class_that_no_field_labels_is_refused(ran: Ran, tiny: TrainingConfig) -> None:
    unlabelled = [replace(one, known=np.array([True, False, True])) for one in ran.predictions]
    with pytest.raises(ClassEmpty, match="UR-SYN"):
        calibrate(unlabelled, tiny, SHA256)


def test_a_class_in_one_run_of_sections_only_cannot_be_cross_fitted(ran: Ran, tiny: TrainingConfig) -> None:
    later = np.array([True, False, True])
    first = [one if one.field.section < 3 else replace(one, known=later) for one in ran.predictions]
    with pytest.raises(ClassEmpty, match="UR-SYN in fewer than two runs"):
        calibrate(first, tiny, SHA256)


def test_limits_are_found_by_class(record: CalibrationRecord) -> None:
    limits = limits_of(record.thresholds)
    assert {code: one.present for code, one in limits.items()} == {
        one.code: one.present for one in record.thresholds
    }


def test_folds_that_are_not_trained_yet_are_asked_for_by_their_command(ran: Ran, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid) as refused:
        calibrate_recipe(ran.recipe, tmp_path, tmp_path / "no-runs")
    assert "ultraread cross-validate" in refused.value.remedy


def test_a_record_of_another_state_of_the_recipe_is_refused_with_its_command(
    ran: Ran, tmp_path: Path
) -> None:
    assert calibration_of(ran.recipe, ran.results) == ran.record
    assert calibration_of(ran.recipe, tmp_path / "nowhere") is None
    other = ran.record.model_copy(update={"config_sha256": SHA256})
    calibration_file(ran.recipe, tmp_path).write_text(other.model_dump_json())
    with pytest.raises(RequestInvalid) as refused:
        calibration_of(ran.recipe, tmp_path)
    assert "ultraread calibrate" in refused.value.remedy


def test_a_damaged_record_is_refused(ran: Ran, tmp_path: Path) -> None:
    calibration_file(ran.recipe, tmp_path).write_text("{}")
    with pytest.raises(IntegrityFailed, match="does not parse"):
        calibration_of(ran.recipe, tmp_path)


def test_the_page_shows_scales_limits_and_a_diagram(record: CalibrationRecord, tmp_path: Path) -> None:
    page = write_page(record, tmp_path / "tiny-calibration.md").read_text()
    first = record.classes[0]
    assert f"| UR-MITO | {first.temperature:.3f} | {first.bias:+.3f} | {first.ece_before:.4f} |" in page
    assert record.thresholds[0].operating_point in page
    assert "(tiny-calibration.png)" in page
    assert (tmp_path / "tiny-calibration.png").read_bytes().startswith(b"\x89PNG")
