"""A real server on a real port, and the types of the API tests' fixtures."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

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
    """Run the application on a free loopback port; yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
