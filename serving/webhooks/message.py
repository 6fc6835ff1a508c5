"""What a webhook is told of a read: ids, state and digests; of the patient nothing, of the case its id."""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath

from ultraread.serving.store.tables import Json, ReadRow

READ_ENDED = "read.ended"
TEST = "test"


def of_read(delivery_id: str, read: ReadRow, files: Sequence[Json], *, with_case: bool) -> bytes:
    """The same bytes at every attempt. `files`: those of the result, as they are stored."""
    told: Json = {
        "type": READ_ENDED,
        "delivery_id": delivery_id,
        "research_use_only": True,
        "read_id": read.id,
        "state": read.state,
        "code": read.error_code,
        "ended": read.ended,
        "findings": _findings(files),
        "link": f"/v1/reads/{read.id}",
    }
    return _bytes(told | ({"case_id": read.case_id} if with_case else {}))


def of_test(delivery_id: str) -> bytes:
    return _bytes({"type": TEST, "delivery_id": delivery_id, "research_use_only": True})


def _findings(files: Sequence[Json]) -> list[Json]:
    """[{slide_id, sha256}] of each findings.json."""
    found = [(PurePosixPath(file["name"]), file["sha256"]) for file in files]
    return [
        {"slide_id": name.parent.name, "sha256": sha256}
        for name, sha256 in sorted(found)
        if name.name == "findings.json"
    ]


def _bytes(told: Json) -> bytes:
    return json.dumps(told, sort_keys=True).encode()
