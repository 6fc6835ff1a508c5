"""ETag and If-Match (RFC 9110, 8.8.3 and 13.1.1): a change says which revision it is made for."""

import re
from typing import Annotated

from fastapi import Depends, Header

from ultraread.errors import PreconditionFailed, PreconditionRequired

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="The ETag of what is changed.", max_length=200),
]

_STRONG_TAG = re.compile(r'\s*"(\d{1,18})"\s*')


def etag(revision: int) -> str:
    """The strong entity tag of a revision."""
    return f'"{revision}"'


def _seen_revision(if_match: IfMatch = None) -> int:
    """The revision that If-Match names.

    Raises PreconditionRequired without one (`*` names none), PreconditionFailed where it is no tag of ours.
    """
    if if_match is None or if_match.strip() in {"", "*"}:
        raise PreconditionRequired("If-Match names no revision")
    tag = _STRONG_TAG.fullmatch(if_match)
    if tag is None:
        raise PreconditionFailed("If-Match is not an ETag that was given for this")
    return int(tag.group(1))


SeenRevision = Annotated[int, Depends(_seen_revision)]
