"""From tallies to suggested findings: each assertion, each number, and never more than was looked at."""

import numpy as np
import pytest
from numpy.typing import NDArray
from ranges import CARD, SIDE, plan_of, tallied

from ultraread.datasets.tile_plan import PlannedTile
from ultraread.models.card import DerivedMeasurement
from ultraread.serving.aggregate import coverage_of, field_entry, findings_of, rounded, scope_of
from ultraread.serving.findings import MAX_EVIDENCE, Assertion, CaseEvidence, Finding
from ultraread.serving.score_tiles import BLANK, FAILED, SCORED
from ultraread.serving.tally import TalliedImage

SIMULATED = scope_of("simulated", CARD, images=1)


def _findings(
    *images: TalliedImage, specimen: str = "simulated", in_case: bool = False
) -> tuple[Finding, ...]:
    scope, coverage = scope_of(specimen, CARD, len(images)), coverage_of(images, CARD)
    return findings_of(images, CARD, scope, coverage, seed=0, in_case=in_case)


def _share(share: float) -> NDArray[np.float16]:
    return np.full((2, SIDE, SIDE), share, np.float16)


@pytest.mark.parametrize(
    ("probability", "assertion"),
    [
        (0.9, Assertion.PRESENT),
        (0.41, Assertion.PRESENT),
        (0.39, Assertion.INDETERMINATE),
        (0.21, Assertion.INDETERMINATE),
        (0.19, Assertion.NOT_SEEN),
        (0.0, Assertion.NOT_SEEN),
    ],
)
def test_the_cards_thresholds_lead_from_score_to_assertion(probability: float, assertion: Assertion) -> None:
    """The tiny card: present from 0.4, not seen below 0.2."""
    bright, _ = _findings(tallied(plan_of(128, 128), scores=lambda tile: (probability, 0.5)))
    assert bright.assertion == assertion
    assert bright.score == pytest.approx(probability, abs=1e-6)


def test_a_specimen_that_the_model_was_not_made_for_is_out_of_scope() -> None:
    for finding in _findings(tallied(plan_of(128, 128)), specimen="human kidney"):
        assert finding.assertion == Assertion.OUT_OF_SCOPE
        assert (finding.score, finding.measurements, finding.evidence) == (None, (), ())


def test_a_field_of_a_case_tells_no_figures_that_its_findings_withhold() -> None:
    image = tallied(plan_of(128, 128))
    assert field_entry(image, CARD, SIMULATED, seed=0).measurements
    assert field_entry(image, CARD, scope_of("human kidney", CARD, 1), seed=0).measurements == {}
    hardly_covered = tallied(plan_of(256, 256), status=lambda tile: FAILED if tile.index >= 7 else SCORED)
    assert field_entry(hardly_covered, CARD, SIMULATED, seed=0).measurements == {}


def test_without_an_image_of_the_models_kind_every_finding_is_out_of_scope() -> None:
    assert {finding.assertion for finding in _findings()} == {Assertion.OUT_OF_SCOPE}


def test_an_unstated_specimen_and_another_spelling_are_in_scope() -> None:
    assert scope_of("", CARD, images=1).in_scope
    assert scope_of("SIMULATED", CARD, images=1).in_scope


def test_too_little_coverage_is_not_assessed() -> None:
    image = tallied(plan_of(256, 256), status=lambda tile: FAILED if tile.index >= 7 else SCORED)
    for finding in _findings(image):
        assert finding.assertion == Assertion.NOT_ASSESSED
        assert (finding.score, finding.measurements, finding.evidence) == (None, (), ())
    enough = tallied(plan_of(256, 256), status=lambda tile: FAILED if tile.index >= 8 else SCORED)
    assert _findings(enough)[0].assertion == Assertion.PRESENT


def test_a_blank_image_is_looked_at_and_not_assessed() -> None:
    image = tallied(plan_of(256, 256), status=lambda tile: BLANK)
    coverage = coverage_of([image], CARD)
    assert (coverage.fraction, coverage.tiles_blank, coverage.area_um2) == (1.0, 16, 0.0)
    assert {finding.assertion for finding in _findings(image)} == {Assertion.NOT_ASSESSED}


def test_area_fraction_and_area_are_exact() -> None:
    bright, dark = _findings(tallied(plan_of(100, 70)))
    fraction, area = bright.measurements
    assert (fraction.name, fraction.value, fraction.unit) == ("area_fraction", 25.0, "%")
    assert (area.name, area.unit) == ("profile_area", "um2")
    assert area.value == pytest.approx(0.25 * 7000 * 4.6**2 * 1e-6, rel=1e-5)
    assert dark.measurements[0].value == 50.0
    assert (fraction.n, fraction.n_of) == (4, "ranges")


def test_the_scales_tolerance_widens_areas_and_leaves_fractions() -> None:
    def patches(tile: PlannedTile) -> NDArray[np.float16]:
        return _share(tile.index / 32)

    exact, rough = (
        _findings(tallied(plan_of(256, 256), patches=patches, tolerance=tolerance))[0].measurements
        for tolerance in (0.0, 0.05)
    )
    assert exact[0].ci95 == rough[0].ci95
    assert exact[1].ci95 is not None
    assert rough[1].ci95 is not None
    assert rough[1].ci95[0] == pytest.approx(exact[1].ci95[0] * 0.95**2, rel=1e-4)
    assert rough[1].ci95[1] == pytest.approx(exact[1].ci95[1] * 1.05**2, rel=1e-4)
    assert exact[1].value == rough[1].value


def test_one_tile_gives_no_interval() -> None:
    (bright, _) = _findings(tallied(plan_of(64, 64)))
    assert bright.score_ci95 is None
    assert {measurement.ci95 for measurement in bright.measurements} == {None}


def test_a_case_weighs_its_fields_by_area() -> None:
    small = tallied(plan_of(64, 64), patches=lambda tile: _share(0.25), slide_sha256="b" * 64)
    large = tallied(plan_of(192, 64), patches=lambda tile: _share(0.5))
    bright, _ = _findings(small, large, in_case=True)
    fraction = bright.measurements[0]
    assert fraction.value == pytest.approx(100 * (0.25 + 3 * 0.5) / 4)
    assert (fraction.n, fraction.n_of) == (2, "fields")
    assert fraction.ci95 == (25.0, 50.0)
    assert coverage_of([small, large], CARD).tiles_planned == 4
    fields = [field_entry(image, CARD, SIMULATED, seed=0) for image in (small, large)]
    assert [field.measurements["T-BRIGHT"][0].value for field in fields] == [25.0, 50.0]
    assert [field.measurements["T-BRIGHT"][0].n_of for field in fields] == ["ranges", "ranges"]


@pytest.mark.parametrize(("tolerance", "factor"), [(0.0, 1.0), (0.1, 1.1**2)])
def test_a_case_uses_the_worst_tolerance_of_its_fields(tolerance: float, factor: float) -> None:
    one = tallied(plan_of(64, 64), patches=lambda tile: _share(0.25), tolerance=0.0)
    other = tallied(plan_of(64, 64), patches=lambda tile: _share(0.5), tolerance=tolerance)
    area = _findings(one, other)[0].measurements[1]
    assert area.ci95 is not None
    assert area.ci95[1] == pytest.approx(2 * 0.5 * 64**2 * 4.6**2 * 1e-6 * factor, rel=1e-4)


def test_evidence_is_the_best_tiles_that_speak_for_the_finding() -> None:
    image = tallied(plan_of(640, 640), scores=lambda tile: (tile.index / 100, 0.1))
    bright, dark = _findings(image)
    assert len(bright.evidence) == MAX_EVIDENCE
    assert [box.score for box in bright.evidence] == [n / 100 for n in range(99, 49, -1)]
    assert dark.evidence == (), "0.1 is below the limit of what was not seen"
    tiles = {(tile.box.x, tile.box.y) for tile in plan_of(640, 640).tiles()}
    assert {(box.x_px, box.y_px) for box in bright.evidence} <= tiles


def test_evidence_of_a_case_names_its_slide() -> None:
    one = tallied(plan_of(64, 64), scores=lambda tile: (0.9, 0.9), slide_sha256="b" * 64)
    other = tallied(plan_of(64, 64), scores=lambda tile: (0.8, 0.9), slide_sha256="c" * 64)
    bright, _ = _findings(one, other, in_case=True)
    assert all(isinstance(box, CaseEvidence) for box in bright.evidence)
    assert [box.model_dump()["slide_sha256"] for box in bright.evidence] == ["b" * 64, "c" * 64]


def test_numbers_have_six_digits() -> None:
    assert rounded(1234567.0) == 1234570.0
    assert rounded(0.1 + 0.2) == 0.3


def test_what_the_card_derives_stands_at_the_class_that_its_formula_names_first() -> None:
    derived = DerivedMeasurement(
        name="ratio", formula="sqrt(dark / (dark + bright))", unit="1", source="Chomiak and Hu 2009"
    )
    card = CARD.model_copy(update={"derived_measurements": (derived,)})
    images = [tallied(plan_of(100, 70))]
    bright, dark = findings_of(images, card, SIMULATED, coverage_of(images, card), seed=0, in_case=False)
    assert [one.name for one in bright.measurements] == ["area_fraction", "profile_area"]
    ratio = dark.measurements[2]
    assert (ratio.name, ratio.unit, ratio.n_of) == ("ratio", "1", "ranges")
    assert ratio.value == rounded((0.5 / 0.75) ** 0.5)
    assert ratio.method == "sqrt(dark / (dark + bright)); Chomiak and Hu 2009"
    assert field_entry(images[0], card, SIMULATED, seed=0).measurements["T-DARK"][2] == ratio
