"""case.json: the findings over all fields of a case, weighted by area, resampled by field."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ultraread.datasets.quality.artefacts import Artefact
from ultraread.datasets.quality.assess import ArtefactNote
from ultraread.models.card import ModelCard
from ultraread.models.registry import ModelFolder
from ultraread.serving.aggregate import coverage_of, findings_of, quality_note, scope_of
from ultraread.serving.estimates import seed_of
from ultraread.serving.findings import CaseFindings, FieldEntry, QualityNote, canonical_bytes
from ultraread.serving.limitations import limitations_of
from ultraread.serving.quality import repeated_fields
from ultraread.serving.results.folder import ConcludedSlide, model_entry
from ultraread.serving.storage.durable import fsync

CASE_FILE = "case.json"
MISSING_FIELDS = "{count} slides of the case gave no result; they are listed under fields with their error."


@dataclass(frozen=True, slots=True)
class FailedField:
    """A slide of the case without result: its sha256 (empty if unknown), why, and the tiles planned on it."""

    sha256: str
    code: str
    tiles_planned: int = 0


def case_findings(
    slides: Sequence[ConcludedSlide], failed: Sequence[FailedField], model: ModelFolder, specimen: str
) -> CaseFindings:
    """The findings over all fields; what was planned on failed ones counts as not looked at."""
    slides = sorted(slides, key=lambda slide: slide.prepared.digest.sha256)
    fields = [field for slide in slides for field in slide.fields]
    every = [image for slide in slides for image in slide.images]
    repeated = repeated_fields(every)
    images = [image for place, image in enumerate(every) if place not in repeated]
    seed = seed_of(model.card.sha256, *(slide.prepared.digest.sha256 for slide in slides))
    scope = scope_of(specimen, model.card, len(images))
    coverage = coverage_of(images, model.card, sum(one.tiles_planned for one in failed))
    limitations = limitations_of(model, scope, coverage, [slide.prepared for slide in slides], images)
    missing = (MISSING_FIELDS.format(count=len(failed)),) if failed else ()
    partial = bool(failed) or any(slide.findings.state == "partial" for slide in slides)
    return CaseFindings(
        state="partial" if partial else "succeeded",
        model=model_entry(model),
        specimen=specimen,
        coverage=coverage,
        findings=findings_of(images, model.card, scope, coverage, seed, in_case=True),
        fields=(*_marked(fields, repeated, model.card), *_failed_entries(failed)),
        limitations=(*missing, *limitations),
    )


def _marked(fields: Sequence[FieldEntry], repeated: set[int], card: ModelCard) -> list[FieldEntry]:
    """Fields that repeat another one say so; they count for nothing in the findings of the case."""
    codes = tuple(one.code for one in card.classes)
    return [
        field.model_copy(update={"quality": (*field.quality, _repeat(field.image, codes))})
        if place in repeated
        else field
        for place, field in enumerate(fields)
    ]


def _repeat(image: int, codes: tuple[str, ...]) -> QualityNote:
    return quality_note(ArtefactNote(Artefact.DUPLICATE, image, 1.0, codes))


def write_case(findings: CaseFindings, folder: Path) -> None:
    """Write `folder`/case.json in canonical form, whole or not at all."""
    unfinished = folder / f".{CASE_FILE}.tmp"
    unfinished.write_bytes(canonical_bytes(findings))
    fsync(unfinished)
    unfinished.rename(folder / CASE_FILE)


def _failed_entries(failed: Sequence[FailedField]) -> list[FieldEntry]:
    return [
        FieldEntry(slide_sha256=one.sha256, image=0, coverage=None, measurements={}, error_code=one.code)
        for one in sorted(failed, key=lambda one: (one.sha256, one.code))
    ]
