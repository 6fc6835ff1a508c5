"""Out-of-fold predictions of every training field, kept per fold so that an interrupted run goes on."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ultraread.datasets.manifest import LabelledField
from ultraread.training.augmentation import CropSampler
from ultraread.training.config import TrainingConfig
from ultraread.training.fields import Field, learned_sets, load_fields, load_training_fields
from ultraread.training.folds import Fold, blocked_folds
from ultraread.training.model_view import view_of_recipe
from ultraread.training.predict import FieldPrediction, of_network, predict_fields
from ultraread.training.strangeness import fit_strangeness
from ultraread.training.train import OnStep, train_network

OnFold = Callable[[Fold], OnStep]
"""Called at the start of each fold; returns what is called after each step."""


def training_fields(config: TrainingConfig) -> list[LabelledField]:
    """What the recipe learns from, in the order of its manifests."""
    return [field for learned in learned_sets(config) for field in learned.fields]


def sampling_weights(config: TrainingConfig, fields: Sequence[LabelledField]) -> list[float]:
    """How often each field is drawn: a manifest's weight, shared out among its fields."""
    weight_of = {
        field: learned.weight / len(learned.fields)
        for learned in learned_sets(config)
        for field in learned.fields
    }
    return [weight_of[field] for field in fields]


def cross_validate(
    config: TrainingConfig, runs_folder: Path, on_fold: OnFold, only: Sequence[int] | None = None
) -> list[FieldPrediction]:
    """Return one out-of-fold prediction a training field, in the order of `training_fields`.

    `runs_folder` belongs to one recipe; folds whose predictions lie there are not trained again. `only`
    names the folds to run, all by default.
    """
    fields = training_fields(config)
    folds = blocked_folds(fields, config.validation.folds, config.validation.gap_sections)
    predicted: dict[LabelledField, FieldPrediction] = {}
    for fold in (one for one in folds if only is None or one.number in only):
        for one in _out_of_fold(fold, fields, config, runs_folder, on_fold):
            predicted[one.field] = one
    return [predicted[field] for field in fields if field in predicted]


def _out_of_fold(
    fold: Fold, fields: Sequence[LabelledField], config: TrainingConfig, runs_folder: Path, on_fold: OnFold
) -> list[FieldPrediction]:
    tested = [fields[place] for place in fold.test]
    kept = runs_folder / f"fold-{fold.number}.npz"
    if kept.is_file():
        return load_predictions(kept, tested)
    fields_learned = load_training_fields([fields[place] for place in fold.train], config)
    sampler = make_sampler(fields_learned, config)
    network = train_network(sampler, config, runs_folder / f"fold-{fold.number}.pt", on_fold(fold))
    view = view_of_recipe(config)
    fit_strangeness(network, fields_learned, view, config.out_of_domain.components)
    predictions = predict_fields(of_network(network), load_fields(tested, view), view)
    save_predictions(predictions, kept)
    return predictions


def make_sampler(fields: Sequence[Field], config: TrainingConfig) -> CropSampler:
    """Crops of these fields, drawn as the recipe's weights say."""
    return CropSampler(fields, sampling_weights(config, [one.labelled for one in fields]), config)


def save_predictions(predictions: Sequence[FieldPrediction], file: Path) -> None:
    """Write the maps of several fields, whole or not at all."""
    arrays = {
        f"{name}_{number}": getattr(one, name)
        for number, one in enumerate(predictions)
        for name in ("predicted", "true", "known", "strangeness")
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part")
    with unfinished.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)


def load_predictions(file: Path, fields: Sequence[LabelledField]) -> list[FieldPrediction]:
    """Read what `save_predictions` wrote for these fields."""
    with np.load(file, allow_pickle=False) as arrays:
        return [
            FieldPrediction(
                field,
                *(arrays[f"{name}_{number}"] for name in ("predicted", "true", "known", "strangeness")),
            )
            for number, field in enumerate(fields)
        ]
