"""Every failure as application/problem+json (RFC 9457): code, what happened, what to do; never a path."""

import json
import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ultraread.errors import (
    MethodNotAllowed,
    NotFound,
    RequestInvalid,
    StorageFull,
    UltraReadError,
    UploadTimeout,
    UploadTooLarge,
)
from ultraread.serving.api.requests import instance
from ultraread.serving.logs import wordless
from ultraread.serving.storage.durable import is_full

PROBLEM_JSON = "application/problem+json"
LONGEST_PLACE = 100
"""Characters of where a fault is: the names of unknown fields are the sender's."""

log = logging.getLogger(__name__)


class Problem(BaseModel):
    """The body of every answer that is no success."""

    type: str = Field(description="urn:ultraread:problem:<code>")
    title: str = Field(description="What this code means, always the same text.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened this time.")
    code: str = Field(description="Stable, lower snake case.")
    remedy: str = Field(description="What you can do.")
    instance: str = Field(default="", description="urn:ultraread:request:<id>, the id as in X-Request-Id.")


PROBLEM_RESPONSES: dict[int | str, dict[str, object]] = {
    "default": {
        "description": "The request failed.",
        "content": {PROBLEM_JSON: {"schema": Problem.model_json_schema()}},
    }
}


def answer_failures_with_problems(app: FastAPI) -> None:
    """Install the handlers; what is raised outside of routes is `failed`'s to answer."""
    for kind in (UltraReadError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handle)


def failed(error: Exception) -> Response:
    """The answer to any exception; unexpected ones are logged, not shown, and nowhere with their words."""
    coded = _coded(error)
    if coded.code == UltraReadError.code:
        log.error("unexpected failure\n%s", wordless(error).rstrip())
    headers = getattr(error, "headers", None)
    return problem(coded, headers)


def problem(error: UltraReadError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that says what an error says."""
    told = error.problem()
    if request := instance():
        told = told | {"instance": request}
    text = json.dumps(told)  # ASCII: names may hold what UTF-8 cannot
    return Response(text, error.http_status, headers, PROBLEM_JSON)


async def _handle(_request: Request, error: Exception) -> Response:
    return failed(error)


def _coded(error: Exception) -> UltraReadError:
    match error:
        case UltraReadError():
            return error
        case RequestValidationError():
            return RequestInvalid(_first_fault(error))
        case HTTPException():
            return _coded_by_status(error)
        case OSError() if is_full(error):
            return StorageFull("there is no room to write")
        case _:
            return UltraReadError("an unexpected failure", "Try again; if it stays, see the service's log.")


def _coded_by_status(error: HTTPException) -> UltraReadError:
    if error.status_code == 404:
        return NotFound("there is nothing at this address")
    if error.status_code == 405:
        return MethodNotAllowed("this address does not take this method")
    if error.status_code == 408:
        return UploadTimeout(str(error.detail))
    if error.status_code == 413:
        return UploadTooLarge(str(error.detail), "Send less at once; files go up in parts.")
    return RequestInvalid(str(error.detail))


def _first_fault(error: RequestValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where[:LONGEST_PLACE]}: {first['msg']}"
