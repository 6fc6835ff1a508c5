"""From the sketch of an image to its artefacts: mask, area fraction and suppressed findings of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.quality import filters, lines, overview, spectra
from ultraread.datasets.quality.artefacts import RULES, Action, Artefact, suppressed
from ultraread.datasets.quality.duplicates import SIDE_PX
from ultraread.datasets.quality.sketch import Cells, ImageSketch
from ultraread.datasets.tile_plan import TilePlan

Mask = NDArray[np.bool_]

LEAST_FRACTION = 0.0005
"""Of the image's area; less is noted nowhere. A single patch of a 1,024 px field is 0.0002."""
CLIPPED_FRACTION = 0.005
"""Clipping is noted from this share of the area on: a few white spots of lumen are no fault."""
UNEVEN_PX2 = 0.6
SHARP_PX = 0.9
"""Blur of the sharpest direction up to which directional blur is called drift, above astigmatism."""
LEAST = {Artefact.PRECIPITATE: overview.LEAST_SPECKS, Artefact.CLIPPING: CLIPPED_FRACTION}
EXPLAINED_SHARE = 0.3
"""A line of which more lies along other artefacts is their edge."""
CHARGING_LINES = 3
CHARGING_EXCESS = 6.0
"""Ratio of the scatter of row means to that of column means, or the other way round."""


@dataclass(frozen=True, slots=True)
class ArtefactNote:
    """An artefact of one image, its share of the area (0 to 1), and the codes of findings it suppresses."""

    artefact: Artefact
    image: int
    area_fraction: float
    suppresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageQuality:
    """Masks (rows, columns) of `cells`, True where the artefact lies; only artefacts that were found.

    `measures` are figures that limits were held against; `picture` (256, 256) tells duplicates.
    """

    image: int
    cells: Cells
    masks: dict[Artefact, Mask]
    measures: dict[str, float]
    picture: NDArray[np.uint8]

    def notes(self, codes: Sequence[str]) -> tuple[ArtefactNote, ...]:
        """In the order of the table."""
        return tuple(
            ArtefactNote(each, self.image, float(self.masks[each].mean()), suppressed(each, codes))
            for each in RULES
            if each in self.masks
        )

    def suppressing(self, code: str) -> Mask | None:
        """(rows, columns): where the finding is not assessed; None where it is everywhere."""
        masks = [
            mask
            for each, mask in self.masks.items()
            if RULES[each].action is not Action.FLAG and suppressed(each, [code])
        ]
        return np.logical_or.reduce(masks) if masks else None

    def with_mask(self, artefact: Artefact, mask: Mask) -> "ImageQuality":
        return replace(self, masks={**self.masks, artefact: mask})

    def everywhere(self) -> Mask:
        return np.ones((self.cells.rows, self.cells.columns), bool)


def assess(sketch: ImageSketch, burnt_in: Sequence[BoxPx] = ()) -> ImageQuality:
    """All that the sketch shows. `burnt_in` are boxes of text and bars in level-0 pixels."""
    measures: dict[str, float] = {}
    found: dict[Artefact, Mask] = {}
    text = boxes_mask(sketch.plan, sketch.cells, burnt_in)
    for artefact, mask in (
        (Artefact.TEXT, text),
        *_of_spectra(sketch, measures),
        *(cells := _of_cells(sketch, text, measures)),
        *_of_lines(sketch, np.logical_or.reduce([text, *(mask for _, mask in cells[:3])]), measures),
        *_of_grid(sketch, measures),
    ):
        least = LEAST.get(artefact, LEAST_FRACTION)
        if mask.any() and mask.mean() >= least:
            found[artefact] = mask
    return ImageQuality(sketch.plan.image, sketch.cells, found, measures, _small(sketch.picture))


def boxes_mask(plan: TilePlan, cells: Cells, boxes: Iterable[BoxPx]) -> Mask:
    """Cells that boxes of level-0 pixels touch."""
    mask = np.zeros((cells.rows, cells.columns), bool)
    for box in boxes:
        pitch = plan.zoom * cells.cell_px
        x0, x1 = ((x - plan.region.x) / pitch for x in (box.x, box.right))
        y0, y1 = ((y - plan.region.y) / pitch for y in (box.y, box.bottom))
        if x1 > 0 and y1 > 0:
            mask[max(0, int(y0)) : int(np.ceil(y1)), max(0, int(x0)) : int(np.ceil(x1))] = True
    return mask


def _of_spectra(sketch: ImageSketch, measures: dict[str, float]) -> list[tuple[Artefact, Mask]]:
    if not sketch.spectra:
        return []
    logs = np.stack(sketch.spectra).astype(np.float32)
    rings = spectra.mean_rings(logs)
    whole = spectra.blur_of(rings)
    loss, sharpest = spectra.direction_loss(rings)
    peak = spectra.band_peak(logs)
    measures |= {"blur_sigma_px": whole.sigma_px, "direction_loss": loss, "band_peak": peak}
    measures["noise_floor"] = spectra.noise_of(rings)
    blurred = [spectra.blur_of(spectra.mean_rings(each[None])).sigma_px for each in logs]
    over = np.array(blurred) >= RULES[Artefact.BLUR].limit  # NaN, where there is nothing to see, is not
    found = [(Artefact.BLUR, _by_tile(sketch, over))]
    if loss >= RULES[Artefact.DRIFT].limit and _is_uneven(whole.by_sector):
        kind = Artefact.DRIFT if whole.by_sector[sharpest] <= SHARP_PX**2 else Artefact.ASTIGMATISM
        found.append((kind, _everywhere(sketch)))
    if peak >= RULES[Artefact.CHATTER].limit:
        found.append((Artefact.CHATTER, _everywhere(sketch)))
    return found


def _is_uneven(variances: NDArray[np.float64]) -> bool:
    """Whether blur differs by UNEVEN_PX2 between directions, or noise hides it in some, not in all.

    The spectra of straight edges and of fibres fall off unevenly too, but as powers of the frequency.
    """
    known = variances[np.isfinite(variances)]
    if not len(known):
        return False
    return len(known) < len(variances) or float(np.ptp(known)) >= UNEVEN_PX2


def _of_cells(sketch: ImageSketch, text: Mask, measures: dict[str, float]) -> list[tuple[Artefact, Mask]]:
    mean, rough, darkest = sketch.grid("mean"), sketch.grid("rough"), sketch.darkest
    darkest = np.where(np.isfinite(darkest), darkest, mean)
    opaque = overview.grid_bars(mean, rough) & ~text
    bright = overview.holes(mean, rough) & ~text
    ribbons = overview.folds(mean, opaque | text)
    specks = overview.specks(mean, darkest, opaque | ribbons | text)
    at_ends = overview.clipped(sketch.grid("clipped")) & ~text
    measures["clipped_fraction"] = float(sketch.grid("clipped").mean())
    return [
        (Artefact.GRID_BAR, opaque),
        (Artefact.HOLE, bright),
        (Artefact.FOLD, ribbons),
        (Artefact.PRECIPITATE, specks),
        (Artefact.CLIPPING, at_ends),
    ]


def _of_lines(sketch: ImageSketch, taken: Mask, measures: dict[str, float]) -> list[tuple[Artefact, Mask]]:
    """Lines through the image, but for those along what other artefacts explain."""
    charging, seams = np.zeros_like(taken), np.zeros_like(taken)
    through = [lines.through_lines(sketch.signs[axis], sketch.steps[axis]) for axis in (0, 1)]
    excess = lines.row_excess(sketch.grid("mean"), taken, (through[0][1], through[1][1]))
    explained = filters.widened(taken, 2)
    for axis, (one_way, differing) in enumerate(through):
        free = explained.mean(axis=1 - axis) < EXPLAINED_SHARE
        if int((one_way & free).sum()) >= CHARGING_LINES or excess[axis] >= CHARGING_EXCESS:
            charging |= True
        else:
            seams |= _lines_mask((one_way | differing) & free, axis, taken.shape)
    best, ends = max(lines.straight_lines(sketch.picture), key=lambda one: one[0])
    measures |= {"row_excess": max(excess), "straight_line": best}
    knife = np.zeros_like(taken)
    if best >= RULES[Artefact.KNIFE_MARK].limit:
        line = lines.drawn_line(ends, *taken.shape)
        is_free = (line & (charging | seams | explained)).sum() < EXPLAINED_SHARE * line.sum()
        knife = line if is_free else knife
    return [(Artefact.CHARGING, charging), (Artefact.SEAM, seams & ~taken), (Artefact.KNIFE_MARK, knife)]


def _of_grid(sketch: ImageSketch, measures: dict[str, float]) -> list[tuple[Artefact, Mask]]:
    if not sketch.grids:
        return []
    steps = np.mean(sketch.grids, axis=0)
    excess = float((steps.max(axis=1) - np.median(steps, axis=1)).mean())
    measures["grid_excess"] = excess
    return (
        [(Artefact.JPEG_BLOCKS, _everywhere(sketch))] if excess >= RULES[Artefact.JPEG_BLOCKS].limit else []
    )


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    box = Image.Resampling.BOX
    return np.asarray(Image.fromarray(picture).resize((SIDE_PX, SIDE_PX), box))


def _everywhere(sketch: ImageSketch) -> Mask:
    return np.ones((sketch.cells.rows, sketch.cells.columns), bool)


def _lines_mask(at: Mask, axis: int, shape: tuple[int, ...]) -> Mask:
    """The cells of each line and those beside it."""
    wide = at.copy()
    wide[1:] |= at[:-1]
    wide[:-1] |= at[1:]
    along = wide[:, None] if axis == 0 else wide[None, :]
    return np.broadcast_to(along, shape)


def _by_tile(sketch: ImageSketch, over: Mask) -> Mask:
    """Cells of the tiles where `over` holds; a tile without spectrum goes by its nearest one that has."""
    plan, cells = sketch.plan, sketch.cells
    unknown = np.ones((plan.rows, plan.columns), bool)
    values = np.zeros_like(unknown)
    for tile, value in zip(sketch.close_tiles, over, strict=True):
        place = tile.model_box.y // plan.tile_px, tile.model_box.x // plan.tile_px
        unknown[place], values[place] = False, value
    filled = values[filters.nearest_known(unknown)]
    rows = np.minimum(np.arange(cells.rows) * cells.cell_px // plan.tile_px, plan.rows - 1)
    columns = np.minimum(np.arange(cells.columns) * cells.cell_px // plan.tile_px, plan.columns - 1)
    return np.asarray(filled[np.ix_(rows, columns)])
