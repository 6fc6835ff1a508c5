"""Quality control of a read: from the looks in the checkpoints to the artefacts of each image."""

from collections.abc import Sequence

from ultraread.datasets.quality.assess import ImageQuality, assess
from ultraread.datasets.quality.duplicates import duplicates, print_of
from ultraread.datasets.quality.repeats import marked_repeats
from ultraread.datasets.quality.sketch import ImageSketch
from ultraread.models.card import ModelCard
from ultraread.serving.read_slide import PreparedImage, PreparedSlide
from ultraread.serving.score_tiles import RangeStore, picture_stride, planned_tiles, quality_side
from ultraread.serving.tally import TalliedImage


def slide_quality(prepared: PreparedSlide, store: RangeStore) -> dict[int, ImageQuality]:
    """The artefacts of every image of a slide, by its index; images of one place are told from each other.

    Empty where the checkpoints hold no looks.
    """
    found = {image.plan.image: _image_quality(image, prepared.model.card, store) for image in prepared.images}
    measured = [quality for quality in found.values() if quality is not None]
    return {quality.image: quality for quality in marked_repeats(measured)}


def repeated_fields(images: Sequence[TalliedImage]) -> set[int]:
    """Places of the fields of a case that show what an earlier field shows."""
    seen = [(place, image.picture) for place, image in enumerate(images) if image.picture is not None]
    repeated = duplicates([print_of(picture) for _, picture in seen])
    return {seen[place][0] for place in repeated}


def _image_quality(image: PreparedImage, card: ModelCard, store: RangeStore) -> ImageQuality | None:
    """Two passes would hold the same: this one reads only looks and thumbnails of the checkpoints."""
    plan = image.plan
    sketch = ImageSketch(plan, quality_side(card), plan.tile_px // picture_stride(plan))
    for number in range(plan.ranges):
        looks, thumbnails = store.load_looks(plan.image, number)
        if looks is None:
            return None
        sketch.add(looks, thumbnails, planned_tiles(plan, number))
    return assess(sketch, image.burnt_in)
