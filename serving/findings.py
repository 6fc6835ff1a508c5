"""The result that leaves the house: suggested findings with evidence, measurements, uncertainty and coverage.

These types are the published JSON Schema (`schemas/`); a finding never says "absent", "negative" or "normal".
"""

import hashlib
from enum import StrEnum
from typing import Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from ultraread.datasets.scale import ScaleOrigin
from ultraread.datasets.slide import Modality

Interval = tuple[float, float]
MAX_EVIDENCE = 50


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

    sha256: str
    bytes: int


class ImageEntry(Part):
    """One image, with the scale that was used and where it came from."""

    index: int
    width_px: int
    height_px: int
    bit_depth: int
    modality: Modality
    nm_per_px: float
    nm_per_px_tolerance: float = Field(description="Relative: 0.05 is 5 %.")
    nm_per_px_origin: ScaleOrigin
    nm_per_px_reason: str = Field(description="The operator's reason; empty where the file states the scale.")


class SlideEntry(Part):
    """What was read."""

    sha256: str = Field(description="Of the sorted list of its files' sha256.")
    files: tuple[FileEntry, ...]
    images: tuple[ImageEntry, ...]
    field_selection: str = Field(description="Who chose the fields; a selected sample is not the specimen.")


class ModelEntry(Part):
    """Which model version read it, pinned by digest."""

    name: str
    version: str
    onnx_sha256: str
    card_sha256: str


class Coverage(Part):
    """What was and was not looked at."""

    tiles_planned: int
    tiles_scored: int
    tiles_blank: int = Field(description="Looked at, without structure: not scored.")
    tiles_failed: int = Field(description="Could not be decoded; named in tiles_unscored.csv.")
    area_um2: float = Field(description="Area of the scored tiles.")
    fraction: float = Field(description="(scored + blank) / planned.")


class QualityNote(Part):
    """An artefact, where it lies and which findings it suppresses."""

    artefact: str
    image: int
    area_fraction: float
    suppresses: tuple[str, ...]


class Measurement(Part):
    """A number with how it was got; `ci95` is null where one sample gives none."""

    name: str
    method: str
    value: float
    unit: str
    ci95: Interval | None
    n: int
    n_of: str = Field(description="What was resampled for the interval, and counted by n.")


class Evidence(Part):
    """A box in level-0 pixels that supports the finding."""

    image: int
    x_px: int
    y_px: int
    width_px: int
    height_px: int
    score: float


class CaseEvidence(Evidence):
    """In a case the box also says in which slide it lies."""

    slide_sha256: str


class Finding(Part):
    """One suggested finding. Score, measurements and evidence are empty where nothing was assessed."""

    code: str = Field(description="Local code of scheme 99ULTRAREAD.")
    label: str
    assertion: Assertion
    score: float | None = Field(description="By the card's aggregation rule; null where not assessed.")
    score_ci95: Interval | None
    measurements: tuple[Measurement, ...]
    evidence: tuple[CaseEvidence | Evidence, ...] = Field(max_length=MAX_EVIDENCE)


class SlideFindings(Part):
    """findings.json: a function of slide bytes, model version, plan and settings alone."""

    schema_version: Literal["1"] = "1"
    research_use_only: Literal[True] = True
    state: Literal["succeeded", "partial"]
    slide: SlideEntry
    model: ModelEntry
    specimen: str = Field(description="As stated for this read; empty where nobody stated it.")
    coverage: Coverage
    quality: tuple[QualityNote, ...]
    findings: tuple[Finding, ...]
    limitations: tuple[str, ...]


class FieldEntry(Part):
    """One field of a case: its own coverage and measurements, or why it gave none."""

    slide_sha256: str
    image: int
    coverage: Coverage | None
    measurements: dict[str, tuple[Measurement, ...]] = Field(description="By finding code.")
    error_code: str | None = None


class CaseFindings(Part):
    """case.json: the same findings over all fields, weighted by area, resampled by field."""

    schema_version: Literal["1"] = "1"
    research_use_only: Literal[True] = True
    state: Literal["succeeded", "partial"]
    model: ModelEntry
    specimen: str
    coverage: Coverage
    findings: tuple[Finding, ...]
    fields: tuple[FieldEntry, ...]
    limitations: tuple[str, ...]


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
