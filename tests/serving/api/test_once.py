"""A POST that is sent again under its Idempotency-Key creates nothing more."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from serving_api import FileSlide

from ultraread.serving.access.principal import Role, Scope
from ultraread.serving.api.answering import Answering
from ultraread.serving.api.service import Service
from ultraread.serving.api.tokens import NewToken
from ultraread.serving.store.idempotency import release_interrupted
from ultraread.serving.store.tables import MAIN_SITE, IdempotencyRow

KEY = {"Idempotency-Key": "k-1"}
SCALE = {"nm_per_px": 4.6, "reason": "data set's description"}


@pytest.mark.parametrize(
    ("address", "body"), [("/v1/cases", {}), ("/v1/uploads", {"file_name": "a", "bytes": 1})]
)
def test_a_repeat_is_answered_as_the_first(http: httpx.Client, address: str, body: dict[str, str]) -> None:
    first, again = (http.post(address, json=body, headers=KEY) for _ in range(2))
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["location"] == first.headers["location"]


def test_another_request_under_the_same_key_is_refused(http: httpx.Client) -> None:
    http.post("/v1/cases", json={"id": "C-1"}, headers=KEY)
    for address, body in (("/v1/cases", {"id": "C-2"}), ("/v1/uploads", {"file_name": "a", "bytes": 1})):
        answer = http.post(address, json=body, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_conflict")


def test_a_refused_request_may_be_corrected_outside_and_sent_again(http: httpx.Client) -> None:
    body = {"case_id": "C-1", "scale": SCALE}
    assert http.post("/v1/reads", json=body, headers=KEY).status_code == 404
    http.post("/v1/cases", json={"id": "C-1"})
    assert http.post("/v1/reads", json=body, headers=KEY).json()["code"] == "request_invalid"


@pytest.mark.parametrize("body", [{"id": "C-1"}, {}])
def test_a_case_whose_answer_was_lost_in_a_crash_is_answered_with(
    api: FastAPI, http: httpx.Client, body: dict[str, str]
) -> None:
    opened = http.post("/v1/cases", json=body, headers=KEY).json()
    _lose_the_answer(api)
    for _ in range(2):
        again = http.post("/v1/cases", json=body, headers=KEY)
        assert (again.status_code, again.json()) == (201, opened)
    assert http.post("/v1/cases", json={"id": opened["id"]}).json()["code"] == "case_exists"


def test_a_token_is_made_once_and_a_repeat_tells_its_id_but_not_itself(
    api: FastAPI, http: httpx.Client
) -> None:
    body = {"name": "scanner", "roles": ["submitter"]}
    first = http.post("/v1/tokens", json=body, headers=KEY)
    assert first.json()["token"].startswith("urt_")
    for _ in range(2):
        again = http.post("/v1/tokens", json=body, headers=KEY)
        assert (again.status_code, again.json()["code"]) == (409, "token_shown_before")
        assert first.json()["id"] in again.text
        assert first.json()["token"] not in again.text
        _lose_the_answer(api)
    named = [token["name"] for token in http.get("/v1/tokens").json()["items"]]
    assert named.count("scanner") == 1


def test_a_user_whose_answer_was_lost_in_a_crash_is_answered_with(api: FastAPI, http: httpx.Client) -> None:
    body = {"name": "kim", "roles": ["submitter", "pathologist"]}
    added = http.post("/v1/users", json=body, headers=KEY).json()
    _lose_the_answer(api)
    again = http.post("/v1/users", json=body, headers=KEY)
    assert (again.status_code, again.json()) == (201, added)


def test_a_request_is_the_same_in_every_process() -> None:
    """Text has another hash in each of them, and so a set another order."""
    told = NewToken(name="scanner", roles=frozenset(Role)).model_dump(mode="json")
    assert (told["roles"], told["scopes"]) == (sorted(Role), sorted(Scope))


def test_a_filed_slide_is_not_filed_again(http: httpx.Client, em_field: Path) -> None:
    data = em_field.read_bytes()
    upload = http.post("/v1/uploads", json={"file_name": "a.tif", "bytes": len(data)}).json()["id"]
    whole = {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
    http.put(f"/v1/uploads/{upload}", content=data, headers=whole)
    filed = [
        http.post("/v1/slides", json={"upload_ids": [upload]}, headers=KEY).json()["id"] for _ in range(2)
    ]
    assert filed[0] == filed[1]
    assert len(http.get("/v1/slides").json()["items"]) == 1


def test_a_request_is_being_answered_until_the_last_thread_at_it_has_gone() -> None:
    """Else a third one would take for put down what the second does, and do it again."""
    answering = Answering()
    first, second = answering.at("k-1"), answering.at("k-1")
    assert (first.__enter__(), second.__enter__()) == (False, True)
    first.__exit__(None, None, None)
    with answering.at("k-1") as is_another_at_it, answering.at("k-2") as is_another_at_the_other:
        assert (is_another_at_it, is_another_at_the_other) == (True, False)
    second.__exit__(None, None, None)
    with answering.at("k-1") as is_another_at_it:
        assert not is_another_at_it


def test_fifty_at_once_make_one_read(http: httpx.Client, file_slide: FileSlide, em_field: Path) -> None:
    body = {"slide_ids": [file_slide(em_field)["id"]], "scale": SCALE}

    def ask(_number: int) -> int:
        return http.post("/v1/reads", json=body, headers=KEY).status_code

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(ask, range(50)))
    assert set(answers) <= {202, 409}
    assert 202 in answers
    assert len(http.get("/v1/reads").json()["items"]) == 1


def _lose_the_answer(api: FastAPI) -> None:
    """As a process that dies before it has written down what it answers, and the one after it."""
    service: Service = api.state.service
    with service.store.writing() as session:
        row = session.get_one(IdempotencyRow, (MAIN_SITE, KEY["Idempotency-Key"]))
        row.status = row.location = row.body = None
    release_interrupted(service.store)
