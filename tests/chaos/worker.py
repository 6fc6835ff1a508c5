"""A worker of the chaos tests: the product's own runner, store, checkpoints, results and outbox in a process
that is killed, frozen and starved. Only the classifier is a fake one: it sleeps instead of computing.

Run as a program it is a nursery: each line of stdin, a `Spec` as JSON, forks a worker; its pid is answered.
"""

import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chaos.deaths import Deaths
from chaos.fake_classifier import FakeClassifier
from chaos.journal import Journal

from ultraread.models.registry import find_model
from ultraread.serving.conclusion import ReadToConclude, conclude_read
from ultraread.serving.decoding.nursery import main as decoding_nursery
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.decoding.process import Nursery
from ultraread.serving.live_models import ServedModel
from ultraread.serving.mlflow_log import OutboxSender
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import RangeScorer, RangeScores, RangeTask
from ultraread.serving.settings import Settings
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import ClaimedRead, EndState, Jobs, ReadResult

POLL_S = 0.02
AFTER_OUTAGE_S = 0.1
FIRST_WAIT_S, HOLD_S = 0.1, 2.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Spec:
    """What a worker is to be."""

    name: str
    data_dir: str
    database_url: str
    mlflow_url: str
    model: str
    journal: str
    lease_s: float
    heartbeat_s: float
    range_tiles: int
    tile_s: float
    max_attempts: int
    slides_url: str | None = None
    reads: bool = True
    tells: bool = True
    """Whether it sends what the outbox holds."""
    dies_at: tuple[str, int] | None = None
    """A point of `deaths.POINTS`, and at which passing of it."""
    poison: str | None = None
    """A slide that kills the worker as soon as it is scored."""
    decode_mib: int = 1024
    file_bytes: int | None = None
    """No file may grow past this (RLIMIT_FSIZE)."""
    environment: dict[str, str] = field(default_factory=dict)


class ForkedNursery(Nursery):
    """The product's nursery of decoding processes, forked from this process instead of started anew.

    A worker that lives for half a second has no time to import what its parent has imported.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started()

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            ours.close()
            try:
                decoding_nursery(theirs.detach())
            finally:
                os._exit(0)
        theirs.close()
        self._control = ours
        self._end = lambda: (ours.close(), os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0))
        return ours


@dataclass(frozen=True, slots=True)
class ToldJobs(Jobs):
    """The product's queue, which tells what it gave out."""

    tell: Callable[[ClaimedRead], None] = lambda claim: None

    def claim(self, owner: str) -> ClaimedRead | None:
        claim = Jobs.claim(self, owner)
        if claim:
            self.tell(claim)
        return claim


class Worker:
    """One process: a thread that reads, a thread that tells MLflow, and a stop at SIGTERM."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.journal = Journal(Path(spec.journal), spec.name)
        self.settings = settings_of(spec)
        self.stop = threading.Event()
        self._reading = ""
        self._decoding = DecodingPool(self.settings.decode_limits)
        self._decoding._nursery = ForkedNursery()  # before there are threads

    def run(self) -> None:
        """Work until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop.set())
        store = self._opened()
        steps: list[Callable[[], bool]] = []
        if self.spec.tells:
            sender = OutboxSender(store, self.spec.mlflow_url, FIRST_WAIT_S, HOLD_S)
            steps.append(lambda: sender.send_pending() > 0)
        if self.spec.reads:
            steps.append(self._runner(store).run_next)
        self.journal.tell("ready")
        threads = [threading.Thread(target=self._loop, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.journal.tell("stopped")

    def _opened(self) -> Store:
        """The store, with the deaths of this worker laid into it; patient while it is out of reach."""
        while not self.stop.is_set():
            try:
                store = open_store(self.spec.database_url)
            except Exception as outage:
                self.journal.tell("outage", error=type(outage).__name__)
                self.stop.wait(AFTER_OUTAGE_S)
                continue
            if self.spec.dies_at:
                Deaths(*self.spec.dies_at, self.journal).lay(store.engine)
            return store
        raise SystemExit(0)

    def _loop(self, step: Callable[[], bool]) -> None:
        while not self.stop.is_set():
            try:
                busy = step()
            except Exception as outage:  # as the service's own loops: look again later
                logging.exception("will try again")
                self.journal.tell("outage", error=type(outage).__name__)
                self.stop.wait(AFTER_OUTAGE_S)
                continue
            if not busy:
                self.stop.wait(POLL_S)

    def _claimed(self, claim: ClaimedRead) -> None:
        self._reading = claim.read.id
        self.journal.tell("claimed", claim.read.id, epoch=claim.epoch)

    def _runner(self, store: Store) -> ReadRunner:
        model = find_model(self.spec.model)
        scorer = RangeScorer(FakeClassifier(model.card, self.spec.tile_s), decoding=self._decoding)
        jobs = ToldJobs(store, self.spec.lease_s, self.spec.max_attempts, tell=self._claimed)

        def score(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
            for task in tasks:
                self.journal.tell("scoring", self._reading, slide=task.slide.name, number=task.number)
                if task.slide.name == self.spec.poison:
                    self.journal.tell("dies", "poison")
                    os.kill(os.getpid(), signal.SIGKILL)
                yield scorer(task)

        def conclude(read: ReadToConclude) -> tuple[EndState, ReadResult]:
            self.journal.tell("concluding", read.read_id)
            return conclude_read(read)

        return ReadRunner(
            self.settings, jobs, lambda *_: ServedModel(model, score), conclude, self.spec.name,
            self._decoding.open, stop=self.stop,
        )  # fmt: skip


def settings_of(spec: Spec) -> Settings:
    """The product's settings for this worker."""
    return Settings(
        data_dir=Path(spec.data_dir),
        lease_s=spec.lease_s,
        heartbeat_s=spec.heartbeat_s,
        range_tiles=spec.range_tiles,
        max_attempts=spec.max_attempts,
        slides_url=spec.slides_url,
        decode_memory_mib=spec.decode_mib,
    )


def nurse() -> None:
    """Fork a worker for each line of stdin until its end; workers die with the nursery."""
    import mlflow  # noqa: F401  # loaded once, here: a worker is there in milliseconds

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _be(spec_of(line))
        print(pid, flush=True)


def spec_of(line: str) -> Spec:
    told = json.loads(line)
    return Spec(**{**told, "dies_at": tuple(told["dies_at"]) if told.get("dies_at") else None})


def _be(spec: Spec) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _die_with_parent()
    os.environ.update(spec.environment)
    output = os.open(f"{spec.journal}.{spec.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    logging.basicConfig(level=logging.WARNING, force=True)
    if spec.file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (spec.file_bytes, spec.file_bytes))
    status = 0
    try:
        Worker(spec).run()
    except BaseException:
        logging.exception("a worker ends")
        status = 1
    os._exit(status)


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    nurse()
