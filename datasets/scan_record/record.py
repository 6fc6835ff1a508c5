"""The scan record: one digitization, filed. Who stated what is kept apart: people, the file, the store."""

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.plain_text import Id, Line, Text
from ultraread.datasets.scale import ScaleOrigin
from ultraread.datasets.scan_record.statement import Part, Statement
from ultraread.datasets.slide import Modality

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="sha256 in lower-case hex.")]
ImageIndex = Annotated[int, Field(ge=0, description="Index of the image in its slide, from 0.")]
Px = Annotated[int, Field(ge=0, le=2**31)]


class FromStore(Part):
    """A part that a later version may have written with more in it."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class FiledScale(FromStore):
    """One pixel size that was found, not yet trusted."""

    x_nm_per_px: float = Field(description="Width of a pixel in nm.")
    y_nm_per_px: float = Field(description="Height of a pixel in nm.")
    origin: ScaleOrigin = Field(description="Where it was found.")
    tolerance: float = Field(description="Relative: 0.05 is 5 %.")
    reason: str = Field(default="", description="What a bar, a calibration record or a person says of it.")


class FiledAcquisition(FromStore):
    """How the instrument says that it made the image; texts that may identify somebody stay in the file."""

    microscope: str | None = Field(default=None, description="Microscope, in the instrument's words.")
    camera: str | None = Field(default=None, description="Camera or detector, likewise.")
    acquired: str | None = Field(default=None, description="When, likewise.")
    magnification: float | None = Field(default=None, description="Magnification.")
    accelerating_kv: float | None = Field(default=None, description="Accelerating voltage in kV.")


class FiledImage(FromStore):
    """One pixel plane as the file holds it."""

    index: ImageIndex
    width_px: Px = Field(description="Width in level-0 pixels.")
    height_px: Px = Field(description="Height in level-0 pixels.")
    levels: int = Field(default=1, description="Stored sizes, the full one included.")
    bit_depth: int = Field(description="8, 16, or 32 for floats.")
    samples_per_px: int = Field(default=1, description="1 for grey, 3 for RGB.")
    modality: Modality = Field(description="How the image was made.")
    scales: tuple[FiledScale, ...] = Field(default=(), description="Every pixel size that was found.")
    acquisition: FiledAcquisition = Field(default=FiledAcquisition(), description="How it was made.")


class FiledFile(FromStore):
    """A file without its name, which may identify a patient."""

    sha256: Sha256
    bytes: int = Field(description="Size.")


class FromFile(Part):
    """What the file itself tells."""

    stated_by: Literal["file"] = "file"
    format: str = Field(description="What the slide was opened as.")
    sha256: Sha256 = Field(description="Of the sorted list of the files' sha256.")
    files: tuple[FiledFile, ...] = Field(description="The files that together are the slide.")
    image_count: int = Field(description="Number of images.")
    images: tuple[FiledImage, ...] = Field(description="The images.")


class QualityReview(Part):
    """Somebody looked at the record and its images, as they were at `revision`."""

    who: Line = Field(description="Who reviewed.")
    at: AwareDatetime = Field(description="When.")
    complete: bool = Field(description="Complete and accurate, or not.")
    why: Text = Field(description="Why.")
    revision: int = Field(ge=1, description="The revision of the record that was reviewed.")


class AnswerGiven(Part):
    """What was answered, once."""

    who: Line = Field(description="Who answered.")
    at: AwareDatetime = Field(description="When.")
    text: Text = Field(description="The answer.")


class Consultation(Part):
    """Somebody was asked: another opinion, or further analysis."""

    id: Id
    kind: Literal["consultation", "further_analysis"] = Field(description="An opinion, or more work.")
    asked_by: Line = Field(description="Who asked.")
    asked_of: Line = Field(description="Who was asked.")
    at: AwareDatetime = Field(description="When.")
    question: Text = Field(description="What was asked.")
    answer: AnswerGiven | None = Field(default=None, description="Null while there is none.")


class LinkBox(Part):
    """A half-open box in level-0 pixels: x in [x, x + width), y in [y, y + height)."""

    x: Px
    y: Px
    width: Annotated[Px, Field(gt=0)]
    height: Annotated[Px, Field(gt=0)]

    def as_box(self) -> BoxPx:
        return BoxPx(self.x, self.y, self.width, self.height)


class LinkFrom(Part):
    """A region of an image of this record's slide."""

    slide_id: Id
    image: ImageIndex
    box_px: LinkBox = Field(description="The region.")


class LinkTo(Part):
    """A grid by its name, or an image of another slide of the case."""

    grid_id: Line | None = Field(default=None, description="Name of the grid that the region was cut for.")
    slide_id: Id | None = Field(default=None, description="Slide whose image shows the region larger.")
    image: ImageIndex | None = None


class Link(Part):
    """From a region to the grid that was cut of it, or to the field that shows part of it."""

    from_: LinkFrom = Field(alias="from", description="The region.")
    to: LinkTo = Field(description="Where it leads.")
    relation: Literal["region_on_grid", "field_of_region"] = Field(description="What leads there.")
    who: Line = Field(description="Who linked them.")

    @model_validator(mode="after")
    def _leads_where_its_relation_says(self) -> Self:
        to = self.to
        to_grid = to.grid_id is not None and to.slide_id is None and to.image is None
        to_field = to.grid_id is None and to.slide_id is not None and to.image is not None
        if not (to_grid if self.relation == "region_on_grid" else to_field):
            raise ValueError("region_on_grid leads to a grid_id, field_of_region to slide_id and image")
        return self


class StoredCopy(FromStore):
    """One whole copy of the slide; places go by their digest, because an address is nobody's business."""

    place: Literal["first", "second"] = Field(description="The copy that is worked with, or the other one.")
    address_sha256: str | None = Field(default=None, description="Of the place's address.")
    sha256: Sha256 = Field(description="Of the slide, as it has to be.")
    state: Literal["waiting", "good", "bad", "gone"] = Field(description="What is known of it.")
    checked: str | None = Field(default=None, description="When it was last held against its digests, UTC.")


class KeptRecord(Statement):
    """What of a record is kept in one piece: what people stated, reviewed, asked and linked."""

    links: Annotated[tuple[Link, ...], Field(max_length=10_000)] = Field(
        default=(), description="Regions of this slide, and what was made of them."
    )
    quality_review: QualityReview | None = Field(
        default=None, description="The review that stands; a record that is changed after it has none."
    )
    earlier_reviews: tuple[QualityReview, ...] = Field(default=(), description="Reviews that stand no more.")
    consultations: tuple[Consultation, ...] = Field(default=(), description="Who was asked what.")


class ScanRecord(KeptRecord):
    """One digitization, filed. Null is unknown."""

    schema_version: Literal["2"] = Field(
        default="2", description="Raised with any change that breaks a reader."
    )
    research_use_only: Literal[True] = Field(
        default=True, description="Always true: no diagnosis rests on this alone."
    )
    stated_by: Literal["person"] = Field(
        default="person", description="Who states what is not marked otherwise; `from_file` is the file's."
    )
    id: str | None = Field(default=None, description="Of the record; null outside of a service.")
    case_id: str | None = Field(default=None, description="The case that it belongs to.")
    slide_id: str | None = Field(default=None, description="The slide that it is about.")
    revision: int | None = Field(
        default=None, description="Rises with every change; null outside of a service."
    )
    from_file: FromFile = Field(description="What the file tells.")
    storage: tuple[StoredCopy, ...] | None = Field(default=None, description="Where whole copies lie.")


PATCHABLE = frozenset({*Statement.model_fields, "links"})
"""What people may change; the rest of a record is the file's, the store's, or has a way of its own."""


def scan_record_schema() -> dict[str, Any]:
    """The published JSON Schema of a whole record."""
    schema = ScanRecord.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
