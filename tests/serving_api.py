"""A real server on a real port, and the types of the API tests' fixtures."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from ultraread.serving.access.own_token import VARIABLE

_TOKENS: dict[str, str] = {}
"""The owner's, of each address that was served."""

FileSlide = Callable[..., dict[str, Any]]
"""Upload a file and file it, with what is stated about it; return the answer."""


def file_over_http(http: httpx.Client, path: Path, **stated: str) -> dict[str, Any]:
    """Upload a file in one part and file it."""
    data = path.read_bytes()
    upload = http.post("/v1/uploads", json={"file_name": path.name, "bytes": len(data)}).json()
    whole = {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
    assert http.put(f"/v1/uploads/{upload['id']}", content=data, headers=whole).status_code == 200
    answer = http.post("/v1/slides", json={"upload_ids": [upload["id"]], **stated})
    filed: dict[str, Any] = answer.json()
    assert answer.status_code in {200, 201}, filed
    return filed


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Run the application on a free loopback port; yield its address.

    Meanwhile the command line, and whatever else asks with ULTRAREAD_TOKEN, does so as the owner.
    """
    with pytest.MonkeyPatch.context() as environment, _running(app) as address:
        _TOKENS[address] = owner_token(app)
        environment.setenv(VARIABLE, _TOKENS[address])
        yield address


def owner_token(app: FastAPI) -> str:
    """The token with all roles, as the service wrote it."""
    token: str = app.state.service.settings.owner_token_file.read_text().strip()
    return token


def asked(address: str, timeout: float = 30) -> httpx.Client:
    """A client of a served application, with the owner's token."""
    return httpx.Client(base_url=address, timeout=timeout, headers=bearer(_TOKENS[address]))


def got(address: str, path: str) -> httpx.Response:
    """One answer, asked for as the owner."""
    with asked(address) as http:
        return http.get(path)


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def _running(app: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
