"""Trials of quality control: artefacts laid over real fields, real fields as they are, pairs of one place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ultraread.datasets.corpora import fetch, files_under
from ultraread.datasets.geometry import whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.quality.artefacts import RULES, Artefact
from ultraread.datasets.quality.assess import ImageQuality
from ultraread.datasets.quality.duplicates import Print, likeness, print_of
from ultraread.datasets.quality.evaluation.laid import Floats, Generator, as_stored
from ultraread.datasets.quality.evaluation.measure import by_cell, overlap, quality_of
from ultraread.datasets.slide_address import address_of
from ultraread.datasets.tile_stream import as_grey
from ultraread.errors import InputRefused

Item = TypeVar("Item")
TUNED_ON = {
    "vnc stack1": ("drosophila_vnc/stack1/raw", ""),
    "nerve 483S1": ("nerve_myelin/raw", "483S1"),
}
REPORTED_ON = {
    "vnc stack2": ("drosophila_vnc/stack2/raw", ""),
    "isbi2012": ("isbi2012/raw", ""),
    "nerve 483S2": ("nerve_myelin/raw", "483S2"),
    "hela": ("hela_sbfsem/raw", ""),
}
"""Data sets: folder, and what a file's name holds."""
OTHERS = {
    "kidney glomerulus": ("kidney_tem_glomerulus", ".jpg"),
    "kidney najafian": ("kidney_tem_najafian", ".png"),
    "neutrophil": ("neutrophil_tem", ".jpg"),
    "cilia": ("cilia_tem", ".jpg"),
}
KIDNEY_IN_ORDER = ("good", "good2", "okay", "bad")
LARGEST_PX = 1024
"""Trials with laid artefacts look at no more of a field: its upper left part."""


ALSO_CALLED = {Artefact.ASTIGMATISM: (Artefact.BLUR,)}
"""What counts as found under another name: astigmatism that leaves no direction sharp is blur, and blur
suppresses all that astigmatism does."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One artefact at one strength over one field: whether it was found, and how its mask fits.

    `names` are those of its names under which it was found, `others` is what else was said.
    """

    artefact: Artefact
    strength: float
    unit: str
    dataset: str
    found: bool
    overlap: float
    names: tuple[Artefact, ...]
    others: tuple[Artefact, ...]


def field_paths(dataset: tuple[str, str]) -> list[str]:
    """Pinned paths of a data set."""
    folder, part = dataset
    return [
        path
        for path in files_under(folder)
        if part in path.rsplit("/", 1)[-1] and path.lower().endswith((".png", ".tif", ".jpg"))
    ]


def field(path: str) -> tuple[Floats, int]:
    """Grey (H, W) as stored, and bit depth."""
    with open_slide(address_of(fetch(path))) as slide:
        image = slide.info.images[0]
        return as_grey(slide.read_box(0, 0, whole(image.size))), image.bit_depth


def as_8_bit(grey: Floats, bit_depth: int) -> Floats:
    """Deeper fields brought to 10 to 245, so that laid artefacts have one scale of grey."""
    part: Floats = grey[:LARGEST_PX, :LARGEST_PX]
    if bit_depth == 8:
        return part
    low, high = np.percentile(part, (0.1, 99.9))
    return as_stored(10 + 235 * (part - low) / max(float(high - low), 1e-6))


def trials(generator: Generator, datasets: dict[str, tuple[str, str]], fields_each: int) -> Iterator[Trial]:
    """Every artefact of a generator at every strength over `fields_each` fields of each data set."""
    for name, dataset in datasets.items():
        for path in _spread(field_paths(dataset), fields_each):
            grey = as_8_bit(*field(path))
            for artefact, laid in generator.items():
                for strength in laid.strengths:
                    chance = np.random.default_rng([*path.encode(), list(Artefact).index(artefact)])
                    changed, where = laid.lay(grey, strength, chance)
                    yield _trial(artefact, strength, laid.unit, name, changed, where)


def _trial(
    artefact: Artefact,
    strength: float,
    unit: str,
    dataset: str,
    changed: Floats,
    where: NDArray[np.bool_],
) -> Trial:
    quality, contrast = quality_of(changed)
    allowed = (artefact, *ALSO_CALLED.get(artefact, ()))
    names = tuple(each for each in allowed if each in quality.masks)
    if artefact is Artefact.INVERTED:
        found, fit = contrast.is_inverted, float(contrast.is_inverted)
    else:
        mask = np.logical_or.reduce([quality.masks[each] for each in names]) if names else None
        found, fit = bool(names), overlap(mask, by_cell(where, quality.cells.cell_px))
    others = tuple(each for each in quality.masks if each not in allowed)
    return Trial(artefact, strength, unit, dataset, found, fit, names, others)


@dataclass(frozen=True, slots=True)
class Clean:
    """A real field as it is: what was said of it, and the figures behind."""

    dataset: str
    path: str
    found: dict[str, float]
    looks_inverted: bool
    measures: dict[str, float]


def clean_fields(datasets: dict[str, tuple[str, str]]) -> Iterator[Clean]:
    """Quality control of every field, at its own pixels and depth."""
    for name, dataset in datasets.items():
        for path in field_paths(dataset):
            quality, contrast = quality_of(*field(path))
            found = {RULES[each].name: float(mask.mean()) for each, mask in quality.masks.items()}
            measures = quality.measures | {
                "thin": contrast.thin,
                "thick": contrast.thick,
                "tail": contrast.tail,
            }
            yield Clean(name, path, found, contrast.is_inverted, measures)


def refused_paths(folder: str) -> list[str]:
    """Files of a folder that do not open as images."""
    return [path for path in files_under(folder) if not _opens(path)]


def inverted_found(datasets: dict[str, tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """By data set: negatives that were told, of how many fields."""
    told = {}
    for name, dataset in datasets.items():
        greys = [as_8_bit(*field(path)) for path in field_paths(dataset)]
        told[name] = (sum(quality_of(255 - grey)[1].is_inverted for grey in greys), len(greys))
    return told


@dataclass(frozen=True, slots=True)
class Pairs:
    """Likeness of pairs of one data set: the same place again, by how it changed, and different fields."""

    dataset: str
    copies: dict[str, list[float]]
    strangers: list[float]


def pairs(name: str, dataset: tuple[str, str], fields_each: int) -> Pairs:
    """Copies of a few fields, and all pairs of different fields."""
    greys = [as_8_bit(*field(path)) for path in field_paths(dataset)]
    prints = [_print(grey) for grey in greys]
    copies = {
        change: [likeness(_print(grey), _print(make(grey))) for grey in _spread(greys, fields_each)]
        for change, make in AGAIN.items()
    }
    return Pairs(name, copies, [likeness(one, other) for one, other in combinations(prints, 2)])


def _again_noisy(grey: Floats) -> Floats:
    return as_stored(grey + np.random.default_rng(0).normal(0, 0.5 * grey.std(), grey.shape))


AGAIN: dict[str, Callable[[Floats], Floats]] = {
    "noise of 0.5 SD": _again_noisy,
    "blur of 2 px": lambda grey: as_stored(gaussian_filter(grey, 2)),
    "gamma of 0.5": lambda grey: as_stored(255 * (grey / 255) ** 0.5),
    "moved by 10 px": lambda grey: np.pad(grey, ((10, 0), (10, 0)), "reflect")[: len(grey), : grey.shape[1]],
    "turned and mirrored": lambda grey: np.ascontiguousarray(grey.T[::-1].T),
}
"""How a place looks when it is taken again."""


def _print(grey: Floats) -> Print:
    quality: ImageQuality = quality_of(grey)[0]
    return print_of(quality.picture)


def _opens(path: str) -> bool:
    try:
        with open_slide(address_of(fetch(path))):
            return True
    except InputRefused:
        return False


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items, spread over all of them."""
    places = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[place] for place in places]
