"""Files in, part by part: in any order, several at once."""

import base64
import hashlib
import re
import tempfile
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from ultraread.errors import RequestInvalid, UploadChecksumMismatch, UploadTooLarge
from ultraread.serving.api.bodies import NewUpload, Page, Sha256, Upload, upload_shown
from ultraread.serving.api.once import Once
from ultraread.serving.api.service import InService
from ultraread.serving.store.idempotency import Answer
from ultraread.serving.store.uploads import PIECE_BYTES, Part

LARGEST_PART = 32 * 2**20
"""Bytes. A part that breaks off is sent again from its start."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,16})-(\d{1,16})/(\d{1,16})")
_SHA_256 = re.compile(r"(?:^|[,\s])sha-256=:([A-Za-z0-9+/]{43}=):")
_PART_IS_BYTES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(tags=["slides in"])


@router.post("/v1/uploads", status_code=201, response_model=Upload)
def open_upload(wanted: NewUpload, service: InService, once: Once) -> JSONResponse:
    """Announce a file; its parts go to the address in `Location`."""

    def create(upload_id: str) -> Answer:
        row = service.uploads.open(upload_id, wanted.file_name, wanted.bytes, wanted.sha256)
        return Answer(201, f"/v1/uploads/{row.id}", upload_shown(row).model_dump(mode="json"))

    return once(wanted, create)


@router.get("/v1/uploads")
def find_uploads(sha256: Annotated[Sha256, Query()], service: InService) -> Page[Upload]:
    """Uploads that were announced with this sha256 and are not filed yet: go on with one of them."""
    found = service.uploads.of_digest(sha256)
    return Page[Upload](items=[upload_shown(row) for row in found], next_cursor=None)


@router.get("/v1/uploads/{upload_id}")
def show_upload(upload_id: str, service: InService) -> Upload:
    """Say which bytes are there and which are `missing`: send those."""
    return upload_shown(service.uploads.find(upload_id))


@router.delete("/v1/uploads/{upload_id}", status_code=204, response_class=Response)
def drop_upload(upload_id: str, service: InService) -> None:
    """Throw an upload away."""
    service.uploads.drop(service.uploads.find(upload_id))


@router.put("/v1/uploads/{upload_id}", openapi_extra=_PART_IS_BYTES)
async def put_part(
    upload_id: str,
    request: Request,
    service: InService,
    content_range: Annotated[str, Header()],
    content_digest: Annotated[str | None, Header()] = None,
    repr_digest: Annotated[str | None, Header()] = None,
) -> Upload:
    """Take a part, in any order: `Content-Range: bytes first-last/total`, at most 32 MiB.

    `Content-Digest: sha-256=:<base64>:` is of the part; `Repr-Digest`, with any part, of the whole file.
    """
    start, count, total = _range(content_range)
    of_part, of_whole = _sha256(content_digest), _sha256(repr_digest)
    await run_in_threadpool(service.uploads.find, upload_id)
    with tempfile.TemporaryFile(dir=service.settings.uploads_dir) as staged:
        found = await _staged(request, staged, count)
        if of_part not in {None, found}:
            raise UploadChecksumMismatch("the part's sha256 is not the one stated")
        part = Part(start, total, count, staged)
        return upload_shown(await run_in_threadpool(service.uploads.put, upload_id, part, of_whole))


async def _staged(request: Request, staged: BinaryIO, count: int) -> str:
    """Write the body down, PIECE_BYTES of it in memory at a time; return its sha256.

    Raises RequestInvalid where it is longer or shorter than it says.
    """
    digest, received, waiting = hashlib.sha256(), 0, bytearray()
    async for piece in request.stream():
        received += len(piece)
        if received > count:
            break
        waiting += piece
        if len(waiting) >= PIECE_BYTES:
            await run_in_threadpool(_append, staged, digest, bytes(waiting))
            waiting.clear()
    if received != count:
        raise RequestInvalid(f"Content-Range says {count} bytes, and the part has others")
    await run_in_threadpool(_append, staged, digest, bytes(waiting))
    return digest.hexdigest()


def _append(staged: BinaryIO, digest: "hashlib._Hash", piece: bytes) -> None:
    digest.update(piece)
    staged.write(piece)
    staged.flush()


def _range(content_range: str) -> tuple[int, int, int]:
    """Start, bytes of the part, bytes of the whole."""
    stated = _CONTENT_RANGE.fullmatch(content_range)
    if stated is None:
        raise RequestInvalid("Content-Range has to be `bytes first-last/total`")
    first, last, total = (int(number) for number in stated.groups())
    if not first <= last < total:
        raise RequestInvalid(f"Content-Range says {content_range}")
    if last - first + 1 > LARGEST_PART:
        raise UploadTooLarge(f"a part has at most {LARGEST_PART} bytes", "Send smaller parts.")
    return first, last - first + 1, total


def _sha256(digest: str | None) -> str | None:
    """In hex, of a field of RFC 9530."""
    if digest is None:
        return None
    stated = _SHA_256.search(digest)
    if stated is None:
        raise RequestInvalid("Content-Digest and Repr-Digest have to hold `sha-256=:<base64>:`")
    return base64.b64decode(stated[1]).hex()
