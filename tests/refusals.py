"""What a refusal over HTTP has to be: a problem with its code; the service tells nothing and lives on."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from serving_api import asked, served

from ultraread.serving.api.app import create_api
from ultraread.serving.settings import Settings

CANARY = "Zimmermann-1938"
"""What looks like a patient's name; nothing may tell it back or log it where a row refuses it."""
LEAK = re.compile(rf"Traceback|File \"|/site-packages/|/tmp/|\.py\b|sqlite|psycopg|{CANARY}", re.IGNORECASE)


@contextmanager
def limited_service(folder: Path, **limits: object) -> Iterator[tuple[FastAPI, httpx.Client]]:
    app = create_api(Settings.model_validate({"data_dir": folder / "data", "poll_s": 0.02} | limits))
    with served(app) as address, asked(address) as client:
        yield app, client


def refused(answer: httpx.Response, log: pytest.LogCaptureFixture, *codes: str) -> None:
    """It is a problem with one of the codes; neither it nor the log tells what must not be told."""
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] in codes, problem
    assert answer.status_code == problem["status"] < 500 or problem["code"] in {"service_busy"}
    assert problem["remedy"]
    told = json.dumps(problem | {"instance": ""}) + str(dict(answer.headers))
    assert not LEAK.search(told), told
    assert not LEAK.search(logged(log)), logged(log)


def logged(log: pytest.LogCaptureFixture) -> str:
    """What the service wrote, with the fields beside its words, and without where in the code it did."""
    own = [record for record in log.records if record.name.startswith("ultraread")]
    fields = [{k: v for k, v in vars(record).items() if k not in _OF_EVERY_RECORD} for record in own]
    return "\n".join(f"{record.getMessage()} {more}" for record, more in zip(own, fields, strict=True))


_OF_EVERY_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime"}


def lives(http: httpx.Client) -> None:
    assert http.get("/healthz").status_code == 200
    assert http.get("/v1/reads").status_code == 200
