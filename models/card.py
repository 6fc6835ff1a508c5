"""The model card: everything about a model that a read or a reader has to know, in one typed file.

`card.json` lies beside `model.onnx` and follows `card.schema.json`, which is generated from these types.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ultraread.datasets.slide import Modality
from ultraread.errors import ModelCardInvalid
from ultraread.models.formula import parse_formula

CARD_FILE = "card.json"
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Interval = tuple[float, float]


class CardPart(BaseModel):
    """Base of every part of a card: frozen, and nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Licence(CardPart):
    """Licence of the weights and what it binds their users to."""

    name: str
    binds_users_to: str
    citation: str


class ScaleRange(CardPart):
    """Pixel sizes that the model reads, in nm/px; tiles are rescaled to `nominal`."""

    nominal: Annotated[float, Field(gt=0)]
    min: Annotated[float, Field(gt=0)]
    max: Annotated[float, Field(gt=0)]


class ClassOfModel(CardPart):
    """One output channel."""

    code: str = Field(description="Local code of scheme 99ULTRAREAD, e.g. UR-MITO.")
    name: str = Field(description="Column name, lower snake case, e.g. mitochondria.")
    label: str = Field(description="What a pathologist reads.")
    positive_fraction: Fraction = Field(
        default=0.05, description="Area of a tile from which on it shows the class, in figures and limits."
    )


class PatchMap(CardPart):
    """The output that maps every patch: patch (row, col) covers model pixels from offset + stride * index.

    `offset_px` is a margin on every side of the tile: context for the network, of which nothing is said.
    """

    output: str
    stride_px: Annotated[int, Field(gt=0)]
    offset_px: Annotated[int, Field(ge=0)] = 0


class Outputs(CardPart):
    """Names of the ONNX outputs."""

    probabilities: str
    patch_map: PatchMap | None = None
    out_of_domain: str | None = Field(
        default=None, description="(N,) float32: how unlike the training data a tile is; higher is stranger."
    )


class ImageMeanStd(CardPart):
    """Intensities reach the network in standard deviations of their image.

    Subtract the image's mean and divide by its standard deviation, both estimated over at most
    `sample_tiles` non-blank tiles spread over the image; clip to +-`clip`.
    """

    rule: Literal["image_mean_std"]
    sample_tiles: Annotated[int, Field(gt=0)]
    clip: Annotated[float, Field(gt=0)]


class FullRange(CardPart):
    """Intensities reach the network as 0 to 1: divided by the full range of their bit depth.

    The range of 32-bit float pixels is not known, so `bit_depths` then leaves 32 out. An image that uses only
    a part of its range (12 bits of a camera in a 16-bit file) reaches the network darker than it looks.
    """

    rule: Literal["full_range"]

    @property
    def clip(self) -> float:
        """No value lies above it."""
        return 1.0


Normalisation = Annotated[ImageMeanStd | FullRange, Field(discriminator="rule")]


class Threshold(CardPart):
    """Where a class's score leads: present at or above, not_seen below, indeterminate between."""

    code: str
    present: Fraction
    not_seen: Fraction
    operating_point: Annotated[
        str,
        Field(min_length=1, pattern=r"\S", description="What the limits were chosen for, and on what data."),
    ]


class Aggregation(CardPart):
    """How tile probabilities become the score of an image, slide or case.

    `top_mean`: the area-weighted mean of the highest `top_fraction` of tile probabilities.
    """

    rule: Literal["top_mean"]
    top_fraction: Annotated[float, Field(gt=0, le=1)]


class DerivedMeasurement(CardPart):
    """A quantity computed from area fractions, e.g. aggregate_g_ratio.

    It belongs to the finding of the class that its formula names first.
    """

    name: str
    formula: str = Field(
        description="Of area fractions, 0 to 1, by class name, with + - * / and sqrt, "
        "e.g. sqrt(axon / (axon + myelin))."
    )
    unit: str
    source: str


class ClassCalibration(CardPart):
    """One class: its logits are divided by `temperature` and shifted by `bias` inside the ONNX graph.

    Expected calibration error and Brier score of patches, before and after; after is cross-fitted, so no
    patch is judged by a temperature that it helped to choose.
    """

    code: str
    temperature: Annotated[float, Field(gt=0)]
    bias: float
    ece_before: Fraction
    ece_after: Fraction
    brier_before: Fraction
    brier_after: Fraction


class Calibration(CardPart):
    """What was done to make probabilities frequencies; `none` where nothing was."""

    method: Literal["none", "temperature"]
    classes: tuple[ClassCalibration, ...] = ()
    note: str


class ConformalClass(CardPart):
    """One class of a split-conformal rule over fields: how many fields it stands on, and what it holds on.

    `misses` of `fields_with` fields that show the class were called not_seen, `false_calls` of
    `fields_without` were called present, on each data set that was left out.
    """

    code: str
    dataset: str
    fields_with: Annotated[int, Field(ge=0)]
    misses: Annotated[int, Field(ge=0)]
    fields_without: Annotated[int, Field(ge=0)]
    false_calls: Annotated[int, Field(ge=0)]
    abstained: Annotated[int, Field(ge=0)] = Field(description="Fields called indeterminate.")


class Abstention(CardPart):
    """When a finding is not assessed although tiles were scored.

    `error_rate` is what the conformal rule allows in each direction; it holds on average for fields that are
    exchangeable with those it was chosen on, and `coverage` shows what it gave elsewhere.
    """

    min_coverage_fraction: Fraction
    error_rate: Fraction | None = None
    assumes: str = ""
    cannot_cover: str = ""
    coverage: tuple[ConformalClass, ...] = ()
    note: str


class OutOfDomain(CardPart):
    """Tiles whose `out_of_domain` output is above `threshold` are flagged as unlike the training data.

    Where more than `max_flagged_fraction` of the scored tiles are flagged, no finding is assessed.
    """

    score: str = Field(description="What the output is, with its source.")
    threshold: float
    max_flagged_fraction: Fraction
    operating_point: Annotated[str, Field(min_length=1)]


class TrainingData(CardPart):
    """One data set, with the digest of the list of its files' digests."""

    name: str
    licence: str
    citation: str
    files: int
    files_sha256: Sha256
    images_sha256: tuple[Sha256, ...] = Field(
        default=(), description="Of each image, so that an evaluation can tell what training saw."
    )
    split: str


class Metric(CardPart):
    """One figure with its interval and what it was measured on."""

    dataset: str
    metric: str
    code: str
    value: float
    ci95: Interval
    n: int
    n_of: str
    how: str


class TrainingRun(CardPart):
    """What is needed to repeat the training."""

    command: str
    config_sha256: Sha256
    seed: int
    steps: int
    commit: str
    machine: str
    library_versions: dict[str, str]


class GoldenPair(CardPart):
    """Stored input and outputs; a machine that does not reproduce them within `golden_tolerance` refuses."""

    file: str
    sha256: Sha256
    golden_tolerance: Annotated[float, Field(gt=0)]
    input_origin: str


class Quantisation(CardPart):
    """How an int8 model was made from its fp32 twin, and what it costs.

    `auc_difference` is int8 minus fp32 by class code, on the same tiles; the gate allows 0.003 either way.
    """

    scheme: str
    calibration_set: str
    calibration_tiles: Annotated[int, Field(gt=0)]
    calibration_sha256: Sha256
    auc_difference: dict[str, float]
    measured_on: str


class Twin(CardPart):
    """The same network in float32, for processors where the int8 model does not hold its golden pair."""

    file: str
    sha256: Sha256
    golden_pair: GoldenPair


class ModelCard(CardPart):
    """The whole card."""

    schema_version: Literal["1"] = "1"
    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]*$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    sha256: Sha256 = Field(description="Of model.onnx.")
    research_use_only: Literal[True] = True
    licence: Licence
    intended_use: str
    not_intended_use: str
    specimens: tuple[str, ...] = Field(description="What it was made for; other specimens are out of scope.")
    modality: Modality
    nm_per_px: ScaleRange
    tile_px: Annotated[int, Field(gt=0)]
    batch_size: Annotated[int, Field(gt=0)] = Field(description="Fixed; the last batch is padded.")
    channels: Literal[1]
    bit_depths: tuple[Literal[8, 16, 32], ...] = Field(description="Images of others are refused.")
    window_rule: str
    normalisation: Normalisation
    pad_rule: Literal["reflect"]
    max_failed_fraction: Fraction
    classes: tuple[ClassOfModel, ...]
    activation: Literal["sigmoid", "softmax", "none"] = Field(
        description="What makes the probabilities inside the graph; none: nothing that UltraRead knows of."
    )
    input: str = Field(description="Name of the ONNX input, (N, 1, tile_px, tile_px) float32.")
    outputs: Outputs
    aggregation: Aggregation
    derived_measurements: tuple[DerivedMeasurement, ...] = ()
    calibration: Calibration
    thresholds: tuple[Threshold, ...]
    abstention: Abstention
    training_data: tuple[TrainingData, ...]
    training_run: TrainingRun | None = Field(default=None, description="null where it is not known.")
    metrics: tuple[Metric, ...]
    golden_pair: GoldenPair
    precision: Literal["fp32", "int8"] = "fp32"
    quantisation: Quantisation | None = None
    fp32_twin: Twin | None = None
    out_of_domain: OutOfDomain | None = None
    limitations: tuple[str, ...]

    @property
    def ref(self) -> str:
        return f"{self.name}/{self.version}"

    @property
    def margin_px(self) -> int:
        """Model pixels on each side of a tile that are context only."""
        return self.outputs.patch_map.offset_px if self.outputs.patch_map else 0

    @property
    def core_px(self) -> int:
        """Side of the part of a tile that its scores speak of: such squares cover a slide once."""
        return self.tile_px - 2 * self.margin_px

    def threshold(self, code: str) -> Threshold:
        return next(threshold for threshold in self.thresholds if threshold.code == code)


def load_card(folder: Path) -> ModelCard:
    """Read `folder`/card.json. Raises ModelCardInvalid where it is missing or does not follow its schema."""
    try:
        card = ModelCard.model_validate_json((folder / CARD_FILE).read_bytes())
    except FileNotFoundError as missing:
        raise ModelCardInvalid(f"{folder} has no {CARD_FILE}") from missing
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelCardInvalid(f"{folder.name}/{CARD_FILE}: {where}: {first['msg']}") from invalid
    _refuse_unless_consistent(card)
    return card


def card_schema() -> dict[str, object]:
    """JSON Schema of the card; `card.schema.json` holds exactly this."""
    schema = ModelCard.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_card(card: ModelCard, folder: Path) -> None:
    """Write `folder`/card.json, indented for people."""
    (folder / CARD_FILE).write_text(json.dumps(card.model_dump(mode="json"), indent=2) + "\n")


def _refuse_unless_consistent(card: ModelCard) -> None:
    codes = [one.code for one in card.classes]
    if sorted(codes) != sorted(threshold.code for threshold in card.thresholds):
        raise ModelCardInvalid(f"{card.ref}: thresholds do not name each class once")
    if not codes or len(set(codes)) < len(codes) or len({one.name for one in card.classes}) < len(codes):
        raise ModelCardInvalid(f"{card.ref}: classes need codes and names of their own")
    if any(threshold.not_seen > threshold.present for threshold in card.thresholds):
        raise ModelCardInvalid(f"{card.ref}: a not_seen limit lies above the present limit")
    if not card.nm_per_px.min <= card.nm_per_px.nominal <= card.nm_per_px.max:
        raise ModelCardInvalid(f"{card.ref}: nominal nm/px lies outside its range")
    if (card.outputs.out_of_domain is None) != (card.out_of_domain is None):
        raise ModelCardInvalid(f"{card.ref}: an out_of_domain output and its threshold go together")
    if (card.precision == "int8") != (card.quantisation is not None):
        raise ModelCardInvalid(f"{card.ref}: int8 models, and no others, say how they were quantised")
    if isinstance(card.normalisation, FullRange) and 32 in card.bit_depths:
        raise ModelCardInvalid(f"{card.ref}: full_range cannot be told of 32-bit float pixels")
    _refuse_formulas_without_sense(card)
    if card.core_px <= 0 or (card.outputs.patch_map and card.core_px % card.outputs.patch_map.stride_px):
        raise ModelCardInvalid(f"{card.ref}: the tile within its margin is no whole number of patches")


def _refuse_formulas_without_sense(card: ModelCard) -> None:
    if card.derived_measurements and card.outputs.patch_map is None:
        raise ModelCardInvalid(f"{card.ref}: without a patch map there are no areas to derive from")
    for one in card.derived_measurements:
        parse_formula(one.formula, [each.name for each in card.classes])
