"""Images of one slide that repeat each other: marked, so that no place counts twice."""

from collections.abc import Sequence

from ultraread.datasets.quality.artefacts import Artefact
from ultraread.datasets.quality.assess import ImageQuality
from ultraread.datasets.quality.duplicates import duplicates, print_of


def marked_repeats(images: Sequence[ImageQuality]) -> list[ImageQuality]:
    """The same images; one that shows what an earlier one shows is a duplicate in all its area."""
    if len(images) < 2:
        return list(images)
    repeated = set(duplicates([print_of(image.picture) for image in images]))
    return [
        image.with_mask(Artefact.DUPLICATE, image.everywhere()) if place in repeated else image
        for place, image in enumerate(images)
    ]
