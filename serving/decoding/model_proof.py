"""Prove a model that somebody brought in a process of its own: it may hang, crash or fill memory there."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ultraread.errors import DecodeFailed, ModelInvalid
from ultraread.models.registry import ModelFolder
from ultraread.serving.decoding.limits import DecodeLimits
from ultraread.serving.decoding.pool import DecodingPool

MODEL_LIMITS = DecodeLimits(memory_bytes=6 * 2**30, open_s=180, processes=1)
"""A model of 1 GiB is parsed, held and packed by the runtime: three copies, and what a batch needs."""


def prove_apart(model: ModelFolder) -> float:
    """How far it, or its float32 twin, is off the golden pair here. Raises the ModelRefused that applies."""
    return proved_apart(model)[1]


def proved_apart(model: ModelFolder, limits: DecodeLimits = MODEL_LIMITS) -> tuple[ModelFolder, float]:
    """The model as it runs on this machine, and how far it is off its golden pair.

    Raises the ModelRefused that applies, ModelInvalid where loading hangs, crashes, fills memory or would
    have to read elsewhere.
    """
    _refuse_links(model)
    with closing(DecodingPool(limits)) as processes:
        try:
            uses_twin, difference = processes.call(_proved, str(model.path), files=(str(model.path),))
        except DecodeFailed as failed:
            raise ModelInvalid(f"{model.card.ref} cannot be loaded: {failed.what}") from failed
    return replace(model, uses_twin=uses_twin), difference


def _refuse_links(model: ModelFolder) -> None:
    """Whoever brings a folder with links would choose files of this machine to be read."""
    folder = model.path.resolve()
    if any(not file.resolve().is_relative_to(folder) for file in folder.rglob("*")):
        raise ModelInvalid(f"{model.card.ref} has links to files outside of its folder", "Copy them into it.")


def _proved(folder: str) -> tuple[bool, float]:
    from ultraread.models.card import load_card
    from ultraread.models.classifier import OnnxClassifier, fitting

    path = Path(folder)
    model = fitting(ModelFolder(path, load_card(path)))
    return model.uses_twin, float(OnnxClassifier(model, threads=1).golden_difference)
