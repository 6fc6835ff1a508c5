"""Deep Zoom: an image as square tiles at halving sizes, numbered from the level of one pixel."""

from dataclasses import dataclass

from ultraread.datasets.geometry import SizePx
from ultraread.errors import NotFound
from ultraread.serving.viewing.region import Region

TILE_PX = 254
OVERLAP_PX = 1
"""Each tile shows one pixel of its neighbours, so that a viewer that scales tiles shows no seam."""
DEEP_ZOOM = "http://schemas.microsoft.com/deepzoom/2008"


@dataclass(frozen=True, slots=True)
class DeepZoom:
    """The Deep Zoom pyramid of an image of `size`; level n halves level n + 1, rounded up."""

    size: SizePx

    @property
    def last_level(self) -> int:
        """The level of the full size."""
        return (max(self.size.width, self.size.height) - 1).bit_length()

    def level_size(self, level: int) -> SizePx:
        step = 2 ** (self.last_level - level)
        return SizePx(-(-self.size.width // step), -(-self.size.height // step))

    def tile_counts(self, level: int) -> tuple[int, int]:
        """Columns and rows."""
        size = self.level_size(level)
        return -(-size.width // TILE_PX), -(-size.height // TILE_PX)

    def tile(self, level: int, column: int, row: int) -> Region:
        """What a tile shows. Raises NotFound where the pyramid has none."""
        if not 0 <= level <= self.last_level:
            raise NotFound(f"there is no level {level}", f"Levels are 0 to {self.last_level}.")
        columns, rows = self.tile_counts(level)
        if not (0 <= column < columns and 0 <= row < rows):
            raise NotFound(f"there is no tile {column}_{row}", f"Level {level} has {columns} x {rows} tiles.")
        size, step = self.level_size(level), 2 ** (self.last_level - level)
        left, right = _span(column, size.width)
        top, bottom = _span(row, size.height)
        shown = SizePx(right - left, bottom - top)
        return Region(left * step, top * step, right * step, bottom * step, shown)

    def xml(self) -> str:
        """The descriptor, as OpenSeadragon and others read it."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<Image xmlns="{DEEP_ZOOM}" Format="jpg" Overlap="{OVERLAP_PX}" TileSize="{TILE_PX}">'
            f'<Size Width="{self.size.width}" Height="{self.size.height}"/></Image>\n'
        )


def _span(number: int, end: int) -> tuple[int, int]:
    first, last = number * TILE_PX, (number + 1) * TILE_PX
    return max(0, first - OVERLAP_PX), min(end, last + OVERLAP_PX)
