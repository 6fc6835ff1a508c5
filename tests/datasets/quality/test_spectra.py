"""Blur is measured beside the tissue's own spectrum; bands are one peak, and a lattice is none."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ultraread.datasets.quality.spectra import band_peak, blur_of, direction_loss, mean_rings, tile_spectrum

TILES = 9


def _tissue(power: float, chance: np.random.Generator) -> np.ndarray:
    """Simulated: noise whose spectrum falls as the frequency to the -`power`."""
    down, across = np.fft.fftfreq(224)[:, None], np.fft.rfftfreq(224)[None]
    radius = np.maximum(np.hypot(down, across), 1 / 224)
    waves = np.fft.rfft2(chance.normal(size=(224, 224))) * radius ** (-power / 2)
    made = np.fft.irfft2(waves, (224, 224))
    return made / made.std()


def _spectra(
    change: Callable[[np.ndarray], np.ndarray], power: float = 2.2, noise: float = 0.01
) -> np.ndarray:
    chance = np.random.default_rng(0)
    made = [change(_tissue(power, chance)) + chance.normal(0, noise, (224, 224)) for _ in range(TILES)]
    return np.stack([tile_spectrum((100 + 30 * tile).astype(np.float32)) for tile in made])


@pytest.mark.parametrize("power", [1.8, 2.2, 2.8])
@pytest.mark.parametrize("sigma_px", [0.0, 1.0, 2.0])
def test_blur_is_what_was_laid_over_tissue_of_any_fall(power: float, sigma_px: float) -> None:
    spectra = _spectra(lambda tile: gaussian_filter(tile, sigma_px, mode="wrap"), power)
    assert blur_of(mean_rings(spectra)).sigma_px == pytest.approx(sigma_px, abs=0.5)


def test_noise_hides_blur_and_does_not_make_it() -> None:
    spectra = _spectra(lambda tile: 0 * tile, noise=1.0)
    assert np.isnan(blur_of(mean_rings(spectra)).variance)


def test_one_direction_that_is_blurred_is_told_from_none() -> None:
    even = direction_loss(mean_rings(_spectra(lambda tile: tile)))[0]
    uneven = direction_loss(mean_rings(_spectra(lambda tile: gaussian_filter(tile, (2.5, 0), mode="wrap"))))[
        0
    ]
    assert even < 0.7
    assert uneven > 2


def test_a_wave_is_a_peak_and_a_lattice_of_squares_is_none() -> None:
    y, x = np.mgrid[0:224, 0:224]
    wave = 0.3 * np.sin(2 * np.pi * (0.6 * x + 0.8 * y) / 20)
    chance = np.random.default_rng(2)

    def squares(_: np.ndarray) -> np.ndarray:
        return chance.normal(size=(14, 14)).repeat(16, axis=0).repeat(16, axis=1)

    assert band_peak(_spectra(lambda tile: tile)) < 0.8
    assert band_peak(_spectra(lambda tile: tile + wave)) > 2
    assert band_peak(_spectra(squares)) < 1.3
