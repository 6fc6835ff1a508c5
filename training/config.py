"""The recipe of one model, read from TOML: everything that decides what a training run gives."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import RequestInvalid
from ultraread.models.card import ScaleRange

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class ConfigPart(BaseModel):
    """Base of every table of the recipe: frozen, and nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelTable(ConfigPart):
    """What is exported."""

    name: str
    version: str
    backbone: str
    feature_channels: Positive
    patch_px: Positive
    tile_px: Positive
    batch_size: Positive
    clip: PositiveFloat
    sample_tiles: Positive


class DataTable(ConfigPart):
    """The labelled stack: a folder of `corpora.csv` and its sections in their order in the tissue."""

    folder: str
    sections: tuple[int, ...]


class ClassTable(ConfigPart):
    """One class; `masks` is the folder of its masks where it differs from `name`."""

    code: str
    name: str
    label: str
    positive_fraction: Fraction
    masks: str = ""

    @property
    def mask_folder(self) -> str:
        return self.masks or self.name


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


class AugmentationTable(ConfigPart):
    """How far crops are changed; intensities count in standard deviations of the section."""

    scale_min: PositiveFloat
    scale_max: PositiveFloat
    gamma_max: Annotated[float, Field(ge=1)]
    contrast: Fraction
    brightness: float
    noise: float
    blur_probability: Fraction
    blur_sigma_px: tuple[float, float]


class ValidationTable(ConfigPart):
    """Blocked cross-validation, and the operating points at which thresholds are chosen."""

    folds: Annotated[int, Field(ge=2)]
    gap_sections: Annotated[int, Field(ge=0)]
    present_specificity: Fraction
    seen_sensitivity: Fraction


class TrainingConfig(ConfigPart):
    """The whole recipe."""

    model: ModelTable
    nm_per_px: ScaleRange
    data: DataTable
    classes: tuple[ClassTable, ...]
    optimisation: OptimisationTable
    augmentation: AugmentationTable
    validation: ValidationTable

    @model_validator(mode="after")
    def _crops_are_whole_patches(self) -> "TrainingConfig":
        for side_px in (self.optimisation.crop_px, self.model.tile_px):
            if side_px % 32 or side_px % self.model.patch_px:
                raise ValueError(f"{side_px} px is no whole number of patches and of strides of 32 px")
        return self

    @model_validator(mode="after")
    def _scale_range_was_trained(self) -> "TrainingConfig":
        shown, scale = self.augmentation, self.nm_per_px
        if scale.nominal / scale.max < shown.scale_min or scale.nominal / scale.min > shown.scale_max:
            raise ValueError("nm_per_px is wider than augmentation.scale_min to scale_max shows the network")
        return self


def load_config(path: Path) -> TrainingConfig:
    """Read a recipe. Raises RequestInvalid where it is missing, no TOML, or not a recipe."""
    try:
        return TrainingConfig.model_validate(tomllib.loads(path.read_text()))
    except FileNotFoundError as missing:
        raise RequestInvalid(f"no recipe {path}", "training/configs/ holds the recipes.") from missing
    except tomllib.TOMLDecodeError as invalid:
        raise RequestInvalid(f"{path.name}: {invalid}") from invalid
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RequestInvalid(f"{path.name}: {where}: {first['msg']}") from invalid


def config_sha256(path: Path) -> str:
    """Digest of the recipe's bytes: names it in results and cards."""
    return sha256_of_file(path)
