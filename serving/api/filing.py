"""The first door: uploads become a filed slide, or, where they are no image, nothing is kept."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ultraread.datasets.admission import modality_of
from ultraread.datasets.burnt_in.look import Look, look_at_all
from ultraread.datasets.identity.find import find_identity
from ultraread.datasets.identity.found import Identity
from ultraread.datasets.identity.policy import (
    STRIP_BY_DEFAULT,
    IdentityStatement,
    identity_stated,
    stricter_or_reasoned,
    under,
)
from ultraread.datasets.other_scales import other_scales
from ultraread.datasets.scan_record.facts import filed_image
from ultraread.datasets.slide import Slide
from ultraread.datasets.slide_address import FileAddress, SlideAddress
from ultraread.datasets.slide_digest import digest_in_blocks
from ultraread.errors import (
    DatabaseUnreachable,
    InputRefused,
    RequestInvalid,
    UploadChecksumMismatch,
    UploadConflict,
)
from ultraread.serving.api import bodies
from ultraread.serving.api.service import Service
from ultraread.serving.ingest.fetch import drop_all, fetch_slide, places_of
from ultraread.serving.storage.mending import mend
from ultraread.serving.storage.slide_store import stored_names
from ultraread.serving.store.looks import as_rows
from ultraread.serving.store.records import NewSlide, file_slide, find, record_in_case
from ultraread.serving.store.stored import keep
from ultraread.serving.store.tables import MAIN_SITE, CaseRow, ScanRecordRow, StoredKind, UploadRow


def file_stated(service: Service, stated: bodies.NewSlide, slide_id: str) -> ScanRecordRow:
    """File the uploads, or what lies at the address. Raises as `file_uploads` and `fetch_slide` do."""
    if stated.url is None:
        return file_uploads(service, stated, slide_id)
    _refuse_unknown_case(service, stated.case_id)
    _policy(service, stated)
    places = places_of(service.store.site or MAIN_SITE, service.settings.ingest_urls)
    fetched = fetch_slide(service.uploads, stated.url, places)
    try:
        return file_uploads(service, stated.model_copy(update={"upload_ids": fetched}), slide_id)
    finally:
        drop_all(service.uploads, fetched)


def file_uploads(service: Service, stated: bodies.NewSlide, slide_id: str) -> ScanRecordRow:
    """Open, digest and file the uploads as one slide; they are then no uploads any more.

    Where the case has the slide already, nothing is filed and the record is that of the slide that is there.
    Raises UploadConflict while one is not whole, NotFound, and the InputRefused that says why it is no image.
    """
    uploads = [service.uploads.find(upload_id) for upload_id in stated.upload_ids]
    _refuse_unless_whole(uploads)
    _refuse_clashing_names(uploads)
    _refuse_unknown_case(service, stated.case_id)
    _policy(service, stated)
    paths = [service.uploads.path(upload) for upload in uploads]
    try:
        slide = _inspected(service, paths, [upload.file_name for upload in uploads], stated, slide_id)
        _refuse_other_digest(slide, stated.sha256)
    except (InputRefused, UploadChecksumMismatch):
        _drop(service, uploads)
        raise
    record = _kept(service, slide, paths)
    _drop(service, uploads)
    return record


def _refuse_other_digest(slide: NewSlide, stated: str | None) -> None:
    found = {slide.sha256, *(file["sha256"] for file in slide.files if len(slide.files) == 1)}
    if stated is not None and stated not in found:
        raise UploadChecksumMismatch("the slide's sha256 is not the one stated", "Send the slide again.")


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


def _kept(service: Service, slide: NewSlide, paths: Sequence[Path]) -> ScanRecordRow:
    """Store the files, then file them; of a slide that its case has already, only what mends it stays."""
    if there := _there_already(service, slide):
        mend(service.store, service.slides, there.slide_id, slide.files, paths, service.who)
        return there
    service.slides.put(slide.id, slide.files, paths)
    try:
        record = _filed(service, slide)
    except DatabaseUnreachable:
        raise  # it may be filed: files without a row are `storage orphans`, a row without files is a loss
    except BaseException:
        service.slides.drop(slide.id, slide.files)
        raise
    if record.slide_id != slide.id:
        service.slides.drop(slide.id, slide.files)
    return record


def _there_already(service: Service, slide: NewSlide) -> ScanRecordRow | None:
    with service.store.reading() as session:
        return record_in_case(session, slide.case_id, slide.sha256) if slide.case_id is not None else None


def _inspected(
    service: Service, paths: Sequence[Path], names: Sequence[str], stated: bodies.NewSlide, slide_id: str
) -> NewSlide:
    files = (FileAddress(name, str(path)) for name, path in zip(names, paths, strict=True))
    address = SlideAddress(slide_id, tuple(files))
    with service.decoding.open(address) as slide:
        looks = look_at_all(slide)
        identity = under(find_identity(slide.info, names, looks), _policy(service, stated))
        file_format, images = slide.info.format, _images(slide, identity, looks)
    digest, digested = digest_in_blocks(address)
    return NewSlide(
        id=slide_id,
        sha256=digest.sha256,
        format=file_format,
        files=tuple(asdict(file) for file in digest.files),
        images=images,
        case_id=stated.case_id,
        stated=stated.statement,
        identity=identity.as_json(),
        looks=as_rows(looks),
        blocks=b"".join(file.blocks.sha256s for file in digested.files if file.blocks),
    )


def _policy(service: Service, stated: bodies.NewSlide) -> IdentityStatement:
    """Raises RequestInvalid where it is less strict than the service's without a reason."""
    wanted = stated.identity
    of_slide = identity_stated(wanted.policy, wanted.reason or "") if wanted else STRIP_BY_DEFAULT
    return stricter_or_reasoned(service.settings.identity_policy, of_slide)


def _images(slide: Slide, identity: Identity, looks: Sequence[Look]) -> tuple[dict[str, Any], ...]:
    """With the scale that a burnt-in bar states among those of the tags."""
    bars = other_scales(looks)
    return tuple(
        filed_image(
            replace(image, scales=(*image.scales, *bars(image))), modality_of(slide, image), identity
        ).as_json()
        for image in slide.info.images
    )


def _filed(service: Service, slide: NewSlide) -> ScanRecordRow:
    with service.store.writing() as session:
        there = record_in_case(session, slide.case_id, slide.sha256) if slide.case_id is not None else None
        if there is not None:
            return there
        record = file_slide(session, slide, service.who)
        files = [asdict(file) for file in stored_names(slide.id, slide.files)]
        keep(session, StoredKind.SLIDE, slide.id, files, service.settings.retention_days)
        return record


def _drop(service: Service, uploads: Sequence[UploadRow]) -> None:
    for upload in uploads:
        service.uploads.drop(upload)
