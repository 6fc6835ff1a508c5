"""Talk to a running service. Its problems come back as our errors, so a command line tells them alike."""

import base64
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import httpx

from ultraread.errors import (
    CaseExists,
    OutputExists,
    RequestInvalid,
    UltraReadError,
    Unavailable,
    error_of_code,
)
from ultraread.serving.access.own_token import token_for
from ultraread.serving.out_folder import refuse_unwritable
from ultraread.serving.send_file import send_file
from ultraread.serving.storage.durable import full_storage_coded
from ultraread.serving.unpacking import limited, unpack

ENDED = ("succeeded", "partial", "failed", "cancelled")
POLL_S = 1.0
TIMEOUT = httpx.Timeout(30, read=600)
"""Seconds. Filing a slide answers when all of it is digested, which takes minutes for the largest."""

Json = dict[str, Any]
BytesSent = Callable[[int, int], None]
"""Called with bytes sent and bytes in all."""
Changed = Callable[[Json], None]
"""Called with the read whenever it changed."""


class Filed(NamedTuple):
    """A slide as the service has it; `is_new` is False where its case had it already, as it stays.

    `same_as`: the slide of the same batch, counted from 1, that has the same bytes and was filed for both.
    """

    slide: Json
    is_new: bool
    same_as: int | None = None


class Client:
    """One service; closed by `with`."""

    def __init__(
        self,
        base_url: str,
        transport: httpx.BaseTransport | None = None,
        *,
        token_file: Path | None = None,
    ) -> None:
        """The token is the file's, or where `token_for` finds one. Raises RequestInvalid for no address."""
        token = token_for(base_url, token_file)
        headers = {"Authorization": f"Bearer {token}"} if token else None
        with _coded_failures():
            self._http = httpx.Client(
                base_url=base_url, timeout=TIMEOUT, transport=transport, headers=headers
            )

    def upload(
        self, path: Path, tell: BytesSent = lambda sent, total: None, file_name: str | None = None
    ) -> str:
        """Send a file in parts, several at once; return the upload's id.

        What an interrupted try has sent is not sent again. Raises UploadChecksumMismatch and others.

        `file_name` is its name inside a slide of several files, with `/` between folders.
        """
        with path.open("rb") as stream:
            return send_file(self, stream, file_name or path.name, tell)

    def announce_upload(self, file_name: str, size: int, sha256: str) -> Json:
        """Open an upload that is held to the digest when all of it is there."""
        return self._post("/v1/uploads", {"file_name": file_name, "bytes": size, "sha256": sha256})

    def uploads(self, sha256: str) -> list[Json]:
        """Those that were announced with this digest and are not filed yet, the newest first."""
        found: list[Json] = self._get("/v1/uploads", {"sha256": sha256})["items"]
        return found

    def put_part(self, upload_id: str, start: int, part: bytes, size: int) -> Json:
        """Send bytes from `start` on, with their digest. Raises UploadConflict, UploadChecksumMismatch."""
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        headers = {
            "Content-Range": f"bytes {start}-{start + len(part) - 1}/{size}",
            "Content-Digest": f"sha-256=:{digest}:",
        }
        with _coded_failures():
            return _answer(self._http.put(f"/v1/uploads/{upload_id}", content=part, headers=headers))

    def file_slide(self, upload_ids: Sequence[str], **stated: Json | str | None) -> Json:
        """File uploads as one slide; `stated`: case_id, identity, and the fields of the scan record."""
        return self.file_or_find(upload_ids, idempotency_key=None, **stated).slide

    def file_or_find(
        self, upload_ids: Sequence[str], *, idempotency_key: str | None = None, **stated: Json | str | None
    ) -> Filed:
        """The same, with whether it was filed now; of a slide that its case has, nothing is applied.

        Under a key, the same uploads are filed once, and every further answer is the first one.
        """
        return self._filed(_given(stated) | {"upload_ids": list(upload_ids)}, idempotency_key)

    def file_from(self, address: str, **stated: Json | str | None) -> Filed:
        """The same of what lies in an object store: the service fetches it. Raises UrlNotAllowed."""
        return self._filed(_given(stated) | {"url": address}, None)

    def slide(self, slide_id: str) -> Json:
        """The slide as it is filed."""
        return self._get(f"/v1/slides/{slide_id}")

    def import_calibrations(self, records: Sequence[Json]) -> list[Json]:
        """Add calibration records; returns them as they are kept. Raises CalibrationInvalid."""
        kept: list[Json] = self._post("/v1/calibrations", {"records": list(records)})["items"]
        return kept

    def calibrations(self) -> list[Json]:
        """All calibration records, in the order in which they came."""
        found: list[Json] = []
        query: Json = {"limit": 500}
        while True:
            page = self._get("/v1/calibrations", query)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            query = query | {"cursor": page["next_cursor"]}

    def scan_record(self, record_id: str) -> Json:
        """The record as it stands, with its `revision`."""
        return self._get(f"/v1/scan-records/{record_id}")

    def scan_records(self, cursor: str | None = None) -> Json:
        """A page of records, newest first."""
        return self._get("/v1/scan-records", _given({"cursor": cursor}))

    def change_scan_record(self, record_id: str, patch: Json, revision: int) -> Json:
        """Merge the patch into that revision. Raises PreconditionFailed where there is a newer one."""
        headers = _for_revision(revision) | {"Content-Type": "application/merge-patch+json"}
        with _coded_failures():
            address = f"/v1/scan-records/{record_id}"
            return _answer(self._http.patch(address, content=json.dumps(patch), headers=headers))

    def review_scan_record(self, record_id: str, review: Json, revision: int) -> Json:
        """Sign that revision; `review`: who, complete, why."""
        address = f"/v1/scan-records/{record_id}/quality-review"
        return self._post(address, review, _for_revision(revision))

    def consult(self, record_id: str, question: Json) -> Json:
        """Note a question: asked_by, asked_of, question, kind."""
        return self._post(f"/v1/scan-records/{record_id}/consultations", question)

    def answer_consultation(self, record_id: str, consultation_id: str, answer: Json) -> Json:
        """Note its answer: who, text."""
        return self._post(f"/v1/scan-records/{record_id}/consultations/{consultation_id}/answer", answer)

    def billing_support(self, record_id: str) -> Json:
        """What the record supports, rule by rule."""
        return self._get(f"/v1/scan-records/{record_id}/billing-support")

    def ensure_case(self, case_id: str) -> None:
        """Open the case unless it is there."""
        try:
            self._post("/v1/cases", {"id": case_id})
        except CaseExists:
            return

    def request_read(self, *, idempotency_key: str | None = None, **wanted: object) -> Json:
        """Ask for a read; `wanted`: slide_ids or case_id, model, region, scale. Raises ReadRefused."""
        return self._post("/v1/reads", _given(wanted), _once(idempotency_key))

    def read(self, read_id: str) -> Json:
        """The read as it stands."""
        return self._get(f"/v1/reads/{read_id}")

    def findings(self, read_id: str, slide_id: str | None = None) -> Json:
        """Findings of a slide, or of the case."""
        return self._get(f"/v1/reads/{read_id}/findings", _given({"slide": slide_id}))

    def cancel(self, read_id: str) -> Json:
        """Ask to stop a read."""
        return self._post(f"/v1/reads/{read_id}/cancel", {})

    def wait(self, read_id: str, tell: Changed = lambda read: None) -> Json:
        """Follow a read to its end and return it, whatever the end is. Polls where events cannot be had."""
        try:
            for read in self._events(read_id):
                tell(read)
                if read["state"] in ENDED:
                    return read
        except Unavailable:
            pass  # the stream broke; asking tells whether the service did
        return self._poll(read_id, tell)

    def fetch(self, read_id: str, out: Path) -> list[Path]:
        """Put the read's result folders into `out`; return them.

        Raises OutputExists, Unavailable, ArchiveUnsafeMember, ArchiveBomb, IntegrityFailed, StorageFull;
        nothing is left in `out` then.
        """
        refuse_unwritable(out)
        with tempfile.TemporaryFile() as archive:
            self._download(f"/v1/reads/{read_id}/bundle.zip", archive)
            return _unpacked(archive, out)

    def add_webhook(self, url: str, *, with_case: bool = False) -> Json:
        """Subscribe to the end of reads; the answer holds the secret. Raises UrlNotAllowed."""
        return self._post("/v1/webhooks", {"url": url, "with_case": with_case})

    def webhooks(self) -> list[Json]:
        """Subscriptions of the site, and how their deliveries went."""
        found: list[Json] = self._get("/v1/webhooks")["items"]
        return found

    def remove_webhook(self, webhook_id: str) -> None:
        """End a subscription. Raises NotFound."""
        with _coded_failures():
            _refuse_problem(self._http.delete(f"/v1/webhooks/{webhook_id}"))

    def test_webhook(self, webhook_id: str) -> Json:
        """Send a test message now. Raises WebhookNotTold."""
        return self._post(f"/v1/webhooks/{webhook_id}/test", {})

    def retry_webhooks(self, webhook_id: str | None = None, read_id: str | None = None) -> int:
        """Send again what was given up; return how many deliveries that are. Raises NotFound."""
        again: int = self._post("/v1/webhooks/retry", {"webhook_id": webhook_id, "read_id": read_id})["again"]
        return again

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _events(self, read_id: str) -> Iterator[Json]:
        with _coded_failures(), self._http.stream("GET", f"/v1/reads/{read_id}/events") as response:
            _refuse_problem(response)
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _poll(self, read_id: str, tell: Changed) -> Json:
        while (read := self.read(read_id))["state"] not in ENDED:
            tell(read)
            time.sleep(POLL_S)
        tell(read)
        return read

    def _download(self, address: str, target: BinaryIO) -> None:
        with _coded_failures(), self._http.stream("GET", address) as response:
            _refuse_problem(response)
            with full_storage_coded("the results"):
                target.writelines(limited(response.iter_bytes()))
                target.flush()

    def _filed(self, body: Json, idempotency_key: str | None) -> Filed:
        with _coded_failures():
            response = self._http.post("/v1/slides", json=body, headers=_once(idempotency_key))
            return Filed(_answer(response), response.status_code == httpx.codes.CREATED)

    def _post(self, address: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Json:
        with _coded_failures():
            return _answer(self._http.post(address, json=body, headers=headers))

    def _get(self, address: str, query: Mapping[str, Any] | None = None) -> Json:
        with _coded_failures():
            return _answer(self._http.get(address, params=query))


def error_of_read(read: Json) -> UltraReadError | None:
    """The error that a failed or cancelled read ended with."""
    error = read["error"]
    return error_of_code(error["code"])(error["detail"], error["remedy"]) if error else None


def _once(idempotency_key: str | None) -> dict[str, str]:
    return {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}


def _for_revision(revision: int) -> dict[str, str]:
    return {"If-Match": f'"{revision}"'}


def _given(stated: Mapping[str, Any]) -> Json:
    return {name: value for name, value in stated.items() if value is not None}


@contextmanager
def _coded_failures() -> Iterator[None]:
    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as failure:
        raise RequestInvalid(f"{failure}".rstrip("."), "Give --url http://HOST:PORT.") from failure
    except httpx.HTTPError as failure:
        raise Unavailable(f"the service does not answer ({type(failure).__name__})") from failure


def _answer(response: httpx.Response) -> Json:
    _refuse_problem(response)
    answer: Json = response.json()
    return answer


def _refuse_problem(response: httpx.Response) -> None:
    """Raise the error that a problem body names."""
    if response.is_success:
        return
    response.read()
    try:
        problem = response.json()
        raise error_of_code(problem["code"])(problem["detail"], problem["remedy"])
    except (ValueError, KeyError, TypeError) as foreign:
        raise Unavailable(f"something else than UltraRead answers ({response.status_code})") from foreign


def _unpacked(archive: BinaryIO, out: Path) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetching-") as staging:
        unpack(archive, Path(staging))
        fetched = sorted(Path(staging).iterdir())
        for path in fetched:
            if (out / path.name).exists():
                raise OutputExists(f"{out / path.name} is there already")
        return [Path(shutil.move(path, out / path.name)) for path in fetched]
