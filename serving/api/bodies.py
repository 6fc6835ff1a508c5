"""What requests and answers hold. Unknown fields are refused: a misspelt one would be silently left out."""

import datetime as dt
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from ultraread.datasets.identity.found import Identity, IdentityPolicy
from ultraread.datasets.plain_text import Id, Line, plain
from ultraread.datasets.scan_record.record import ScanRecord
from ultraread.datasets.scan_record.statement import Statement
from ultraread.models.promotion import Alias
from ultraread.serving.model_registry import Standing
from ultraread.serving.store.ranges import gaps
from ultraread.serving.store.stored_name import stored_name
from ultraread.serving.store.tables import Priority, ReadRow, SlideRow, UploadRow
from ultraread.serving.store.uploads import ranges_of

LONGEST_FILE_NAME = 200
"""Bytes, with the folders inside the slide; file systems take 255."""
DEEPEST_FILE = 16
MOST_FILES = 50_000
"""Of one slide: an OME-Zarr has one for each chunk."""


def _file_name(name: str) -> str:
    """A name inside the slide, `/` between its folders; files are kept by number, so it is never a path."""
    parts = name.split("/")
    if "\\" in name or len(parts) > DEEPEST_FILE or any(part in {"", ".", ".."} for part in parts):
        raise ValueError("a file name is relative, inside the slide, with / between folders")
    if len(name.encode()) > LONGEST_FILE_NAME:
        raise ValueError(f"a file name has at most {LONGEST_FILE_NAME} bytes")
    return name


FileName = Annotated[str, Field(min_length=1), AfterValidator(plain), AfterValidator(_file_name)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ModelRef = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*(/\d+\.\d+\.\d+|@[a-z]+)?$")]
Pixels = Annotated[int, Field(ge=0, le=2**31)]


class Body(BaseModel):
    """Base of requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NewUpload(Body):
    """A file that will be sent in parts; with its sha256, it is held to it when all parts are there."""

    file_name: FileName
    bytes: Annotated[int, Field(ge=0, le=2**50)]
    sha256: Sha256 | None = None


class StatedIdentity(Body):
    """What is to become of patient names, dates and the like in this slide; the reason is told with it."""

    policy: IdentityPolicy
    reason: Line | None = None


class NewSlide(Statement):
    """Uploads that together are one slide, the first is the one that is opened; what is stated of it.

    In their place, `url`: an s3:// address, of an object or of a folder that is one slide, below those that
    the operator has listed. `sha256` is what the slide has to have: of its one file, or of the sorted list of
    the files' digests, each followed by a newline.
    """

    upload_ids: Annotated[tuple[Id, ...], Field(max_length=MOST_FILES)] = ()
    url: Annotated[str, Field(max_length=2000)] | None = None
    sha256: Sha256 | None = None
    case_id: Id | None = None
    identity: StatedIdentity | None = None

    @model_validator(mode="after")
    def _uploads_or_url(self) -> Self:
        if bool(self.upload_ids) == (self.url is not None):
            raise ValueError("give upload_ids or url, one of them")
        return self

    @property
    def statement(self) -> Statement:
        return Statement(**{name: getattr(self, name) for name in Statement.model_fields})


class NewCase(Body):
    """A case; without an id it gets one."""

    id: Id | None = None


class Region(Body):
    """A box in level-0 pixels."""

    x: Pixels
    y: Pixels
    width: Annotated[Pixels, Field(gt=0)]
    height: Annotated[Pixels, Field(gt=0)]


class OperatorScale(Body):
    """A pixel size that a person states, with where it is from."""

    nm_per_px: Annotated[float, Field(gt=0)]
    tolerance: Annotated[float, Field(ge=0, lt=1, description="Relative: 0.05 is 5 %.")] = 0.05
    reason: Line


class Instrument(Body):
    """What made the images, where the files do not say it, or as the calibration records call it."""

    microscope: Annotated[str, Field(max_length=200), AfterValidator(plain)] = ""
    camera: Annotated[str, Field(max_length=200), AfterValidator(plain)] = ""
    magnification: Annotated[float, Field(gt=0)] | None = None


class ReadPolicy(Body):
    """How pressing a read is, and when nobody needs it any more: it ends as failed then."""

    priority: Priority = Priority.ROUTINE
    finish_by: AwareDatetime | None = None

    @field_validator("finish_by")
    @classmethod
    def _in_utc(cls, moment: dt.datetime | None) -> dt.datetime | None:
        try:
            return moment and moment.astimezone(dt.UTC)
        except OverflowError as far:
            raise ValueError("too far away") from far


class NewRead(Body):
    """Slides, or all slides of a case, to be read by a model.

    Calibration records count by the day on which an image was made; where the file does not tell it, by
    `as_of`: today, unless you state another day.
    """

    slide_ids: Annotated[tuple[Id, ...], Field(max_length=1000)] = ()
    case_id: Id | None = None
    model: ModelRef | None = None
    region: Region | None = None
    scale: OperatorScale | None = None
    instrument: Instrument | None = None
    as_of: dt.date | None = None
    contrast_confirmed: Line | None = Field(
        default=None, description="Why an image that looks like a negative is none; no patient data."
    )
    policy: ReadPolicy = ReadPolicy()

    @model_validator(mode="after")
    def _slides_or_case(self) -> Self:
        if bool(self.slide_ids) == (self.case_id is not None):
            raise ValueError("give slide_ids or case_id, one of them")
        if len(set(self.slide_ids)) != len(self.slide_ids):
            raise ValueError("a slide is named twice")
        return self


class NewAlias(Body):
    """Where an alias shall point, and why; the audit trail keeps the reason. No patient data."""

    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    reason: Line


class Withdrawal(Body):
    """Why a version is withdrawn; no patient data."""

    reason: Line


class Shown(BaseModel):
    """Base of answers; made from rows."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


Span = Annotated[list[int], Field(min_length=2, max_length=2)]
"""[start, end); no tuple, whose schema some programs that test by it take for an invalid one."""


class Upload(Shown):
    """How far an upload is: `ranges` [start, end) are there, `missing` are not."""

    id: str
    file_name: str
    bytes: int
    received: int
    """Bytes that are there from the start on, up to the first gap."""
    ranges: list[Span]
    missing: list[Span]
    sha256: str | None
    created: str


class Slide(Shown):
    """A filed slide."""

    id: str
    sha256: str
    bytes: int
    format: str
    files: list[dict[str, Any]]
    """Called as they are kept, `0.tif`; by their own names where identity is kept."""
    images: list[dict[str, Any]]
    identity: dict[str, Any]
    """{policy, reason, found [{where, kind, image, box}]}: never what was found."""
    created: str


class FiledSlide(Slide):
    """A slide that was just filed."""

    scan_record_id: str


class Case(Shown):
    """A case and its slides, in the order in which they were filed."""

    id: str
    slide_ids: list[str]
    created: str


class ShownScanRecord(ScanRecord):
    """One digitization, with the model version and MLflow run of its last read."""

    read_id: str | None
    model_name: str | None
    model_version: str | None
    model_onnx_sha256: str | None
    mlflow_run_id: str | None
    created: str


class ReadError(Shown):
    """Why a read has no result."""

    code: str
    detail: str
    remedy: str


class Read(Shown):
    """A read and how far it is."""

    id: str
    state: Literal["queued", "running", "succeeded", "partial", "failed", "cancelled"]
    research_use_only: Literal[True] = True
    case_id: str | None
    slide_ids: list[str]
    model: dict[str, str]
    region: dict[str, int] | None
    scale: dict[str, Any] | None
    instrument: dict[str, Any] | None = None
    as_of: str | None = None
    calibrations_upto: int | None = None
    tiles_total: int
    tiles_done: int
    ranges_done: int
    priority: Priority
    finish_by: str | None
    cancel_requested: bool
    error: ReadError | None
    mlflow_run_id: str | None
    created: str
    started: str | None
    ended: str | None


class AuditEvent(Shown):
    """Who did what to which subject, and why. `sequence` counts 1, 2, 3 ... in the site, without a gap.

    `hash` is the sha256 of the canonical JSON (RFC 8785) of all other fields and the site; `previous` is that
    of the event before. `sealed` events came into the chain after they were written.
    """

    sequence: int
    at: str
    who: str
    what: str
    subject: str
    why: str
    detail: dict[str, Any]
    old: Any
    new: Any
    sealed: bool
    previous: str
    hash: str


class Model(Shown):
    """A registered model version, with its whole card; the default is what a read without `model` takes.

    Where its files are damaged, `damaged` is the code of what is wrong, and there is no card.
    """

    name: str
    version: str
    onnx_sha256: str
    card_sha256: str
    is_default: bool
    aliases: list[Alias]
    withdrawn: str | None
    withdrawn_reason: str | None
    damaged: str | None
    card: dict[str, Any] | None


class PassedGate(Shown):
    """One condition of a promotion, and what was found."""

    name: str
    passed: bool
    told: str


class Promoted(Shown):
    """An alias that points to a version now."""

    model: Model
    alias: Alias
    gates: list[PassedGate]


class TouchedRead(Shown):
    """A read that was asked of a withdrawn version, whatever became of it."""

    id: str
    state: str
    case_id: str | None


class Withdrawn(Shown):
    """A version that nothing new is read with, and the reads that were."""

    model: Model
    reads: list[TouchedRead]


Item = TypeVar("Item", bound=BaseModel)


class Page(Shown, Generic[Item]):
    """Part of a list; ask again with `cursor` = `next_cursor` until that is null."""

    items: list[Item]
    next_cursor: str | None


def read_shown(row: ReadRow) -> Read:
    """A row as people see it: without owner, lease and paths."""
    model = {
        "name": row.model_name,
        "version": row.model_version,
        "onnx_sha256": row.model_onnx_sha256,
        "card_sha256": row.model_card_sha256,
    }
    columns = {name: getattr(row, name) for name in Read.model_fields if hasattr(row, name)}
    return Read.model_validate(columns | row.request | {"model": model, "error": _error_shown(row)})


def upload_shown(row: UploadRow) -> Upload:
    """A row as people see it."""
    there = ranges_of(row)
    columns = {name: getattr(row, name) for name in Upload.model_fields if hasattr(row, name)}
    return Upload.model_validate(columns | {"ranges": there, "missing": gaps(there, 0, row.bytes)})


def slide_shown(row: SlideRow) -> Slide:
    """A row as people see it: with the names of its files only where identity is kept."""
    identity = Identity.from_json(row.identity)
    called = [
        file["name"] if identity.keeps_names else stored_name(n, file["name"])
        for n, file in enumerate(row.files)
    ]
    files = [{**file, "name": name} for file, name in zip(row.files, called, strict=True)]
    columns = {name: getattr(row, name) for name in Slide.model_fields}
    return Slide.model_validate(columns | {"files": files, "identity": identity.as_json()})


def model_shown(one: Standing, default_name: str) -> Model:
    row = one.row
    return Model(
        name=row.name,
        version=row.version,
        onnx_sha256=row.onnx_sha256,
        card_sha256=row.card_sha256,
        is_default=row.name == default_name and Alias.CHAMPION in one.aliases,
        aliases=list(one.aliases),
        withdrawn=row.withdrawn,
        withdrawn_reason=row.withdrawn_reason,
        damaged=one.damaged,
        card=one.model.card.model_dump(mode="json") if one.model else None,
    )


def _error_shown(row: ReadRow) -> ReadError | None:
    if row.error_code is None:
        return None
    return ReadError(code=row.error_code, detail=row.error_what or "", remedy=row.error_remedy or "")
