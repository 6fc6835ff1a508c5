"""The scan record: what is unknown stays unknown, what changes loses its review, links stay in their case."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import ValidationError
from scan_records import COMPLETE, NOON, a_link, a_record, file_part

from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.identity.found import Identity, IdentityPolicy
from ultraread.datasets.scale import ScaleOrigin, StatedScale
from ultraread.datasets.scan_record import record as record_module
from ultraread.datasets.scan_record.changes import (
    answered,
    consulted,
    differences,
    merged,
    patched,
    reviewed,
)
from ultraread.datasets.scan_record.facts import filed_image
from ultraread.datasets.scan_record.links import check_links, linked_regions
from ultraread.datasets.scan_record.record import (
    AnswerGiven,
    Consultation,
    KeptRecord,
    QualityReview,
    ScanRecord,
    scan_record_schema,
)
from ultraread.datasets.scan_record.statement import Moment, Statement
from ultraread.datasets.slide import Acquisition, ImageInfo, Modality
from ultraread.errors import AnsweredAlready, LinkInvalid, NotFound, RequestInvalid

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "scan-record.md"
SCHEMA = Path(record_module.__file__).parents[1] / "scan_record.schema.json"
REVIEW = QualityReview(who="A", at=NOON, complete=True, why="compared", revision=1)
ASKED = Consultation(id="c-1", kind="consultation", asked_by="A", asked_of="B", at=NOON, question="same?")
ANSWER = AnswerGiven(who="B", at=NOON, text="yes")


def test_the_published_schema_is_that_of_the_types_and_describes_every_field() -> None:
    schema = json.loads(SCHEMA.read_text())
    assert schema == json.loads(json.dumps(scan_record_schema())), "python -m ultraread.serving.schemas"
    parts = [schema, *(part for part in schema["$defs"].values() if "properties" in part)]
    undescribed = [
        name
        for part in parts
        for name, field in part["properties"].items()
        if not (
            {"description", "const", "$ref"} & field.keys() or name in {"x", "y", "width", "height", "id"}
        )
    ]
    assert set(undescribed) <= {"image", "slide_id"}, undescribed


def test_a_complete_record_and_one_of_which_nothing_is_stated_follow_the_schema() -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    for record in (a_record(links=[a_link(grid_id="G")]), ScanRecord(from_file=file_part())):
        told = record.as_json()
        validator.validate(told)
        assert ScanRecord.model_validate_json(json.dumps(told)) == record


def test_the_guide_s_example_is_taken_as_it_stands() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert Statement.model_validate_json(example).digitization_units == 1


def test_nothing_is_stated_until_somebody_does() -> None:
    told = ScanRecord(from_file=file_part()).as_json()
    stated = {name: told[name] for name in Statement.model_fields}
    flat = [
        value
        for field in stated.values()
        for value in (field.values() if isinstance(field, dict) else [field])
    ]
    assert set(flat) == {None}
    assert (told["stated_by"], told["from_file"]["stated_by"]) == ("person", "file")


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ({"acession": "S26-1"}, "acession: no field that a person states"),
        ({"from_file": {"format": "png"}}, "from_file: no field that a person states"),
        ({"quality_review": {"complete": True}}, "quality_review: no field that a person states"),
        ({"revision": 7}, "revision: no field that a person states"),
        ({"digitized": {"colour": "red"}}, "digitized.colour: Extra inputs are not permitted"),
        ({"digitized": {"purpose": "money"}}, "digitized.purpose: Input should be"),
        ({"date_of_service": "yesterday"}, "date_of_service: Input should be a valid date"),
        ({"digitized": {"ended": "2026-11-24T08:20:00"}}, "digitized.ended: Input should have timezone"),
        ({"digitized": {"ended": "2026-11-24T07:00:00Z"}}, "digitized: Value error, digitizing ended before"),
        ({"interpretation": {"digitized": "after"}}, "interpretation.digitized does not fit"),
        ({"interpretation": {"report_says_digital": False}}, "report_statement is given"),
        ({"interpretation": {"clia_number": "12"}}, "interpretation.clia_number: String should match"),
        ({"accession": "a\nb"}, "control characters are not taken"),
        ({"primary_units": 0}, "primary_units: Input should be greater"),
        ({"primary_units": True}, "primary_units: Input should be a valid integer"),
        ({"date_of_service": 1}, "date_of_service: Value error, a date or time is text"),
        ({"digitized": {"started": 1}}, "digitized.started: Value error, a date or time is text"),
        ({"interpretation": {"report_names_system": "yes"}}, "report_names_system: Input should be a valid"),
        ({"instrument": {"accelerating_kv": float("nan")}}, "accelerating_kv: Input should be a finite"),
    ],
)
def test_a_patch_that_states_nothing_known_or_possible_is_refused(patch: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        patched(_kept(a_record()), patch)
    assert says in refused.value.what


def test_a_patch_changes_what_it_names_and_null_takes_it_away() -> None:
    before = _kept(a_record())
    after = patched(before, {"block": "B2", "digitized": {"note": "twice", "operator": None}})
    assert (after.block, after.digitized.note, after.digitized.operator) == ("B2", "twice", None)
    assert after.digitized.ended == before.digitized.ended
    assert differences(before, after) == {
        "block": {"old": "A1", "new": "B2"},
        "digitized.operator": {"old": "Simulated Operator", "new": None},
        "digitized.note": {"old": None, "new": "twice"},
        "quality_review": {"old": before.as_json()["quality_review"], "new": None},
        "earlier_reviews": {"old": [], "new": [before.as_json()["quality_review"]]},
    }
    assert patched(before, {"order": None}).order.necessity is None


RFC_7396_CASES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396_CASES)
def test_patches_merge_as_the_examples_of_rfc_7396_do(target: Any, patch: Any, result: Any) -> None:  # noqa: ANN401
    assert merged(target, patch) == result


def test_a_record_that_is_changed_after_its_review_has_none() -> None:
    signed = reviewed(KeptRecord(), REVIEW)
    assert patched(signed, {"accession": None}) is signed, "nothing changed"
    changed = patched(signed, {"accession": "SIM-2"})
    assert (changed.quality_review, changed.earlier_reviews) == (None, (REVIEW,))
    back = patched(changed, {"accession": None})
    assert (back.quality_review, back.earlier_reviews) == (None, (REVIEW,))


def test_a_second_review_stands_in_place_of_the_first() -> None:
    second = REVIEW.model_copy(update={"complete": False, "revision": 2})
    record = reviewed(reviewed(KeptRecord(), REVIEW), second)
    assert (record.quality_review, record.earlier_reviews) == (second, (REVIEW,))


def test_a_consultation_leaves_the_review_and_is_answered_once() -> None:
    asked = consulted(reviewed(KeptRecord(), REVIEW), ASKED)
    assert consulted(asked, ASKED) is asked
    told = answered(asked, "c-1", ANSWER)
    assert told.quality_review == REVIEW
    assert told.consultations[0].answer == ANSWER
    assert answered(told, "c-1", ANSWER) is told
    with pytest.raises(AnsweredAlready):
        answered(told, "c-1", ANSWER.model_copy(update={"text": "no"}))
    with pytest.raises(NotFound):
        answered(told, "c-2", ANSWER)


@pytest.mark.parametrize(
    ("times", "moment"),
    [
        ({}, None),
        ({"digitized": {"ended": "2026-11-24T08:00:00Z"}}, None),
        (
            {"digitized": {"ended": "2026-11-24T08:00:00Z"}, "interpretation": {"first_interpreted": NOON}},
            "before",
        ),
        (
            {"digitized": {"ended": "2026-11-24T13:00:00Z"}, "interpretation": {"first_interpreted": NOON}},
            "after",
        ),
        ({"interpretation": {"digitized": "after"}}, "after"),
    ],
)
def test_before_or_after_the_first_interpretation_is_as_stated_or_as_the_times_tell(
    times: dict[str, Any], moment: str | None
) -> None:
    assert Statement.model_validate(times).moment == (Moment(moment) if moment else None)


def test_texts_of_the_instrument_are_filed_but_those_that_identify_somebody() -> None:
    made = Acquisition("Titan 3580", "Camera of J. Doe", 5000, 80, "2026-11-24 09:10")
    scale = StatedScale(2.5, 2.5, ScaleOrigin.INSTRUMENT_TAG)
    image = ImageInfo(
        0, (SizePx(8, 6),), 8, 1, Modality.TEM, modality_is_stated=True, scales=(scale,), acquisition=made
    )
    filed = filed_image(image, Modality.TEM, Identity())
    told = filed.acquisition
    assert (told.microscope, told.camera, told.acquired) == ("Titan 3580", None, None)
    assert (told.magnification, told.accelerating_kv) == (5000, 80)
    assert (filed.scales[0].x_nm_per_px, filed.scales[0].origin) == (2.5, ScaleOrigin.INSTRUMENT_TAG)
    kept = filed_image(image, Modality.TEM, Identity((), IdentityPolicy.KEEP, "consented")).acquisition
    assert (kept.camera, kept.acquired) == (made.camera, made.acquired)


GLASS_TO_GRID = a_link(grid_id="G-1")


def test_a_region_leads_over_its_grid_to_the_fields_of_that_grid() -> None:
    glass = a_record(links=[GLASS_TO_GRID, a_link(slide_id="s-3", image=0)])
    fields = [a_record("r-2", grid_or_slide_id="G-1"), a_record("r-3", grid_or_slide_id="G-2")]
    check_links([glass, *fields])
    over_grid, direct = linked_regions([glass, *fields])
    assert (over_grid.box, over_grid.grid_id, over_grid.fields) == (
        BoxPx(10, 10, 20, 20),
        "G-1",
        (("s-2", 0),),
    )
    assert (direct.grid_id, direct.fields) == (None, (("s-3", 0),))


@pytest.mark.parametrize(
    ("links", "says"),
    [
        ([a_link("s-2", grid_id="G-1")], "begins at the record's own slide"),
        ([a_link(slide_id="s-9", image=0)], "no slide s-9"),
        ([a_link(slide_id="s-2", image=1)], "no slide s-2 with an image 1"),
        ([a_link(slide_id="s-1", image=0)], "lead back"),
        ([merged(GLASS_TO_GRID, {"from": {"image": 1}})], "slide s-1 has no image 1"),
        ([merged(GLASS_TO_GRID, {"from": {"box_px": {"x": 81}}})], "does not lie in 100 x 80 px"),
        ([merged(GLASS_TO_GRID, {"from": {"box_px": {"height": 71}}})], "does not lie in 100 x 80 px"),
        ([a_link(grid_id="A1-semithin")], "lead back"),
    ],
)
def test_a_link_out_of_its_image_or_case_or_back_to_itself_is_refused(links: list[Any], says: str) -> None:
    with pytest.raises(LinkInvalid, match=says):
        check_links([a_record(links=links), a_record("r-2", grid_or_slide_id="G-1")])


def test_links_that_make_a_circle_over_other_slides_are_refused() -> None:
    circle = [
        a_record(links=[a_link("s-1", slide_id="s-2", image=0)]),
        a_record("r-2", grid_or_slide_id=None, links=[a_link("s-2", grid_id="G-1")]),
        a_record("r-3", grid_or_slide_id="G-1", links=[a_link("s-3", slide_id="s-1", image=0)]),
    ]
    check_links(circle[:2])
    with pytest.raises(LinkInvalid, match="lead back"):
        check_links(circle)


@pytest.mark.parametrize(
    "to", [{"grid_id": "G", "slide_id": "s-2", "image": 0}, {"slide_id": "s-2"}, {"image": 0}, {}]
)
def test_a_link_leads_to_one_thing_and_names_it_whole(to: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="leads to a grid_id"):
        a_record(links=[a_link(**to)])


def test_the_complete_record_of_these_tests_leaves_no_field_out() -> None:
    assert COMPLETE.keys() >= Statement.model_fields.keys() - {"instrument", "coder"}


def _kept(record: ScanRecord) -> KeptRecord:
    return KeptRecord(**{name: getattr(record, name) for name in KeptRecord.model_fields})
