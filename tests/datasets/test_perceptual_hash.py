"""Fingerprints are near for one picture in other guises, and far for two pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import texture
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.perceptual_hash import NEAR_BITS, distance, fingerprint, near_duplicates

SEEDS = st.integers(0, 10_000)


def picture(seed: int, side_px: int = 96) -> NDArray[np.float32]:
    return texture(seed, side_px).astype(np.float32)


@given(seed=SEEDS, gain=st.floats(0.1, 3), offset=st.floats(-50, 50))
def test_brightness_and_contrast_change_nothing(seed: int, gain: float, offset: float) -> None:
    one = picture(seed)
    assert distance(fingerprint(one), fingerprint(np.float32(gain) * one + np.float32(offset))) <= 2


@given(seed=SEEDS, side_px=st.integers(80, 120))
def test_a_little_rescaling_stays_near(seed: int, side_px: int) -> None:
    one = picture(seed)
    other = np.asarray(Image.fromarray(one, mode=None).resize((side_px, side_px), Image.Resampling.BILINEAR))
    assert distance(fingerprint(one), fingerprint(other)) <= NEAR_BITS


@given(seed=SEEDS, turns=st.integers(0, 3), is_mirrored=st.booleans())
def test_turning_and_mirroring_change_nothing(seed: int, turns: int, is_mirrored: bool) -> None:
    one = picture(seed)
    other = np.rot90(one[:, ::-1] if is_mirrored else one, turns)
    assert distance(fingerprint(one), fingerprint(np.ascontiguousarray(other))) <= 2


@pytest.mark.parametrize("seed", range(20))
def test_two_pictures_are_far_apart(seed: int) -> None:
    assert distance(fingerprint(picture(seed)), fingerprint(picture(seed + 1000))) > NEAR_BITS


def test_pairs_come_in_order_with_their_distance() -> None:
    listed = [fingerprint(picture(seed)) for seed in (1, 2, 1, 3, 2)]
    assert near_duplicates(listed) == [(0, 2, 0), (1, 4, 0)]
