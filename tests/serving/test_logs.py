"""What the service writes of itself: a JSON object a line, by many processes, no secrets and no patients."""

import io
import json
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars

from ultraread.errors import StorageFull
from ultraread.serving.log_plan import LogPlan
from ultraread.serving.logs import logging_into, shown
from ultraread.serving.redaction import redacted

SECRETS = (
    "Authorization: Bearer urt_abcdefgh_0123456789012345678901234567890123456789012",
    "urt_abcdefgh_0123456789012345678901234567890123456789012",
    "postgresql://ultraread:Tr0ub4dor@db.example/ultraread",
    "password=Tr0ub4dor&x=1",
    "token: Tr0ub4dor",
    "Cookie: session=Tr0ub4dor",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJKYW5lIn0.c2lnbmF0dXJl",
    "AKIAIOSFODNN7EXAMPLE",
    "-----BEGIN PRIVATE KEY-----\nTr0ub4dor\n-----END PRIVATE KEY-----",
)
PATIENTS = (
    "DOE^JANE^^",
    "/srv/scans/Doe_Jane/grid 1.tif",
    "'/srv/scans/Jane Doe 1961/grid.dm4'",
    "Doe_Jane_1961-03-04.tif",
    "s3://bucket/Doe_Jane/grid.svs",
)
CANARIES = ("Tr0ub4dor", "0123456789012345", "IOSFODNN7", "c2lnbmF0dXJl", "Doe", "DOE", "Jane", "1961")
SAY = """
import ast, logging, sys
from ultraread.serving.log_plan import LogPlan
from ultraread.serving.logs import logging_into
with logging_into(LogPlan(**ast.literal_eval(sys.argv[1])), "Runner"):
    for line in range(300):
        logging.getLogger("ultraread").warning("process %s line %d", sys.argv[2], line)
"""


@pytest.fixture
def plan(tmp_path: Path) -> LogPlan:
    return LogPlan(str(tmp_path / "logs"))


@pytest.fixture
def log(plan: LogPlan) -> Iterator[logging.Logger]:
    with logging_into(plan, "Runner"):
        yield logging.getLogger("ultraread.serving.runner")


def _lines(plan: LogPlan) -> list[dict[str, Any]]:
    return [json.loads(line) for line in plan.file.read_text(encoding="ascii").splitlines()]


def test_a_line_says_when_where_and_for_which_request_and_read(log: logging.Logger, plan: LogPlan) -> None:
    with bound_contextvars(request_id="q-1", read_id="r-1"):
        log.info("read %s claimed, attempt %d", "r-1", 2)
    (line,) = _lines(plan)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "read r-1 claimed, attempt 2",
        "logger": "ultraread.serving.runner",
        "request_id": "q-1",
        "read_id": "r-1",
        "deployment": "Runner",
        "pid": os.getpid(),
    }


@pytest.mark.parametrize(
    "name", ["uvicorn.error", "ray.serve", "alembic", "mlflow.tracking", "somebody.else"]
)
def test_lines_of_every_library_go_the_same_way(
    log: logging.Logger, plan: LogPlan, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=name)
    logging.getLogger(name).warning("it says something")
    assert [line["logger"] for line in _lines(plan)] == [name]


def test_calls_that_serve_notes_with_raw_addresses_are_left_out(log: logging.Logger, plan: LogPlan) -> None:
    logging.getLogger("ray.serve").info("GET /v1/cases/C-1961 200 1ms")
    log.info("something")
    assert [line["event"] for line in _lines(plan)] == ["something"]


@pytest.mark.parametrize("said", [*SECRETS, *PATIENTS])
def test_no_secret_and_no_patient_gets_into_a_line(log: logging.Logger, plan: LogPlan, said: str) -> None:
    log.warning("it said %s and went on", said)
    log.warning(said)
    log.warning("request", extra={"who": said, "route": "/v1/reads"})
    text = plan.file.read_text()
    assert [canary for canary in CANARIES if canary in text] == []
    assert _lines(plan)[0]["event"].startswith("it said ")


def test_who_asked_with_a_token_is_told_by_its_name(log: logging.Logger, plan: LogPlan) -> None:
    log.info("request", extra={"who": "token:scanner-2:0a1b2c3d", "route": "/v1/reads"})
    assert _lines(plan)[0]["who"] == "token:scanner-2:0a1b2c3d"


def test_exceptions_are_told_without_their_words(log: logging.Logger, plan: LogPlan) -> None:
    try:
        try:
            raise ValueError(SECRETS[2])
        except ValueError as cause:
            raise StorageFull(PATIENTS[0]) from cause
    except StorageFull:
        log.exception("read %s failed", "r-1")
    (line,) = _lines(plan)
    assert line["exception"].endswith("StorageFull [storage_full]")
    assert "ValueError" in line["exception"]
    assert "test_logs, line " in line["exception"]
    assert "/" not in line["exception"], "paths of the installation are paths, too"
    assert [canary for canary in CANARIES if canary in plan.file.read_text()] == []


def test_nobody_can_write_a_line_of_his_own(log: logging.Logger, plan: LogPlan) -> None:
    forged = 'x\n{"event": "audit verified", "level": "info"}\r\x1b[2J\u2028'
    log.warning("model %s is unknown", forged)
    assert len(_lines(plan)) == 1
    assert "\x1b" not in plan.file.read_text()


def test_only_its_owner_reads_the_file(log: logging.Logger, plan: LogPlan) -> None:
    log.warning("something")
    assert stat.S_IMODE(plan.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(plan.file.parent.stat().st_mode) == 0o700


def test_processes_share_a_file_and_put_it_away_together(tmp_path: Path) -> None:
    plan = LogPlan(str(tmp_path), file_bytes=20_000, files=100)
    told = repr(asdict(plan))
    processes = [subprocess.Popen([sys.executable, "-c", SAY, told, str(n)]) for n in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    files = sorted(tmp_path.glob(f"{plan.file.name}*"))
    said = [json.loads(line)["event"] for file in files for line in file.read_text().splitlines()]
    assert sorted(said) == sorted(f"process {n} line {line}" for n in range(3) for line in range(300))
    assert len(files) > 2
    assert max(file.stat().st_size for file in files) < 20_000 + 3 * 500


def test_no_more_files_are_kept_than_were_asked_for(tmp_path: Path) -> None:
    plan = LogPlan(str(tmp_path), file_bytes=1000, files=3)
    with logging_into(plan, "Runner"):
        for line in range(200):
            logging.getLogger("ultraread").warning("line %d", line)
    assert len(list(tmp_path.glob("*.jsonl*"))) == 3


def test_a_disk_without_room_stops_nothing(log: logging.Logger, plan: LogPlan) -> None:
    plan.file.unlink()
    plan.file.parent.rename(plan.file.parent.with_name("away"))
    log.warning("into nothing")


def test_a_file_that_is_emptied_is_shown_from_its_beginning(tmp_path: Path) -> None:
    plan = LogPlan(str(tmp_path), file_bytes=800, files=1)
    stream = io.StringIO()
    with logging_into(plan, "Runner"), shown(plan, stream):
        for number in range(10):
            logging.getLogger("ultraread").warning("line %d", number)
            until = time.monotonic() + 5
            while f'line {number}"' not in stream.getvalue() and time.monotonic() < until:
                time.sleep(0.02)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        f"line {number}" for number in range(10)
    ]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_is_appended_is_shown(log: logging.Logger, plan: LogPlan, is_terminal: bool) -> None:
    log.warning("before")
    stream = _Terminal() if is_terminal else io.StringIO()
    with shown(plan, stream):
        log.info("between", extra={"route": "/v1/reads", "status": 202})
    line = stream.getvalue()
    assert "before" not in line
    assert "between" in line
    assert line.startswith("{") is not is_terminal
    assert ("/v1/reads 202" in line) is is_terminal


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "piece", ["a.", "token", "'/a/", "/a", "x^", "s3://", "eyJaaaaaaaaa.", "-----BEGIN PRIVATE KEY-----"]
)
def test_no_text_is_dear_to_clean(piece: str) -> None:
    began = time.process_time()
    redacted(piece * (50_000 // len(piece)))
    assert time.process_time() - began < 2  # in proportion to the square, half a minute and more
