"""What a finished read left: files of its result folders, and all of them as one archive."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, StreamingResponse

from ultraread.errors import NotFound, ReadNotFinished, RequestInvalid
from ultraread.serving.api.service import InService, Service
from ultraread.serving.results.case import CASE_FILE
from ultraread.serving.store.records import find
from ultraread.serving.store.stored import refuse_expired
from ultraread.serving.store.tables import ReadRow, ReadState, StoredKind

PIECE_BYTES = 2**20
ALREADY_COMPRESSED = (".tif", ".png")


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file of a slide's result folder and the address it is served at."""

    address: str
    name: str
    media_type: str


RESULT_FILES = (
    ResultFile("tiles.csv", "tiles.csv", "text/csv; charset=utf-8"),
    ResultFile("overlay.geojson", "overlay.geojson", "application/geo+json"),
    ResultFile("heatmap", "heatmap.png", "image/png"),
    ResultFile("thumbnail", "thumbnail.png", "image/png"),
    ResultFile("patch-map", "patch_map.ome.tif", "image/tiff"),
    ResultFile("provenance", "provenance.json", "application/json"),
)


def results_router() -> APIRouter:
    """One route a file; of a read of several slides, `slide` says which."""
    router = APIRouter(tags=["reads"])
    router.add_api_route("/v1/reads/{read_id}/findings", findings, response_class=FileResponse)
    router.add_api_route("/v1/reads/{read_id}/bundle.zip", bundle, response_class=StreamingResponse)
    for file in RESULT_FILES:
        path = f"/v1/reads/{{read_id}}/{file.address}"
        router.add_api_route(path, _sender(file), response_class=FileResponse, name=file.address)
    return router


def findings(read_id: str, service: InService, slide: str | None = None) -> FileResponse:
    """Findings of a slide (findings.json); of a case, where no slide is named (case.json)."""
    row = _finished(service, read_id)
    of_case = service.settings.result_dir(row.id, row.epoch) / CASE_FILE
    if slide is None and of_case.is_file():
        return FileResponse(of_case, media_type="application/json")
    return _send(service, row, slide, ResultFile("findings", "findings.json", "application/json"))


def bundle(read_id: str, service: InService) -> StreamingResponse:
    """All result folders of the read as a zip archive, made while it is sent."""
    row = _finished(service, read_id)
    headers = {"Content-Disposition": f'attachment; filename="{row.id}.zip"'}
    pieces = zipped(service.settings.result_dir(row.id, row.epoch))
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


def zipped(folder: Path) -> Iterator[bytes]:
    """The tree below `folder` as a zip archive, piece by piece; the same tree gives the same bytes."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = _entry(path, folder)
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as member:
                while piece := source.read(PIECE_BYTES):
                    member.write(piece)
                    yield sink.take()
    yield sink.take()


def _sender(file: ResultFile) -> Callable[..., FileResponse]:
    def send(read_id: str, service: InService, slide: str | None = None) -> FileResponse:
        return _send(service, _finished(service, read_id), slide, file)

    send.__doc__ = f"{file.name} of a slide."
    return send


def _send(service: Service, row: ReadRow, slide: str | None, file: ResultFile) -> FileResponse:
    path = service.settings.result_dir(row.id, row.epoch) / _slide_of(row, slide) / file.name
    if not path.is_file():
        raise NotFound(f"this read has no {file.name}", "The model's card says what it gives.")
    return FileResponse(path, media_type=file.media_type)


def _slide_of(row: ReadRow, slide: str | None) -> str:
    if slide is None and len(row.slide_ids) > 1:
        raise RequestInvalid(f"the read has {len(row.slide_ids)} slides", "Name one with ?slide=ID.")
    if slide is not None and slide not in row.slide_ids:
        raise NotFound(f"read {row.id} has no slide {slide}")
    return slide or row.slide_ids[0]


def _finished(service: Service, read_id: str) -> ReadRow:
    with service.store.reading() as session:
        row = find(session, ReadRow, read_id)
        refuse_expired(session, StoredKind.RESULT, read_id)
    if not ReadState(row.state).has_result:
        ended = "It gives no result; request it again." if ReadState(row.state).has_ended else ""
        raise ReadNotFinished(f"read {row.id} is {row.state}", ended)
    return row


def _entry(path: Path, folder: Path) -> zipfile.ZipInfo:
    """Dated 1980: names and content alone decide the archive's bytes."""
    entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
    compressed = path.suffix in ALREADY_COMPRESSED
    entry.compress_type = zipfile.ZIP_STORED if compressed else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


class _Sink:
    """A file that forgets what was taken from it; without `seek`, so the archive is written straight on."""

    def __init__(self) -> None:
        self._pieces = bytearray()

    def write(self, piece: bytes) -> int:
        self._pieces += piece
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        taken = bytes(self._pieces)
        self._pieces.clear()
        return taken
