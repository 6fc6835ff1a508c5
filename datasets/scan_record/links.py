"""Links region -> grid -> field inside a case: which are sound, and what they lead to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.scan_record.record import Link, LinkFrom, ScanRecord
from ultraread.errors import LinkInvalid

Node = tuple[str, str]
"""("image", slide id and index) or ("grid", its name)."""


@dataclass(frozen=True, slots=True)
class LinkedRegion:
    """A region of a slide, the grid that was cut of it, and the fields (slide id, image) that show it."""

    slide_id: str
    image: int
    box: BoxPx
    grid_id: str | None
    fields: tuple[tuple[str, int], ...]


def check_links(records: Sequence[ScanRecord]) -> None:
    """Raise LinkInvalid unless all links lie inside their images and their case and make no circle.

    `records` are those of one case, or the one record of a slide without case.
    """
    sizes = _sizes(records)
    for record in records:
        for link in record.links:
            _check_ends(link, record, sizes)
    _refuse_circles(_edges(records))


def linked_regions(records: Sequence[ScanRecord]) -> list[LinkedRegion]:
    """Every linked region with what it leads to, in the order of the records."""
    return [_region(link, records) for record in records for link in record.links]


def _check_ends(link: Link, record: ScanRecord, sizes: Mapping[tuple[str, int], SizePx]) -> None:
    start, to = link.from_, link.to
    if start.slide_id != record.slide_id:
        raise LinkInvalid("a link begins at the record's own slide")
    size = sizes.get((start.slide_id, start.image))
    if size is None:
        raise LinkInvalid(f"slide {start.slide_id} has no image {start.image}")
    if not start.box_px.as_box().lies_in(size):
        raise LinkInvalid(f"the region does not lie in {size.width} x {size.height} px")
    if to.slide_id is not None and (to.slide_id, to.image) not in sizes:
        raise LinkInvalid(f"the case has no slide {to.slide_id} with an image {to.image}")


def _sizes(records: Sequence[ScanRecord]) -> dict[tuple[str, int], SizePx]:
    return {
        (record.slide_id, image.index): SizePx(image.width_px, image.height_px)
        for record in records
        if record.slide_id is not None
        for image in record.from_file.images
    }


def _edges(records: Sequence[ScanRecord]) -> dict[Node, set[Node]]:
    """What leads where: links, and a grid to every image that was recorded of it."""
    edges: dict[Node, set[Node]] = {}
    for record in records:
        for link in record.links:
            edges.setdefault(_start(link.from_), set()).add(_end(link))
        if record.grid_or_slide_id is not None:
            images = {_image(record.slide_id, image.index) for image in record.from_file.images}
            edges.setdefault(("grid", record.grid_or_slide_id), set()).update(images)
    return edges


def _refuse_circles(edges: Mapping[Node, set[Node]]) -> None:
    """Take away what leads nowhere else until nothing is left; what cannot be taken is a circle."""
    left = {node: set(ends) for node, ends in edges.items()}
    while left:
        done = {node for node, ends in left.items() if not ends & left.keys()}
        if not done:
            raise LinkInvalid("the links lead back to where they began")
        for node in done:
            del left[node]


def _region(link: Link, records: Sequence[ScanRecord]) -> LinkedRegion:
    start, to = link.from_, link.to
    fields = _fields_of_grid(to.grid_id, records) if to.grid_id is not None else ()
    if to.slide_id is not None and to.image is not None:
        fields = ((to.slide_id, to.image),)
    return LinkedRegion(start.slide_id, start.image, start.box_px.as_box(), to.grid_id, fields)


def _fields_of_grid(grid_id: str, records: Sequence[ScanRecord]) -> tuple[tuple[str, int], ...]:
    return tuple(
        (record.slide_id, image.index)
        for record in records
        if record.grid_or_slide_id == grid_id and record.slide_id is not None
        for image in record.from_file.images
    )


def _start(start: LinkFrom) -> Node:
    return _image(start.slide_id, start.image)


def _end(link: Link) -> Node:
    if link.to.grid_id is not None:
        return ("grid", link.to.grid_id)
    return _image(link.to.slide_id, link.to.image)


def _image(slide_id: str | None, image: int | None) -> Node:
    return ("image", f"{slide_id}#{image}")
