"""Scan records that tests of the record and of its rules start from. All are simulated; nobody is meant."""

from datetime import UTC, date, datetime
from typing import Any

from ultraread.datasets.scan_record.changes import merged
from ultraread.datasets.scan_record.record import FiledImage, FromFile, ScanRecord
from ultraread.datasets.slide import Modality

A_DIGEST = "a" * 64
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
COMPLETE: dict[str, Any] = {
    "accession": "SIM-26-1",
    "specimen": "kidney",
    "specimen_id": "A",
    "block": "A1",
    "grid_or_slide_id": "A1-semithin",
    "digitized": {
        "object": "semithin_glass",
        "capture_mode": "whole_slide",
        "purpose": "primary",
        "operator": "Simulated Operator",
        "started": "2026-11-24T08:00:00Z",
        "ended": "2026-11-24T08:20:00Z",
    },
    "primary_procedure": "88348",
    "primary_units": 1,
    "date_of_service": "2026-11-24",
    "digitization_units": 1,
    "interpretation": {
        "physician": "Simulated Physician",
        "place": "Simulated Laboratory",
        "place_kind": "clia_laboratory",
        "clia_number": "00D0000000",
        "first_interpreted": "2026-11-24T10:00:00Z",
        "digitized": "before",
        "read_order": "sequential",
        "report_says_digital": True,
        "report_names_system": True,
        "report_statement": "Read digitally from images of the simulated scanner.",
    },
    "order": {"order": "EM of the biopsy", "necessity": "nephritis of unknown type", "payer_policy": "none"},
    "quality_review": {
        "who": "Simulated Reviewer",
        "at": "2026-11-24T11:00:00Z",
        "complete": True,
        "why": "all fields compared with the requisition",
        "revision": 1,
    },
}
"""What people state of a digitization that speaks for the code in every rule."""


def file_part(images: int = 1, width_px: int = 100, height_px: int = 80) -> FromFile:
    """What a simulated file tells."""
    planes = tuple(
        FiledImage(
            index=index, width_px=width_px, height_px=height_px, bit_depth=8, modality=Modality.SEMITHIN_LIGHT
        )
        for index in range(images)
    )
    return FromFile(format="tiff", sha256=A_DIGEST, files=(), image_count=images, images=planes)


def a_record(record_id: str = "r-1", base: dict[str, Any] | None = None, **changes: Any) -> ScanRecord:  # noqa: ANN401
    """A record that is complete but for the changes, a merge patch; its slide is `s-` and its own number."""
    stated = merged(COMPLETE if base is None else base, changes)
    ids = {"id": record_id, "slide_id": f"s-{record_id.removeprefix('r-')}", "case_id": "C-1", "revision": 2}
    return ScanRecord.model_validate({**stated, **ids, "from_file": file_part().as_json()})


def a_link(from_slide: str = "s-1", **to: Any) -> dict[str, Any]:  # noqa: ANN401
    """A link from a region of the slide to a grid_id, or to slide_id and image."""
    return {
        "from": {"slide_id": from_slide, "image": 0, "box_px": {"x": 10, "y": 10, "width": 20, "height": 20}},
        "to": to,
        "relation": "region_on_grid" if "grid_id" in to else "field_of_region",
        "who": "Simulated Technologist",
    }


A_DATE = date(2026, 11, 24)
