"""Generator B: artefacts by other means: transfer functions, counted electrons, warps, walks, files.

Nothing here is shared with generator A, and no limit was chosen on it: figures of detection are told on it.
"""

import io
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import map_coordinates
from scipy.special import j1

from ultraread.datasets.quality.artefacts import Artefact
from ultraread.datasets.quality.evaluation.laid import Floats, Generator, Laid, Mask, as_stored, everywhere

Chance = np.random.Generator
Array = NDArray[np.float64]
ELECTRONS_A_PX = 400.0
"""At mean grey: shot noise of 5 %."""


def defocus(grey: Floats, radius_px: float, chance: Chance) -> tuple[Floats, Mask]:
    """The transfer function of a disc of confusion, then counted electrons."""
    return _counted(_through(grey, _disc(grey.shape, radius_px, radius_px, 0.0)), chance), everywhere(grey)


def astigmatism(grey: Floats, radius_px: float, chance: Chance) -> tuple[Floats, Mask]:
    """A disc of confusion that is an ellipse, turned by chance, then counted electrons."""
    transfer = _disc(grey.shape, radius_px, 0.45 * radius_px, chance.uniform(0, np.pi))
    return _counted(_through(grey, transfer), chance), everywhere(grey)


def drift(grey: Floats, length_px: float, chance: Chance) -> tuple[Floats, Mask]:
    """The stage creeps and trembles during the exposure: the transfer function of its path."""
    heading, pace = chance.uniform(0, np.pi), np.abs(chance.normal(1, 0.3, 200))
    along = length_px * np.cumsum(pace) / pace.sum()
    path = np.stack([along * np.sin(heading), along * np.cos(heading)], axis=1)
    path += chance.normal(0, 0.3, path.shape)
    down, across = _frequencies(grey.shape)
    transfer = np.zeros(down.shape[:1] + across.shape[1:], complex)
    for y, x in path[::8] - path.mean(axis=0):
        transfer += np.exp(-2j * np.pi * (down * y + across * x))
    return _counted(_through(grey, transfer / len(path[::8])), chance), everywhere(grey)


def charging(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """Charge builds up and leaks: brightness jumps at chance rows and decays over the following ones."""
    level, levels = 0.0, []
    for _ in range(grey.shape[0]):
        level *= 0.985
        if chance.random() < 0.02:
            level += float(chance.normal(0, 1))
        levels.append(level)
    bands = np.array(levels, np.float32)
    bands *= strength * float(grey.std()) / max(float(bands.std()), 1e-6)
    return as_stored(grey + bands[:, None]), everywhere(grey)


def chatter(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """The knife trembles: thickness goes up and down in a triangle, and the section is pressed and pulled."""
    angle, period = chance.uniform(0, np.pi), chance.uniform(12, 36)
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]].astype(np.float64)
    phase = (x * np.cos(angle) + y * np.sin(angle)) / period + chance.uniform(0, 1)
    phase += np.cumsum(chance.normal(0, 0.002, grey.shape[0]))[:, None]
    triangle = 4 * np.abs(phase % 1 - 0.5) - 1
    moved = 1.5 * np.cos(2 * np.pi * phase)
    warped = map_coordinates(
        grey, [y + moved * np.sin(angle), x + moved * np.cos(angle)], order=1, mode="reflect"
    )
    thick = np.clip(warped / 255, 0.02, 1) ** (1 + strength * triangle)
    return as_stored((255 * thick).astype(np.float32)), everywhere(grey)


def knife_mark(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """A scratch of the blade: a dark furrow with a bright lip, of changing depth; it may end in the field."""
    size, scale = (grey.shape[1], grey.shape[0]), float(grey.std())
    angle = chance.uniform(0, np.pi)
    reach, centre = max(size), np.array(size) * chance.uniform(0.35, 0.65, 2)
    heading = np.array([np.cos(angle), np.sin(angle)])
    first, last = centre - reach * heading, centre + reach * heading * chance.uniform(0.3, 1.0)
    furrow = _drawn_line(size, first, last, 3)
    lip = _drawn_line(size, first + 4 * heading[::-1] * (-1, 1), last + 4 * heading[::-1] * (-1, 1), 2)
    depth = 1 + 0.3 * np.sin(np.arange(grey.shape[1]) / 90.0)[None]
    scratched = grey - strength * scale * depth * (furrow - 0.6 * lip)
    return as_stored(scratched.astype(np.float32)), furrow > 0.2


def fold(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """The section lies on itself along a bent ribbon: three layers, the middle one turned over."""
    height, width = grey.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    along, across = (y, x) if chance.random() < 0.5 else (x, y)
    bend = chance.uniform(-0.08, 0.08) * np.sin(np.pi * along / along.max()) * across.max()
    middle = chance.uniform(0.35, 0.65) * across.max() + bend
    half = chance.uniform(22, 45)
    inside = np.abs(across - middle) < half
    mirrored = np.where(inside, 2 * middle - across, across)
    places = [along, mirrored] if along is y else [mirrored, along]
    turned = map_coordinates(grey, places, order=1, mode="reflect") / 255
    single = np.clip(grey / 255, 0.02, 1)
    layers = single * np.clip(turned, 0.02, 1) ** strength
    return as_stored(np.where(inside, 255 * layers, grey).astype(np.float32)), inside


def precipitate(grey: Floats, count: float, chance: Chance) -> tuple[Floats, Mask]:
    """Needles and clumps: walks of a few steps, drawn and slightly out of focus."""
    sheet = Image.new("L", (grey.shape[1], grey.shape[0]), 0)
    pen = ImageDraw.Draw(sheet)
    for _ in range(int(count)):
        x, y = chance.uniform(0, grey.shape[1]), chance.uniform(0, grey.shape[0])
        turn = chance.uniform(0, 2 * np.pi)
        for _ in range(int(chance.integers(2, 6))):
            turn += chance.normal(0, 0.6)
            step = chance.uniform(3, 8)
            end = (x + step * np.cos(turn), y + step * np.sin(turn))
            pen.line([(x, y), end], fill=255, width=int(chance.integers(4, 9)))
            x, y = end
    cover = np.asarray(sheet.filter(ImageFilter.GaussianBlur(1.0)), np.float32) / np.float32(255)
    black = np.float32(0.5 * float(grey.min()))
    return as_stored(grey * (1 - cover) + cover * black), cover > 0.5


def hole(grey: Floats, radius_px: float, chance: Chance) -> tuple[Floats, Mask]:
    """A tear with a ragged rim that is bright, then dark where the resin has curled."""
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = radius_px * np.exp(chance.normal(0, 0.25, 24))
    centre = [chance.uniform(0.25, 0.75) * side for side in grey.shape[::-1]]
    corners = [
        (centre[0] + r * np.cos(t), centre[1] + r * np.sin(t)) for r, t in zip(radii, turns, strict=True)
    ]
    sheet = Image.new("L", (grey.shape[1], grey.shape[0]), 0)
    ImageDraw.Draw(sheet).polygon(corners, fill=255)
    inside = np.asarray(sheet) > 0
    soft = np.asarray(sheet.filter(ImageFilter.GaussianBlur(5)), np.float32) / 255
    specimen = grey * 0.7 - 60 * np.where(inside, 0, soft)
    torn = np.where(inside, 248.0, specimen)
    return _counted(torn.astype(np.float32), chance, scale=4), inside


def grid_bar(grey: Floats, share: float, chance: Chance) -> tuple[Floats, Mask]:
    """The round corner of a grid's hole: all outside a large circle is opaque, with a shadow before it."""
    height, width = grey.shape
    radius = 2.5 * width
    y, x = np.mgrid[0:height, 0:width]
    reach = share * width - radius
    distance = np.hypot(x - (reach + 2 * radius), y - height * chance.uniform(0.3, 0.7)) - radius
    opaque = distance > 0
    shadow = np.clip(1 + distance / 25, 0, 1) * 0.5
    dark = np.where(opaque, 3.0, grey * (1 - shadow))
    return as_stored(dark.astype(np.float32)), opaque


def clipping(grey: Floats, exposure: float, chance: Chance) -> tuple[Floats, Mask]:
    """Too long an exposure fills the wells of the camera."""
    counts = grey * exposure
    return as_stored(counts), counts >= 255


def jpeg(grey: Floats, quality: float, chance: Chance) -> tuple[Floats, Mask]:
    """Through a JPEG file of Pillow's."""
    written = io.BytesIO()
    Image.fromarray(as_stored(grey).astype(np.uint8)).save(written, "JPEG", quality=int(quality))
    return np.asarray(Image.open(written), np.float32), everywhere(grey)


def inverted(grey: Floats, gamma: float, chance: Chance) -> tuple[Floats, Mask]:
    """A photographic negative: density against the logarithm of exposure."""
    exposed = np.log1p(grey) / np.log(256)
    return as_stored((255 * (1 - exposed**gamma)).astype(np.float32)), everywhere(grey)


def seam(grey: Floats, strength: float, chance: Chance) -> tuple[Floats, Mask]:
    """Two frames of a montage meet along a row: other place, gain and shading, blended over 2 px."""
    place = int(chance.uniform(0.3, 0.7) * grey.shape[0])
    other = grey[::-1, ::-1]
    other = (other - other.mean()) * (1 + 0.3 * strength) + other.mean() + 12 * strength
    other = other + 10 * strength * np.linspace(-1, 1, grey.shape[1])[None]
    share = np.clip((np.arange(grey.shape[0]) - place) / 2, 0, 1)[:, None]
    mask = np.zeros(grey.shape, bool)
    mask[place - 8 : place + 8] = True
    return as_stored((grey * (1 - share) + other * share).astype(np.float32)), mask


def _frequencies(shape: tuple[int, ...]) -> tuple[Array, Array]:
    down, across = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    return down.astype(np.float64)[:, None], across.astype(np.float64)[None]


def _disc(shape: tuple[int, ...], radius_px: float, other_px: float, turn: float) -> Array:
    """2 J1(x) / x of an ellipse of confusion."""
    down, across = _frequencies(shape)
    along = across * np.cos(turn) + down * np.sin(turn)
    beside = down * np.cos(turn) - across * np.sin(turn)
    x = 2 * np.pi * np.hypot(radius_px * along, other_px * beside)
    return np.where(x < 1e-6, 1.0, 2 * j1(np.maximum(x, 1e-6)) / np.maximum(x, 1e-6))


def _through(grey: Floats, transfer: Array) -> Floats:
    return np.fft.irfft2(np.fft.rfft2(grey) * transfer, grey.shape).astype(np.float32)


def _counted(grey: Floats, chance: Chance, scale: float = 1.0) -> Floats:
    """Poisson counts of electrons."""
    a_grey = scale * ELECTRONS_A_PX / max(float(grey.mean()), 1.0)
    return as_stored((chance.poisson(np.maximum(grey, 0) * a_grey) / a_grey).astype(np.float32))


def _drawn_line(size: tuple[int, int], first: Array, last: Array, width: int) -> Floats:
    sheet = Image.new("L", size, 0)
    ImageDraw.Draw(sheet).line([tuple(first), tuple(last)], fill=255, width=width)
    return np.asarray(sheet.filter(ImageFilter.GaussianBlur(0.8)), np.float32) / np.float32(255)


GENERATOR_B: Generator = MappingProxyType(
    {
        Artefact.BLUR: Laid(defocus, (2.0, 4.0, 6.0), "px radius"),
        Artefact.ASTIGMATISM: Laid(astigmatism, (4.0, 6.0, 8.0), "px radius"),
        Artefact.DRIFT: Laid(drift, (4.0, 8.0, 12.0), "px"),
        Artefact.CHARGING: Laid(charging, (0.25, 0.5, 1.0), "SD"),
        Artefact.CHATTER: Laid(chatter, (0.05, 0.15, 0.3), "power"),
        Artefact.KNIFE_MARK: Laid(knife_mark, (0.5, 1.0, 2.0), "SD"),
        Artefact.FOLD: Laid(fold, (0.5, 1.0, 2.0), "layers"),
        Artefact.PRECIPITATE: Laid(precipitate, (10.0, 40.0, 100.0), "specks"),
        Artefact.HOLE: Laid(hole, (20.0, 40.0, 80.0), "px radius"),
        Artefact.GRID_BAR: Laid(grid_bar, (0.05, 0.15, 0.4), "of the width"),
        Artefact.CLIPPING: Laid(clipping, (1.3, 1.6, 2.2), "exposure"),
        Artefact.JPEG_BLOCKS: Laid(jpeg, (75.0, 50.0, 20.0), "quality"),
        Artefact.INVERTED: Laid(inverted, (0.5, 1.0, 2.0), "gamma"),
        Artefact.SEAM: Laid(seam, (0.0, 0.5, 1.0), "of a usual difference"),
    }
)
"""Strengths reach from what a microscopist may overlook to what he would repeat; no figure chose them."""
