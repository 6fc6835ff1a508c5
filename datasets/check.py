"""What keeps a manifest from being trained on or judged by: leaks, broken labels, empty classes, scales."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ultraread.datasets.field_look import FieldLook, look_at
from ultraread.datasets.manifest import SPLITS, LabelledField, Manifest
from ultraread.datasets.perceptual_hash import near_duplicates
from ultraread.datasets.splits import too_near
from ultraread.errors import (
    ClassEmpty,
    InputRefused,
    IntegrityFailed,
    LabelsRefused,
    SplitLeak,
    UltraReadError,
    error_of_code,
)

SCALE_WITHIN = 0.02
"""Relative difference of the manifest's scale to the file's beyond the file's own tolerance that is told."""
TOLD_IN_ERROR = 20


class Independence(StrEnum):
    """What has to be another one in the test split for its figures to mean what they say."""

    SPECIMEN = "specimen"
    BLOCK = "block"


class Severity(StrEnum):
    """Leaks and invalid fields refuse the manifest; notes are for whoever reads the figures."""

    LEAK = "leak"
    INVALID = "invalid"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `code` is that of the error which refuses it, empty for a note."""

    severity: Severity
    what: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class ClassShare:
    """One class in one split: fields that label it, and its fraction of their area (None without fields)."""

    code: str
    split: str
    fields: int
    area_fraction: float | None


@dataclass(frozen=True, slots=True)
class ScaleSpread:
    """Smallest and largest nm/px of a split."""

    split: str
    fields: int
    min_nm_per_px: float
    max_nm_per_px: float

    @property
    def ratio(self) -> float:
        return self.max_nm_per_px / self.min_nm_per_px


@dataclass(frozen=True, slots=True)
class Report:
    """The whole check. `looks` are the fields that could be read."""

    manifest: Manifest
    by: Independence
    gap: int
    codes: tuple[str, ...]
    findings: tuple[Finding, ...]
    shares: tuple[ClassShare, ...]
    scales: tuple[ScaleSpread, ...]
    looks: tuple[FieldLook, ...]

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)


def check_manifest(
    manifest: Manifest,
    by: Independence,
    gap: int,
    advance: Callable[[LabelledField], None] = lambda field: None,
) -> Report:
    """Look at every field and hold the splits against each other. `advance` is told of each field looked at.

    Raises CorpusUnreachable or ExtraMissing where files cannot be had: that is no fault of the manifest.
    """
    codes = tuple(sorted({code for field in manifest.fields for code in field.codes}))
    looks, findings = _look_at_all(manifest.fields, codes, advance)
    shares = tuple(_share(looks, code, split) for code in codes for split in _splits(manifest.fields))
    findings += [
        *_parted_specimens(manifest.fields, by),
        *_parted_blocks(manifest.fields, gap),
        *_same_bytes(manifest.fields),
        *_near_duplicates(looks),
        *_empty_classes(shares, codes),
        *_scale_notes(looks),
    ]
    order = list(Severity)
    findings.sort(key=lambda finding: order.index(finding.severity))
    return Report(manifest, by, gap, codes, tuple(findings), shares, _spreads(manifest.fields), tuple(looks))


def refusal(report: Report, page: str = "") -> UltraReadError | None:
    """The error that refuses the manifest: all leaks, else all that is invalid; None where it is sound."""
    for severity in (Severity.LEAK, Severity.INVALID):
        if found := report.of(severity):
            told = [finding.what for finding in found[:TOLD_IN_ERROR]]
            more = [f"and {len(found) - TOLD_IN_ERROR} more"] if len(found) > TOLD_IN_ERROR else []
            seen = [f"see {page}"] if page else []
            return error_of_code(found[0].code)("; ".join([*told, *more, *seen]))
    return None


def _look_at_all(
    fields: Iterable[LabelledField], codes: Sequence[str], advance: Callable[[LabelledField], None]
) -> tuple[list[FieldLook], list[Finding]]:
    looks: list[FieldLook] = []
    findings: list[Finding] = []
    for field in fields:
        try:
            looks.append(look_at(field, codes))
        except (InputRefused, IntegrityFailed) as refused:
            findings.append(_invalid(field, refused))
        advance(field)
    return looks, findings


def _invalid(field: LabelledField, refused: UltraReadError) -> Finding:
    """Of images that cannot be opened, the labelled data is refused; its own code is told with it."""
    is_of_labels = isinstance(refused, LabelsRefused | IntegrityFailed)
    code = refused.code if is_of_labels else LabelsRefused.code
    return Finding(Severity.INVALID, f"{field.name}: {refused.what} [{refused.code}]", code)


def _parted_specimens(fields: Sequence[LabelledField], by: Independence) -> Iterator[Finding]:
    """A leak, unless blocks were stated to be the unit of independence."""
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for field in fields:
        splits[field.specimen].add(field.split)
    for specimen, found in splits.items():
        if len(found) > 1:
            told = f"specimen {specimen} is in {_listed(found)}"
            is_leak = by == Independence.SPECIMEN
            yield _leak(told) if is_leak else _note(f"{told}: figures show memory of one specimen")


def _parted_blocks(fields: Sequence[LabelledField], gap: int) -> Iterator[Finding]:
    """A block may stand in two splits only where more than `gap` sections lie between them."""
    splits: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for field in fields:
        splits[field.specimen, field.block].add(field.split)
    near = too_near(fields, gap)
    for (specimen, block), found in splits.items():
        members = [field for field in fields if (field.specimen, field.block) == (specimen, block)]
        told = f"block {block} of specimen {specimen} is in {_listed(found)}"
        if len(found) > 1 and any(field.name in near for field in members):
            yield _leak(f"{told} with sections {gap} or fewer apart")
        elif len(found) > 1:
            yield _note(f"{told}, further apart than a gap of {gap}: figures show memory of one block")


def _same_bytes(fields: Sequence[LabelledField]) -> Iterator[Finding]:
    by_digest: defaultdict[str, list[LabelledField]] = defaultdict(list)
    for field in fields:
        by_digest[field.image_sha256].append(field)
    for same in by_digest.values():
        if len(same) > 1:
            splits = {field.split for field in same}
            told = f"{_names(same)} are the same file, in {_listed(splits)}"
            yield _leak(told) if len(splits) > 1 else _note(f"{told}: it counts {len(same)} times")


def _near_duplicates(looks: Sequence[FieldLook]) -> Iterator[Finding]:
    """Across splits a leak; within one split a note, and of one block only their number: that is expected."""
    expected: Counter[tuple[str, str, str]] = Counter()
    for first, second, bits in near_duplicates([look.fingerprint for look in looks]):
        one, other = looks[first].field, looks[second].field
        told = f"{_names([one, other])} look alike ({bits} of 64 bits differ)"
        if one.image_sha256 == other.image_sha256:
            continue
        if one.split != other.split:
            yield _leak(f"{told}, in {_listed({one.split, other.split})}")
        elif (one.specimen, one.block) == (other.specimen, other.block):
            expected[one.specimen, one.block, one.split] += 1
        else:
            yield _note(f"{told}, both in {one.split}")
    for (specimen, block, split), pairs in expected.items():
        yield _note(
            f"{'1 pair' if pairs == 1 else f'{pairs} pairs'} of block {block} of specimen {specimen} "
            f"look alike, all in {split}: expected of neighbouring sections, which say less than as many "
            "independent fields"
        )


def _empty_classes(shares: Sequence[ClassShare], codes: Sequence[str]) -> Iterator[Finding]:
    for code in codes:
        of_class = [share for share in shares if share.code == code]
        if not any(share.area_fraction for share in of_class):
            yield Finding(Severity.INVALID, f"{code} is nowhere labelled", ClassEmpty.code)
            continue
        for share in of_class:
            if not share.area_fraction:
                why = "is labelled in no field" if share.area_fraction is None else "shows in no field"
                yield _note(f"{code} {why} of {share.split}: nothing about it can be said there")


def _scale_notes(looks: Sequence[FieldLook]) -> Iterator[Finding]:
    for look in looks:
        given = look.field.nm_per_px
        for stated in look.stated:
            if abs(stated.x_nm_per_px / given - 1) > stated.tolerance + SCALE_WITHIN:
                yield _note(
                    f"{look.field.name} states {stated.x_nm_per_px:.4g} nm/px ({stated.origin}), "
                    f"the manifest {given:.4g}"
                )


def _share(looks: Sequence[FieldLook], code: str, split: str) -> ClassShare:
    """Area in nm², so that fields of different scales add up."""
    labelled = [look for look in looks if look.field.split == split and code in look.fractions]
    areas = [look.size.area_px * look.field.nm_per_px**2 for look in labelled]
    covered = sum(area * look.fractions[code] for area, look in zip(areas, labelled, strict=True))
    return ClassShare(code, split, len(labelled), covered / sum(areas) if areas else None)


def _spreads(fields: Sequence[LabelledField]) -> tuple[ScaleSpread, ...]:
    found = {
        split: [field.nm_per_px for field in fields if field.split == split] for split in _splits(fields)
    }
    return tuple(ScaleSpread(split, len(scales), min(scales), max(scales)) for split, scales in found.items())


def _splits(fields: Sequence[LabelledField]) -> list[str]:
    return [split for split in SPLITS if any(field.split == split for field in fields)]


def _listed(splits: Iterable[str]) -> str:
    return _and([split for split in SPLITS if split in set(splits)])


def _names(fields: Sequence[LabelledField]) -> str:
    return _and([field.name for field in fields])


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _leak(what: str) -> Finding:
    return Finding(Severity.LEAK, what, SplitLeak.code)


def _note(what: str) -> Finding:
    return Finding(Severity.NOTE, what)
