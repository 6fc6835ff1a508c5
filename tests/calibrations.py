"""Simulated calibration records: their CSV, one of them as JSON, and as a type."""

from ultraread.datasets.calibration import CalibrationRecord

RECORD: dict[str, object] = {
    "microscope": "JEM-1400",
    "camera": "Veleta",
    "magnification": 6500,
    "nm_per_px": 5.962,
    "tolerance": 0.016,
    "date": "2026-01-05",
    "standard": "catalase crystal",
    "expires": "2027-01-05",
    "by": "A. Keller",
}
CSV = """\
microscope,camera,magnification,nm_per_px,tolerance,date,standard,expires,by
JEM-1400,Veleta,6500,5.962,0.016,2026-01-05,catalase crystal,2027-01-05,A. Keller
JEM-1400,Veleta,12000,3.23,0.016,2026-01-05,catalase crystal,2027-01-05,A. Keller
"""


def record(**changed: object) -> CalibrationRecord:
    return CalibrationRecord.model_validate({**RECORD, **changed})
