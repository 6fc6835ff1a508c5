"""The OpenAPI document, with what every route may answer besides its own, said once."""

from typing import Any

from fastapi import FastAPI

from ultraread.serving.access.routes import OPEN, TABLE, Operation
from ultraread.serving.api.problems import PROBLEM_JSON, Problem

PROBLEM = "Problem"
OF_ALL = (400, 404, 405, 408, 413, 422, 429, 500, 501, 503, 504, 507)
"""Too much, too slow, too often, not there, not understood, full, busy, failed."""
OF_CLOSED = (401, 403, 423)
"""Nobody said who asks, roles do not reach so far, or the browser's session is locked."""
OF_WRITING = (409, 410, 412, 428)
"""There already, gone, changed since, without a revision; of reading, not ready or gone."""


def describe_problems(app: FastAPI) -> None:
    """Make `app.openapi` tell each status that a route may answer as one problem of RFC 9457."""
    generated = app.openapi

    def described() -> dict[str, Any]:
        document = generated()
        components = document.setdefault("components", {})
        if PROBLEM not in components.setdefault("responses", {}):
            components["schemas"][PROBLEM] = Problem.model_json_schema()
            components["responses"][PROBLEM] = _problem()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    _tell(operation, Operation(method.upper(), path))
        return document

    app.openapi = described  # type: ignore[method-assign]  # as FastAPI's own documentation has it


def _tell(operation: dict[str, Any], at: Operation) -> None:
    is_open = TABLE.get(at) == OPEN
    for status in (*OF_ALL, *(() if is_open else OF_CLOSED), *OF_WRITING):
        operation["responses"].setdefault(str(status), {"$ref": f"#/components/responses/{PROBLEM}"})


def _problem() -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{PROBLEM}"}
    return {
        "description": "The request failed; `code` tells how. With 429 and 503 comes Retry-After.",
        "content": {PROBLEM_JSON: {"schema": schema}},
    }
