"""A real server on a real port, and the types of the API tests' fixtures."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

FileSlide = Callable[..., dict[str, Any]]
"""Upload a file and file it, with what is stated about it; return the answer."""


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
