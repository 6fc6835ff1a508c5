"""From tallies to suggested findings: tiles -> image -> slide -> case."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ultraread.datasets.quality.assess import ArtefactNote
from ultraread.models.card import ClassOfModel, ModelCard
from ultraread.models.formula import parse_formula
from ultraread.serving.estimates import Bootstrap, Estimate
from ultraread.serving.findings import (
    MAX_EVIDENCE,
    Assertion,
    CaseEvidence,
    Coverage,
    Evidence,
    FieldEntry,
    Finding,
    Measurement,
    QualityNote,
)
from ultraread.serving.tally import Sums, TalliedImage, TileCounts, Witness, empty_sums, stack

UM2_PER_NM2 = 1e-6
STEREOLOGY = "stereology: volume fraction = area fraction (Delesse 1847), from the patch map"
PROFILE_AREA = "area of profiles in the scored tiles; interval includes the scale's tolerance"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whether the model was made for this specimen; `specimen` is empty where nobody stated it."""

    specimen: str
    in_scope: bool


def scope_of(specimen: str, card: ModelCard, images: int) -> Scope:
    """Out of scope where no image is of the model's kind, or the specimen is another one.

    An unstated specimen is taken as in scope, and the limitations say that it was not stated.
    """
    known = {known.casefold() for known in card.specimens}
    return Scope(specimen, images > 0 and (not specimen or specimen.casefold() in known))


def coverage_of(images: Sequence[TalliedImage], card: ModelCard, unread_tiles: int = 0) -> Coverage:
    """What was and was not looked at; `unread_tiles` were planned on slides that gave no result."""
    counts = sum((image.counts for image in images), TileCounts(unread_tiles, failed=unread_tiles))
    area_px = sum(image.scored_px for image in images)
    left_px = sum(float(image.sums.area.sum(axis=0).min()) for image in images)
    return Coverage(
        tiles_planned=counts.planned,
        tiles_scored=counts.scored,
        tiles_blank=counts.blank,
        tiles_failed=counts.failed,
        area_um2=rounded(area_px * _um2_per_model_px(card)),
        fraction=rounded((counts.scored + counts.blank) / counts.planned) if counts.planned else 0.0,
        tiles_out_of_domain=counts.strange if card.out_of_domain else None,
        area_masked_um2=rounded((area_px - left_px) * _um2_per_model_px(card)),
    )


def left_fraction(images: Sequence[TalliedImage], class_index: int) -> float:
    """Share of the scored area, 0 to 1, that no artefact takes from a class."""
    scored_px = sum(image.scored_px for image in images)
    left_px = sum(float(image.sums.area[:, class_index].sum()) for image in images)
    return left_px / scored_px if scored_px else 1.0


def is_suppressed(
    images: Sequence[TalliedImage], class_index: int, coverage: Coverage, card: ModelCard
) -> bool:
    """Whether artefacts leave less of a class than the card's smallest coverage."""
    left = left_fraction(images, class_index)
    return left < 1 and coverage.fraction * left < card.abstention.min_coverage_fraction


def is_out_of_domain(coverage: Coverage, card: ModelCard) -> bool:
    """Whether more of the scored tiles look strange to the model than its card allows."""
    if card.out_of_domain is None or not coverage.tiles_out_of_domain:
        return False
    return coverage.tiles_out_of_domain > card.out_of_domain.max_flagged_fraction * coverage.tiles_scored


def is_assessable(coverage: Coverage, card: ModelCard) -> bool:
    """Whether enough was looked at, and does not look strange to the model."""
    return coverage.fraction >= card.abstention.min_coverage_fraction and not is_out_of_domain(coverage, card)


def findings_of(
    images: Sequence[TalliedImage],
    card: ModelCard,
    scope: Scope,
    coverage: Coverage,
    seed: int,
    *,
    in_case: bool,
) -> tuple[Finding, ...]:
    """One finding a class. Groups are the fields where there are several images, else the image's ranges."""
    bootstrap = Bootstrap(_groups(images, len(card.classes)), seed)
    make = _FindingMaker(images, card, scope, coverage, bootstrap, in_case)
    return tuple(make.finding(index, one) for index, one in enumerate(card.classes))


def field_entry(image: TalliedImage, card: ModelCard, scope: Scope, seed: int) -> FieldEntry:
    """One field of a case: its coverage, and its measurements where the model may speak of it."""
    bootstrap, coverage = Bootstrap(image.sums, seed), coverage_of([image], card)
    measurements = {}
    is_told = scope.in_scope and bool(bootstrap.groups) and is_assessable(coverage, card)
    if is_told and card.outputs.patch_map is not None:
        make = _Measurer(card, bootstrap, _worst_tolerance([image]), "ranges")
        measurements = {
            one.code: make.measurements(index) if bootstrap.is_told(index) else ()
            for index, one in enumerate(card.classes)
        }
    return FieldEntry(
        slide_sha256=image.slide_sha256,
        image=image.image,
        coverage=coverage,
        measurements=measurements,
        quality=tuple(quality_note(note) for note in image.notes),
    )


def quality_note(note: ArtefactNote) -> QualityNote:
    return QualityNote(
        artefact=note.artefact,
        image=note.image,
        area_fraction=rounded(note.area_fraction),
        suppresses=note.suppresses,
    )


def rounded(value: float) -> float:
    """Six significant digits: more than any of these numbers deserves, and stable against the last bit."""
    return float(f"{value:.6g}")


def groups_name(images: Sequence[TalliedImage]) -> str:
    return "fields" if len(images) > 1 else "ranges"


@dataclass(frozen=True, slots=True)
class _Measurer:
    card: ModelCard
    bootstrap: Bootstrap
    tolerance: float
    n_of: str

    def measurements(self, index: int) -> tuple[Measurement, ...]:
        fraction = self.bootstrap.area_fraction(index).scaled(100)
        area = self.bootstrap.profile_area(index).scaled(_um2_per_model_px(self.card))
        widened = area.widened((1 - self.tolerance) ** 2, (1 + self.tolerance) ** 2)
        return (
            self._measurement("area_fraction", STEREOLOGY, fraction, "%"),
            self._measurement("profile_area", PROFILE_AREA, widened, "um2"),
            *self._derived(index),
        )

    def _derived(self, index: int) -> Iterator[Measurement]:
        """What the card derives from area fractions, at the class that the formula names first."""
        names = [one.name for one in self.card.classes]
        for one in self.card.derived_measurements:
            formula = parse_formula(one.formula, names)
            if formula.names[0] != names[index]:
                continue
            estimate = self.bootstrap.derived(formula, names)
            if estimate is not None:
                yield self._measurement(one.name, f"{one.formula}; {one.source}", estimate, one.unit)

    def _measurement(self, name: str, method: str, estimate: Estimate, unit: str) -> Measurement:
        return Measurement(
            name=name,
            method=method,
            value=rounded(estimate.value),
            unit=unit,
            ci95=_rounded_interval(estimate),
            n=self.bootstrap.groups,
            n_of=self.n_of,
        )


@dataclass(frozen=True, slots=True)
class _FindingMaker:
    images: Sequence[TalliedImage]
    card: ModelCard
    scope: Scope
    coverage: Coverage
    bootstrap: Bootstrap
    in_case: bool

    def finding(self, index: int, one: ClassOfModel) -> Finding:
        score = self._score(index)
        assertion = self._assertion(index, one.code, score)
        shown = assertion not in (Assertion.NOT_ASSESSED, Assertion.OUT_OF_SCOPE)
        return Finding(
            code=one.code,
            label=one.label,
            assertion=assertion,
            score=rounded(score.value) if shown and score else None,
            score_ci95=_rounded_interval(score) if shown and score else None,
            measurements=self._measurements(index) if shown else (),
            evidence=tuple(self._evidence(index, one.code)) if shown else (),
        )

    def _score(self, index: int) -> Estimate | None:
        if not self.bootstrap.groups or not self.bootstrap.is_told(index):
            return None
        return self.bootstrap.top_mean(index, self.card.aggregation.top_fraction)

    def _assertion(self, index: int, code: str, score: Estimate | None) -> Assertion:
        """The card's thresholds decide; out of scope, hardly covered, masked and strange come first."""
        if not self.scope.in_scope:
            return Assertion.OUT_OF_SCOPE
        if score is None or not is_assessable(self.coverage, self.card):
            return Assertion.NOT_ASSESSED
        if is_suppressed(self.images, index, self.coverage, self.card):
            return Assertion.NOT_ASSESSED
        threshold = self.card.threshold(code)
        if score.value >= threshold.present:
            return Assertion.PRESENT
        return Assertion.NOT_SEEN if score.value < threshold.not_seen else Assertion.INDETERMINATE

    def _measurements(self, index: int) -> tuple[Measurement, ...]:
        if self.card.outputs.patch_map is None:
            return ()
        tolerance = _worst_tolerance(self.images)
        return _Measurer(self.card, self.bootstrap, tolerance, groups_name(self.images)).measurements(index)

    def _evidence(self, index: int, code: str) -> Iterable[Evidence]:
        """The highest tiles at or above the class's `not_seen` limit: what speaks for the finding."""
        limit = self.card.threshold(code).not_seen
        witnesses = [(w, image) for image in self.images for w in image.witnesses[index]]
        best = sorted(witnesses, key=lambda pair: -pair[0].score)[:MAX_EVIDENCE]
        return (self._shown(w, image) for w, image in best if w.score >= limit)

    def _shown(self, witness: Witness, image: TalliedImage) -> Evidence:
        shown = Evidence(
            image=witness.image,
            x_px=witness.box.x,
            y_px=witness.box.y,
            width_px=witness.box.width,
            height_px=witness.box.height,
            score=rounded(witness.score),
        )
        if not self.in_case:
            return shown
        return CaseEvidence(**shown.model_dump(), slide_sha256=image.slide_sha256)


def _groups(images: Sequence[TalliedImage], classes: int) -> Sums:
    if len(images) == 1:
        return images[0].sums
    return stack([empty_sums(classes), *(image.sums.total() for image in images)])


def _um2_per_model_px(card: ModelCard) -> float:
    return card.nm_per_px.nominal**2 * UM2_PER_NM2


def _worst_tolerance(images: Sequence[TalliedImage]) -> float:
    """The scale's error is common to all fields of an instrument: it does not shrink with their number."""
    return max(image.scale.tolerance for image in images)


def _rounded_interval(estimate: Estimate) -> tuple[float, float] | None:
    return None if estimate.ci95 is None else (rounded(estimate.ci95[0]), rounded(estimate.ci95[1]))
