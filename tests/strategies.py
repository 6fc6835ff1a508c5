"""Hypothesis strategies: sizes, scales and tile plans of every shape that a read can meet."""

from hypothesis import settings
from hypothesis import strategies as st

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.scale import ScaleOrigin, StatedScale
from ultraread.datasets.tile_plan import TilePlan

settings.register_profile("house", deadline=None, derandomize=True)  # machines are shared and slow at times
settings.load_profile("house")

ZOOMS = st.one_of(st.sampled_from([1.0, 0.5, 2.0, 4.6 / 3.3, 4.6 / 6.5]), st.floats(0.4, 2.5))
"""Level-0 pixels a model pixel: what the scale ranges of models lead to."""

SCALES_NM = st.floats(0.1, 1000, allow_nan=False)


@st.composite
def plans(draw: st.DrawFn, max_side_px: int = 400) -> TilePlan:
    """A plan over any region of an image, at least a pixel wide."""
    zoom, tile_px = draw(ZOOMS), draw(st.sampled_from([16, 32, 64, 96]))
    x, y = draw(st.integers(0, 50)), draw(st.integers(0, 50))
    width, height = draw(st.integers(1, max_side_px)), draw(st.integers(1, max_side_px))
    range_tiles, margin_px = draw(st.integers(1, 20)), draw(st.sampled_from([0, 16, 40]))
    return TilePlan(0, BoxPx(x, y, width, height), zoom, tile_px, range_tiles, margin_px)


@st.composite
def square_scales(draw: st.DrawFn) -> StatedScale:
    """A pixel size of square pixels, from any origin, with any tolerance."""
    nm = draw(SCALES_NM)
    return StatedScale(nm, nm, draw(st.sampled_from(list(ScaleOrigin))), draw(st.floats(0, 0.2)))
