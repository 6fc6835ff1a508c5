"""A dataset manifest: which images are labelled, by which files, from whom, at what scale, in which split."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ultraread.datasets.corpora import fetch, pinned_files
from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.table_cells import as_cell, text_of
from ultraread.errors import ExtraMissing, IntegrityFailed, ManifestInvalid

CORPUS = "corpus:"
IMAGE_COLUMNS = (
    "image", "image_sha256", "specimen", "block", "section", "laboratory", "nm_per_px", "split", "licence",
)  # fmt: skip

Split = Literal["train", "calibration", "test"]
SPLITS: tuple[Split, ...] = ("train", "calibration", "test")
Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Kind(StrEnum):
    """How an annotation says where its class is."""

    MASK = "mask"
    INVERSE_MASK = "inverse_mask"
    LABELS = "labels"
    INSTANCES = "instances"
    GEOJSON = "geojson"
    POINTS = "points"
    TILE = "tile"
    NONE = ""


NEEDS_FILE = frozenset(Kind) - {Kind.TILE, Kind.NONE}
NEEDS_CODE = frozenset(Kind) - {Kind.LABELS, Kind.NONE}


class AnnotationRow(BaseModel):
    """One annotation of one image: a row of a manifest. Files are named from the manifest's own folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Text = Field(description="Path from the manifest's folder, or corpus:PATH of a pinned file.")
    image_sha256: Sha256
    annotation: str = Field("", description="Path or corpus:PATH; empty for a tile and for no annotation.")
    annotation_sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    kind: Kind = Field(Kind.NONE, description="Empty for an image without annotation.")
    code: Annotated[str, Field(pattern="^([A-Za-z][A-Za-z0-9_-]*)?$")] = Field(
        "", description="Class code such as UR-MITO; all kinds but labels."
    )
    codes: Annotated[str, Field(pattern=r"^\s*([0-9]+=([A-Za-z][A-Za-z0-9_-]*)?(\s+|$))*$")] = Field(
        "", description="Code table of kind labels: `1= 2=UR-MYELIN 3=UR-AXON`; no code is background."
    )
    value: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None, description="Kind tile: the class's area fraction of the image."
    )
    specimen: Text
    block: Text
    section: int = Field(0, description="Order of the section within its block.")
    laboratory: Text
    nm_per_px: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    split: Split
    licence: Text

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        for column, stands, needed in (
            ("annotation", bool(self.annotation), self.kind in NEEDS_FILE),
            ("annotation_sha256", bool(self.annotation_sha256), self.kind in NEEDS_FILE),
            ("code", bool(self.code), self.kind in NEEDS_CODE),
            ("codes", bool(self.codes.strip()), self.kind == Kind.LABELS),
            ("value", self.value is not None, self.kind == Kind.TILE),
        ):
            if stands != needed:
                raise ValueError(
                    f"column {column}: {'missing' if needed else 'has no place'} in {self._kind}"
                )
        if len(self.code_table) < len(self.codes.split()):
            raise ValueError("column codes: names a value twice")
        return self

    @property
    def _kind(self) -> str:
        return f"kind {self.kind}" if self.kind else "a row without kind"

    @property
    def code_table(self) -> dict[int, str]:
        """Of kind labels: class code by value of the label image; an empty code is background."""
        pairs = (pair.partition("=") for pair in self.codes.split())
        return {int(value): code for value, _, code in pairs}

    @property
    def class_codes(self) -> frozenset[str]:
        """The classes that this annotation labels."""
        return frozenset({self.code, *self.code_table.values()} - {""})


@dataclass(frozen=True, slots=True)
class LabelledField:
    """One image with all its annotations. `name` is its reference, which the manifest holds once."""

    name: str
    image: str
    image_sha256: str
    specimen: str
    block: str
    section: int
    laboratory: str
    nm_per_px: float
    split: Split
    licence: str
    annotations: tuple[AnnotationRow, ...]
    folder: Path

    @property
    def codes(self) -> frozenset[str]:
        """The classes that its annotations label."""
        return frozenset(code for row in self.annotations for code in row.class_codes)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as read: its file's stem and digest, and its fields in the file's order."""

    name: str
    sha256: str
    fields: tuple[LabelledField, ...]

    def of_split(self, split: str) -> tuple[LabelledField, ...]:
        return tuple(field for field in self.fields if field.split == split)

    def only(self, split: str) -> "Manifest":
        """The same manifest with the fields of one split. Raises ManifestInvalid where it has none."""
        fields = self.of_split(split)
        if not fields:
            raise ManifestInvalid(
                f"{self.name} has no field of split {split}", f"Splits: {', '.join(SPLITS)}."
            )
        return replace(self, fields=fields)


def load_manifest(path: Path) -> Manifest:
    """Read a CSV or Parquet manifest. Raises ManifestInvalid that names row and column."""
    if not path.is_file():
        raise ManifestInvalid(f"there is no file {path.name}", "Check the path.")
    first, cells = (1, _parquet_rows(path)) if path.suffix == ".parquet" else (2, _csv_rows(path))
    rows = [(number, _parse(number, row)) for number, row in enumerate(cells, first)]
    if not rows:
        raise ManifestInvalid(f"{path.name} has no rows")
    return Manifest(path.stem, sha256_of_file(path), _fields(rows, path.parent))


def rows_of(field: LabelledField) -> Iterator[AnnotationRow]:
    """The rows that say what a field says; one without annotation has one row of no kind."""
    told = {column: getattr(field, column) for column in IMAGE_COLUMNS}
    if not field.annotations:
        yield AnnotationRow(**told)
    for row in field.annotations:
        yield row.model_copy(update=told)


def as_csv(rows: Iterable[AnnotationRow]) -> str:
    """A manifest's text, with every column; `load_manifest` gives back the same rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(AnnotationRow.model_fields), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: as_cell(value) for column, value in row.model_dump(mode="json").items()})
    return text.getvalue()


def manifest_schema() -> dict[str, Any]:
    """JSON Schema of one row, as published beside this file."""
    schema = AnnotationRow.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def locate(reference: str, folder: Path, sha256: str) -> Path:
    """Return the local file of a reference, its digest confirmed.

    Raises ManifestInvalid where there is none, IntegrityFailed where the bytes differ, CorpusUnreachable.
    """
    if reference.startswith(CORPUS):
        return fetch(reference.removeprefix(CORPUS))
    file = folder / reference
    if not file.is_file():
        raise ManifestInvalid(f"there is no file {reference} beside the manifest", "Check the path.")
    if sha256_of_file(file) != sha256:
        raise IntegrityFailed(f"{reference} is not the file that the manifest names", "Restore the file.")
    return file


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            read = csv.DictReader(lines, restkey="(beyond the last column)", strict=True)
            return [{column: _stated(cell) for column, cell in row.items()} for row in read]
    except (UnicodeDecodeError, csv.Error) as failure:
        raise ManifestInvalid(f"{path.name} is no CSV in UTF-8 ({failure})") from failure


def _stated(cell: Any) -> Any:  # noqa: ANN401  # of a row that is too short or too long, no text
    return text_of(cell) if isinstance(cell, str) else cell


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError as failure:
        raise ExtraMissing(
            "Parquet needs pyarrow", "Install it with: pip install 'ultraread[serve]'"
        ) from failure
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except Exception as failure:  # pyarrow has an error type for each layer
        raise ManifestInvalid(f"{path.name} is no Parquet table") from failure
    return rows


def _parse(number: int, cells: dict[str, Any]) -> AnnotationRow:
    """Parse a row; an empty cell counts as not given."""
    try:
        row = AnnotationRow.model_validate(
            {name: cell for name, cell in cells.items() if cell not in ("", None)}
        )
    except ValidationError as failure:
        problem = failure.errors()[0]
        column = f"column {problem['loc'][0]}: " if problem["loc"] else ""
        raise ManifestInvalid(f"row {number}, {column}{_in_words(problem['msg'])}") from failure
    _check_pins(number, row)
    return row


def _in_words(message: str) -> str:
    return message.removeprefix("Value error, ")


def _check_pins(number: int, row: AnnotationRow) -> None:
    """A reference into the pinned corpora must name a pinned file and its digest."""
    for column in ("image", "annotation"):
        reference, sha256 = getattr(row, column), getattr(row, f"{column}_sha256")
        if not reference.startswith(CORPUS):
            continue
        pinned = pinned_files().get(reference.removeprefix(CORPUS))
        if pinned is None:
            raise ManifestInvalid(f"row {number}, column {column}: {reference} is no pinned file")
        if pinned.sha256 != sha256:
            raise ManifestInvalid(f"row {number}, column {column}_sha256: not the digest of {reference}")


def _fields(rows: Sequence[tuple[int, AnnotationRow]], folder: Path) -> tuple[LabelledField, ...]:
    """Gather rows by image, in the order in which images first appear."""
    order = {row.image: place for place, (_, row) in reversed(list(enumerate(rows)))}
    gathered = sorted(rows, key=lambda one: order[one[1].image])
    return tuple(_field(list(group), folder) for _, group in groupby(gathered, key=lambda one: one[1].image))


def _field(rows: list[tuple[int, AnnotationRow]], folder: Path) -> LabelledField:
    (_, first), *others = rows
    for number, row in others:
        for column in _disagreements(first, row):
            raise ManifestInvalid(
                f"row {number}, column {column}: differs from an earlier row of {row.image}"
            )
    return LabelledField(
        name=first.image,
        **first.model_dump(include=set(IMAGE_COLUMNS)),
        annotations=tuple(row for _, row in rows if row.kind),
        folder=folder,
    )


def _disagreements(one: AnnotationRow, other: AnnotationRow) -> Iterator[str]:
    return (column for column in IMAGE_COLUMNS if getattr(one, column) != getattr(other, column))
