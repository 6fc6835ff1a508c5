"""What a result cannot say, in sentences that stand beside it wherever it goes."""

from collections.abc import Sequence

from ultraread.datasets.admission import AdmittedImage
from ultraread.datasets.burnt_in.look import is_looked_at
from ultraread.datasets.geometry import whole
from ultraread.datasets.quality.artefacts import RULES, UNSEEN, Action
from ultraread.datasets.scale import ScaleOrigin
from ultraread.models.card import ModelCard
from ultraread.models.registry import ModelFolder
from ultraread.serving.aggregate import Scope, is_out_of_domain, is_suppressed, left_fraction
from ultraread.serving.findings import Coverage
from ultraread.serving.read_slide import PreparedSlide
from ultraread.serving.tally import TalliedImage

ALWAYS = (
    "Research use only. These are suggestions of a model to a pathologist, not a diagnosis.",
    "What was not seen was not seen in the tiles that were scored; it says nothing of the rest.",
)
LOOKED_FOR = (
    "Artefacts were looked for ({looked_for}) and are noted under quality with the findings that they "
    "suppress; faint ones are missed. Not looked for, because pixels do not tell it: {unseen}."
)
NOT_LOOKED = "No artefact was looked for: folds, precipitate, knife marks and blur can fake or hide findings."
TWIN = (
    "This processor does not reproduce the int8 model's golden pair: its float32 twin was used, which "
    "differs from it as the card says of quantisation."
)
LIGHT = "Light micrographs among the images: {count}. No model of electron micrographs reads them."
PART_ONLY = (
    "Only a region of the image was read; coverage speaks of that region, and nothing is said of the rest."
)
UNSEEN_TEXT = (
    "Burnt-in text, names and scale bars were not looked for in images of more than 64 megapixels that have "
    "no smaller level."
)
UNCALIBRATED = (
    "There are calibration records, and none is of the instrument that the files name: the scale was not "
    "checked against them."
)
MAX_SCALES = 5
ONE_IMAGE = (
    "Intervals come from resampling ranges of one image: narrower than the truth, because its ranges share "
    "section and staining."
)


def limitations_of(
    model: ModelFolder,
    scope: Scope,
    coverage: Coverage,
    slides: Sequence[PreparedSlide],
    tallied: Sequence[TalliedImage],
) -> tuple[str, ...]:
    """Every sentence that applies, general ones first."""
    images = [image.admitted for slide in slides for image in slide.images]
    light = sum(len(slide.out_of_scope) for slide in slides)
    contrast_confirmed = next((slide.request.contrast_confirmed for slide in slides), "")
    card, said = model.card, [*ALWAYS, *_of_quality(model.card, coverage, tallied)]
    if model.uses_twin:
        said.append(TWIN)
    if contrast_confirmed:
        said.append(f"An operator confirmed that no image is a negative: {contrast_confirmed}.")
    if light:
        said.append(LIGHT.format(count=light))
    if len(images) == 1:
        said.append(ONE_IMAGE)
    if any(image.region != whole(image.info.size) for image in images):
        said.append(PART_ONLY)
    if any(not image.info.modality_is_stated for image in images):
        said.append(f"The file does not state its modality; it was read as {card.modality.upper()}.")
    said += _of_strangeness(card, coverage)
    said += _of_scales(images)
    if any(_is_uncalibrated(slide) for slide in slides):
        said.append(UNCALIBRATED)
    if not all(is_looked_at(image.info) for image in images):
        said.append(UNSEEN_TEXT)
    if images:
        said.append(_of_specimen(card, scope))
    return (*said, *card.limitations)


def _is_uncalibrated(slide: PreparedSlide) -> bool:
    calibrations = slide.request.calibrations
    has_records = calibrations is not None and bool(calibrations.records)
    return has_records and any(
        image.admitted.scale.origin != ScaleOrigin.CALIBRATION_RECORD for image in slide.images
    )


def _of_quality(card: ModelCard, coverage: Coverage, tallied: Sequence[TalliedImage]) -> list[str]:
    """What was looked for, and the findings of which artefacts leave too little."""
    if not tallied or any(image.picture is None for image in tallied):
        return [NOT_LOOKED]
    looked_for = ", ".join(rule.name for rule in RULES.values())
    said = [LOOKED_FOR.format(looked_for=looked_for, unseen=", ".join(UNSEEN))]
    for index, one in enumerate(card.classes):
        if is_suppressed(tallied, index, coverage, card):
            left = 100 * left_fraction(tallied, index)
            causes = ", ".join(sorted(_causes(tallied, one.code)))
            said.append(f"{one.label} is not assessed: {causes} leave {left:.3g} % of the scored area.")
    return said


def _causes(tallied: Sequence[TalliedImage], code: str) -> set[str]:
    return {
        RULES[note.artefact].name
        for image in tallied
        for note in image.notes
        if code in note.suppresses and RULES[note.artefact].action is not Action.FLAG
    }


def _of_strangeness(card: ModelCard, coverage: Coverage) -> list[str]:
    if not coverage.tiles_out_of_domain:
        return []
    told = (
        f"{coverage.tiles_out_of_domain} of {coverage.tiles_scored} scored tiles look unlike what the model "
        "was trained on"
    )
    return [f"{told}: no finding is assessed." if is_out_of_domain(coverage, card) else f"{told}."]


def _of_scales(images: Sequence[AdmittedImage]) -> list[str]:
    """Each scale that was used, once."""
    told = list(dict.fromkeys(_of_scale(image) for image in images))
    more = [f"{len(told) - MAX_SCALES} more scales: see the images."] if len(told) > MAX_SCALES else []
    return [*told[:MAX_SCALES], *more]


def _of_scale(image: AdmittedImage) -> str:
    scale = image.scale
    told = f"Scale {scale.nm_per_px:.4g} nm/px +- {100 * scale.tolerance:g} % ({scale.origin}"
    return f"{told}: {scale.reason})." if scale.reason else f"{told})."


def _of_specimen(card: ModelCard, scope: Scope) -> str:
    if not card.specimens:
        return "The model's card names no specimen that it was made for."
    made_for = ", ".join(card.specimens)
    if not scope.specimen:
        return f"The specimen was not stated; the model was made for {made_for} only."
    if not scope.in_scope:
        return (
            f"The specimen is {scope.specimen}; the model was made for {made_for}: all findings out of scope."
        )
    return f"The model was made for {made_for}."
