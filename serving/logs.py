"""What processes of the service write of themselves: a JSON object a line, without secrets and patients.

Every room says `logging.getLogger(__name__)`. Here its lines become objects with time, level, event, logger,
request_id, read_id, deployment and pid, and go into one file of data_dir/logs; `serve` shows that file on its
standard error too.
"""

import fcntl
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.contextvars import merge_contextvars
from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name

from ultraread.errors import UltraReadError
from ultraread.serving.log_plan import LogPlan, plan_of_environment
from ultraread.serving.redaction import without_secrets

EXTRAS = ("method", "route", "status", "ms", "who", "site")
"""What a line may carry beside its text: `extra` of the logging call."""
SERVE = "ray.serve"
OWN_HANDLERS = ("ray", SERVE, "uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "mlflow")
"""Loggers that bring handlers of their own."""
TOO_TALKATIVE = ("uvicorn.access", "httpx", "httpcore", "botocore", "urllib3", "asyncio", "alembic.runtime")
"""Said at INFO what the access line says, or what nobody can act on."""
FOLLOW_S = 0.2

Fields = MutableMapping[str, Any]


def set_up(plan: LogPlan, deployment: str) -> None:
    """Send every line of this process into the plan's file. May be called again, after others set theirs."""
    handler = _handler(plan, deployment)
    root = logging.getLogger()
    _take_down(root)
    root.addHandler(handler)
    root.setLevel(plan.level.upper())
    for name in OWN_HANDLERS:
        _pass_on(logging.getLogger(name))
    for name in TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


@contextmanager
def logging_into(plan: LogPlan, deployment: str) -> Iterator[None]:
    """Meanwhile `set_up`; for a process that goes on afterwards."""
    root = logging.getLogger()
    level = root.level
    set_up(plan, deployment)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        _take_down(root)


def set_up_worker() -> None:
    """For a process that Ray starts; one that no service started keeps what it has."""
    if plan := plan_of_environment():
        set_up(plan, "ray")


def set_up_deployment(name: str) -> None:
    """Once more in a replica: Serve has set handlers of its own by then."""
    if plan := plan_of_environment():
        set_up(plan, name)


def formatter(deployment: str) -> ProcessorFormatter:
    """Turns a record of `logging` into one line."""
    return ProcessorFormatter(
        processors=[
            ProcessorFormatter.remove_processors_meta,
            _wordless_exception,
            without_secrets,
            structlog.processors.JSONRenderer(sort_keys=True, ensure_ascii=True),
        ],
        foreign_pre_chain=[
            merge_contextvars,
            add_logger_name,
            add_log_level,
            ExtraAdder(EXTRAS),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _of_process(deployment),
        ],
    )


def wordless(error: BaseException | None, later: tuple[BaseException, ...] = ()) -> str:
    """Where it happened and to what it led; what exceptions say may hold names of files and patients.

    An exception that is its own cause is told once; `later` are those that are being told of.
    """
    if error is None or error in later:
        return ""
    before = wordless(error.__cause__ or error.__context__, (*later, error))
    told = f" [errno {error.errno}]" if isinstance(error, OSError) else ""
    told = f" [{error.code}]" if isinstance(error, UltraReadError) else told
    return f"{before}{_steps(error.__traceback__)}{type(error).__name__}{told}\n"


def _steps(trace: TracebackType | None) -> str:
    """By module, since where the code lies is in no line either."""
    return "".join(
        f"  {frame.f_globals.get('__name__')}, line {line}, in {frame.f_code.co_name}\n"
        for frame, line in traceback.walk_tb(trace)
    )


class SharedFile(WatchedFileHandler):
    """A file that processes of one machine append to, and that whoever finds it full puts away."""

    def __init__(self, file: Path, most_bytes: int, files: int) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._most_bytes, self._files = most_bytes, files
        super().__init__(file, encoding="ascii", delay=False)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # another one has just put it away
            if os.stat(self.baseFilename).st_size > self._most_bytes:
                self._put_away()
        with suppress(OSError):  # a full disk, or a folder that is gone, must not stop what is told about
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is logging's
        """A line that cannot be written is lost; it stops nothing."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="ascii", opener=_for_its_owner)

    def _put_away(self) -> None:
        """`.1` is the youngest of those put away. Under a lock, and once, whoever else finds it full too."""
        with _locked(Path(self.baseFilename).with_suffix(".lock")):
            if Path(self.baseFilename).stat().st_size <= self._most_bytes:
                return
            for number in range(self._files - 1, 0, -1):
                older = Path(f"{self.baseFilename}.{number}")
                younger = Path(f"{self.baseFilename}.{number - 1}") if number > 1 else Path(self.baseFilename)
                with suppress(FileNotFoundError):
                    younger.replace(older)
            if self._files == 1:
                os.truncate(self.baseFilename, 0)


@contextmanager
def shown(plan: LogPlan, stream: TextIO | None = None) -> Iterator[None]:
    """Meanwhile, show what is appended to the plan's file: as it is, or for people where it is a terminal."""
    stream = stream or sys.stderr
    stop = threading.Event()
    begin = plan.file.stat().st_size if plan.file.exists() else 0
    thread = threading.Thread(target=_follow, args=(plan.file, begin, stream, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _take_down(root: logging.Logger) -> None:
    for handler in [one for one in root.handlers if isinstance(one, SharedFile)]:
        root.removeHandler(handler)
        handler.close()


def _handler(plan: LogPlan, deployment: str) -> SharedFile:
    handler = SharedFile(plan.file, plan.file_bytes, plan.files)
    handler.setFormatter(formatter(deployment))
    handler.addFilter(_is_worth_it)
    return handler


def _is_worth_it(record: logging.LogRecord) -> bool:
    """Serve's INFO is every call with its raw address; it stays in Ray's own files."""
    return record.name != SERVE or record.levelno >= logging.WARNING


def _pass_on(logger: logging.Logger) -> None:
    """Serve's own files stay; what goes to terminals goes our way instead."""
    logger.handlers = [one for one in logger.handlers if _is_file(one)]
    logger.propagate = True


def _is_file(handler: logging.Handler) -> bool:
    target = getattr(handler, "target", handler)
    return isinstance(target, logging.FileHandler)


def _of_process(deployment: str) -> Callable[[Any, str, Fields], Fields]:
    def add(_logger: Any, _name: str, fields: Fields) -> Fields:  # noqa: ANN401  # structlog's
        fields["deployment"], fields["pid"] = deployment, os.getpid()
        return fields

    return add


def _wordless_exception(_logger: Any, _name: str, fields: Fields) -> Fields:  # noqa: ANN401  # structlog's
    error = fields.pop("exc_info", None)
    error = error[1] if isinstance(error, tuple) else error
    if isinstance(error, BaseException):
        fields["exception"] = wordless(error).rstrip()
    return fields


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _follow(file: Path, begin: int, stream: TextIO, stop: threading.Event) -> None:
    opened = _opened(file, begin)
    is_last = False
    while not is_last:
        is_last = stop.wait(FOLLOW_S)
        while opened and (line := opened.readline()):
            stream.write(_for_people(line) if stream.isatty() else line)
        stream.flush()
        opened = _reopened(file, opened)
    if opened:
        opened.close()


def _reopened(file: Path, opened: TextIO | None) -> TextIO | None:
    """The file of this name, from its beginning, where another one was put away, or this one was emptied."""
    with suppress(FileNotFoundError):
        if opened is None:
            return _opened(file, 0)
        now, is_of = file.stat(), os.fstat(opened.fileno())
        if now.st_ino != is_of.st_ino or now.st_size < opened.tell():
            opened.close()
            return _opened(file, 0)
    return opened


def _opened(file: Path, begin: int) -> TextIO | None:
    with suppress(FileNotFoundError):
        opened = file.open()
        opened.seek(begin)
        return opened
    return None


def _for_people(line: str) -> str:
    """`12:03:04 warning store.jobs: text`; still without what could move a terminal's cursor."""
    with suppress(ValueError, KeyError):
        said = json.loads(line)
        about = said.get("read_id") or said.get("request_id") or ""
        more = " ".join(str(said[name]) for name in EXTRAS if name in said)
        words = f"{said['event']} {more} {about}".rstrip()
        return f"{said['time'][11:19]} {said['level']} {said['logger']}: {json.dumps(words)[1:-1]}\n"
    return line
