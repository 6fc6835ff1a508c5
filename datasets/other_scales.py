"""What states a pixel size besides a file's tags: bars burnt into its pixels, and calibration records."""

from collections.abc import Callable, Sequence

from ultraread.datasets.burnt_in.look import Look
from ultraread.datasets.calibration import Calibrations
from ultraread.datasets.scale import StatedScale
from ultraread.datasets.slide import ImageInfo

OtherScales = Callable[[ImageInfo], Sequence[StatedScale]]
"""The scales of one image that its file does not state. Raises a ReadRefused where records are in doubt."""


def other_scales(looks: Sequence[Look], calibrations: Calibrations | None = None) -> OtherScales:
    """`looks` are one an image, in order."""

    def of(image: ImageInfo) -> Sequence[StatedScale]:
        bar = looks[image.index].scale if image.index < len(looks) else None
        measured = calibrations.scale_of(image.acquisition) if calibrations else None
        return [scale for scale in (bar, measured) if scale]

    return of


def no_others(_image: ImageInfo) -> Sequence[StatedScale]:
    """Only what the file itself states."""
    return ()
