"""Quality control of a field that lies in memory, and how two masks compare."""

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.quality.assess import ImageQuality
from ultraread.datasets.quality.contrast import Contrast
from ultraread.datasets.quality.survey import survey
from ultraread.datasets.slide import ClosedByWith, ImageInfo, Modality, Pixels, SlideInfo

COVERED = 0.1
"""Share of a cell from which on the artefact that was laid counts as lying in it."""
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


class FieldInMemory(ClosedByWith):
    """A slide of one grey image (H, W); `bit_depth` says what its intensities mean."""

    def __init__(self, grey: Floats, bit_depth: int) -> None:
        self._grey = grey
        size = SizePx(grey.shape[1], grey.shape[0])
        image = ImageInfo(0, (size,), bit_depth, 1, Modality.TEM, modality_is_stated=False, scales=())
        self.info = SlideInfo("memory", (image,))

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        return self._grey[box.y : box.bottom, box.x : box.right]

    def close(self) -> None:
        """Nothing is held open."""


def quality_of(grey: Floats, bit_depth: int = 8) -> tuple[ImageQuality, Contrast]:
    """The artefacts of a field (H, W) of stored intensities, at its own pixels."""
    slide = FieldInMemory(grey, bit_depth)
    return survey(slide, slide.info.images[0])


def by_cell(mask: Mask, cell_px: int) -> Mask:
    """(rows, columns): cells of which the mask covers at least COVERED."""
    height, width = (-(-side // cell_px) * cell_px for side in mask.shape)
    padded = np.zeros((height, width), np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    shares = padded.reshape(height // cell_px, cell_px, width // cell_px, cell_px).mean(axis=(1, 3))
    return np.asarray(shares >= COVERED)


def overlap(found: Mask | None, laid: Mask) -> float:
    """Intersection over union of two masks; 0 where nothing was found."""
    if found is None or not (found | laid).any():
        return 0.0
    return float((found & laid).sum() / (found | laid).sum())
