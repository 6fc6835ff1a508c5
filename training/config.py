"""The recipe of one model, read from TOML: everything that decides what a training run gives."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.manifest import load_manifest
from ultraread.errors import RequestInvalid
from ultraread.models.card import DerivedMeasurement, ScaleRange

NETWORK_STRIDE_PX = 16
PRETRAINED_BACKBONE = "efficientnet_lite0"
"""The backbone whose ImageNet weights a Python package carries; others start at random."""
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class ConfigPart(BaseModel):
    """Base of every table of the recipe: frozen, and nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelTable(ConfigPart):
    """What is exported; of each side of a tile `margin_px` are context that nothing is said of."""

    name: str
    version: str
    backbone: str
    pretrained: bool = True
    feature_channels: Positive
    patch_px: Positive
    tile_px: Positive
    margin_px: Annotated[int, Field(ge=0)] = 0
    batch_size: Positive
    clip: PositiveFloat
    sample_tiles: Positive


class CardTable(ConfigPart):
    """What the card says in words."""

    specimens: tuple[str, ...]
    intended_use: str
    not_intended_use: str
    citations: dict[str, str] = Field(description="By manifest name.")
    limitations: tuple[str, ...]


class DataTable(ConfigPart):
    """A labelled data set: its fields of `split` are learned from, drawn `weight` times as often."""

    manifest: Path
    split: Literal["train", "calibration", "test"] = "train"
    weight: PositiveFloat = 1.0


class ClassTable(ConfigPart):
    """One class; `electron_dense` ones must be darker than the rest, or the contrast is inverted."""

    code: str
    name: str
    label: str
    positive_fraction: Fraction
    electron_dense: bool = True


class OptimisationTable(ConfigPart):
    """AdamW with one cycle over random crops; the weights kept are an exponential moving average."""

    seed: int
    crop_px: Positive
    batch: Positive
    steps: Positive
    learning_rate: PositiveFloat
    warmup_fraction: Fraction
    weight_decay: float
    ema_decay: Fraction
    mixed_precision: bool = Field(description="On a GPU; processors train in float32.")


class AugmentationTable(ConfigPart):
    """How far crops are changed, to look like another laboratory's; intensities in standard deviations.

    `plain_probability` of the crops stay as filed but for flips and turns: what is read most is not only
    seen resampled and changed.
    """

    plain_probability: Fraction
    scale_min: PositiveFloat
    scale_max: PositiveFloat
    resolution_loss_max: Annotated[float, Field(ge=1)]
    gamma_max: Annotated[float, Field(ge=1)]
    curve_probability: Fraction
    histogram_match_probability: Fraction
    contrast: Fraction
    brightness: float
    illumination: float
    noise: float
    blur_probability: Fraction
    blur_sigma_px: tuple[float, float]
    defocus_probability: Fraction
    defocus_radius_px: tuple[float, float]


class ValidationTable(ConfigPart):
    """Blocked cross-validation within the training data."""

    folds: Annotated[int, Field(ge=2)]
    gap_sections: Annotated[int, Field(ge=0)]


class CalibrationTable(ConfigPart):
    """What is fitted on out-of-fold predictions."""

    method: Literal["none", "temperature"]
    error_rate: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="Of fields without (with) the class, called present (not seen)."
    )


class OutOfDomainTable(ConfigPart):
    """The threshold of the out-of-domain score, and strange fields on which it is judged, not chosen."""

    components: Positive
    false_alarm_rate: Annotated[float, Field(gt=0, lt=0.5)]
    max_flagged_fraction: Fraction
    judged: tuple[Path, ...] = ()


class ExportTable(ConfigPart):
    """Whether an int8 variant is made, and from how many training tiles its ranges are taken."""

    int8: bool
    calibration_tiles: Positive


class TrainingConfig(ConfigPart):
    """The whole recipe; paths are relative to its file until it is loaded."""

    model: ModelTable
    card: CardTable
    nm_per_px: ScaleRange
    data: Annotated[tuple[DataTable, ...], Field(min_length=1)]
    judged: tuple[Path, ...] = Field(description="Manifests of data sets that are never learned from.")
    classes: tuple[ClassTable, ...]
    derived_measurements: tuple[DerivedMeasurement, ...] = ()
    optimisation: OptimisationTable
    augmentation: AugmentationTable
    validation: ValidationTable
    calibration: CalibrationTable
    out_of_domain: OutOfDomainTable
    export: ExportTable

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(one.code for one in self.classes)

    @model_validator(mode="after")
    def _crops_are_whole_patches(self) -> "TrainingConfig":
        model = self.model
        for side_px in (self.optimisation.crop_px, model.tile_px):
            if side_px % 32 or side_px % model.patch_px:
                raise ValueError(f"{side_px} px is no whole number of patches and of strides of 32 px")
        if model.pretrained and model.backbone != PRETRAINED_BACKBONE:
            raise ValueError(f"only {PRETRAINED_BACKBONE} has weights here; say pretrained = false")
        if model.patch_px != NETWORK_STRIDE_PX:
            raise ValueError(f"patch_px is the stride of the network, {NETWORK_STRIDE_PX}")
        if model.margin_px % model.patch_px or 2 * model.margin_px >= model.tile_px:
            raise ValueError("margin_px is a whole number of patches, and leaves something of the tile")
        return self

    @model_validator(mode="after")
    def _scale_range_was_trained(self) -> "TrainingConfig":
        """A finer image is shrunk to the model's pixel size and loses nothing that it looks at."""
        shown, scale = self.augmentation, self.nm_per_px
        coarsest = scale.nominal * max(1 / shown.scale_min, shown.resolution_loss_max)
        if scale.max > coarsest * 1.001:
            raise ValueError(f"nm_per_px.max is coarser than the {coarsest:.3g} that crops are shown at")
        if not scale.min <= scale.nominal <= scale.max:
            raise ValueError("nm_per_px.nominal lies outside of its range")
        return self


def load_config(path: Path) -> TrainingConfig:
    """Read a recipe. Raises RequestInvalid where it is missing, no TOML, or not a recipe."""
    try:
        config = TrainingConfig.model_validate(tomllib.loads(path.read_text()))
    except FileNotFoundError as missing:
        raise RequestInvalid(f"no recipe {path}", "training/configs/ holds the recipes.") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as invalid:
        raise RequestInvalid(f"{path.name}: {invalid}") from invalid
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RequestInvalid(f"{path.name}: {where}: {first['msg']}") from invalid
    return _with_paths_from(path.resolve().parent, config)


def config_sha256(path: Path) -> str:
    """Digest of the recipe's bytes: names it in results and cards."""
    return sha256_of_file(path)


def learned_sha256(config: TrainingConfig) -> str:
    """Digest of what weights and out-of-fold predictions depend on: words and limits are not part of it."""
    network = {"backbone", "pretrained", "feature_channels", "patch_px", "tile_px", "margin_px", "clip"}
    data = [(load_manifest(one.manifest).sha256, one.split, one.weight) for one in config.data]
    tables = (
        config.model.model_dump_json(include=network),
        config.nm_per_px.model_dump_json(include={"nominal"}),
        *(one.model_dump_json(include={"code", "electron_dense"}) for one in config.classes),
        config.optimisation.model_dump_json(),
        config.augmentation.model_dump_json(),
        config.validation.model_dump_json(),
        config.out_of_domain.model_dump_json(include={"components"}),
        json.dumps(data),
    )
    return hashlib.sha256("\n".join(tables).encode()).hexdigest()


Part = TypeVar("Part", bound=ConfigPart)


def changed(part: Part, **fields: object) -> Part:
    """A copy of a table of the recipe with other values."""
    return part.model_copy(update=fields)


def _with_paths_from(folder: Path, config: TrainingConfig) -> TrainingConfig:
    def from_here(paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple((folder / path).resolve() for path in paths)

    strange = changed(config.out_of_domain, judged=from_here(config.out_of_domain.judged))
    data = tuple(changed(one, manifest=from_here((one.manifest,))[0]) for one in config.data)
    return changed(config, data=data, judged=from_here(config.judged), out_of_domain=strange)
