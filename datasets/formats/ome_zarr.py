"""OME-Zarr 0.4 (zarr v2) and 0.5 (zarr v3): a folder, or the files of one in a store, read chunk by chunk.

zarr decodes. How arrays are coded is held to what `zarr_codecs` knows first, and each chunk to its size.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from pathlib import PurePosixPath
from typing import Any, Literal, cast

import numpy as np
import zarr

from ultraread.datasets.formats.limits import MAX_STORED_TILE_PX
from ultraread.datasets.formats.pixel_kinds import bit_depth_of, converted, handed_on_as
from ultraread.datasets.formats.segment_cache import SegmentCache
from ultraread.datasets.formats.stored_tiles import assemble
from ultraread.datasets.formats.zarr_codecs import CodedChunks, Coding, coding_of, json_mapping, mapping
from ultraread.datasets.formats.zarr_files import ZarrFiles, flattened
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.scale import ScaleOrigin, StatedScale
from ultraread.datasets.slide import ClosedByWith, ImageInfo, Modality, Pixels, SlideFormat, SlideInfo, Tag
from ultraread.datasets.slide_address import SlideAddress, natural_order
from ultraread.errors import (
    SlideDamaged,
    SlidePixelFormat,
    SlidePyramidInvalid,
    SlideTooLarge,
    SlideTruncated,
    SlideTypeMismatch,
    UltraReadError,
)

NM_PER_UNIT = {
    "picometer": 1e-3, "angstrom": 0.1, "nanometer": 1.0, "micrometer": 1e3, "millimeter": 1e6,
    "centimeter": 1e7, "meter": 1e9,
}  # fmt: skip
"""Units of space that OME-Zarr names, after UDUNITS-2; an axis without one states no scale."""
RGB = ("FF0000", "00FF00", "0000FF")
MAX_IMAGES = 10_000
MAX_CHUNKS = 50_000_000
MAX_CHUNKS_PER_SHARD = 2**20
"""zarr reads the index of a shard whole, with 16 bytes for each chunk."""
MAX_TAGS = 10_000


@dataclass(frozen=True, slots=True)
class _Level:
    """One array of a pyramid, and what one of its chunks holds of the last two axes."""

    array: Any
    step: tuple[int, int]
    coding: str

    @property
    def size(self) -> SizePx:
        return SizePx(self.array.shape[-1], self.array.shape[-2])

    @property
    def kind(self) -> tuple[Any, ...]:
        """What all levels of a pyramid share: the pixel kind, and the axes before y and x."""
        return self.array.dtype, *self.array.shape[:-2]


@dataclass(frozen=True, slots=True)
class _Plane:
    """One image: the levels of its pyramid, and its place on the axes before y and x."""

    levels: tuple[_Level, ...]
    place: tuple[int | slice, ...]
    scale: StatedScale | None

    @property
    def is_rgb(self) -> bool:
        return any(isinstance(each, slice) for each in self.place)


class OmeZarrSlide(ClosedByWith):
    """An opened OME-Zarr; each plane of each multiscale image is an image. Missing chunks are fill values."""

    def __init__(self, address: SlideAddress) -> None:
        self._cache = SegmentCache()
        self._is_closed = False
        self._store = ZarrFiles({file.name: file for file in address.files})
        try:
            self._planes = tuple(_planes(self._store))
            self.info = _describe(self._store, self._planes)
        except UltraReadError:
            raise
        except Exception as failure:  # zarr raises many kinds for damaged metadata; the remedy is one
            raise SlideTruncated(f"the metadata cannot be read ({type(failure).__name__})") from failure

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        if self._is_closed:
            raise ValueError("read of a closed slide")
        plane, held = self._planes[image], self._planes[image].levels[level]
        shape = (box.height, box.width, 3) if plane.is_rgb else (box.height, box.width)
        pixels = np.zeros(shape, handed_on_as(held.array.dtype))
        across = -(-held.size.width // held.step[0])

        def chunk_at(column: int, row: int) -> Pixels | None:
            part = BoxPx(column * held.step[0], row * held.step[1], *held.step)
            return self._cache.get(
                (image, level, row * across + column), lambda: _decoded(plane, level, part)
            )

        assemble(pixels, box, held.step, chunk_at)
        return cast(Pixels, pixels)

    def close(self) -> None:
        """Nothing stays open; what was decoded is forgotten."""
        self._is_closed = True


def _decoded(plane: _Plane, level: int, part: BoxPx) -> Pixels:
    chunk = np.asarray(plane.levels[level].array[(*plane.place, *_slices(part))])
    return converted(np.moveaxis(chunk, 0, -1) if plane.is_rgb else chunk)


def _slices(part: BoxPx) -> tuple[slice, slice]:
    return slice(part.y, part.bottom), slice(part.x, part.right)


def _planes(store: ZarrFiles) -> Iterator[_Plane]:
    """The images of all multiscale groups: that of the root, else those below it, labels left out."""
    found = 0
    for group, attributes in _multiscale_groups(store):
        for multiscale in attributes["multiscales"]:
            for plane in _planes_of(store, group, multiscale, attributes.get("omero") or {}):
                found += 1
                if found > MAX_IMAGES:
                    raise SlideTooLarge(f"more than {MAX_IMAGES:,} images in one slide")
                yield plane
    if not found:
        raise SlideTypeMismatch(
            "the zarr folder holds no multiscale image", "Write it as OME-Zarr 0.4 or 0.5."
        )


def _multiscale_groups(store: ZarrFiles) -> Iterator[tuple[str, dict[str, Any]]]:
    root = _attributes(store, "")
    if "multiscales" in root:
        yield "", root
        return
    for group in sorted(_folders_with_metadata(store), key=natural_order):
        attributes = _attributes(store, group)
        if "multiscales" in attributes:
            yield group, attributes


def _folders_with_metadata(store: ZarrFiles) -> set[str]:
    """Folders, each with a closing slash, whose metadata may describe an image."""
    found = set()
    for key in store.keys_below(""):
        path = PurePosixPath(key)
        if path.name in {".zattrs", "zarr.json"} and "labels" not in path.parts and len(path.parts) > 1:
            found.add(f"{path.parent}/")
    return found


def _attributes(store: ZarrFiles, group: str) -> dict[str, Any]:
    """What OME says of a group: `attributes.ome` of zarr v3, all of `.zattrs` of zarr v2."""
    if (described := store.read(f"{group}zarr.json")) is not None:
        return mapping(mapping(json_mapping(described).get("attributes")).get("ome"))
    return json_mapping(store.read(f"{group}.zattrs") or b"{}")


def _planes_of(
    store: ZarrFiles, group: str, multiscale: dict[str, Any], omero: dict[str, Any]
) -> Iterator[_Plane]:
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes", ())]
    names = [str(axis.get("name", "")).lower() for axis in axes]
    if names[-2:] != ["y", "x"] or not set(names[:-2]) <= {"t", "c", "z"}:
        raise SlidePixelFormat("the axes of the OME-Zarr do not end with y and x")
    paths = [str(dataset["path"]) for dataset in multiscale["datasets"]]
    levels = tuple(_level(store, f"{group}{path}", len(axes)) for path in paths)
    _check_pyramid(levels)
    scale = _scale(multiscale, axes)
    for place in _places(levels[0].array, names, omero):
        yield _Plane(levels, place, scale)


def _level(store: ZarrFiles, path: str, dimensions: int) -> _Level:
    array, coding = _opened(store, path)
    handed_on_as(array.dtype)
    if array.ndim != dimensions or min(array.shape) < 1:
        raise SlideTruncated("an array of the OME-Zarr has other axes than its image")
    if prod(array.chunks) > MAX_STORED_TILE_PX:
        raise SlideTooLarge(f"a chunk of {' x '.join(map(str, array.chunks))}")
    if _blocks(array.shape, array.chunks) > MAX_CHUNKS:
        raise SlideTooLarge(f"the OME-Zarr declares {' x '.join(map(str, array.shape))} px")
    per_shard = _blocks(array.shards or array.chunks, array.chunks)
    if per_shard > MAX_CHUNKS_PER_SHARD:
        raise SlideTooLarge(f"a shard of {per_shard:,} chunks")
    _refuse_chunks_outside(store, path, array)
    unpacked_bytes = prod(array.chunks) * array.dtype.itemsize
    store.coded[f"{path}/"] = CodedChunks(coding, unpacked_bytes, per_shard)
    return _Level(array, (array.chunks[-1], array.chunks[-2]), coding.name)


def _opened(store: ZarrFiles, path: str) -> tuple[Any, Coding]:
    """An array whose metadata were checked, in the format that was checked, at that very path."""
    zarr_format = 2
    if (described := store.read(f"{path}/zarr.json")) is not None:
        zarr_format = 3
    elif (described := store.read(f"{path}/.zarray")) is None:
        raise SlideTruncated("an array that the OME-Zarr lists is missing")
    coding = coding_of(json_mapping(described), zarr_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns of what was said of it before its own version 3
        array = zarr.open_array(store, path=path, mode="r", zarr_format=cast(Literal[2, 3], zarr_format))
    if array.path != path:
        raise SlideTruncated("an array that the OME-Zarr lists is missing")
    return array, coding


def _blocks(shape: Sequence[int], steps: Sequence[int]) -> int:
    return prod(-(-side // step) for side, step in zip(shape, steps, strict=True))


def _refuse_chunks_outside(store: ZarrFiles, path: str, array: Any) -> None:  # noqa: ANN401  # zarr's Array
    """A shape that was cut or damaged leaves chunks beyond it."""
    stored = array.shards or array.chunks
    grid = [-(-side // step) for side, step in zip(array.shape, stored, strict=True)]
    if any(_is_chunk_outside(key.removeprefix(f"{path}/"), grid) for key in store.keys_below(f"{path}/")):
        raise SlideDamaged("chunks lie outside of the size that an array states")


def _is_chunk_outside(name: str, grid: Sequence[int]) -> bool:
    """Chunks are named by their numbers on the axes: `0.1`, `0/1` or `c/0/1`."""
    numbers = re.split(r"[./]", name.removeprefix("c/").removeprefix("c."))
    is_chunk = len(numbers) == len(grid) and all(number.isdecimal() for number in numbers)
    return is_chunk and any(int(number) >= count for number, count in zip(numbers, grid, strict=True))


def _check_pyramid(levels: Sequence[_Level]) -> None:
    if not levels:
        raise SlideTruncated("a multiscale image without levels")
    for larger, smaller in pairwise(levels):
        across, down = larger.size.width / smaller.size.width, larger.size.height / smaller.size.height
        rounding = 2 / smaller.size.width + 2 / smaller.size.height
        if larger.kind != smaller.kind or across < 1 or abs(across / down - 1) > rounding:
            raise SlidePyramidInvalid("a level is not the same picture at a smaller size")


def _places(array: Any, names: Sequence[str], omero: dict[str, Any]) -> Iterator[tuple[int | slice, ...]]:  # noqa: ANN401
    """Where each image lies on the axes before y and x; the three colours of RGB lie on one of them."""
    is_rgb = "c" in names and _is_rgb(array, array.shape[names.index("c")], omero)
    ranges: list[Sequence[int | slice]] = [
        [slice(None)] if is_rgb and name == "c" else range(length)
        for name, length in zip(names, array.shape[:-2], strict=False)
    ]
    return product(*ranges)


def _is_rgb(array: Any, channels: int, omero: dict[str, Any]) -> bool:  # noqa: ANN401  # zarr's generic Array
    colours = [str(mapping(channel).get("color", "")).upper() for channel in omero.get("channels") or ()]
    return channels == 3 and array.dtype == np.uint8 and tuple(colours) == RGB


def _scale(multiscale: dict[str, Any], axes: Sequence[dict[str, Any]]) -> StatedScale | None:
    """Of the full size: the array's own scale, times that of the whole image, in the axes' units."""
    sizes = np.ones(len(axes))
    is_stated = False
    for holder in (multiscale["datasets"][0], multiscale):
        for step in holder.get("coordinateTransformations") or ():
            if step.get("type") == "scale":
                sizes, is_stated = sizes * np.asarray(step["scale"], float), True
    units = [NM_PER_UNIT.get(str(axis.get("unit"))) for axis in axes[-2:]]
    if not is_stated or units[0] is None or units[1] is None:
        return None
    y_nm, x_nm = float(sizes[-2]) * units[0], float(sizes[-1]) * units[1]
    possible = 0 < x_nm < float("inf") and 0 < y_nm < float("inf")
    return StatedScale(x_nm, y_nm, ScaleOrigin.OME) if possible else None


def _describe(store: ZarrFiles, planes: Sequence[_Plane]) -> SlideInfo:
    for plane in planes[:1]:
        _refuse_empty(store, plane.levels[0].array)
    images = tuple(_describe_image(index, plane) for index, plane in enumerate(planes))
    return SlideInfo(SlideFormat.OME_ZARR, images, _tags(store))


def _refuse_empty(store: ZarrFiles, array: Any) -> None:  # noqa: ANN401  # zarr's generic Array
    """Missing chunks are blank, but of a picture that was copied at least one is there."""
    metadata = {".zarray", ".zattrs", "zarr.json"}
    held = (key for key in store.keys_below(f"{array.path}/") if PurePosixPath(key).name not in metadata)
    if next(iter(held), None) is None:
        raise SlideTruncated("none of the chunks of the OME-Zarr is there")


def _describe_image(index: int, plane: _Plane) -> ImageInfo:
    full = plane.levels[0]
    return ImageInfo(
        index=index,
        levels=tuple(level.size for level in plane.levels),
        bit_depth=bit_depth_of(full.array.dtype),
        samples_per_px=3 if plane.is_rgb else 1,
        modality=Modality.SEMITHIN_LIGHT if plane.is_rgb else Modality.TEM,
        modality_is_stated=False,
        scales=(plane.scale,) if plane.scale else (),
        stored_as=full.array.dtype.name,
        compression=full.coding,
        stored_tile=SizePx(*full.step),
    )


def _tags(store: ZarrFiles) -> tuple[Tag, ...]:
    """Every text and number of the attributes, and all of an OME-XML beside them."""
    tags: list[Tag] = []
    for key in sorted(store.keys_below("")):
        tags += _tags_of_file(key, store)
        if len(tags) > MAX_TAGS:
            raise SlideTooLarge(f"more than {MAX_TAGS:,} texts in the metadata of one slide")
    return tuple(tags)


def _tags_of_file(key: str, store: ZarrFiles) -> Iterator[Tag]:
    name = PurePosixPath(key).name
    if name in {".zattrs", "zarr.json"}:
        described = json_mapping(store.read(key) or b"")
        attributes = described.get("attributes") if name == "zarr.json" else described
        yield from (Tag(f"{key}: {path}", value) for path, value in flattened(attributes))
    elif name.endswith(".xml"):
        yield Tag(key, (store.read(key) or b"").decode(errors="replace"))
