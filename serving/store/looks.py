"""What was found burnt into a filed slide, as its row holds it."""

from collections.abc import Sequence

from ultraread.datasets.burnt_in.look import Look
from ultraread.serving.store.tables import Json, SlideRow


def looks_of(slide: SlideRow) -> tuple[Look, ...]:
    """One an image, in order; none of a slide that was filed before looks were made."""
    return tuple(Look.from_json(told) for told in slide.looks)


def as_rows(looks: Sequence[Look]) -> tuple[Json, ...]:
    """As `SlideRow.looks` keeps them."""
    return tuple(look.as_json() for look in looks)
