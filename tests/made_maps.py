"""Patch maps of one class, made of the scores of tiles."""

import numpy as np
from numpy.typing import NDArray

from ultraread.models.card import ClassOfModel
from ultraread.training.class_maps import ClassMaps
from ultraread.training.model_view import ModelView

MITO = ClassOfModel(code="UR-MITO", name="mitochondria", label="Mitochondria", positive_fraction=0.05)
PATCHES = 2
VIEW = ModelView((MITO,), nm_per_px=4.6, tile_px=64, patch_px=16, batch_size=4, clip=4.0, margin_px=16)
"""Tiles of 2 x 2 patches within their margin."""

Values = NDArray[np.float64]


def field_maps(scores: Values, fractions: Values) -> ClassMaps:
    """One map where (H, W) patches are given; of flat tile scores, one field of one tile each."""
    if scores.ndim == 2:
        return ClassMaps(MITO, ((scores,),), ((fractions,),), "fields")
    fields = [tuple((_tile(one),) for one in values) for values in (scores, fractions)]
    return ClassMaps(MITO, fields[0], fields[1], "fields")


def _tile(value: float) -> Values:
    return np.full((PATCHES, PATCHES), value, np.float64)
