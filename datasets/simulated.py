"""Simulated fields: textures a little like EM, for proofs that need no tissue. Named so everywhere."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

SIMULATED = "SIMULATED texture, no specimen"


def write_simulated_field(path: Path, side_px: int, seed: int) -> Path:
    """Write a simulated 8-bit field as TIFF, without a pixel size, its description saying what it is."""
    texture = simulated_texture(np.random.default_rng(seed), side_px)
    grey = np.clip(128 + 40 * texture, 0, 255).astype(np.uint8)
    tifffile.imwrite(path, grey, photometric="minisblack", metadata=None, description=SIMULATED)
    return path


def simulated_texture(rng: np.random.Generator, side_px: int) -> NDArray[np.float64]:
    """(side, side) simulated texture, mean 0 and standard deviation 1: dark lines and bodies on noise."""
    cells = _smooth_noise(rng, side_px, wavelength_px=64)
    bodies = _smooth_noise(rng, side_px, wavelength_px=32)
    grain = rng.standard_normal((side_px, side_px))
    membranes = np.exp(-((cells / 0.08) ** 2))
    values = 0.3 * grain + 0.3 * bodies - 2.5 * membranes - 1.5 * (bodies > 1.5)
    return _standardised(values)


def _smooth_noise(rng: np.random.Generator, side_px: int, wavelength_px: float) -> NDArray[np.float64]:
    spectrum = np.fft.rfft2(rng.standard_normal((side_px, side_px)))
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.rfftfreq(side_px)[None])
    smooth = np.fft.irfft2(spectrum * np.exp(-((frequency * wavelength_px) ** 2)), s=(side_px, side_px))
    return _standardised(smooth)


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    standardised: NDArray[np.float64] = (values - values.mean()) / values.std()
    return standardised
