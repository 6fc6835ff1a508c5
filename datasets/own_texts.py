"""What `ultraread convert` writes of itself, in a form that is known again: it is computed, not assigned."""

import re
import uuid
from collections.abc import Iterator
from hashlib import sha256
from itertools import count, islice

SHA256 = re.compile("[0-9a-f]{64}")
SOURCE_SHA256 = "source_sha256"
"""The key of the source's digest in the annotations of an OME-TIFF."""
DERIVATION = re.compile(
    r"source sha256 [0-9a-f]{64}, image \d{1,5}(?:; nm/px from [a-z_]{1,40}, tolerance [\d.e+-]{1,24})?"
)
"""The text of a DICOM copy without the reason that somebody stated for its scale."""
MOST_UIDS = 64
"""Study, series, frame of reference and one a level."""


def uids_of(told: str) -> Iterator[str]:
    """UIDs of ISO/IEC 9834-8 (root 2.25) that follow from what is written: the same slide, the same bytes."""
    for number in count():
        digest = sha256(f"{told} {number}".encode()).digest()
        yield f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def own_uids(derivation: str) -> frozenset[str]:
    """Those of a copy that states this derivation; none where it is not of the form that we write."""
    return frozenset(islice(uids_of(derivation), MOST_UIDS)) if DERIVATION.match(derivation) else frozenset()
