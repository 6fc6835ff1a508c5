"""A real browser for what people look at: Chromium without a window, with a profile of its own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import NoReturn

import pytest
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",  # tests may run as root, and open only pages of their own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """Where it is; without one the test is skipped by name, and fails under CI."""
    return next(filter(None, map(shutil.which, NAMES)), None) or missing("Chromium is not installed")


@contextmanager
def browser_page(width_px: int = 800, height_px: int = 600) -> Iterator[Page]:
    """An empty page; errors that it logs fail the test when it is done."""
    found = chromium()
    with TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=found,
            headless=True,
            args=list(QUIET),
            viewport={"width": width_px, "height": height_px},
        )
        context.set_default_timeout(60_000)
        page, errors = context.pages[0], list[str]()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        yield page
        context.close()
    assert not errors, errors


@contextmanager
def folder_served(folder: Path) -> Iterator[str]:
    """The files of a folder on a free loopback port; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def missing(what: str) -> NoReturn:
    """A test cannot run without this: skipped by name, but not where everything has to be there."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Nothing is written into the test's output."""
