"""The second door: is it safe to read these slides with this model? If not, the records stay as they are."""

import datetime as dt
from collections.abc import Collection, Sequence

from ultraread.datasets.admission import admit
from ultraread.datasets.burnt_in.look import look_at_all
from ultraread.datasets.calibration import Calibrations
from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.other_scales import other_scales
from ultraread.datasets.scale import StatedScale, operator_scale
from ultraread.errors import InputRefused, IntegrityFailed, RequestInvalid, SlideNotFound
from ultraread.models.registry import ModelFolder
from ultraread.serving.api import bodies
from ultraread.serving.api.service import Service
from ultraread.serving.read_slide import refuse_inverted
from ultraread.serving.store import jobs
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.calibrations import calibrations_of, last_calibration
from ultraread.serving.store.looks import looks_of
from ultraread.serving.store.records import find_all, slides_of_case, specimens_of
from ultraread.serving.store.stored import expired_among, refuse_expired
from ultraread.serving.store.tables import Json, ReadRow, SlideRow, StoredKind

CONTRAST_IMAGES = 8
"""Of a slide, whose contrast is judged while the caller waits; the read judges the others."""


def request_read(service: Service, wanted: bodies.NewRead, read_id: str) -> ReadRow:
    """Admit every slide and put the read into the queue.

    Raises the ReadRefused that applies, which the audit trail then tells; NotFound; a ModelRefused.
    """
    _refuse_past(wanted.policy.finish_by)
    model = service.model(wanted.model)
    slides = _slides(service, wanted)
    request, calibrations = _pinned(service, wanted, slides)
    try:
        for slide in slides:
            _admit(service, slide, model, wanted, calibrations)
    except InputRefused as refused:
        _tell_refusal(service, wanted, refused)
        raise
    return service.jobs.enqueue(_new_read(read_id, wanted, request, slides, model), service.who)


def _slides(service: Service, wanted: bodies.NewRead) -> list[SlideRow]:
    with service.store.reading() as session:
        if wanted.case_id is None:
            slides = find_all(session, SlideRow, wanted.slide_ids)
        elif not (slides := slides_of_case(session, wanted.case_id)):
            raise RequestInvalid(f"case {wanted.case_id} has no slides", "File its slides first.")
        expired = expired_among(session, StoredKind.SLIDE, [slide.id for slide in slides])
        slides = slides if wanted.case_id is None else _one_each(slides, expired)
        for slide in slides:
            refuse_expired(session, StoredKind.SLIDE, slide.id)
    return slides


def _one_each(slides: Sequence[SlideRow], expired: Collection[str]) -> list[SlideRow]:
    """Of slides with the same bytes the first that is there: a field that counts twice inflates figures."""
    those_there_first = sorted(slides, key=lambda slide: slide.id in expired)
    chosen = {slide.sha256: slide for slide in reversed(those_there_first)}
    return [slide for slide in slides if chosen[slide.sha256] is slide]


def _pinned(
    service: Service, wanted: bodies.NewRead, slides: Sequence[SlideRow]
) -> tuple[Json, Calibrations | None]:
    """The request as it is kept, with what it stands for from now on: day, calibrations, stated specimens."""
    asked = wanted.model_dump(mode="json", include={"region", "scale", "instrument", "contrast_confirmed"})
    as_of = wanted.as_of or dt.datetime.now(dt.UTC).date()
    with service.store.reading() as session:
        request = asked | {
            "as_of": as_of.isoformat(),
            "calibrations_upto": last_calibration(session),
            "specimens": specimens_of(session, [slide.id for slide in slides]),
        }
        return request, calibrations_of(session, request)


def _admit(
    service: Service,
    slide: SlideRow,
    model: ModelFolder,
    wanted: bodies.NewRead,
    calibrations: Calibrations | None,
) -> None:
    try:
        with service.decoding.open(service.address(slide)) as opened:
            others = other_scales(looks_of(slide) or look_at_all(opened), calibrations)
            admitted = admit(opened, model.demands, _scale(wanted.scale), _region(wanted.region), others)
            for image in admitted.images[:CONTRAST_IMAGES]:
                refuse_inverted(opened, image, model, wanted.contrast_confirmed or "")
    except SlideNotFound as gone:
        raise IntegrityFailed(f"a file of slide {slide.id} is gone") from gone
    except InputRefused as refused:
        raise type(refused)(f"slide {slide.id}: {refused.what}", refused.remedy) from refused


def _scale(stated: bodies.OperatorScale | None) -> StatedScale | None:
    return operator_scale(stated.nm_per_px, stated.reason, stated.tolerance) if stated else None


def _region(stated: bodies.Region | None) -> BoxPx | None:
    return BoxPx(stated.x, stated.y, stated.width, stated.height) if stated else None


def _tell_refusal(service: Service, wanted: bodies.NewRead, refused: InputRefused) -> None:
    subject = wanted.case_id or wanted.slide_ids[0]
    with service.store.writing() as session:
        detail = {"code": refused.code, "request": wanted.model_dump(mode="json")}
        AuditLog(session).append(service.who, "read_refused", subject, detail)


def _new_read(
    read_id: str, wanted: bodies.NewRead, request: Json, slides: Sequence[SlideRow], model: ModelFolder
) -> jobs.NewRead:
    return jobs.NewRead(
        id=read_id,
        case_id=wanted.case_id,
        slide_ids=tuple(slide.id for slide in slides),
        slide_sha256s=tuple(slide.sha256 for slide in slides),
        model_name=model.card.name,
        model_version=model.card.version,
        model_onnx_sha256=model.onnx_sha256,
        model_card_sha256=model.card_sha256,
        request=request,
        priority=wanted.policy.priority,
        finish_by=_text(wanted.policy.finish_by),
    )


def _refuse_past(finish_by: dt.datetime | None) -> None:
    if finish_by is not None and finish_by <= dt.datetime.now(dt.UTC):
        raise RequestInvalid("finish_by is over already", "State a time to come, or none.")


def _text(moment: dt.datetime | None) -> str | None:
    """As the store writes its own times."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
