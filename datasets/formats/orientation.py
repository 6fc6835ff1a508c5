"""Pictures that are stored turned or mirrored: refused, since mirrored cilia have arms the other way."""

from ultraread.errors import SlidePixelFormat

ORIENTATION_TAG = 274
"""Of TIFF and of EXIF (TIFF 6.0, section 8; EXIF 2.32, 4.6.4): 1 is upright."""
TURNED_OR_MIRRORED = range(2, 9)


def refuse_turned(orientation: object) -> None:
    """Raise SlidePixelFormat where rows or columns are stored in another order; other values mean nothing."""
    for each in TURNED_OR_MIRRORED:
        if orientation == each:
            what = f"orientation {each}: the picture is stored turned or mirrored"
            raise SlidePixelFormat(what, "Save it upright, with orientation 1.")
