"""Out-of-fold predictions of every section, kept per fold so that an interrupted run goes on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ultraread.training.config import TrainingConfig
from ultraread.training.folds import Fold, blocked_folds
from ultraread.training.predict import SectionPrediction, predict_sections
from ultraread.training.tile_dataset import load_sections
from ultraread.training.train import OnStep, train_network

OnFold = Callable[[Fold], OnStep]
"""Called at the start of each fold; returns what is called after each step."""


def cross_validate(config: TrainingConfig, runs_folder: Path, on_fold: OnFold) -> list[SectionPrediction]:
    """Return one out-of-fold prediction a section, in the order of the recipe's sections.

    `runs_folder` belongs to one recipe; folds whose predictions lie there are not trained again.
    """
    table = config.validation
    folds = blocked_folds(config.data.sections, table.folds, table.gap_sections)
    return [one for fold in folds for one in _out_of_fold(fold, config, runs_folder, on_fold)]


def _out_of_fold(
    fold: Fold, config: TrainingConfig, runs_folder: Path, on_fold: OnFold
) -> list[SectionPrediction]:
    kept = runs_folder / f"fold-{fold.number}.npz"
    if kept.is_file():
        return _load(kept)
    checkpoint = runs_folder / f"fold-{fold.number}.pt"
    network = train_network(load_sections(config, fold.train), config, checkpoint, on_fold(fold))
    predictions = predict_sections(network, load_sections(config, fold.test), config)
    _save(predictions, kept)
    return predictions


def _save(predictions: list[SectionPrediction], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".part").open("wb") as stream:
        np.savez_compressed(
            stream,
            index=np.array([one.index for one in predictions]),
            predicted=np.stack([one.predicted for one in predictions]),
            true=np.stack([one.true for one in predictions]),
        )
    file.with_suffix(".part").replace(file)


def _load(file: Path) -> list[SectionPrediction]:
    with np.load(file) as kept:
        rows = zip(kept["index"].tolist(), kept["predicted"], kept["true"], strict=True)
        return [SectionPrediction(index, predicted, true) for index, predicted, true in rows]
