"""artefacts.ome.tif: where artefacts lie, one channel an artefact, 255 where it is; a pixel is a cell."""

from pathlib import Path

import numpy as np
import tifffile

from ultraread.datasets.quality.assess import ImageQuality
from ultraread.serving.read_slide import PreparedImage

NO_UUID = "urn:uuid:00000000-0000-0000-0000-000000000000"


def write_artefacts(path: Path, quality: ImageQuality, image: PreparedImage) -> None:
    """Channels in the order of the quality notes, with their codes as names; pitch and corner in nm."""
    notes = quality.notes(())
    masks = np.stack([quality.masks[note.artefact] for note in notes]).astype(np.uint8) * 255
    shape = (len(notes), quality.cells.rows, quality.cells.columns)
    tifffile.imwrite(
        path,
        masks,
        photometric="minisblack",
        compression="zlib",
        metadata=None,
        description=_ome_xml(shape, [note.artefact for note in notes], quality, image),
        software=False,
    )


def _ome_xml(
    shape: tuple[int, int, int], codes: list[str], quality: ImageQuality, image: PreparedImage
) -> str:
    nm_per_px = image.admitted.scale.nm_per_px
    pitch = quality.cells.cell_px * image.plan.zoom * nm_per_px
    x, y = (corner * nm_per_px for corner in (image.plan.region.x, image.plan.region.y))
    xml = tifffile.OmeXml(UUID=NO_UUID)
    xml.addimage(
        dtype="uint8",
        shape=shape,
        storedshape=(shape[0], 1, 1, shape[1], shape[2], 1),
        axes="CYX",
        Name="artefacts",
        PhysicalSizeX=pitch,
        PhysicalSizeXUnit="nm",
        PhysicalSizeY=pitch,
        PhysicalSizeYUnit="nm",
        Channel={"Name": codes},
        Plane={
            "PositionX": [x] * shape[0],
            "PositionXUnit": ["nm"] * shape[0],
            "PositionY": [y] * shape[0],
            "PositionYUnit": ["nm"] * shape[0],
        },
    )
    return str(xml.tostring())
