"""Event streams: one look into the store for all who follow, and none for who is let in no more."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from fastapi import FastAPI
from filed import file_a_slide, new_read
from serving_api import bearer
from sqlalchemy import event, update

from ultraread.serving.access.principal import Role
from ultraread.serving.access.tokens import NewToken, issue, revoke
from ultraread.serving.api.service import Service
from ultraread.serving.store.tables import ReadRow

LOOKED_S = 1.0


def _queued(app: FastAPI) -> str:
    service: Service = app.state.service
    read = new_read(file_a_slide(service.store))
    service.jobs.enqueue(read, "a test")
    return read.id


@contextmanager
def _statements(app: FastAPI) -> Iterator[list[str]]:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM reads" in statement:
            asked.append(statement)

    engine = app.state.service.store.engine
    event.listen(engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine, "before_cursor_execute", note)


def test_a_hundred_who_follow_cost_the_store_what_one_costs(api: FastAPI, http: httpx.Client) -> None:
    """`max_streams_each` is 50: two tokens follow, a read each."""
    read, poll_s = _queued(api), api.state.service.settings.poll_s
    with ExitStack() as stack:
        http.timeout = httpx.Timeout(30, pool=None)
        limits = httpx.Limits(max_connections=None)
        client = stack.enter_context(
            httpx.Client(base_url=http.base_url, headers=http.headers, limits=limits, timeout=30)
        )
        for _ in range(50):
            answer = stack.enter_context(client.stream("GET", f"/v1/reads/{read}/events"))
            assert answer.status_code == 200
        with _statements(api) as asked:
            time.sleep(LOOKED_S)
        assert 1 <= len(asked) <= LOOKED_S / poll_s + 1
    time.sleep(5 * poll_s)
    with _statements(api) as asked:
        time.sleep(10 * poll_s)
    assert asked == [], "nobody follows"


def test_all_who_follow_hear_of_a_change(api: FastAPI, http: httpx.Client) -> None:
    read, store = _queued(api), api.state.service.store
    with ExitStack() as stack:
        streams = [
            stack.enter_context(http.stream("GET", f"/v1/reads/{read}/events")).iter_lines() for _ in range(3)
        ]
        for lines in streams:
            assert next(lines) == "event: progress"
        with store.writing() as session:
            session.execute(update(ReadRow).where(ReadRow.id == read).values(tiles_done=7, tiles_total=9))
        for lines in streams:
            assert next(line for line in lines if '"tiles_done": 7' in line)
        http.post(f"/v1/reads/{read}/cancel")
        for lines in streams:
            assert [line for line in lines if line.startswith("event")] == ["event: end"]


def test_a_stream_ends_when_its_token_is_revoked(api: FastAPI, http: httpx.Client) -> None:
    read, store = _queued(api), api.state.service.store.of_site("main")
    with store.writing() as session:
        made = issue(session, NewToken("leaver", frozenset({Role.SUBMITTER})), "a test")
        token_id, token = made.row.id, made.token
    address = f"{http.base_url}/v1/reads/{read}/events"
    with httpx.stream("GET", address, headers=bearer(token), timeout=20) as leaver:
        lines = leaver.iter_lines()
        assert next(lines) == "event: progress"
        with store.writing() as session:
            revoke(session, token_id, "a test")
        assert list(lines)[-2:] == [": ask again", ""]
    with pytest.raises(httpx.ReadTimeout), http.stream("GET", f"/v1/reads/{read}/events", timeout=3) as other:
        list(other.iter_lines())
