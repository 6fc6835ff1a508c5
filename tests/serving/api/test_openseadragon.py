"""OpenSeadragon, unchanged and in a real browser, opens both routes, and the tissue is there."""

import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from browser import browser_page, chromium, folder_served
from numpy.typing import NDArray
from openseadragon import openseadragon
from PIL import Image
from playwright.sync_api import Page, Route
from serving_api import FileSlide
from simulated import simulated_semithin, write_semithin

SHOWN = os.environ.get("ULTRAREAD_SCREENSHOTS")
"""A folder for the screenshots, for people to look at."""
PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<style>body { margin: 0 } #slide { width: 512px; height: 512px; background: #fff }</style>
<div id="slide"></div><script src="openseadragon.js"></script>
<script>
  const viewer = OpenSeadragon({
    id: "slide",
    tileSources: decodeURIComponent(location.hash.slice(1)),
    crossOriginPolicy: "Anonymous",
    showNavigationControl: false,
    animationTime: 0,
    immediateRender: true,
  });
  viewer.addHandler("open-failed", event => console.error(event.message));
  viewer.addHandler("tile-load-failed", event => console.error(event.message));
</script>"""
IS_DRAWN = "viewer.world.getItemCount() == 1 && viewer.world.getItemAt(0).getFullyLoaded()"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with a viewer on an origin of its own, as a web application has it."""
    chromium()
    folder = tmp_path_factory.mktemp("pages")
    (folder / "openseadragon.js").write_bytes(openseadragon().read_bytes())
    (folder / "viewer.html").write_text(PAGE)
    with folder_served(folder) as address:
        yield address


def opened(page: Page, pages: str, source: str) -> None:
    page.goto("about:blank")
    page.goto(f"{pages}/viewer.html#{source}")
    page.wait_for_function(IS_DRAWN)


def seen(page: Page, name: str) -> NDArray[np.uint8]:
    """What the viewer shows, (512, 512, 3)."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    shot = page.locator("#slide").screenshot()
    if SHOWN:
        (Path(SHOWN) / f"{name}.png").write_bytes(shot)
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def likeness(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Correlation of two pictures of one size."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_openseadragon_opens_both_routes_and_shows_the_tissue(
    http: httpx.Client, file_slide: FileSlide, em_field: Path, tmp_path: Path, pages: str
) -> None:
    field = np.asarray(Image.open(em_field))
    small = np.asarray(Image.fromarray(field).resize((512, 512)))
    tissue = file_slide(em_field)["id"]
    glass = file_slide(write_semithin(tmp_path / "glass.tif", 1024, 1024))["id"]
    stained = np.asarray(Image.fromarray(simulated_semithin(1024, 1024)).resize((512, 512)))
    base = str(http.base_url).rstrip("/")
    routes = {
        "dzi": (f"{base}/v1/slides/{tissue}/images/0.dzi", small),
        "dzi-inverted": (f"{base}/v1/slides/{tissue}/images/0.dzi?invert=true", 255 - small),
        "iiif": (f"{base}/iiif/3/{tissue}-0/info.json", small),
        "semithin-dzi": (f"{base}/v1/slides/{glass}/images/0.dzi", stained),
        "semithin-iiif": (f"{base}/iiif/3/{glass}-0/info.json", stained),
    }
    with browser_page() as page:
        page.route(f"{base}/**", partial(_with_token, http.headers["authorization"]))
        for name, (source, expected) in routes.items():
            opened(page, pages, source)
            picture = seen(page, name)
            assert likeness(picture if expected.ndim == 3 else picture[..., 1], expected) > 0.97, name
        for name in ("dzi", "iiif"):
            opened(page, pages, routes[name][0])
            _look_closely(page)
            assert (
                likeness(seen(page, f"{name}-full-size")[..., 1], np.asarray(field)[256:768, 256:768]) > 0.97
            )


def _with_token(authorization: str, route: Route) -> None:
    """What a web application's own server adds: a browser does not show its token to another origin."""
    route.continue_(headers={**route.request.headers, "authorization": authorization})


def _look_closely(page: Page) -> None:
    """One pixel of the slide on one of the screen, around its centre."""
    page.evaluate("viewer.viewport.zoomTo(viewer.world.getItemAt(0).imageToViewportZoom(1), null, true)")
    page.wait_for_function(IS_DRAWN)
