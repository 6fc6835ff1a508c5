"""EMD files of NCEM and of Velox: HDF5, read chunk by chunk with h5py over a stream.

HDF5 can point into other files: external links, external storage and virtual datasets are refused, and so are
filters that HDF5 would load as plug-ins.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from math import prod
from operator import contains
from typing import Any, cast

import numpy as np

from ultraread.datasets.formats.emd_chunks import (
    FILTERS,
    chunk_pixels,
    filters_of,
    largest_stored_bytes,
    number_of,
)
from ultraread.datasets.formats.emd_stack import Stack
from ultraread.datasets.formats.limits import MAX_STORED_TILE_PX
from ultraread.datasets.formats.pixel_kinds import bit_depth_of, handed_on_as
from ultraread.datasets.formats.raw_planes import MAX_PLANES
from ultraread.datasets.formats.segment_cache import SegmentCache
from ultraread.datasets.formats.stored_tiles import assemble
from ultraread.datasets.formats.whole_reads import WholeReads
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.slide import ClosedByWith, ImageInfo, Modality, Pixels, SlideFormat, SlideInfo, Tag
from ultraread.datasets.stored_file import StoredFile
from ultraread.errors import (
    InputRefused,
    SlideBomb,
    SlideDamaged,
    SlideExternalRef,
    SlideNotAnImage,
    SlidePixelFormat,
    SlideTooLarge,
    SlideTruncated,
    SlideTypeMismatch,
    UltraReadError,
)

MAX_DEPTH = 32
MAX_OBJECTS = 20_000


class EmdSlide(ClosedByWith):
    """An open EMD file; every section of every stack is an image. h5py lets one thread in at a time."""

    def __init__(self, stored: StoredFile) -> None:
        self._stored = stored
        self._stream = WholeReads(stored.stream())
        self._bands = SegmentCache()
        self._chunks = SegmentCache()
        self._file: Any = None
        try:
            self._file = _open(self._stream)
            found, stacks, tags = _read(self._file)
            self._sections = [(stack, n) for stack in stacks for n in range(stack.sections)]
            self.info = SlideInfo(
                format=found,
                images=tuple(_describe(n, stack) for n, (stack, _) in enumerate(self._sections)),
                tags=tuple(tags),
            )
        except BaseException:
            self.close()
            raise

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        if self._stream.closed:
            raise ValueError("read of a closed slide")
        stack, section = self._sections[image]
        pixels = np.empty((box.height, box.width), handed_on_as(stack.dataset.dtype))
        step = (stack.size.width, stack.rows_per_band)

        def band_at(_: int, row: int) -> Pixels | None:
            return self._bands.get((image, level, row), lambda: stack.band(section, row, chunk_at))

        def chunk_at(offset: tuple[int, ...]) -> Pixels | None:
            key = (image - section, level, number_of(stack.dataset, offset))
            return self._chunks.get(key, lambda: chunk_pixels(stack.dataset, offset))

        assemble(pixels, box, step, band_at)
        return cast(Pixels, pixels)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._stream.close()
        self._stored.close()


def _open(stream: WholeReads) -> Any:  # noqa: ANN401  # h5py has no types
    import h5py

    try:
        return h5py.File(stream, "r", rdcc_nbytes=0)
    except Exception as failure:  # OSError for most, ValueError and others for cut headers
        raise SlideTruncated(f"the HDF5 header cannot be read ({type(failure).__name__})") from failure


def _read(file: Any) -> tuple[SlideFormat, Sequence[Stack], list[Tag]]:  # noqa: ANN401
    """Whose EMD it is, its pictures and its tags. Raises the InputRefused that applies."""
    from ultraread.datasets.formats import emd_ncem, emd_velox

    try:
        objects = dict(islice(_objects(file), MAX_OBJECTS + 1))
        if len(objects) > MAX_OBJECTS:
            raise SlideDamaged("more objects than a file has")
        writer = emd_velox if emd_velox.wrote(file) else emd_ncem
        stacks, tags = writer.stacks(objects), writer.tags(objects)
        if not stacks:
            raise SlideTypeMismatch("an HDF5 file without an image of EMD")
        stacks = _pictures(stacks)
    except UltraReadError:
        raise
    except Exception as failure:  # h5py raises six kinds for damaged structure; the remedy is one
        raise SlideDamaged(f"the HDF5 structure cannot be read ({type(failure).__name__})") from failure
    return writer.FORMAT, stacks, tags


def _objects(group: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Every group and dataset by its path; soft links are left out, because what they name is met anyway.

    Raises SlideExternalRef, and SlideDamaged for a tree too deep.
    """
    import h5py

    if depth > MAX_DEPTH:
        raise SlideDamaged("groups are nested too deep")
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise SlideExternalRef("a link leads into another file")
        if isinstance(link, h5py.SoftLink):
            continue
        below, where = group[name], f"{path}/{name}" if path else name
        if isinstance(below, h5py.Dataset) and (below.external or below.is_virtual):
            raise SlideExternalRef("what a dataset holds lies in other files")
        yield where, below
        if isinstance(below, h5py.Group):
            yield from _objects(below, where, depth + 1)


def _pictures(stacks: Sequence[Stack]) -> list[Stack]:
    """Those of a kind that is handed on: Velox keeps Fourier transforms and coloured maps beside its images.

    Raises the refusal of the first where none is.
    """
    found, reasons = [], list[InputRefused]()
    for stack in stacks:
        try:
            _check(stack)
            found.append(stack)
        except (SlideNotAnImage, SlidePixelFormat) as refused:
            reasons.append(refused)
    if not found:
        raise reasons[0]
    return found


def _check(stack: Stack) -> None:
    """Hold a dataset to what may be opened: of a known kind, in chunks of bounded size."""
    dataset = stack.dataset
    handed_on_as(dataset.dtype)
    filters_of(dataset)
    if min(stack.size.width, stack.size.height) < 2:
        raise SlideNotAnImage("a spectrum or a line scan")
    if stack.sections > MAX_PLANES:
        raise SlideTooLarge(f"{stack.sections:,} images in one dataset")
    _check_bytes(stack)


def _check_bytes(stack: Stack) -> None:
    """What is read at once is bounded, and an uncompressed dataset has exactly the bytes that it declares."""
    dataset = stack.dataset
    at_once = stack.rows_per_band * stack.size.width
    if dataset.chunks and int(np.prod(dataset.chunks, dtype=np.float64)) > MAX_STORED_TILE_PX:
        raise SlideTooLarge("chunks of more than 64 megapixels")
    if at_once > MAX_STORED_TILE_PX:
        raise SlideTooLarge(f"rows of {stack.size.width:,} px")
    if dataset.id.get_storage_size() == 0:
        raise SlideTruncated("the dataset was never written")
    if dataset.chunks:
        _check_chunks(dataset)
    elif dataset.id.get_storage_size() != dataset.nbytes:
        raise SlideDamaged("the dataset holds more or fewer bytes than its shape says")


def _check_chunks(dataset: Any) -> None:  # noqa: ANN401  # h5py has no types
    """Every chunk was written, and none shares bytes: HDF5 reads zeros for a missing one, without a word."""
    found: list[Any] = []
    dataset.id.chunk_iter(found.append)
    steps = [range(0, side, step) for side, step in zip(dataset.shape, dataset.chunks, strict=True)]
    on_grid = {each.chunk_offset for each in found if all(map(contains, steps, each.chunk_offset))}
    if len(on_grid) != prod(map(len, steps)) or len(on_grid) != len(found):
        raise SlideDamaged("chunks of the dataset are missing")
    if any(each.size > largest_stored_bytes(dataset) for each in found):
        raise SlideBomb("chunks take more bytes than their pixels")
    places = sorted((each.byte_offset, each.size) for each in found)
    if any(offset + size > following for (offset, size), (following, _) in pairwise(places)):
        raise SlideDamaged("two chunks share bytes")
    if sum(places[-1]) > dataset.file.id.get_filesize():
        raise SlideTruncated("chunks lie beyond the end of the file")


def _describe(index: int, stack: Stack) -> ImageInfo:
    used = [FILTERS[each] for each in filters_of(stack.dataset)]
    tile = None
    if stack.dataset.chunks:
        tile = SizePx(*(int(stack.dataset.chunks[axis]) for axis in (stack.axes[2], stack.axes[1])))
    return ImageInfo(
        index=index,
        levels=(stack.size,),
        bit_depth=bit_depth_of(stack.dataset.dtype),
        samples_per_px=1,
        modality=stack.modality or Modality.TEM,
        modality_is_stated=stack.modality is not None,
        scales=stack.scales,
        stored_as=stack.dataset.dtype.name,
        compression=next((each for each in used if each in {"deflate", "lzf"}), "none"),
        stored_tile=tile,
        acquisition=stack.acquisition,
    )
