"""A model that takes a margin of context says the same of the same patches, wherever tiles begin."""

from pathlib import Path

import numpy as np
import tifffile
from command_line import ultraread
from simulated import simulated_tissue, write_tiff
from tiny_model import with_margin, write_tiny_model


def test_what_is_said_of_a_patch_does_not_depend_on_the_margin(tmp_path: Path) -> None:
    """The tiny model looks at each patch by itself, so its map has to be the same with and without one."""
    plain = write_tiny_model(tmp_path / "plain")
    wide = write_tiny_model(tmp_path / "wide")
    with_margin(wide, margin_px=16, tile_px=64)
    slide = write_tiff(tmp_path / "field.tif", simulated_tissue(300, 200), 4.6)
    maps = []
    for model in (plain, wide):
        out = tmp_path / f"{model.name}-out"
        done = ultraread("read", slide, "--out", out, "--model", model, "--specimen", "simulated")
        assert done.status == 0, done.err
        maps.append(tifffile.imread(out / "field" / "patch_map.ome.tif"))
        assert {path.name for path in (out / "field").iterdir()} >= {"thumbnail.png", "heatmap.png"}
    assert maps[0].shape == maps[1].shape == (2, 13, 19)
    inner = (slice(None), slice(0, 12), slice(0, 18))
    np.testing.assert_allclose(maps[0][inner], maps[1][inner], atol=1e-3)
