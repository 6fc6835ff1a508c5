"""Generator A: artefacts as closed formulas on the pixel grid. Limits were chosen on it."""

from types import MappingProxyType

import numpy as np
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter, shift

from ultraread.datasets.quality.artefacts import Artefact
from ultraread.datasets.quality.evaluation.laid import Floats, Generator, Laid, Mask, as_stored, everywhere

Chance = np.random.Generator


def blur(grey: Floats, sigma_px: float, chance: Chance) -> tuple[Floats, Mask]:
    """A Gaussian, then 2 % of noise."""
    blurred = gaussian_filter(grey, sigma_px) + chance.normal(0, 5, grey.shape).astype(np.float32)
    return as_stored(blurred), everywhere(grey)


def astigmatism(grey: Floats, sigma_px: float, chance: Chance) -> tuple[Floats, Mask]:
    """A Gaussian twice as wide along one axis as along the other."""
    sigmas = (sigma_px, sigma_px / 2) if chance.random() < 0.5 else (sigma_px / 2, sigma_px)
    return as_stored(gaussian_filter(grey, sigmas)), everywhere(grey)


def drift(grey: Floats, length_px: float, chance: Chance) -> tuple[Floats, Mask]:
    """The mean of copies along a straight line."""
    angle, steps = chance.uniform(0, np.pi), int(length_px) + 1
    places = np.linspace(-length_px / 2, length_px / 2, steps)
    moved = [
        shift(grey, (place * np.sin(angle), place * np.cos(angle)), order=1, mode="nearest")
        for place in places
    ]
    return as_stored(np.mean(moved, axis=0, dtype=np.float32)), everywhere(grey)


def charging(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """Bands of rows, brighter or darker by `strength` standard deviations."""
    offsets = np.zeros(len(grey), np.float32)
    for start in range(0, len(grey), 96):
        first = start + int(chance.integers(0, 48))
        offsets[first : first + int(chance.integers(16, 48))] = chance.choice([-1, 1]) * strength * grey.std()
    return as_stored(grey + offsets[:, None]), everywhere(grey)


def chatter(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """A sine of `strength` standard deviations across the field, 10 to 40 px a wave."""
    angle, period = chance.uniform(0, np.pi), chance.uniform(10, 40)
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]]
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    return as_stored(grey + strength * grey.std() * wave.astype(np.float32)), everywhere(grey)


def knife_mark(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """A straight line of Gaussian profile, 3 px wide, darker by `strength` standard deviations."""
    distance = _distance_to_line(grey.shape, chance)
    line = np.exp(-np.square(distance / 2.0)).astype(np.float32)
    return as_stored(grey - strength * grey.std() * line), np.abs(distance) < 4


def fold(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """A straight ribbon through which the beam goes again: transmission to the power of 1 + strength."""
    width = chance.uniform(50, 90)
    distance = np.abs(_distance_to_line(grey.shape, chance))
    share = 1 / (1 + np.exp(np.clip((distance - width / 2) / 3, -50, 50)))
    transmitted = np.clip(grey / 255, 0.01, 1)
    return as_stored((255 * transmitted ** (1 + strength * share)).astype(np.float32)), distance < width / 2


def precipitate(grey: Floats, count: float, chance: Chance) -> tuple[Floats, Mask]:
    """Discs with a radius of 3 to 7 px, each of which lets its own share of the beam through, up to 30 %."""
    through = np.ones(grey.shape, np.float32)
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]]
    for _ in range(int(count)):
        row, column = (int(chance.integers(0, side)) for side in grey.shape)
        disc = np.square(y - row) + np.square(x - column) < chance.uniform(3, 7) ** 2
        through = np.where(disc, np.minimum(through, chance.uniform(0, 0.3)), through)
    black = min(float(grey.min()), float(grey.mean() - 3.5 * grey.std()))
    return as_stored(black + (grey - black) * through), through < 1


def hole(grey: Floats, radius_px: float, chance: Chance) -> tuple[Floats, Mask]:
    """An ellipse without specimen, as bright as the camera goes."""
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]]
    row, column = (chance.uniform(0.25, 0.75) * side for side in grey.shape)
    mask = np.square((y - row) / radius_px) + np.square((x - column) / (1.5 * radius_px)) < 1
    dimmed = grey * 0.75
    return as_stored(np.where(mask, 250 + chance.normal(0, 2, grey.shape), dimmed).astype(np.float32)), mask


def grid_bar(grey: Floats, share: float, chance: Chance) -> tuple[Floats, Mask]:
    """One side of the field is black, with a soft edge."""
    edge = share * grey.shape[1]
    x = np.arange(grey.shape[1])
    opaque = (1 / (1 + np.exp(np.clip((x - edge) / 4, -50, 50))))[None] * np.ones((len(grey), 1))
    turned = opaque if chance.random() < 0.5 else opaque[:, ::-1]
    dark = grey * (1 - turned) + turned * (5 + chance.normal(0, 1, grey.shape))
    return as_stored(dark.astype(np.float32)), turned > 0.5


def clipping(grey: Floats, gain: float, chance: Chance) -> tuple[Floats, Mask]:
    """More contrast than the range holds."""
    stretched = 128 + gain * (grey - np.median(grey))
    return as_stored(stretched.astype(np.float32)), (stretched <= 0) | (stretched >= 255)


def jpeg(grey: Floats, step: float, chance: Chance) -> tuple[Floats, Mask]:
    """Blocks of 8 x 8, cosine coefficients rounded to multiples that grow with frequency."""
    height, width = (side // 8 * 8 for side in grey.shape)
    blocks = grey[:height, :width].reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3)
    steps = step * (1 + np.add.outer(np.arange(8), np.arange(8)))
    waves = np.asarray(dctn(blocks, axes=(2, 3), norm="ortho"), np.float64)
    coded = np.asarray(idctn(np.rint(waves / steps) * steps, axes=(2, 3), norm="ortho"), np.float64)
    found = grey.copy()
    found[:height, :width] = coded.transpose(0, 2, 1, 3).reshape(height, width)
    return as_stored(found), everywhere(grey)


def inverted(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """The negative, with noise of (1 - strength) standard deviations."""
    noise = chance.normal(0, (1 - strength) * float(grey.std()), grey.shape)
    return as_stored((255 - grey + noise).astype(np.float32)), everywhere(grey)


def seam(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """Right of a line the field goes on somewhere else, brighter by `strength` standard deviations."""
    place = int(chance.uniform(0.3, 0.7) * grey.shape[1])
    joined = grey.copy()
    joined[:, place:] = np.roll(grey, 57, axis=0)[:, place:] + strength * grey.std()
    mask = np.zeros(grey.shape, bool)
    mask[:, place - 8 : place + 8] = True
    return as_stored(joined), mask


def _distance_to_line(shape: tuple[int, ...], chance: Chance) -> Floats:
    """Signed distance in px to a straight line through the middle part of the field."""
    angle = chance.uniform(0, np.pi)
    row, column = (chance.uniform(0.35, 0.65) * side for side in shape)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return np.asarray((x - column) * np.cos(angle) + (y - row) * np.sin(angle), np.float32)


GENERATOR_A: Generator = MappingProxyType(
    {
        Artefact.BLUR: Laid(blur, (1.0, 2.0, 3.0), "px sigma"),
        Artefact.ASTIGMATISM: Laid(astigmatism, (2.0, 3.0, 4.0), "px sigma"),
        Artefact.DRIFT: Laid(drift, (4.0, 8.0, 12.0), "px"),
        Artefact.CHARGING: Laid(charging, (0.25, 0.5, 1.0), "SD"),
        Artefact.CHATTER: Laid(chatter, (0.1, 0.25, 0.5), "SD"),
        Artefact.KNIFE_MARK: Laid(knife_mark, (0.5, 1.0, 2.0), "SD"),
        Artefact.FOLD: Laid(fold, (0.5, 1.0, 2.0), "power"),
        Artefact.PRECIPITATE: Laid(precipitate, (10.0, 40.0, 400.0), "specks"),
        Artefact.HOLE: Laid(hole, (20.0, 40.0, 80.0), "px radius"),
        Artefact.GRID_BAR: Laid(grid_bar, (0.05, 0.15, 0.4), "of the width"),
        Artefact.CLIPPING: Laid(clipping, (2.0, 3.0, 5.0), "gain"),
        Artefact.JPEG_BLOCKS: Laid(jpeg, (2.0, 5.0, 12.0), "grey levels"),
        Artefact.INVERTED: Laid(inverted, (0.5, 0.8, 1.0), "1 - noise SD"),
        Artefact.SEAM: Laid(seam, (0.0, 0.5, 1.0), "SD"),
    }
)
"""Strengths reach from what a microscopist may overlook to what he would repeat; no figure chose them."""
