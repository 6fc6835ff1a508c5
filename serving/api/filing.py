"""The first door: uploads become a filed slide, or, where they are no image, nothing is kept."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ultraread.datasets.admission import modality_of
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import ImageInfo, Modality, Slide
from ultraread.datasets.slide_address import FileAddress, SlideAddress
from ultraread.datasets.slide_digest import digest_slide
from ultraread.errors import InputRefused, RequestInvalid, UploadConflict
from ultraread.serving.api import bodies
from ultraread.serving.api.service import WHO, Service
from ultraread.serving.store.records import NewSlide, file_slide, find, record_in_case, stored_name
from ultraread.serving.store.tables import CaseRow, ScanRecordRow, UploadRow


def file_uploads(service: Service, stated: bodies.NewSlide, slide_id: str) -> ScanRecordRow:
    """Open, digest and file the uploads as one slide; they are then no uploads any more.

    Where the case has the slide already, nothing is filed and the record is that of the slide that is there.
    Raises UploadConflict while one is not whole, NotFound, and the InputRefused that says why it is no image.
    """
    uploads = [service.uploads.find(upload_id) for upload_id in stated.upload_ids]
    _refuse_unless_whole(uploads)
    _refuse_clashing_names(uploads)
    _refuse_unknown_case(service, stated.case_id)
    try:
        with _staged(service, uploads, slide_id) as paths:
            names = [upload.file_name for upload in uploads]
            record = _filed(service, _inspected(paths, names, stated, slide_id))
    except InputRefused as refused:
        _drop(service, uploads)
        raise type(refused)(f"{uploads[0].file_name}: {refused.what}", refused.remedy) from refused
    if record.slide_id != slide_id:
        shutil.rmtree(service.settings.slides_dir / slide_id, ignore_errors=True)
    _drop(service, uploads)
    return record


def _refuse_unless_whole(uploads: Sequence[UploadRow]) -> None:
    for upload in uploads:
        if upload.received < upload.bytes:
            raise UploadConflict(f"upload {upload.id} has {upload.received} of {upload.bytes} bytes")


def _refuse_clashing_names(uploads: Sequence[UploadRow]) -> None:
    if len({upload.file_name.casefold() for upload in uploads}) < len(uploads):
        raise RequestInvalid("two files of a slide have the same name")


def _refuse_unknown_case(service: Service, case_id: str | None) -> None:
    if case_id is not None:
        with service.store.reading() as session:
            find(session, CaseRow, case_id)


@contextmanager
def _staged(service: Service, uploads: Sequence[UploadRow], slide_id: str) -> Iterator[list[Path]]:
    """The files where `slide_address` expects them, gone again where filing fails; links, not copies."""
    folder = service.settings.slides_dir / slide_id
    shutil.rmtree(folder, ignore_errors=True)  # of a request that died before it filed
    folder.mkdir(mode=0o700)
    try:
        targets = [folder / stored_name(index, upload.file_name) for index, upload in enumerate(uploads)]
        for upload, target in zip(uploads, targets, strict=True):
            os.link(service.uploads.path(upload), target)
        yield targets
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _inspected(
    paths: Sequence[Path], names: Sequence[str], stated: bodies.NewSlide, slide_id: str
) -> NewSlide:
    files = (FileAddress(name, str(path)) for name, path in zip(names, paths, strict=True))
    address = SlideAddress(slide_id, tuple(files))
    with open_slide(address) as slide:
        file_format, images = slide.info.format, _images(slide)
    digest = digest_slide(address)
    return NewSlide(
        id=slide_id,
        sha256=digest.sha256,
        format=file_format,
        files=tuple(asdict(file) for file in digest.files),
        images=images,
        case_id=stated.case_id,
        accession=stated.accession,
        primary_procedure=stated.primary_procedure,
        specimen=stated.specimen,
        digitized=stated.digitized.model_dump() if stated.digitized else None,
    )


def _images(slide: Slide) -> tuple[dict[str, Any], ...]:
    return tuple(_image(image, modality_of(slide, image)) for image in slide.info.images)


def _image(image: ImageInfo, modality: Modality) -> dict[str, Any]:
    scales = [
        {
            "x_nm_per_px": scale.x_nm_per_px,
            "y_nm_per_px": scale.y_nm_per_px,
            "origin": scale.origin.value,
            "tolerance": scale.tolerance,
        }
        for scale in image.scales
    ]
    return {
        "index": image.index,
        "width_px": image.size.width,
        "height_px": image.size.height,
        "levels": len(image.levels),
        "bit_depth": image.bit_depth,
        "samples_per_px": image.samples_per_px,
        "modality": modality.value,
        "scales": scales,
    }


def _filed(service: Service, slide: NewSlide) -> ScanRecordRow:
    with service.store.writing() as session:
        there = record_in_case(session, slide.case_id, slide.sha256) if slide.case_id is not None else None
        return there or file_slide(session, slide, WHO)


def _drop(service: Service, uploads: Sequence[UploadRow]) -> None:
    for upload in uploads:
        service.uploads.drop(upload)
