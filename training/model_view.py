"""How a model sees a field: at which pixel size, in which squares, and what it looks for."""

from dataclasses import dataclass

from ultraread.models.card import ClassOfModel, FullRange, ModelCard
from ultraread.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class ModelView:
    """What training, evaluation and export have to know of a model, from its recipe or its card.

    `margin_px` of each side of a tile are context, and its patches cover what is within.

    `clip` is in standard deviations of the image, None where grey enters as a share of its full range. A
    model without a patch map has one patch a tile.
    """

    classes: tuple[ClassOfModel, ...]
    nm_per_px: float
    tile_px: int
    patch_px: int
    batch_size: int
    clip: float | None
    margin_px: int = 0

    @property
    def core_px(self) -> int:
        """Side of the part of a tile that its scores speak of."""
        return self.tile_px - 2 * self.margin_px

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(one.code for one in self.classes)


def view_of_recipe(config: TrainingConfig) -> ModelView:
    """What the recipe's model will see."""
    table = config.model
    return ModelView(
        classes_of(config),
        config.nm_per_px.nominal,
        table.tile_px,
        table.patch_px,
        table.batch_size,
        table.clip,
        table.margin_px,
    )


def view_of_card(card: ModelCard) -> ModelView:
    """What a model sees by its card."""
    patch_map, normalisation = card.outputs.patch_map, card.normalisation
    return ModelView(
        classes=card.classes,
        nm_per_px=card.nm_per_px.nominal,
        tile_px=card.tile_px,
        patch_px=patch_map.stride_px if patch_map else card.tile_px,
        batch_size=card.batch_size,
        clip=None if isinstance(normalisation, FullRange) else normalisation.clip,
        margin_px=card.margin_px,
    )


def classes_of(config: TrainingConfig) -> tuple[ClassOfModel, ...]:
    """The recipe's classes as the card states them."""
    return tuple(
        ClassOfModel(code=one.code, name=one.name, label=one.label, positive_fraction=one.positive_fraction)
        for one in config.classes
    )
