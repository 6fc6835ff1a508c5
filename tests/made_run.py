"""A recipe that went through its stages, and what they left."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ultraread.training.calibrate import CalibrationRecord
from ultraread.training.config import config_sha256
from ultraread.training.predict import FieldPrediction
from ultraread.training.release import (
    calibrate_recipe,
    calibration_file,
    cross_validate_recipe,
    export_recipe,
    run_folder,
    train_recipe,
)


def silent(_steps: int, _loss: float) -> None:
    """What is called after each step, where nobody looks."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run: its folders, and what it found out."""

    recipe: Path
    runs: Path
    results: Path
    folder: Path
    predictions: list[FieldPrediction]
    record: CalibrationRecord

    def as_if_of(self, recipe: Path, *, calibrated: bool = True) -> Path:
        """Let another recipe of the same network have these weights; returns its folder of results."""
        kept = run_folder(recipe, self.runs)
        if not kept.exists():
            shutil.copytree(run_folder(self.recipe, self.runs), kept)
        results = recipe.parent / "results"
        results.mkdir(exist_ok=True)
        if calibrated:
            record = self.record.model_copy(update={"config_sha256": config_sha256(recipe)})
            calibration_file(recipe, results).write_text(record.model_dump_json())
        return results


def run_all(recipe: Path, base: Path) -> Ran:
    """Cross-validate, calibrate, train and export."""
    runs, results, folder = base / "runs", base / "results", base / "zoo" / "1.0.0"
    predictions = cross_validate_recipe(recipe, runs, lambda fold: silent)
    record = calibrate_recipe(recipe, results, runs)
    train_recipe(recipe, runs, silent)
    export_recipe(recipe, folder, results, runs, lambda said: None)
    return Ran(recipe, runs, results, folder, predictions, record)
