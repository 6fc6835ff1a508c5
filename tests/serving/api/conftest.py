"""A real application on real files, asked over real HTTP."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from serving_api import FileSlide, asked, file_over_http, served

from ultraread.datasets.corpora import fetch
from ultraread.serving.api.app import create_api
from ultraread.serving.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", poll_s=0.02)


@pytest.fixture
def api(settings: Settings) -> FastAPI:
    return create_api(settings)


@pytest.fixture
def http(api: FastAPI) -> Iterator[httpx.Client]:
    with served(api) as address, asked(address) as client:
        yield client


@pytest.fixture(scope="session")
def em_field() -> Path:
    """A real electron micrograph without a pixel size of its own."""
    return fetch("drosophila_vnc/stack2/raw/00.tif")


@pytest.fixture(scope="session")
def em_fields(em_field: Path) -> tuple[Path, Path]:
    """Two of them."""
    return em_field, fetch("drosophila_vnc/stack2/raw/01.tif")


@pytest.fixture
def file_slide(http: httpx.Client) -> FileSlide:
    """Upload a file in one part and file it."""
    return partial(file_over_http, http)
