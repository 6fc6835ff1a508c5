"""The card of a network of unknown origin: valid, and honest about all that nobody has stated."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ultraread.datasets.slide import Modality
from ultraread.errors import RequestInvalid
from ultraread.models.card import (
    Abstention,
    Aggregation,
    Calibration,
    ClassOfModel,
    FullRange,
    GoldenPair,
    Licence,
    ModelCard,
    Outputs,
    ScaleRange,
    Threshold,
)
from ultraread.models.missing import NO_OPERATING_POINT, NOT_STATED
from ultraread.models.wrap import INPUT, OUTPUT, Activation

RULE = FullRange(rule="full_range")
NEVER_REACHED = (
    f"{NO_OPERATING_POINT}: no limits were chosen on labelled data, so every score stays indeterminate."
)
LIMITATIONS = (
    "Wrapped, not trained, here: nothing is known of how it does on electron micrographs.",
    "No limits were chosen: every assessed finding is indeterminate.",
    "It gives one probability a tile and no patch map: no areas are measured.",
    "An image that uses only a part of its bit depth reaches the network darker than it looks.",
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a wrapped network."""

    name: str
    version: str
    classes: tuple[ClassOfModel, ...]
    nm_per_px: ScaleRange
    specimens: tuple[str, ...]
    modality: Modality
    tile_px: int
    batch_size: int
    activation: Activation
    limitations: tuple[str, ...]


def unstated_card(known: Known, onnx_sha256: str, golden_pair: GoldenPair) -> ModelCard:
    """Make the card. Raises RequestInvalid where a name, version or number cannot stand in one."""
    try:
        return ModelCard(sha256=onnx_sha256, golden_pair=golden_pair, **_of(known), **_unknown(known))
    except ValidationError as invalid:
        first = invalid.errors()[0]
        raise RequestInvalid(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from invalid


def _of(known: Known) -> dict[str, Any]:
    return {
        "name": known.name,
        "version": known.version,
        "classes": known.classes,
        "nm_per_px": known.nm_per_px,
        "specimens": known.specimens,
        "modality": known.modality,
        "tile_px": known.tile_px,
        "batch_size": known.batch_size,
        "channels": 1,
        "bit_depths": (8, 16),
        "window_rule": "None: grey enters as filed, divided by the full range of its bit depth.",
        "normalisation": RULE,
        "pad_rule": "reflect",
        "activation": known.activation,
        "input": INPUT,
        "outputs": Outputs(probabilities=OUTPUT),
    }


def _unknown(known: Known) -> dict[str, Any]:
    return {
        "licence": Licence(
            name=NOT_STATED,
            binds_users_to=f"{NOT_STATED}: until it is, nobody may assume any right to use the weights.",
            citation=NOT_STATED,
        ),
        "intended_use": f"{NOT_STATED}.",
        "not_intended_use": f"{NOT_STATED}. Until it is: any use but trying out whether the model runs.",
        "max_failed_fraction": 0.05,
        "aggregation": Aggregation(rule="top_mean", top_fraction=0.1),
        "calibration": Calibration(method="none", note=f"{NOT_STATED}: not looked at."),
        "thresholds": tuple(
            Threshold(code=one.code, present=1.0, not_seen=0.0, operating_point=NEVER_REACHED)
            for one in known.classes
        ),
        "abstention": Abstention(
            min_coverage_fraction=0.5,
            note="A finding is not assessed where less than half of the tissue asked for could be scored.",
        ),
        "training_data": (),
        "metrics": (),
        "limitations": (*known.limitations, *LIMITATIONS),
    }
