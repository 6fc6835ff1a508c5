"""What a card does not say yet: nobody should rely on a model before these are stated."""

from collections.abc import Iterator
from dataclasses import dataclass

from ultraread.models.card import ModelCard
from ultraread.models.evaluation import EVALUATION_FILE, load_evaluation
from ultraread.models.registry import ModelFolder

NOT_STATED = "Not stated"
NO_OPERATING_POINT = "None"
COLOUR = (
    "The network was made for colour slides of light microscopy: it has no reason to work on electron "
    "micrographs, whose contrast, scale and structures it has never seen."
)
UNSTATED_RANGE = 1.06
"""Largest over smallest nm/px up to which a range is no more than the tolerance of a lens about one scale."""


@dataclass(frozen=True, slots=True)
class Missing:
    """One gap: the fields of the card, and what has to be known to fill them."""

    what: str
    fields: str
    needed: str


def missing_of(model: ModelFolder) -> tuple[Missing, ...]:
    """Every gap of a model, most urgent first; empty where the card says all and the model was evaluated."""
    return (*_terms(model.card), *_fit(model.card), *_proof(model.card), *_evaluation(model))


def is_stated(text: str) -> bool:
    return bool(text.strip()) and not text.startswith(NOT_STATED)


def _terms(card: ModelCard) -> Iterator[Missing]:
    if not (is_stated(card.licence.name) and is_stated(card.licence.binds_users_to)):
        yield Missing("licence", "licence", "Licence of the weights and of the data behind them.")
    if not is_stated(card.intended_use):
        yield Missing("intended use", "intended_use", "What it is for, in which hands.")
    if not is_stated(card.not_intended_use):
        yield Missing("not-intended use", "not_intended_use", "What it must not be used for.")


def _fit(card: ModelCard) -> Iterator[Missing]:
    if COLOUR in card.limitations:
        yield Missing("modality", "modality, limitations", "It was made for colour slides: train it on EM.")
    if not card.specimens:
        yield Missing("specimens", "specimens", "Species and tissue that it was trained on.")
    if card.nm_per_px.max <= card.nm_per_px.min * UNSTATED_RANGE**2:
        yield Missing("scale range", "nm_per_px", "Pixel sizes that training showed it, in nm.")


def _proof(card: ModelCard) -> Iterator[Missing]:
    if any(one.operating_point.startswith(NO_OPERATING_POINT) for one in card.thresholds):
        yield Missing("thresholds", "thresholds", "Limits of each class, with the trade-off and its data.")
    if not is_stated(card.calibration.note):
        yield Missing("calibration", "calibration", "Whether its probabilities are frequencies, and of what.")
    if not card.training_data:
        yield Missing("training data", "training_data", "Data sets with licence, split and digests.")
    if card.training_run is None:
        yield Missing("training run", "training_run", "Command, recipe, seed and versions that made it.")
    if not card.metrics:
        yield Missing("metrics", "metrics", "Figures with intervals on named data that it did not see.")


def _evaluation(model: ModelFolder) -> Iterator[Missing]:
    file = model.path / EVALUATION_FILE
    found = load_evaluation(file) if file.is_file() else None
    ours = (model.card.sha256, model.card_sha256)
    if found is None or (found.onnx_sha256, found.card_sha256) != ours:
        yield Missing("evaluation", EVALUATION_FILE, "How it does on the evaluation sets, beside others.")
