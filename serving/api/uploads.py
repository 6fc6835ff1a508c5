"""Files in, part by part."""

import base64
import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse

from ultraread.errors import RequestInvalid, UploadTooLarge
from ultraread.serving.api.bodies import NewUpload, Upload
from ultraread.serving.api.once import Once
from ultraread.serving.api.service import InService
from ultraread.serving.store.idempotency import Answer
from ultraread.serving.store.uploads import Part

LARGEST_PART = 32 * 2**20
"""Bytes; a part is held in memory while it is written."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
_SHA_256 = re.compile(r"(?:^|[,\s])sha-256=:([A-Za-z0-9+/]{43}=):")

router = APIRouter(tags=["slides in"])


@router.post("/v1/uploads", status_code=201, response_model=Upload)
def open_upload(wanted: NewUpload, service: InService, once: Once) -> JSONResponse:
    """Announce a file; its parts go to the address in `Location`."""

    def create(upload_id: str) -> Answer:
        row = service.uploads.open(upload_id, wanted.file_name, wanted.bytes)
        return Answer(201, f"/v1/uploads/{row.id}", Upload.model_validate(row).model_dump(mode="json"))

    return once(wanted, create)


@router.get("/v1/uploads/{upload_id}")
def show_upload(upload_id: str, service: InService) -> Upload:
    """Say how many bytes are there: go on from `received`."""
    return Upload.model_validate(service.uploads.find(upload_id))


async def _body(request: Request) -> bytes:
    """The part's bytes; never more than LARGEST_PART of them in memory."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > LARGEST_PART:
            raise UploadTooLarge(f"a part has at most {LARGEST_PART} bytes", "Send smaller parts.")
    return bytes(data)


@router.put("/v1/uploads/{upload_id}")
def put_part(
    upload_id: str,
    service: InService,
    data: Annotated[bytes, Depends(_body)],
    content_range: Annotated[str, Header()],
    repr_digest: Annotated[str | None, Header()] = None,
) -> Upload:
    """Take the next part. `Content-Range: bytes first-last/total`; `Repr-Digest`: of the whole file."""
    part = _part(content_range, data)
    return Upload.model_validate(service.uploads.put(upload_id, part, _sha256(repr_digest)))


def _part(content_range: str, data: bytes) -> Part:
    stated = _CONTENT_RANGE.fullmatch(content_range)
    if stated is None:
        raise RequestInvalid("Content-Range has to be `bytes first-last/total`")
    first, last, total = (int(number) for number in stated.groups())
    if last - first + 1 != len(data) or last >= total:
        raise RequestInvalid(f"Content-Range says {content_range}, the part has {len(data)} bytes")
    return Part(first, total, data)


def _sha256(repr_digest: str | None) -> bytes | None:
    if repr_digest is None:
        return None
    stated = _SHA_256.search(repr_digest)
    if stated is None:
        raise RequestInvalid("Repr-Digest has to hold `sha-256=:<base64>:`")
    return base64.b64decode(stated[1])
