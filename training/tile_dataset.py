"""Labelled sections as tensors: grey values, masks, and the soft targets that the network learns.

Masks of `drosophila_vnc` (figshare 856713) are white (255, or True in 1-bit files) where the class is and
black elsewhere; a few files hold grey edges, cut at 128 here. Checked against the code table of
`labels/`: mitochondria are code 191 and synapses 223; membranes are codes 0 to 128 (by direction), 159 (glia
or extracellular) and all but a few pixels of 223, since a synapse lies on a membrane: the classes overlap.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ultraread.datasets.corpora import fetch, pinned_files
from ultraread.training.config import DataTable, TrainingConfig


@dataclass(frozen=True, slots=True)
class Section:
    """One section: `grey` (1, H, W) uint8 as filed, `masks` (C, H, W) uint8 of 0 and 1."""

    index: int
    grey: Tensor
    masks: Tensor


def load_sections(config: TrainingConfig, indices: Sequence[int] | None = None) -> list[Section]:
    """Return the labelled sections `indices` (all of the recipe's by default), in that order."""
    chosen = config.data.sections if indices is None else indices
    return [load_section(config, index) for index in chosen]


def load_section(config: TrainingConfig, index: int) -> Section:
    """Return one section with one mask a class, in the order of the recipe's classes."""
    grey_path, *mask_paths = section_paths(config, index)
    masks = np.stack([_grey_values(path) >= 128 for path in mask_paths]).astype(np.uint8)
    return Section(index, torch.from_numpy(_grey_values(grey_path)[None]), torch.from_numpy(masks))


def section_paths(config: TrainingConfig, index: int) -> list[str]:
    """The pinned paths of a section: its image, then one mask a class."""
    folder = config.data.folder
    masks = [f"{folder}/{one.mask_folder}/{index:02d}.png" for one in config.classes]
    return [f"{folder}/raw/{index:02d}.tif", *masks]


def normalise(grey: NDArray[np.generic] | Tensor, clip: float) -> Tensor:
    """Subtract the image's mean, divide by its standard deviation, clip: the card's `image_mean_std`.

    Takes a whole image of any shape and returns float32 of that shape, in standard deviations.
    """
    values = torch.as_tensor(grey).float()
    return ((values - values.mean()) / values.std(correction=0).clamp_min(1e-6)).clamp(-clip, clip)


def soft_targets(masks: Tensor, patch_px: int) -> Tensor:
    """Area fraction of each class in each patch: (..., C, H, W) masks of 0 and 1 to (..., C, H/p, W/p)."""
    return avg_pool2d(masks.float(), patch_px)


def files_of(config: TrainingConfig) -> list[str]:
    """The pinned paths that a run on all sections reads, sorted."""
    return sorted(path for index in config.data.sections for path in section_paths(config, index))


def digest_of_files(paths: Sequence[str]) -> str:
    """sha256 over the lines `sha256  path` of the sorted pinned paths, as `sha256sum` writes them."""
    lines = "".join(f"{pinned_files()[path].sha256}  {path}\n" for path in sorted(paths))
    return hashlib.sha256(lines.encode()).hexdigest()


def licence_of(data: DataTable) -> str:
    """The licence that corpora.csv states for the data set."""
    return next(one.licence for path, one in pinned_files().items() if path.startswith(data.folder + "/"))


def _grey_values(path: str) -> NDArray[np.uint8]:
    with Image.open(fetch(path)) as image:
        return np.array(image.convert("L"))
