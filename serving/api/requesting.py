"""The second door: is it safe to read these slides with this model? If not, the records stay as they are."""

from collections.abc import Sequence

from ultraread.datasets.admission import admit
from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import StatedScale, operator_scale
from ultraread.errors import InputRefused, IntegrityFailed, RequestInvalid, SlideNotFound
from ultraread.models.registry import ModelFolder
from ultraread.serving.api import bodies
from ultraread.serving.api.service import WHO, Service
from ultraread.serving.store import jobs
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.records import find_all, slides_of_case
from ultraread.serving.store.tables import ReadRow, SlideRow


def request_read(service: Service, wanted: bodies.NewRead, read_id: str) -> ReadRow:
    """Admit every slide and put the read into the queue.

    Raises the ReadRefused that applies, which the audit trail then tells; NotFound; a ModelRefused.
    """
    model = service.model(wanted.model)
    slides = _slides(service, wanted)
    try:
        for slide in slides:
            _admit(service, slide, model, wanted)
    except InputRefused as refused:
        _tell_refusal(service, wanted, refused)
        raise
    return service.jobs.enqueue(_new_read(read_id, wanted, slides, model), WHO)


def _slides(service: Service, wanted: bodies.NewRead) -> list[SlideRow]:
    with service.store.reading() as session:
        if wanted.case_id is None:
            return find_all(session, SlideRow, wanted.slide_ids)
        slides = slides_of_case(session, wanted.case_id)
    if not slides:
        raise RequestInvalid(f"case {wanted.case_id} has no slides", "File its slides first.")
    return _one_each(slides)


def _one_each(slides: Sequence[SlideRow]) -> list[SlideRow]:
    """Of slides with the same bytes the one filed first: a field that counts twice inflates the figures."""
    first = {slide.sha256: slide for slide in reversed(slides)}
    return [slide for slide in slides if first[slide.sha256] is slide]


def _admit(service: Service, slide: SlideRow, model: ModelFolder, wanted: bodies.NewRead) -> None:
    try:
        with open_slide(service.slides.address(slide)) as opened:
            admit(opened, model.demands, _scale(wanted.scale), _region(wanted.region))
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
        AuditLog(session).append(WHO, "read_refused", subject, detail)


def _new_read(
    read_id: str, wanted: bodies.NewRead, slides: Sequence[SlideRow], model: ModelFolder
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
        request=wanted.model_dump(mode="json", include={"region", "scale"}),
    )
