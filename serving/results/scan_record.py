"""scan_record.json of a result folder: the record as far as the file tells it, and the scale of the read."""

from typing import Any

from ultraread.datasets.admission import OutOfScopeImage
from ultraread.datasets.identity.found import Identity
from ultraread.datasets.scan_record.facts import file_facts, filed_image
from ultraread.datasets.scan_record.record import FiledImage, ScanRecord
from ultraread.datasets.slide import Modality
from ultraread.serving.read_slide import PreparedImage, PreparedSlide


def scan_record_of(prepared: PreparedSlide) -> dict[str, Any]:
    """The record of a slide that is read; what people state of it is unknown here, and so null."""
    images = [
        *(_read_image(image, prepared.identity) for image in prepared.images),
        *(_other_image(image, prepared.identity) for image in prepared.out_of_scope),
    ]
    facts = file_facts(prepared.format, prepared.digest, sorted(images, key=lambda image: image.index))
    return ScanRecord(from_file=facts).as_json()


def _read_image(image: PreparedImage, identity: Identity) -> FiledImage:
    """With the scale that the read used, where the file does not state it."""
    info, scale = image.admitted.info, image.admitted.scale
    stated_by_file = scale.origin in {one.origin for one in info.scales}
    return filed_image(info, image.admitted.modality, identity, () if stated_by_file else (scale,))


def _other_image(image: OutOfScopeImage, identity: Identity) -> FiledImage:
    return filed_image(image.info, Modality.SEMITHIN_LIGHT, identity)
