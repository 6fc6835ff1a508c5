"""What a slide can be converted to, and how the copy can be compressed."""

from enum import StrEnum


class Target(StrEnum):
    """What a slide is converted to."""

    OME_TIFF = "ome-tiff"
    DICOM_WSI = "dicom-wsi"


class Compression(StrEnum):
    """How stored tiles of OME-TIFF are compressed; all but `jpeg` without loss.

    `deflate` is what every reader of TIFF decodes; `zstd` decodes faster, where a reader knows it.
    """

    DEFLATE = "deflate"
    ZSTD = "zstd"
    LZW = "lzw"
    NONE = "none"
    JPEG = "jpeg"

    @property
    def is_lossless(self) -> bool:
        return self is not Compression.JPEG
