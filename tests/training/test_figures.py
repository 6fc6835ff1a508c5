"""Every figure of a class says what it counts, and is left out where it has no value."""

from dataclasses import replace

import numpy as np
import pytest
from made_maps import VIEW, field_maps

from ultraread.training.figures import HOW, class_figures, figures_of_resample

SCORES = np.array([0.9, 0.6, 0.4, 0.1])
FRACTIONS = np.array([0.8, 0.0, 0.6, 0.0])


def values(present: float | None = None) -> dict[str, float]:
    found = class_figures(field_maps(SCORES, FRACTIONS), VIEW, present)
    return {one.metric: one.value for one in found}


def test_every_figure_is_explained() -> None:
    assert set(values(present=0.5)) == set(HOW) - {"auc_tile"}, "tiles of 128 px are larger than the fields"


def test_figures_have_their_values() -> None:
    found = values(present=0.5)
    assert found["auc_patch"] == found["auc_served_tile"] == 0.75
    assert found["area_fraction_predicted"] == 0.5
    assert found["area_fraction_true"] == pytest.approx(0.35)
    assert found["area_fraction_difference_points"] == pytest.approx(15)
    assert found["area_error_points"] == pytest.approx(100 * (0.1 + 0.6 + 0.2 + 0.1) / 4)
    assert found["dice"] == pytest.approx(2 * (0.8 + 0.4) / (2.0 + 1.4), abs=1e-5)
    assert found["f1"] == 0.5
    assert found["ece_area"] == pytest.approx(0.25)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.04 + 0.01) / 4)


def test_f1_needs_a_limit() -> None:
    assert "f1" not in values()


def test_a_model_without_a_patch_map_has_its_tiles_for_patches() -> None:
    maps = field_maps(SCORES, FRACTIONS)
    names = {
        tile_px: set(figures_of_resample(maps, replace(VIEW, tile_px=tile_px, patch_px=tile_px, margin_px=0)))
        for tile_px in (32, 48, 224)
    }
    assert "auc_patch" in names[32] & names[48] & names[224]
    assert "auc_served_tile" not in names[32]
    assert [tile_px for tile_px, found in names.items() if "auc_tile" in found] == [32], "whole squares only"


def test_where_everything_shows_the_class_nothing_is_ranked() -> None:
    figures = class_figures(field_maps(SCORES, np.ones(4)), VIEW)
    assert "auc_patch" not in {one.metric for one in figures}
    assert np.isfinite([(one.value, *one.ci95) for one in figures]).all()
    assert {(one.code, one.n, one.n_of) for one in figures} == {("UR-MITO", 4, "fields")}
