"""Find a model by its reference: a name, name/version, or the path of a model folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ultraread.datasets.admission import ReadDemands
from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import ModelUnknown
from ultraread.models.card import CARD_FILE, GoldenPair, ModelCard, Twin, load_card

DEFAULT_MODEL = "ultrastructure-vnc"
ONNX_FILE = "model.onnx"


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk: its card, read and valid; its weights, not yet opened.

    `uses_twin`: its float32 twin runs instead, because the int8 weights do not hold their golden pair here.
    """

    path: Path
    card: ModelCard
    uses_twin: bool = False

    @property
    def onnx(self) -> Path:
        return self.path / (self._twin.file if self._twin else ONNX_FILE)

    @property
    def onnx_sha256(self) -> str:
        """Of the weights that run here."""
        return self._twin.sha256 if self._twin else self.card.sha256

    @property
    def golden_pair(self) -> GoldenPair:
        """Of the weights that run here."""
        return self._twin.golden_pair if self._twin else self.card.golden_pair

    @property
    def _twin(self) -> Twin | None:
        return self.card.fp32_twin if self.uses_twin else None

    @cached_property
    def card_sha256(self) -> str:
        return sha256_of_file(self.path / CARD_FILE)

    @property
    def demands(self) -> ReadDemands:
        card, scale = self.card, self.card.nm_per_px
        return ReadDemands(
            card.modality, scale.nominal, scale.min, scale.max, card.core_px, tuple(card.bit_depths)
        )


def zoo() -> Path:
    """The folder of the models that UltraRead ships."""
    return Path(__file__).resolve().parent / "zoo"


def list_models(folder: Path | None = None) -> list[ModelFolder]:
    """Every model of the zoo, by name, oldest version first."""
    cards = (folder or zoo()).glob(f"*/*/{CARD_FILE}")
    models = [ModelFolder(card.parent, load_card(card.parent)) for card in cards]
    return sorted(models, key=lambda model: (model.card.name, _version_key(model.card.version)))


def find_model(ref: str, folder: Path | None = None) -> ModelFolder:
    """Return the model that `ref` names; of a bare name the newest version.

    Raises ModelUnknown, and ModelCardInvalid where its card cannot be read.
    """
    name, slash, version = ref.partition("/")
    matching = [
        model
        for model in list_models(folder)
        if model.card.name == name and version == (model.card.version if slash else "")
    ]
    if matching:  # first, so that a folder of that name in the working directory is never taken for it
        return matching[-1]
    if Path(ref).is_dir():
        return ModelFolder(Path(ref).resolve(), load_card(Path(ref)))
    raise ModelUnknown(f"there is no model {ref}")


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
