"""The result that leaves the house: suggested findings with evidence, measurements, uncertainty and coverage.

These types are the published JSON Schema (`schemas/`); a finding never says "absent", "negative" or "normal".
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from ultraread.datasets.scale import ScaleOrigin
from ultraread.datasets.slide import Modality

MAX_EVIDENCE = 50

Interval = Annotated[
    tuple[float, float] | None, Field(description="95 % interval; null where there is none.")
]
Sha256 = Annotated[str, Field(description="sha256 in lower-case hex.")]
ImageIndex = Annotated[int, Field(description="Index of the image in its slide, from 0.")]
Level0Px = Annotated[int, Field(description="Level-0 pixels.")]
SchemaVersion = Annotated[Literal["1"], Field(description="Raised with any change that breaks a reader.")]
ResearchUseOnly = Annotated[
    Literal[True], Field(description="Always true: no diagnosis rests on this alone.")
]
State = Annotated[
    Literal["succeeded", "partial"], Field(description="partial: something asked for could not be read.")
]
Limitations = Annotated[
    tuple[str, ...], Field(description="What the result cannot say; shown wherever it is shown.")
]


class Part(BaseModel):
    """Base of every part of a result: frozen, and nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Assertion(StrEnum):
    """What is suggested of a finding; `not_seen` speaks of what was looked at and of nothing else."""

    PRESENT = "present"
    NOT_SEEN = "not_seen"
    INDETERMINATE = "indeterminate"
    NOT_ASSESSED = "not_assessed"
    OUT_OF_SCOPE = "out_of_scope"


class FileEntry(Part):
    """One file of the slide."""

    sha256: Sha256
    bytes: int = Field(description="Size of the file.")


class RegionEntry(Part):
    """A box in level-0 pixels."""

    x: Level0Px
    y: Level0Px
    width: Level0Px
    height: Level0Px


class ImageEntry(Part):
    """One image, with the scale that was used and where it came from."""

    index: ImageIndex
    width_px: Level0Px
    height_px: Level0Px
    bit_depth: int = Field(description="Bits a sample as stored: 8, 16 or 32 (float).")
    modality: Modality
    nm_per_px: float | None = Field(
        description="Side of a level-0 pixel in nm, as used; null where the image was not read and has none."
    )
    nm_per_px_tolerance: float | None = Field(description="Relative: 0.05 is 5 %.")
    nm_per_px_origin: ScaleOrigin | None
    nm_per_px_reason: str = Field(
        description="The operator's reason, the bar or the calibration; empty where a tag states the scale."
    )
    region: RegionEntry | None = Field(description="The only part that was read; null where all was.")
    out_of_scope: bool = Field(
        default=False, description="A light micrograph, which belongs to the case and was not read."
    )


class SlideEntry(Part):
    """What was read."""

    sha256: str = Field(description="Of the sorted list of its files' sha256.")
    files: tuple[FileEntry, ...]
    images: tuple[ImageEntry, ...]
    field_selection: str = Field(description="Who chose the fields; a selected sample is not the specimen.")


class ModelEntry(Part):
    """Which model version read it, pinned by digest."""

    name: str = Field(description="Name in the registry.")
    version: str = Field(description="Version of the card.")
    onnx_sha256: Sha256
    card_sha256: Sha256


class Coverage(Part):
    """What was and was not looked at."""

    tiles_planned: int = Field(description="Tiles that cover what was asked for.")
    tiles_scored: int = Field(description="Went through the model.")
    tiles_blank: int = Field(description="Looked at, without structure: not scored.")
    tiles_failed: int = Field(description="Could not be decoded; named in tiles_unscored.csv.")
    area_um2: float = Field(description="Area of the scored tiles.")
    fraction: float = Field(description="(scored + blank) / planned.")
    tiles_out_of_domain: int | None = Field(
        description="Of the scored, those unlike the model's training data; null if it has no such score."
    )
    area_masked_um2: float = Field(
        default=0.0,
        description="Of area_um2, what artefacts take from the finding that loses most; see quality.",
    )


class QualityNote(Part):
    """An artefact, where it lies and which findings it suppresses."""

    artefact: str = Field(description="Its code in scheme 99ULTRAREAD, e.g. UR-QC-FOLD.")
    image: ImageIndex
    area_fraction: float = Field(description="Share of the image's area, 0 to 1.")
    suppresses: tuple[str, ...] = Field(description="Codes of findings that are not assessed where it lies.")


class Measurement(Part):
    """A number with how it was got; `ci95` is null where one sample gives none."""

    name: str = Field(description="What was measured, e.g. area_fraction.")
    method: str = Field(description="How, with its source.")
    value: float = Field(description="In `unit`; percentages are 0 to 100.")
    unit: str = Field(description="UCUM unit, e.g. % or um2.")
    ci95: Interval
    n: int = Field(description="How many were resampled.")
    n_of: str = Field(description="What was resampled for the interval, and counted by n.")


class Evidence(Part):
    """A box in level-0 pixels that supports the finding."""

    image: ImageIndex
    x_px: Level0Px
    y_px: Level0Px
    width_px: Level0Px
    height_px: Level0Px
    score: float = Field(description="Probability that the model gave this box.")


class CaseEvidence(Evidence):
    """In a case the box also says in which slide it lies."""

    slide_sha256: Sha256


class Finding(Part):
    """One suggested finding. Score, measurements and evidence are empty where nothing was assessed."""

    code: str = Field(description="Local code of scheme 99ULTRAREAD.")
    label: str = Field(description="What a pathologist reads.")
    assertion: Assertion
    score: float | None = Field(description="By the card's aggregation rule; null where not assessed.")
    score_ci95: Interval
    measurements: tuple[Measurement, ...]
    evidence: tuple[CaseEvidence | Evidence, ...] = Field(
        max_length=MAX_EVIDENCE, description="Boxes that speak for it, best first."
    )


class SlideFindings(Part):
    """findings.json: a function of slide bytes, model version, plan and settings alone."""

    schema_version: SchemaVersion = "1"
    research_use_only: ResearchUseOnly = True
    state: State
    slide: SlideEntry
    model: ModelEntry
    specimen: str = Field(description="As stated for this read; empty where nobody stated it.")
    coverage: Coverage
    quality: tuple[QualityNote, ...]
    findings: tuple[Finding, ...]
    limitations: Limitations


class FieldEntry(Part):
    """One field of a case: its own coverage and measurements, or why it gave none."""

    slide_sha256: Sha256 = Field(description="sha256 of the slide; empty where there was no file.")
    image: ImageIndex
    coverage: Coverage | None
    measurements: dict[str, tuple[Measurement, ...]] = Field(description="By finding code.")
    error_code: str | None = Field(default=None, description="Code of the error that kept it from a result.")
    quality: tuple[QualityNote, ...] = Field(default=(), description="Artefacts of this field.")


class CaseFindings(Part):
    """case.json: the same findings over all fields, weighted by area, resampled by field."""

    schema_version: SchemaVersion = "1"
    research_use_only: ResearchUseOnly = True
    state: State
    model: ModelEntry
    specimen: str = Field(description="As stated for this read; empty where nobody stated it.")
    coverage: Coverage
    findings: tuple[Finding, ...]
    fields: tuple[FieldEntry, ...]
    limitations: Limitations


def canonical_bytes(result: SlideFindings | CaseFindings) -> bytes:
    """RFC 8785 canonical JSON of the result with its `digest`, the sha256 of all else in that form."""
    body: dict[str, Any] = result.model_dump(mode="json")
    return rfc8785.dumps({**body, "digest": digest_of(body)})


def digest_of(body: dict[str, Any]) -> str:
    """sha256 of the canonical form of a result without its digest."""
    return hashlib.sha256(rfc8785.dumps({k: v for k, v in body.items() if k != "digest"})).hexdigest()


def findings_schema(result: type[SlideFindings] | type[CaseFindings]) -> dict[str, Any]:
    """The published JSON Schema: that of the type, with the digest that is added last."""
    schema = result.model_json_schema(mode="serialization")
    digest = {"type": "string", "description": "sha256 of all else in RFC 8785 form.", "title": "Digest"}
    schema["properties"]["digest"] = digest
    schema["required"] = [*schema["required"], "digest"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
