"""Pictures of filed slides for viewers: Deep Zoom, IIIF Image API 3.0, thumbnails."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from ultraread.datasets.geometry import SizePx, whole
from ultraread.datasets.identity.found import Identity
from ultraread.datasets.scale import ScaleOrigin, StatedScale, choose_scale
from ultraread.errors import IdentityPresent, NotFound, ReadRefused, SlideNotFound, StorageExpired
from ultraread.serving.api.service import InService, Service
from ultraread.serving.store.records import find
from ultraread.serving.store.stored import refuse_expired
from ultraread.serving.store.tables import Json, SlideRow, StoredKind
from ultraread.serving.viewing.display import HIGHEST_GAMMA, LOWEST_GAMMA, AskedDisplay
from ultraread.serving.viewing.dzi import DeepZoom
from ultraread.serving.viewing.iiif import CONTEXT, PROFILE, info, parse_request
from ultraread.serving.viewing.region import region_of
from ultraread.serving.viewing.viewer import Picture, ViewedImage, Viewer, fitting

KEPT_BY_BROWSERS = "private, max-age=300"
"""Seconds. A picture's bytes never change, but a mask may come later: then its address gives another one."""
FOR_WHOLE_PICTURES = ("ETag", "Cache-Control")
JSON_LD = "application/ld+json"

Number = Annotated[int, Path(ge=0, le=2**31, description="Number of an image of the slide, from 0.")]
Place = Annotated[int, Path(ge=0, le=2**31)]
Side = Annotated[int, Query(ge=16, le=1024, description="Pixels of the longer side.")]


def _pictures(*media_types: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"content": {name: {} for name in media_types}, "description": "The picture."},
        304: {"description": "The picture that the client has."},
    }


def _asked_display(
    low: Annotated[float | None, Query(allow_inf_nan=False, description="Intensity shown black.")] = None,
    high: Annotated[float | None, Query(allow_inf_nan=False, description="Intensity shown white.")] = None,
    gamma: Annotated[float, Query(ge=LOWEST_GAMMA, le=HIGHEST_GAMMA, description="Above 1: brighter.")] = 1.0,
    invert: Annotated[bool, Query(description="Swap black and white.")] = False,
) -> AskedDisplay:
    return AskedDisplay(low, high, gamma, invert)


def _viewer_of(request: Request) -> Viewer:
    return cast(Viewer, request.app.state.viewer)


Display = Annotated[AskedDisplay, Depends(_asked_display)]
InViewer = Annotated[Viewer, Depends(_viewer_of)]

router = APIRouter(tags=["viewing"])


@router.get("/v1/slides/{slide_id}/images/{n}.dzi", response_class=Response)
def deep_zoom(slide_id: str, n: Number, request: Request, service: InService, viewer: InViewer) -> Response:
    """The Deep Zoom descriptor of an image. What follows `?` here, viewers put behind each tile's address."""
    image = _image(_slide(service, viewer, slide_id), n)
    return Response(DeepZoom(image.size).xml(), headers=_for_pages(request), media_type="application/xml")


@router.get(
    "/v1/slides/{slide_id}/images/{n}_files/{level}/{column}_{row}.jpg",
    response_class=Response,
    responses=_pictures("image/jpeg"),
)
def deep_zoom_tile(
    slide_id: str,
    n: Number,
    level: Place,
    column: Place,
    row: Place,
    display: Display,
    request: Request,
    service: InService,
    viewer: InViewer,
) -> Response:
    """A tile of the Deep Zoom pyramid."""
    slide = _slide(service, viewer, slide_id)
    image = _image(slide, n)
    picture = Picture(image, DeepZoom(image.size).tile(level, column, row), display)
    return _sent(picture, slide, request, service, viewer)


@router.get(
    "/v1/slides/{slide_id}/images/{n}/thumbnail",
    response_class=Response,
    responses=_pictures("image/jpeg"),
)
def thumbnail(
    slide_id: str,
    n: Number,
    display: Display,
    request: Request,
    service: InService,
    viewer: InViewer,
    side: Side = 256,
) -> Response:
    """The whole image, small."""
    slide = _slide(service, viewer, slide_id)
    image = _image(slide, n)
    picture = Picture(image, region_of(whole(image.size), fitting(image.size, side)), display)
    return _sent(picture, slide, request, service, viewer)


@router.get("/iiif/3/{identifier}", status_code=303, response_class=RedirectResponse)
def iiif_image(identifier: str, request: Request, service: InService, viewer: InViewer) -> RedirectResponse:
    """Where info.json is."""
    _iiif_image(service, viewer, identifier)
    return RedirectResponse(f"{_iiif_address(request, identifier)}/info.json", 303, _for_pages(request))


@router.get("/iiif/3/{identifier}/info.json")
def iiif_info(identifier: str, request: Request, service: InService, viewer: InViewer) -> JSONResponse:
    """What a IIIF client has to know; with the pixel size in mm where the slide states one to be trusted."""
    slide, image = _iiif_image(service, viewer, identifier)
    told = info(_iiif_address(request, identifier), image.size, _nm_per_px(slide.images[image.index]))
    wants_json_ld = JSON_LD in request.headers.get("accept", "")
    media_type = f'{JSON_LD};profile="{CONTEXT}"' if wants_json_ld else "application/json"
    return JSONResponse(told, headers=_for_pages(request), media_type=media_type)


@router.get(
    "/iiif/3/{identifier}/{region}/{size}/{rotation}/{quality_and_format}",
    response_class=Response,
    responses=_pictures("image/jpeg", "image/png"),
)
def iiif_picture(
    identifier: str,
    region: str,
    size: str,
    rotation: str,
    quality_and_format: str,
    display: Display,
    request: Request,
    service: InService,
    viewer: InViewer,
) -> Response:
    """A region of an image, scaled and turned: `{region}/{size}/{rotation}/{quality}.{format}`."""
    slide, image = _iiif_image(service, viewer, identifier)
    asked = parse_request(image.size, region, size, rotation, quality_and_format)
    query = f"?{request.url.query}" if request.url.query else ""
    canonical = f"{_iiif_address(request, identifier)}/{asked.canonical}{query}"
    links = {"Link": f'<{canonical}>;rel="canonical", <{PROFILE}>;rel="profile"'}
    return _sent(Picture(image, asked.region, display, asked.finish), slide, request, service, viewer, links)


def _sent(
    picture: Picture,
    slide: SlideRow,
    request: Request,
    service: Service,
    viewer: Viewer,
    more: dict[str, str] | None = None,
) -> Response:
    headers = {"ETag": picture.etag, "Cache-Control": KEPT_BY_BROWSERS, **_for_pages(request), **(more or {})}
    if _has_already(request, picture.etag):
        return Response(status_code=304, headers=headers)
    try:
        made = viewer(picture, lambda: service.address(slide))
    except SlideNotFound as gone:
        raise NotFound("the slide's files are not where they were filed", "Restore them.") from gone
    if not made.is_whole:
        headers = {name: value for name, value in headers.items() if name not in FOR_WHOLE_PICTURES}
    return Response(made.file, headers=headers, media_type=picture.finish.format.media_type)


def _has_already(request: Request, etag: str) -> bool:
    """If-None-Match (RFC 9110, weak comparison)."""
    named = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    return etag in named or "*" in named


def _for_pages(request: Request) -> dict[str, str]:
    """Lets a page at an origin that the edge has let through use the picture; no other one gets here."""
    origin = request.headers.get("origin")
    return {"Vary": "Origin"} | ({"Access-Control-Allow-Origin": origin} if origin else {})


def _slide(service: Service, viewer: Viewer, slide_id: str) -> SlideRow:
    """The slide's row. Raises NotFound; StorageExpired, and closes the files of a slide that is gone.

    Raises IdentityPresent for a slide of before pixels were searched: nobody knows what to paint over.
    """
    try:
        with service.store.reading() as session:
            slide = find(session, SlideRow, slide_id)
            refuse_expired(session, StoredKind.SLIDE, slide_id)
    except StorageExpired:
        viewer.forget(slide_id)
        raise
    if slide.identity is None:
        raise IdentityPresent(
            f"slide {slide_id} was filed before pictures were searched for names", "File it again."
        )
    return slide


def _image(slide: SlideRow, index: int) -> ViewedImage:
    if index >= len(slide.images):
        raise NotFound(f"slide {slide.id} has no image {index}", f"It has {len(slide.images)}, from 0.")
    size = SizePx(slide.images[index]["width_px"], slide.images[index]["height_px"])
    return ViewedImage(slide.id, slide.sha256, index, size, Identity.from_json(slide.identity).masks(index))


def _iiif_image(service: Service, viewer: Viewer, identifier: str) -> tuple[SlideRow, ViewedImage]:
    slide_id, _, number = identifier.rpartition("-")
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise NotFound("there is no such image", "Images are called {slide id}-{number of the image}.")
    slide = _slide(service, viewer, slide_id)
    return slide, _image(slide, int(number))


def _iiif_address(request: Request, identifier: str) -> str:
    """As the client sees it: a reverse proxy says whether it was asked over https."""
    forwarded = request.headers.get("x-forwarded-proto", "")
    scheme = forwarded if forwarded in {"http", "https"} else request.url.scheme
    return f"{scheme}://{request.headers['host']}/iiif/3/{identifier}"


def _nm_per_px(image: Json) -> float | None:
    """The scale that the slide states for an image, where it is one to be trusted."""
    try:
        return choose_scale([_stated(scale) for scale in image["scales"]]).nm_per_px
    except ReadRefused:
        return None


def _stated(scale: Json) -> StatedScale:
    origin = ScaleOrigin(scale["origin"])
    return StatedScale(scale["x_nm_per_px"], scale["y_nm_per_px"], origin, scale["tolerance"])
