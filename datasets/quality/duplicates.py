"""Two images of the same place: counted twice, they would look like more tissue than there is.

A near perceptual hash proposes a pair, and the way to turn it; that fine structure correlates once the two
lie on each other confirms it: neighbouring sections of one block have near hashes and are no duplicates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.perceptual_hash import NEAR_BITS, Fingerprint, fingerprint
from ultraread.datasets.quality import filters
from ultraread.datasets.quality.artefacts import RULES, Artefact

SIDE_PX = 256
COARSER_PX = 2.5
"""Sigma: what is smoother is shading and large structure, which neighbouring sections share."""
CLIP_SD = 3.0


@dataclass(frozen=True, slots=True)
class Print:
    """What is kept of an image to tell it from others: its hashes, and (256, 256) float32 fine structure."""

    fingerprint: Fingerprint
    fine: NDArray[np.float32]


def print_of(picture: NDArray[np.uint8]) -> Print:
    """Of a picture (H, W); its fine structure has a mean of 0 and a length of 1, or is all 0."""
    grey = picture.astype(np.float32)
    box = Image.Resampling.BOX
    small = np.asarray(Image.fromarray(grey, mode=None).resize((SIDE_PX, SIDE_PX), box), np.float32)
    fine = small - filters.smoothed(small, COARSER_PX)
    fine = np.clip(fine / max(float(fine.std()), 1e-6), -CLIP_SD, CLIP_SD)
    fine -= fine.mean()
    return Print(fingerprint(grey), fine / max(float(np.linalg.norm(fine)), 1e-6))


def likeness(one: Print, other: Print) -> float:
    """Correlation of fine structure, turned as the hashes say and shifted to where it is highest.

    0 where the hashes are further apart than near-duplicates are.
    """
    bits = np.bitwise_count(one.fingerprint ^ other.fingerprint[0])
    if int(bits.min()) > NEAR_BITS:
        return 0.0
    turned = _turned(one.fine)[int(bits.argmin())]
    product = np.fft.rfft2(turned) * np.conj(np.fft.rfft2(other.fine))
    return float(np.fft.irfft2(product, turned.shape).max())


def duplicates(prints: Sequence[Print]) -> list[int]:
    """Places of those that show what an earlier one, itself no duplicate, shows."""
    limit = RULES[Artefact.DUPLICATE].limit
    first: list[int] = []
    repeated: list[int] = []
    for place, one in enumerate(prints):
        seen = any(likeness(prints[earlier], one) >= limit for earlier in first)
        (repeated if seen else first).append(place)
    return repeated


def _turned(picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """In the order of the fingerprint's hashes."""
    return [np.rot90(each, times) for each in (picture, picture.T) for times in range(4)]
