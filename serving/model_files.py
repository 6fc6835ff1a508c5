"""Where registered models lie: models_dir/<name>/<version>/, copied whole, proved, then never changed."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import EvaluationInvalid, IntegrityFailed
from ultraread.models.card import CARD_FILE, load_card
from ultraread.models.evaluation import EVALUATION_FILE, load_evaluation
from ultraread.models.registry import ModelFolder
from ultraread.serving.results.folder import clear, publish
from ultraread.serving.storage.durable import fsync, full_storage_coded
from ultraread.serving.store.tables import ModelVersionRow

Prove = Callable[[ModelFolder], float]
"""Load a model and return how far it is off its golden pair. Raises the ModelRefused that applies."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The folder of all registered models."""

    folder: Path

    def open(self, row: ModelVersionRow) -> ModelFolder:
        """The files of a registered version. Raises IntegrityFailed where they are not those registered."""
        path = self.path(row.name, row.version)
        if not path.is_dir():
            raise IntegrityFailed(f"the folder of model {row.ref} is gone", "Register it again.")
        model = ModelFolder(path, load_card(path))
        if (model.card.sha256, model.card_sha256) != (row.onnx_sha256, row.card_sha256):
            raise IntegrityFailed(f"the card of {row.ref} is not the one registered", "Restore its folder.")
        return model

    def holds(self, model: ModelFolder) -> bool:
        """Are files of exactly this card and these weights there?"""
        there = ModelFolder(self.path(model.card.name, model.card.version), model.card)
        if not there.onnx.is_file() or not (there.path / CARD_FILE).is_file():
            return False
        return there.card_sha256 == model.card_sha256 and sha256_of_file(there.onnx) == model.card.sha256

    def add(self, model: ModelFolder, evaluation: Path | None, prove: Prove) -> ModelFolder:
        """Copy a model in and prove the copy; it appears whole, or not at all.

        What an interrupted registration left behind is replaced.
        """
        final = self.path(model.card.name, model.card.version)
        unfinished = final.with_name(f".{final.name}.unfinished")
        clear(unfinished)
        try:
            with full_storage_coded("the model"):
                _copy(model.path, unfinished)
                if evaluation is not None:
                    shutil.copyfile(evaluation, unfinished / EVALUATION_FILE)
            copied = ModelFolder(unfinished, load_card(unfinished))
            refuse_foreign_evaluation(copied, unfinished / EVALUATION_FILE)
            prove(copied)
            clear(final)
            publish(unfinished, final)
        finally:
            clear(unfinished)
        return ModelFolder(final, copied.card)

    def replace_evaluation(self, model: ModelFolder, evaluation: Path) -> None:
        """Put a newer evaluation beside a registered model; its card and weights stay."""
        refuse_foreign_evaluation(model, evaluation)
        unfinished = model.path / f".{EVALUATION_FILE}.unfinished"
        with full_storage_coded("the evaluation"):
            shutil.copyfile(evaluation, unfinished)
            fsync(unfinished)
            unfinished.replace(model.path / EVALUATION_FILE)
            fsync(model.path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While no other process registers a model or tells MLflow of one."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def path(self, name: str, version: str) -> Path:
        """Where a version lies, or would."""
        return self.folder.resolve() / name / version


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        copied = target / path.relative_to(source)
        copied.mkdir() if path.is_dir() else shutil.copyfile(path, copied)


def prove_here(model: ModelFolder) -> float:
    """Load the model in this process, or its twin where that is what runs here, and let it go."""
    from ultraread.models.classifier import OnnxClassifier, fitting

    return OnnxClassifier(fitting(model), threads=1).golden_difference


class FittedModels:
    """Which weights of a registered version run on this machine: found out once a process."""

    def __init__(self) -> None:
        self._fitted: dict[tuple[Path, str], ModelFolder] = {}

    def __call__(self, model: ModelFolder) -> ModelFolder:
        """The model, or with its twin in its place. Raises the ModelRefused that says why neither runs."""
        from ultraread.models.classifier import fitting

        key = (model.path, model.card_sha256)
        if key not in self._fitted:
            self._fitted[key] = fitting(model)
        return self._fitted[key]


def refuse_foreign_evaluation(model: ModelFolder, evaluation: Path) -> None:
    """Raise EvaluationInvalid for an evaluation of other weights or another card; none at all is fine."""
    if not evaluation.exists():
        return
    found = load_evaluation(evaluation)
    if (found.onnx_sha256, found.card_sha256) != (model.card.sha256, model.card_sha256):
        raise EvaluationInvalid(f"{evaluation.name} is of {found.model}, of other weights or another card")
