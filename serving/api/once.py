"""Idempotency-Key: a POST that creates gives the same answer to the same request."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from ultraread.errors import DatabaseUnreachable
from ultraread.serving.api.answering import Answering
from ultraread.serving.api.service import InService
from ultraread.serving.store import idempotency
from ultraread.serving.store.engine import Store
from ultraread.serving.store.idempotency import Answer, Reserved
from ultraread.serving.store.ids import new_id

Create = Callable[[str], Answer]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


@dataclass(frozen=True, slots=True)
class AnswerOnce:
    """Answers a request; under a key it is answered once, and repeats get that answer."""

    store: Store
    key: str | None
    path: str
    worker: str
    answering: Answering
    """Of the process: by site and key."""

    def __call__(self, request: BaseModel, create: Create, resume: Create | None = None) -> JSONResponse:
        """What `answered` gives, as a response."""
        return response_of(self.answered(request, create, resume))

    def answered(self, request: BaseModel, create: Create, resume: Create | None = None) -> Answer:
        """`create` is handed the id of what it shall create.

        `resume` is called instead where a first try died: what is there already, it answers with. Without it,
        `create` does so.
        """
        return self._keyed(self.key, request, create, resume or create) if self.key else create(new_id())

    def _keyed(self, key: str, request: BaseModel, create: Create, resume: Create) -> Answer:
        with self.answering.at((self.store.site, key)) as at_it:
            begun = idempotency.begin(self.store, key, _digest(self.path, request), self.worker, at_it)
            return begun if isinstance(begun, Answer) else self._created(key, begun, create, resume)

    def _created(self, key: str, begun: Reserved, create: Create, resume: Create) -> Answer:
        try:
            answer = (resume if begun.was_interrupted else create)(begun.subject_id)
        except DatabaseUnreachable:
            raise  # what reached the database is not known: the next repeat finds out, under the same id
        except Exception:
            idempotency.forget(self.store, key)
            raise
        idempotency.complete(self.store, key, answer)
        return answer


def response_of(answer: Answer) -> JSONResponse:
    return JSONResponse(answer.body, answer.status, {"Location": answer.location})


def _digest(path: str, request: BaseModel) -> str:
    return hashlib.sha256(f"{path}\n{request.model_dump_json()}".encode()).hexdigest()


def _answer_once(request: Request, service: InService, key: Key = None) -> AnswerOnce:
    return AnswerOnce(service.store, key, request.url.path, service.presence.id, service.answering)


Once = Annotated[AnswerOnce, Depends(_answer_once)]
