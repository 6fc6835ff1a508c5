"""Make a model folder of a network that somebody brings, from its file, its configuration and its owner."""

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.slide import Modality
from ultraread.errors import ModelIoMismatch, OutputExists, RequestInvalid
from ultraread.models.card import ClassOfModel, ScaleRange, load_card, write_card
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.golden import GOLDEN_SEED, Tiles, run_onnx, simulated_tiles, write_golden_pair
from ultraread.models.missing import COLOUR
from ultraread.models.registry import ONNX_FILE, ModelFolder
from ultraread.models.unstated_card import RULE, Known, unstated_card
from ultraread.models.wrap import OUTPUT, Activation, Network, Wrapping, examine, wrap
from ultraread.models.wsinfer_config import WsinferConfig

BATCH_SIZE = 8
"""Where the network takes any number of tiles."""
LENS_TOLERANCE = 0.05
"""Relative: about one scale, a range as wide as the scale of an uncalibrated lens is uncertain."""
SUMS_TO_ONE = 1e-4
CODE, NAME = re.compile("[A-Z][A-Z0-9-]*"), re.compile("[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Stated:
    """What the owner of a network says of it; an option wins over the configuration.

    `classes` are (code, name) in the order of the outputs; `mean` and `std` are of grey from 0 to 1.
    """

    name: str
    version: str
    classes: tuple[tuple[str, str], ...] = ()
    activation: Activation | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    tile_px: int | None = None
    nm_per_px: float | None = None
    nm_per_px_range: tuple[float, float] | None = None
    specimens: tuple[str, ...] = ()
    modality: Modality = Modality.TEM
    config: WsinferConfig | None = None


def make_model_folder(file: Path, out: Path, stated: Stated) -> ModelFolder:
    """Wrap `file`, write card and golden pair, prove that it loads, and only then let `out` appear."""
    if out.exists():
        raise OutputExists(f"{out} exists already")
    network = examine(file)
    known, wrapping = _settled(network, stated)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.absolute().parent) as made:
        folder = Path(made) / "model"
        folder.mkdir()
        _write(folder, network, wrapping, known)
        OnnxClassifier(ModelFolder(folder, load_card(folder)), threads=1)
        folder.rename(out)
    return ModelFolder(out, load_card(out))


def _write(folder: Path, network: Network, wrapping: Wrapping, known: Known) -> None:
    _refuse_wrong_activation(folder, network, wrapping)
    onnx.save(wrap(network, wrapping), folder / ONNX_FILE)
    golden_pair = write_golden_pair(folder / ONNX_FILE, wrapping.tile_px, RULE, [OUTPUT])
    write_card(unstated_card(known, sha256_of_file(folder / ONNX_FILE), golden_pair), folder)


def _settled(network: Network, stated: Stated) -> tuple[Known, Wrapping]:
    classes = _classes(network, stated)
    tile_px, network_px = _sides(network, stated)
    mean, std = _statistics(network, stated)
    activation = _activation(network, stated, len(classes))
    behind: Activation = "none" if network.activation != "none" else activation
    wrapping = Wrapping(tile_px, network_px, len(classes), mean, std, behind)
    known = Known(
        name=stated.name,
        version=stated.version,
        classes=classes,
        nm_per_px=_scale(stated),
        specimens=stated.specimens,
        modality=stated.modality,
        tile_px=tile_px,
        batch_size=network.batch or BATCH_SIZE,
        activation=activation,
        limitations=tuple(_limitations(network, stated, wrapping)),
    )
    return known, wrapping


def _classes(network: Network, stated: Stated) -> tuple[ClassOfModel, ...]:
    named = stated.classes or tuple(
        _coded(name) for name in (stated.config.class_names if stated.config else ())
    )
    if not named:
        count = network.classes or "an unknown number of"
        raise RequestInvalid(
            f"{network.file} gives {count} classes without names",
            "Name each, in the order of the outputs, with --class CODE=name.",
        )
    if network.classes not in (None, len(named)):
        raise ModelIoMismatch(
            f"{network.file} gives {network.classes} classes; {len(named)} are named",
            "Name each class once, in the order of the outputs.",
        )
    for code, name in named:
        if not (CODE.fullmatch(code) and NAME.fullmatch(name)):
            raise RequestInvalid(
                f"{code}={name} is no class",
                "Write it as UR-MITO=mitochondria: --class CODE=lower_snake_name.",
            )
    return tuple(ClassOfModel(code=code, name=name, label=_label(name)) for code, name in named)


def _coded(name: str) -> tuple[str, str]:
    """A code and a column name for a class that a configuration names for people."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    return f"OWN-{'-'.join(words).upper()}", "_".join(words)


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _sides(network: Network, stated: Stated) -> tuple[int, int]:
    """Side of the tile and of what the network gets, in px; they differ where a configuration resizes."""
    config = stated.config
    tile_px = config.patch_size_pixels if config else stated.tile_px or network.side_px
    network_px = config.network_px if config else tile_px
    if tile_px is None or network_px is None:
        raise RequestInvalid(
            f"{network.file} does not say how large its tiles are", "State it with --tile PX."
        )
    if stated.tile_px not in (None, tile_px) or network.side_px not in (None, network_px):
        raise ModelIoMismatch(
            f"{network.file} takes {network.side_px or tile_px} px, not {stated.tile_px or network_px} px",
            "State the side that the network was trained with.",
        )
    return tile_px, network_px


def _statistics(network: Network, stated: Stated) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation for each channel, or nothing."""
    mean, std = stated.mean, stated.std
    if not (mean or std) and stated.config:
        mean, std = stated.config.statistics
    if not (mean or std):
        return (), ()
    wide = tuple(values * network.channels if len(values) == 1 else values for values in (mean, std))
    if any(len(values) != network.channels for values in wide) or min(wide[1]) <= 0:
        raise RequestInvalid(
            f"mean {mean} and std {std} do not fit {network.channels} channels",
            "State both, with one value or one a channel; each std above 0.",
        )
    return wide[0], wide[1]


def _activation(network: Network, stated: Stated, classes: int) -> Activation:
    """What makes the probabilities: in the file, as stated, else softmax, and sigmoid for a single class."""
    if network.activation == "none":
        return stated.activation or ("softmax" if classes > 1 else "sigmoid")
    if stated.activation not in (None, "none", network.activation):
        raise RequestInvalid(
            f"{network.file} ends in {network.activation} already", "Leave --activation out."
        )
    return network.activation


def _scale(stated: Stated) -> ScaleRange:
    nominal = stated.nm_per_px or (stated.config.nm_per_px if stated.config else None)
    if nominal is None:
        raise RequestInvalid(
            "the pixel size of the training data is not stated", "State it with --nm-per-px X."
        )
    low, high = stated.nm_per_px_range or (nominal / (1 + LENS_TOLERANCE), nominal * (1 + LENS_TOLERANCE))
    if not 0 < low <= nominal <= high < float("inf"):
        raise RequestInvalid(f"{nominal:g} nm/px does not lie in {low:g} to {high:g} nm/px")
    return ScaleRange(nominal=nominal, min=_rounded(low), max=_rounded(high))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _limitations(network: Network, stated: Stated, wrapping: Wrapping) -> list[str]:
    said = [COLOUR] if stated.config else []
    if network.channels > 1:
        said.append(f"Made for {network.channels} channels; all of them get the same grey.")
    if wrapping.tile_px != wrapping.network_px:
        said.append(f"Tiles of {wrapping.tile_px} px are resized to {wrapping.network_px} px in the graph.")
    return said


def _refuse_wrong_activation(folder: Path, network: Network, wrapping: Wrapping) -> None:
    """Ask the bare network: an activation too many or too few would give wrong numbers without a word."""
    bare = Wrapping(
        wrapping.tile_px, wrapping.network_px, wrapping.classes, wrapping.mean, wrapping.std, "none"
    )
    given = _answers(folder / "bare.onnx", network, bare)
    are_probabilities = bool(((given >= 0) & (given <= 1)).all())
    if wrapping.activation == "none" and not are_probabilities:
        raise ModelIoMismatch(
            f"{network.file} gives {given.min():.3g} to {given.max():.3g}: no probabilities",
            "State what makes them with --activation softmax or --activation sigmoid.",
        )
    sums_to_one = np.allclose(given.sum(axis=1), 1, rtol=0, atol=SUMS_TO_ONE)
    if wrapping.activation == "softmax" and are_probabilities and sums_to_one:
        raise ModelIoMismatch(f"{network.file} gives probabilities already", "State --activation none.")


def _answers(file: Path, network: Network, wrapping: Wrapping) -> Tiles:
    """(N, C) answers to simulated tiles; raises ModelIoMismatch where they have another shape."""
    onnx.save(wrap(network, wrapping), file)
    tiles = simulated_tiles(2, wrapping.tile_px, RULE, GOLDEN_SEED)
    taken, answers = run_onnx(file, tiles, [OUTPUT])
    file.unlink()
    if answers[OUTPUT].shape != (len(taken), wrapping.classes):
        raise ModelIoMismatch(
            f"{network.file} gives {answers[OUTPUT].shape} for {len(taken)} tiles; "
            f"{wrapping.classes} classes are named",
            "Export class scores of (N, C) and name each class.",
        )
    return answers[OUTPUT]
