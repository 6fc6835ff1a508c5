"""What is stored. Times are ISO 8601 text in UTC by the database's clock; digests are sha256 in hex."""

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, ForeignKeyConstraint, Index, Integer
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ultraread.serving.store.clock import steady_now, utc_now

Json = dict[str, Any]

MAIN_SITE = "main"
"""Where everything is filed in an installation of one site."""


class ReadState(StrEnum):
    """Where a read stands; the last four are for good."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        return self not in {ReadState.QUEUED, ReadState.RUNNING}

    @property
    def has_result(self) -> bool:
        return self in {ReadState.SUCCEEDED, ReadState.PARTIAL}


class Priority(StrEnum):
    """What goes first in the queue."""

    ROUTINE = "routine"
    URGENT = "urgent"


class ShadowState(StrEnum):
    """Where the repetition of a read stands; the last three are for good."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    DROPPED = "dropped"
    """Its version is the shadow no more."""


class StoredKind(StrEnum):
    """What is kept with its digests."""

    SLIDE = "slide"
    RESULT = "result"
    RECORD = "record"


class CopyPlace(StrEnum):
    """Which copy: the one that is worked with, or the other one."""

    FIRST = "first"
    SECOND = "second"


class CopyState(StrEnum):
    """What is known of a copy."""

    WAITING = "waiting"
    GOOD = "good"
    BAD = "bad"
    """A file of it is not what its digest says."""
    GONE = "gone"
    """A file of it is not there; of what is expired, that is as it should be."""


class Table(DeclarativeBase):
    """Base of every table."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger().with_variant(Integer(), "sqlite"),  # PostgreSQL's own has 32 bits
        float: Float(),
        Json: JSON(none_as_null=True),
        list[str]: JSON,
        list[Json]: JSON,
        list[list[int]]: JSON,
    }


class SiteOwned:
    """What belongs to one site: a store that is scoped to another one neither finds nor changes it."""

    site: Mapped[str] = mapped_column(default=MAIN_SITE, index=True)


class CaseRow(SiteOwned, Table):
    """One diagnostic question about one patient; two sites may call theirs the same."""

    __tablename__ = "cases"

    site: Mapped[str] = mapped_column(default=MAIN_SITE, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    created: Mapped[str] = mapped_column(default=utc_now())


class SlideRow(SiteOwned, Table):
    """What is opened as one unit, by the first of its `files` [{name, sha256, bytes}]: see `slide_paths`."""

    __tablename__ = "slides"

    id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(index=True)
    bytes: Mapped[int]
    format: Mapped[str]
    files: Mapped[list[Json]]
    images: Mapped[list[Json]]
    looks: Mapped[list[Json]] = mapped_column(default=list)
    """What was found burnt into each image, as `datasets/burnt_in` wrote it."""
    identity: Mapped[Json | None]
    """What identifies somebody, where it was found, and the policy that holds: see `datasets/identity`."""
    created: Mapped[str] = mapped_column(default=utc_now())


class ScanRecordRow(SiteOwned, Table):
    """One digitization, filed, with the model version and MLflow run of its last read."""

    __tablename__ = "scan_records"
    __table_args__ = (ForeignKeyConstraint(["site", "case_id"], ["cases.site", "cases.id"]),)

    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str | None] = mapped_column(index=True)
    slide_id: Mapped[str] = mapped_column(ForeignKey("slides.id"), index=True)
    record: Mapped[Json] = mapped_column(default=dict)
    """What people state, review, ask and link: a `datasets/scan_record` KeptRecord."""
    revision: Mapped[int] = mapped_column(default=1)
    """Rises with every change of `record`."""
    read_id: Mapped[str | None] = mapped_column(ForeignKey("reads.id"))
    model_name: Mapped[str | None]
    model_version: Mapped[str | None]
    model_onnx_sha256: Mapped[str | None]
    mlflow_run_id: Mapped[str | None]
    created: Mapped[str] = mapped_column(default=utc_now())


class ReadRow(SiteOwned, Table):
    """One run of one model version, and who works on it: `epoch` rises with every claim and fences writes."""

    __tablename__ = "reads"
    __table_args__ = (
        ForeignKeyConstraint(["site", "case_id"], ["cases.site", "cases.id"]),
        Index("reads_by_state", "state", "lease"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(default=ReadState.QUEUED.value)
    case_id: Mapped[str | None] = mapped_column(index=True)
    slide_ids: Mapped[list[str]]
    slide_sha256s: Mapped[list[str]]
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_onnx_sha256: Mapped[str]
    model_card_sha256: Mapped[str]
    request: Mapped[Json]
    """{region {x, y, width, height} | null, scale {nm_per_px, tolerance, reason} | null, instrument
    {microscope, camera, magnification} | null, as_of, calibrations_upto, specimens}: the day of the request,
    the last calibration record that it may use, what was stated of the slides' specimens.
    """
    binding: Mapped[Json | None]
    """What checkpoints were made from; a resumed read with another one is refused."""
    tiles_total: Mapped[int] = mapped_column(default=0)
    tiles_done: Mapped[int] = mapped_column(default=0)
    ranges_done: Mapped[int] = mapped_column(default=0)
    error_code: Mapped[str | None]
    error_what: Mapped[str | None]
    error_remedy: Mapped[str | None]
    mlflow_run_id: Mapped[str | None]
    owner: Mapped[str | None]
    epoch: Mapped[int] = mapped_column(default=0)
    lease: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    """Claims since the last progress."""
    priority: Mapped[str] = mapped_column(default=Priority.ROUTINE.value)
    finish_by: Mapped[str | None]
    """When nobody needs the result any more: it ends as failed then."""
    ranges_scored: Mapped[int] = mapped_column(default=0)
    """How often a range was scored and kept, those that were scored twice counted twice."""
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    created: Mapped[str] = mapped_column(default=utc_now())
    started: Mapped[str | None]
    ended: Mapped[str | None]


class CalibrationRow(SiteOwned, Table):
    """A calibration record, as `datasets/calibration` reads it; rows are added, never changed or removed."""

    __tablename__ = "calibrations"
    __table_args__ = ({"sqlite_autoincrement": True},)

    sequence: Mapped[int] = mapped_column(primary_key=True)
    record: Mapped[Json]
    created: Mapped[str] = mapped_column(default=utc_now())


class OutboxRow(Table):
    """What another system has to be told about a read, at least once; `due` is when to try next."""

    __tablename__ = "outbox"

    read_id: Mapped[str] = mapped_column(ForeignKey("reads.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[Json]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    due: Mapped[str] = mapped_column(default=steady_now())
    sent: Mapped[str | None]
    given_up: Mapped[str | None]
    """When it was tried for the last time, in vain."""
    again: Mapped[str | None]
    """When somebody asked to have it tried anew."""


class UploadRow(SiteOwned, Table):
    """A file on its way in: its `ranges` lie, made durable, in uploads_dir/<id>/."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    file_name: Mapped[str]
    bytes: Mapped[int]
    received: Mapped[int] = mapped_column(default=0)
    """Bytes that are there from the start on, up to the first gap: what the first versions knew."""
    ranges: Mapped[list[list[int]]] = mapped_column(default=list)
    """[start, end) of what is there, sorted, with a gap between any two."""
    epoch: Mapped[int] = mapped_column(default=0)
    """Rises when all bytes are thrown away: a writer of an earlier one can note nothing any more."""
    sha256: Mapped[str | None]
    """Of the whole, as its sender stated it."""
    created: Mapped[str] = mapped_column(default=utc_now())
    touched: Mapped[str | None]
    """When a part came last."""


class IdempotencyRow(SiteOwned, Table):
    """A POST under an Idempotency-Key; `status` is empty while it is being answered."""

    __tablename__ = "idempotency_keys"

    site: Mapped[str] = mapped_column(default=MAIN_SITE, primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    subject_id: Mapped[str]
    """Id of what is created, fixed before it is: a repeat after a crash makes no second one."""
    owner: Mapped[str | None]
    """The worker that answers it."""
    status: Mapped[int | None]
    location: Mapped[str | None]
    body: Mapped[Json | None]
    created: Mapped[str] = mapped_column(default=utc_now())


class ModelRow(Table):
    """A model by its name. `revision` rises with every change; MLflow has heard of them up to `told`."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(default=0)
    told: Mapped[int] = mapped_column(default=0)


class ModelVersionRow(Table):
    """A registered version; its files lie in models_dir/<name>/<version>/ and never change."""

    __tablename__ = "model_versions"

    name: Mapped[str] = mapped_column(ForeignKey("models.name"), primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    onnx_sha256: Mapped[str]
    card_sha256: Mapped[str]
    evaluation_sha256: Mapped[str | None]
    withdrawn: Mapped[str | None]
    """When; nothing new is read with it since."""
    withdrawn_reason: Mapped[str | None]
    created: Mapped[str] = mapped_column(default=utc_now())

    @property
    def ref(self) -> str:
        return f"{self.name}/{self.version}"


class AliasChangeRow(Table):
    """An alias from now on points to `version`, or to none; the last row of an alias is what holds.

    `before` is the change that a rollback goes back to: rows form a chain, which rolling back shortens.
    """

    __tablename__ = "alias_changes"
    __table_args__ = (Index("alias_changes_by_alias", "name", "alias"), {"sqlite_autoincrement": True})

    sequence: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str] = mapped_column(default=utc_now())
    name: Mapped[str] = mapped_column(ForeignKey("models.name"))
    alias: Mapped[str]
    version: Mapped[str | None]
    before: Mapped[int | None] = mapped_column(ForeignKey("alias_changes.sequence"))
    who: Mapped[str]
    reason: Mapped[str]


class ShadowReadRow(Table):
    """An ended read that a shadow version repeats beside the champion; no route shows anything of it."""

    __tablename__ = "shadow_reads"

    read_id: Mapped[str] = mapped_column(ForeignKey("reads.id"), primary_key=True)
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_onnx_sha256: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    created: Mapped[str] = mapped_column(default=utc_now())
    ended: Mapped[str | None]


class StoredRow(Table):
    """A slide, the result of a read, or a scan record, as it has to be: `files` [{name, sha256, bytes}].

    `id` is that of the slide, read or record. A record's only file is its canonical JSON.
    """

    __tablename__ = "stored"

    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    files: Mapped[list[Json]]
    sha256: Mapped[str]
    """Of the sorted list of the files' digests."""
    bytes: Mapped[int]
    retain_until: Mapped[str | None]
    """Not removed before; without a value, never."""
    legal_hold: Mapped[Json | None]
    """{who, why, since} of an order to keep it, whatever the rule says."""
    expired: Mapped[Json | None]
    """{who, why, at} of its removal: the tombstone, beside the digests."""
    created: Mapped[str] = mapped_column(default=utc_now())


class CopyRow(Table):
    """One copy of what is stored, and what was found when it was last read."""

    __tablename__ = "copies"
    __table_args__ = (
        ForeignKeyConstraint(["kind", "id"], ["stored.kind", "stored.id"]),
        Index("copies_by_state", "place", "state", "due"),
    )

    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(default="")
    """Digest of the place's address: a copy at another address than today's counts for nothing."""
    state: Mapped[str]
    damaged: Mapped[list[Json]] = mapped_column(default=list)
    """[{file: its index, state}]"""
    error: Mapped[str | None]
    """Code of what kept it from being made or checked."""
    attempts: Mapped[int] = mapped_column(default=0)
    due: Mapped[str] = mapped_column(default=steady_now())
    checked: Mapped[str | None]


class AuditRow(SiteOwned, Table):
    """Who did what to which subject. Triggers refuse to change or remove a row.

    `sequence` is that of the table; a site's own is `site_sequence`, which only its chain gives.
    A row that an older version writes has neither that nor a hash until it is sealed.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("audit_events_of_site", "site", "site_sequence", unique=True),
        {"sqlite_autoincrement": True},
    )

    sequence: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str] = mapped_column(default=utc_now())
    who: Mapped[str]
    what: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    detail: Mapped[Json]
    why: Mapped[str] = mapped_column(default="")
    old: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    new: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    site_sequence: Mapped[int | None]
    previous: Mapped[str | None]
    hash: Mapped[str | None] = mapped_column(index=True)
    sealed: Mapped[bool] = mapped_column(default=False)
