"""Write the published JSON schemas from their types: python -m ultraread.serving.schemas."""

import json
from pathlib import Path

from ultraread.datasets.manifest import manifest_schema
from ultraread.datasets.scan_record.record import scan_record_schema
from ultraread.models.card import card_schema
from ultraread.serving.findings import CaseFindings, SlideFindings, findings_schema

SCHEMAS = Path(__file__).parent
CARD_SCHEMA = SCHEMAS.parents[1] / "models" / "card.schema.json"
MANIFEST_SCHEMA = SCHEMAS.parents[1] / "datasets" / "manifest.schema.json"
SCAN_RECORD_SCHEMA = SCHEMAS.parents[1] / "datasets" / "scan_record.schema.json"


def main() -> None:
    """Write each schema, indented."""
    for path, schema in (
        (SCHEMAS / "findings.schema.json", findings_schema(SlideFindings)),
        (SCHEMAS / "case.schema.json", findings_schema(CaseFindings)),
        (CARD_SCHEMA, card_schema()),
        (MANIFEST_SCHEMA, manifest_schema()),
        (SCAN_RECORD_SCHEMA, scan_record_schema()),
    ):
        path.write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    main()
