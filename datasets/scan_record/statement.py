"""What people state about a digitization. Null is unknown: nothing here is guessed or filled in."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ultraread.datasets.plain_text import Line, Text


def _iso_text(stated: object) -> object:
    """Numbers would be taken as seconds since 1970."""
    if isinstance(stated, int | float):
        raise ValueError("a date or time is text, as 2026-11-24 or 2026-11-24T08:00:00Z")
    return stated


CptCode = Annotated[str, Field(pattern=r"^(\d{5}|\d{4}T)$")]
CliaNumber = Annotated[str, Field(pattern=r"^\d{2}D\d{7}$")]
Positive = Annotated[float, Field(gt=0, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Day = Annotated[date, BeforeValidator(_iso_text)]
Time = Annotated[AwareDatetime, BeforeValidator(_iso_text)]


class DigitizedObject(StrEnum):
    """What lay under the instrument."""

    SEMITHIN_GLASS = "semithin_glass"
    GRID = "grid"
    FILM = "film"
    PRIOR_FILE = "prior_file"


class CaptureMode(StrEnum):
    """How it was digitized."""

    WHOLE_SLIDE = "whole_slide"
    LIVE_VIEW = "live_view"
    MONTAGE = "montage"
    STATIC = "static"


class Purpose(StrEnum):
    """What it was digitized for."""

    PRIMARY = "primary"
    SECOND_READ = "second_read"
    ARCHIVE = "archive"
    EDUCATION = "education"
    RESEARCH = "research"
    DATABASE = "database"
    CONFERENCE = "conference"
    QA = "qa"


class Moment(StrEnum):
    """When it was digitized, seen from the first interpretation of the case."""

    BEFORE = "before"
    AFTER = "after"


class ReadOrder(StrEnum):
    """In which order a human and a model read."""

    BLINDED = "blinded"
    SEQUENTIAL = "sequential"
    CONCURRENT = "concurrent"


class PlaceKind(StrEnum):
    """What the place of interpretation is."""

    CLIA_LABORATORY = "clia_laboratory"
    REMOTE_UNDER_CLIA = "remote_under_clia"
    OTHER = "other"


class Part(BaseModel):
    """Base of all parts of the record."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


AnyPart = TypeVar("AnyPart", bound=Part)
Section = Annotated[AnyPart, BeforeValidator(lambda stated: {} if stated is None else stated)]
"""A part that is always there; null stands for one of which nothing is known."""


class Digitized(Part):
    """What was digitized, how, why and by whom."""

    object: DigitizedObject | None = Field(default=None, description="What lay under the instrument.")
    capture_mode: CaptureMode | None = Field(default=None, description="How it was digitized.")
    purpose: Purpose | None = Field(default=None, description="What it was digitized for.")
    operator: Line | None = Field(
        default=None, description="Who digitized; never in results that leave the store."
    )
    started: Time | None = Field(default=None, description="When digitizing began, with time zone.")
    ended: Time | None = Field(default=None, description="When it ended, with time zone.")
    note: Text | None = Field(default=None, description="Whatever else is to be known of it.")

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.started and self.ended and self.ended < self.started:
            raise ValueError("digitizing ended before it started")
        return self


class Instrument(Part):
    """What digitized."""

    microscope: Line | None = Field(
        default=None, description="Microscope or slide scanner, with its serial number."
    )
    camera: Line | None = Field(default=None, description="Camera or detector.")
    software: Line | None = Field(default=None, description="Program that made the images.")
    software_version: Line | None = Field(default=None, description="Its version.")
    accelerating_kv: Positive | None = Field(default=None, description="Accelerating voltage in kV.")
    magnification: Positive | None = Field(
        default=None, description="Magnification that the instrument showed."
    )
    calibrated: Day | None = Field(default=None, description="When it was last calibrated for that.")


class Interpretation(Part):
    """Who interpreted, where, when, from what, and what the report says of it."""

    physician: Line | None = Field(default=None, description="The interpreting physician.")
    place: Line | None = Field(default=None, description="Where the physician interpreted.")
    place_kind: PlaceKind | None = Field(default=None, description="What that place is.")
    clia_number: CliaNumber | None = Field(
        default=None, description="CLIA number of the laboratory: 00D0000000."
    )
    first_interpreted: Time | None = Field(default=None, description="When the case was first interpreted.")
    digitized: Moment | None = Field(default=None, description="Digitized before or after that.")
    read_order: ReadOrder | None = Field(default=None, description="In which order a human and a model read.")
    report_says_digital: Flag | None = Field(
        default=None, description="The report says that it was read digitally."
    )
    report_names_system: Flag | None = Field(
        default=None, description="The report names the system of the images."
    )
    report_statement: Text | None = Field(default=None, description="The report's words on both.")

    @model_validator(mode="after")
    def _statement_is_one(self) -> Self:
        if self.report_statement and self.report_says_digital is False:
            raise ValueError("report_statement is given, and report_says_digital denies that there is one")
        return self


class Order(Part):
    """Why it was done."""

    order: Text | None = Field(default=None, description="What was ordered, by whom.")
    necessity: Text | None = Field(default=None, description="Why electron microscopy was needed.")
    payer_policy: Text | None = Field(default=None, description="What the payer's policy says, and where.")


class Coder(Part):
    """What a coder decided; no rule changes it, and it changes no rule."""

    decision: Text | None = Field(default=None, description="The coder's decision.")
    name: Line | None = Field(default=None, description="Who decided.")


class Statement(Part):
    """All that people state of one digitization when they file it, or later."""

    accession: Line | None = Field(default=None, description="Accession number of the case.")
    specimen: Line | None = Field(
        default=None, description="What the tissue is; findings out of a model's scope say so."
    )
    specimen_id: Line | None = Field(default=None, description="Which specimen of the case.")
    block: Line | None = Field(default=None, description="Tissue block.")
    grid_or_slide_id: Line | None = Field(default=None, description="Name of the grid or glass slide.")
    digitized: Section[Digitized] = Field(
        default=Digitized(), description="What was digitized, how, why, by whom."
    )
    instrument: Section[Instrument] = Field(
        default=Instrument(), description="What digitized, as a person states."
    )
    primary_procedure: CptCode | None = Field(
        default=None, description="CPT code of the primary service: 88348."
    )
    primary_units: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None, description="Units of that service."
    )
    date_of_service: Day | None = Field(default=None, description="Date of that service.")
    digitization_units: Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None,
        description="Units of the digitization code that this record stands for; 0: another one does.",
    )
    interpretation: Section[Interpretation] = Field(
        default=Interpretation(), description="Who interpreted, where, when, and what the report says."
    )
    order: Section[Order] = Field(default=Order(), description="Order, necessity, payer's policy.")
    coder: Section[Coder] = Field(default=Coder(), description="The coder's decision.")

    @model_validator(mode="after")
    def _moment_fits_the_times(self) -> Self:
        ended, first = self.digitized.ended, self.interpretation.first_interpreted
        if ended and first and self.interpretation.digitized not in {None, _moment(ended, first)}:
            raise ValueError("interpretation.digitized does not fit digitized.ended and first_interpreted")
        return self

    @property
    def moment(self) -> Moment | None:
        """Digitized before or after the first interpretation: as stated, or as the two times tell."""
        ended, first = self.digitized.ended, self.interpretation.first_interpreted
        if self.interpretation.digitized is None and ended and first:
            return _moment(ended, first)
        return self.interpretation.digitized


def _moment(ended: AwareDatetime, first: AwareDatetime) -> Moment:
    return Moment.BEFORE if ended <= first else Moment.AFTER
