"""Split fields by specimen, by block, or by runs of sections with a gap; never by tile."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate
from pathlib import Path

from ultraread.datasets.manifest import (
    CORPUS,
    SPLITS,
    AnnotationRow,
    LabelledField,
    Manifest,
    Split,
    as_csv,
    rows_of,
)
from ultraread.errors import LabelsRefused, OutputExists

Fractions = Mapping[Split, float]


class Unit(StrEnum):
    """What stays together in one split."""

    SPECIMEN = "specimen"
    BLOCK = "block"
    SECTION = "section"


@dataclass(frozen=True, slots=True)
class Assignment:
    """Fields with their new split, in the manifest's order, and those too near another split to be used."""

    fields: tuple[LabelledField, ...]
    left_out: tuple[LabelledField, ...]


def split_fields(fields: Sequence[LabelledField], by: Unit, fractions: Fractions, gap: int) -> Assignment:
    """Assign fields to the splits whose fraction is above 0; the same fields always get the same splits.

    Sections of one block that lie within `gap` of a section of another split are left out, on both sides.
    Raises LabelsRefused where a split would stay empty.
    """
    wanted: dict[Split, float] = {split: fractions[split] for split in SPLITS if fractions.get(split, 0) > 0}
    chosen = _by_runs(fields, wanted) if by == Unit.SECTION else _by_groups(fields, by, wanted)
    assigned = [_moved(field, chosen[field.name]) for field in fields]
    near = too_near(assigned, gap)
    kept = tuple(field for field in assigned if field.name not in near)
    _refuse_empty(kept, wanted, by)
    return Assignment(kept, tuple(field for field in assigned if field.name in near))


def too_near(fields: Sequence[LabelledField], gap: int) -> frozenset[str]:
    """Names of fields with a section of the same block, but another split, at most `gap` away."""
    found: set[str] = set()
    for one in fields:
        if any(_is_near(one, other, gap) for other in fields):
            found.add(one.name)
    return frozenset(found)


def write_split(manifest: Manifest, assignment: Assignment, out: Path) -> None:
    """Write the assigned fields as a CSV manifest whose paths lead from its own folder."""
    if out.exists():
        raise OutputExists(f"{out} is there already")
    rows = [_rebased(row, manifest, out) for field in assignment.fields for row in rows_of(field)]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(as_csv(rows))


def _by_groups(fields: Sequence[LabelledField], by: Unit, fractions: Fractions) -> dict[str, Split]:
    """Largest group first, each to the split that lacks most; no split stays empty while groups last."""
    names = [_group(field, by) for field in fields]
    sizes, counts = Counter(names), Counter[Split]()
    chosen: dict[str, Split] = {}
    for left, group in zip(range(len(sizes), 0, -1), _by_size(sizes), strict=True):
        empty: list[Split] = [split for split in fractions if not counts[split]]
        candidates: list[Split] = empty if left <= len(empty) else list(fractions)
        chosen[group] = max(candidates, key=lambda split: fractions[split] * len(fields) - counts[split])
        counts[chosen[group]] += sizes[group]
    return {field.name: chosen[name] for field, name in zip(fields, names, strict=True)}


def _by_runs(fields: Sequence[LabelledField], fractions: Fractions) -> dict[str, Split]:
    """Cut the sections of each block into one run a split, in their order."""
    chosen: dict[str, Split] = {}
    for block in {_group(field, Unit.BLOCK) for field in fields}:
        members = [field for field in fields if _group(field, Unit.BLOCK) == block]
        sections = sorted({field.section for field in members})
        split_of: dict[int, Split] = {
            section: _at((place + 0.5) / len(sections), fractions) for place, section in enumerate(sections)
        }
        chosen |= {field.name: split_of[field.section] for field in members}
    return chosen


def _at(depth: float, fractions: Fractions) -> Split:
    """The split that holds the sections at `depth`, from 0 (first section) to 1 (last)."""
    splits: list[Split] = list(fractions)
    within = sum(end <= depth for end in accumulate(fractions.values()))
    return splits[min(within, len(splits) - 1)]


def _group(field: LabelledField, by: Unit) -> str:
    return field.specimen if by == Unit.SPECIMEN else f"{field.specimen}\n{field.block}"


def _by_size(sizes: Counter[str]) -> list[str]:
    """Larger groups first; among equals by digest, so that the order of names decides nothing."""
    return sorted(sizes, key=lambda group: (-sizes[group], hashlib.sha256(group.encode()).hexdigest()))


def _is_near(one: LabelledField, other: LabelledField, gap: int) -> bool:
    is_one_block = (one.specimen, one.block) == (other.specimen, other.block)
    return is_one_block and one.split != other.split and abs(one.section - other.section) <= gap


def _moved(field: LabelledField, split: Split) -> LabelledField:
    rows = tuple(row.model_copy(update={"split": split}) for row in field.annotations)
    return replace(field, split=split, annotations=rows)


def _refuse_empty(fields: Sequence[LabelledField], fractions: Fractions, by: Unit) -> None:
    empty = [split for split in fractions if all(field.split != split for field in fields)]
    if empty:
        raise LabelsRefused(
            f"by {by}, no field is left for {' and '.join(empty)}",
            "Ask for fewer splits with --fractions, a smaller --gap, or label more specimens.",
        )


def _rebased(row: AnnotationRow, manifest: Manifest, out: Path) -> AnnotationRow:
    folder = manifest.fields[0].folder
    moved = {
        column: _from(out.parent, folder, reference)
        for column in ("image", "annotation")
        if (reference := getattr(row, column)) and not reference.startswith(CORPUS)
    }
    return row.model_copy(update=moved)


def _from(there: Path, here: Path, reference: str) -> str:
    return Path(os.path.relpath((here / reference).resolve(), there.resolve())).as_posix()
