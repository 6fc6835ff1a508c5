"""A service under faults: its store, its slides, its workers, and the history of what it accepted."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from select import select as readable
from typing import Any

from addresses import together
from chaos.journal import Event, events_in
from chaos.worker import Spec, settings_of
from simulated import simulated_tissue, write_tiff
from sqlalchemy import select
from tiny_model import tiny_model

from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide_digest import digest_in_blocks
from ultraread.errors import DatabaseUnreachable
from ultraread.models.registry import ModelFolder
from ultraread.serving.settings import prepare_folders
from ultraread.serving.storage.slide_store import open_slide_store, stored_names
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.jobs import Jobs, NewRead
from ultraread.serving.store.records import NewSlide, file_slide, find_all
from ultraread.serving.store.stored import keep
from ultraread.serving.store.tables import ReadRow, ReadState, SlideRow, StoredKind

TESTS = Path(__file__).parents[1]
TILE_PX = 64
SCALE = {"nm_per_px": 4.6, "tolerance": 0.05, "reason": "as Dr Example said"}
WHO = "a test"
WAIT_S = 90.0
NOT_COMPARED = {"provenance.json"}
"""Names the read, its processes and its times; every other file has to be the clean run's, byte for byte."""


Ends = tuple[str | None, ...]
"""Error codes that a read may end with; None is success."""
SUCCEEDS: Ends = (None,)


@dataclass(frozen=True, slots=True)
class Load:
    """How large reads are, and how the workers hold their leases."""

    across: int = 8
    """Tiles a row of a slide, and rows."""
    slides: int = 3
    range_tiles: int = 8
    tile_s: float = 0.005
    lease_s: float = 1.0
    heartbeat_s: float = 0.2
    max_attempts: int = 100
    """Where a healthy read is killed again and again, many in a row may make no progress by chance."""


SMALL = Load()
"""Per commit: 64 tiles a read."""
LARGE = Load(across=22, range_tiles=32)
"""At night: 484 tiles a read."""


@dataclass(slots=True)
class Nursery:
    """A process that has loaded everything once, and forks workers."""

    process: "subprocess.Popen[str]"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fork(self, spec: Spec) -> "Child":
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.lock:
            self.process.stdin.write(json.dumps(asdict(spec)) + "\n")
            self.process.stdin.flush()
            return Child(spec, int(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def seeded(seed: int) -> random.Random:
    """What a row draws its faults from: the same seed draws the same ones."""
    return random.Random(seed)  # noqa: S311  # nothing secret


@contextmanager
def nursery(program: Sequence[str] = (), **environment: str) -> Iterator[Nursery]:
    """Start one; `program` comes before Python (a wrapper such as faketime)."""
    told = (
        os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
        }
        | environment
    )
    command = [*program, sys.executable, "-m", "chaos.worker"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=told, cwd=TESTS
    )
    assert process.stdout is not None
    process.stdout.readline()
    nurse = Nursery(process)
    try:
        yield nurse
    finally:
        nurse.close()


@dataclass(slots=True)
class Child:
    """A worker; `killed_s` is when SIGKILL was sent, on the monotonic clock."""

    spec: Spec
    pid: int
    killed_s: float | None = None
    _handle: int = field(default=-1, repr=False)

    def __post_init__(self) -> None:
        with suppress(ProcessLookupError):
            self._handle = os.pidfd_open(self.pid)

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError, OSError):
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.killed_s = time.monotonic()
        self.send(signal.SIGKILL)
        self.wait()

    def is_alive(self) -> bool:
        return self._handle >= 0 and not readable([self._handle], [], [], 0)[0]

    def wait(self, seconds: float = 30.0) -> bool:
        """Whether it has ended."""
        ended = self._handle < 0 or bool(readable([self._handle], [], [], seconds)[0])
        if ended and self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        return ended


@dataclass(slots=True)
class House:
    """One data folder and database with their workers."""

    folder: Path
    nursery: Nursery
    mlflow_url: str
    database_url: str
    load: Load
    spec: Spec
    store: Store
    jobs: Jobs
    model: ModelFolder
    slides: list[str] = field(default_factory=list)
    accepted: dict[str, Ends] = field(default_factory=dict)
    """Read id to how it may end."""
    children: list[Child] = field(default_factory=list)
    kills: list[Child] = field(default_factory=list)
    other_faults: int = 0
    """That may each cost a range, too."""
    started: int = 0

    def start(self, count: int = 1, nursery: Nursery | None = None, **changes: Any) -> list[Child]:  # noqa: ANN401
        """Start workers; `changes` are fields of their Spec."""
        return [self._start(nursery or self.nursery, changes) for _ in range(count)]

    def kill(self, child: Child) -> None:
        child.kill()
        self.kills.append(child)
        self.children.remove(child)

    def bury(self, child: Child) -> None:
        """Note a worker that killed itself."""
        child.wait()
        died = [event.at_s for event in self.events() if event.pid == child.pid and event.what == "dies"]
        child.killed_s = died[-1] if died else None
        self.kills.append(child)
        self.children.remove(child)

    def are_ready(self) -> bool:
        """Whether every worker has begun to look for reads, so that whoever is free takes over at once."""
        ready = {event.worker for event in self.events() if event.what == "ready"}
        return all(child.spec.name in ready for child in self.children)

    def stop(self) -> None:
        """End all workers: politely, then not."""
        for child in self.children:
            child.send(signal.SIGCONT)
            child.send(signal.SIGTERM)
        for child in self.children:
            if not child.wait(20):
                child.kill()
        self.children.clear()

    def ask(self, slide: int = 0, ends: Ends = SUCCEEDS) -> str:
        """Request a read, and note that it was accepted."""
        read_id = self.jobs.enqueue(self.new_read(slide), WHO).id
        self.note(read_id, ends)
        return read_id

    def keep_busy(self, reads: int, chance: random.Random) -> None:
        """Ask until so many reads are open."""
        for _ in range(reads - len(self.open_reads())):
            self.ask(chance.randrange(len(self.slides)))

    def busy(self) -> list[Child]:
        """Workers that hold a read now."""
        owners = {row.owner for row in self.open_reads() if row.state == ReadState.RUNNING}
        return [child for child in self.children if child.spec.name in owners]

    def note(self, read_id: str, ends: Ends = SUCCEEDS) -> None:
        self.accepted[read_id] = ends
        with (self.folder / "history.jsonl").open("a") as history:
            history.write(json.dumps({"read_id": read_id, "at_s": time.monotonic()}) + "\n")
            history.flush()
            os.fsync(history.fileno())

    def new_read(self, slide: int = 0) -> NewRead:
        card, slide_id = self.model.card, self.slides[slide % len(self.slides)]
        with self.store.reading() as session:
            (row,) = find_all(session, SlideRow, [slide_id])
        return NewRead(
            id=new_id(), case_id=None, slide_ids=(slide_id,), slide_sha256s=(row.sha256,),
            model_name=card.name, model_version=card.version, model_onnx_sha256=card.sha256,
            model_card_sha256=self.model.card_sha256, request={"region": None, "scale": SCALE},
        )  # fmt: skip

    def file(self, path: Path) -> str:
        """File a slide."""
        (digest, digested), slide_id = digest_in_blocks(together(path)), new_id()
        blocks = b"".join(file.blocks.sha256s for file in digested.files if file.blocks)
        with open_slide(path) as slide:
            images = tuple({"index": image.index} for image in slide.info.images)
        files = tuple({"name": f.name, "sha256": f.sha256, "bytes": f.bytes} for f in digest.files)
        open_slide_store(settings_of(self.spec)).put(slide_id, files, [path])
        with self.store.writing() as session:
            file_slide(session, NewSlide(slide_id, digest.sha256, "tiff", files, images, blocks=blocks), WHO)
            kept = [asdict(name) for name in stored_names(slide_id, files)]
            keep(session, StoredKind.SLIDE, slide_id, kept, None)
        self.slides.append(slide_id)
        return slide_id

    def reopen(self) -> None:
        """Drop connections to a database that went away."""
        self.store.engine.dispose()

    def read(self, read_id: str) -> ReadRow:
        with self.store.reading() as session:
            return session.get_one(ReadRow, read_id)

    def open_reads(self) -> list[ReadRow]:
        running = select(ReadRow).where(ReadRow.state.in_([ReadState.QUEUED, ReadState.RUNNING]))
        while True:
            with suppress(DatabaseUnreachable), self.store.reading() as session:
                return list(session.scalars(running.order_by(ReadRow.id)))
            self.reopen()

    def events(self) -> list[Event]:
        return events_in(Path(self.spec.journal))

    def wait(
        self,
        done: Callable[[], Any],
        seconds: float = WAIT_S,
        what: str = "",
        moved: Callable[[], object] = lambda: None,
    ) -> Any:  # noqa: ANN401
        """Wait until something is so, longer on a busy machine, and on while `moved` changes meanwhile.

        Says what was waited for in vain.
        """
        busy = os.getloadavg()[0] / (os.cpu_count() or 1)
        patience_s, seen = seconds * max(1.0, busy), moved()
        until = time.monotonic() + patience_s
        while not (found := done()):
            if time.monotonic() > until:
                if (last := moved()) == seen:
                    raise AssertionError(f"waited {seconds:g} s in vain for {what or done}: {self.state()}")
                seen, until = last, time.monotonic() + patience_s
            time.sleep(0.02)
        return found

    def settle(self, seconds: float = WAIT_S) -> None:
        """Wait until every read has ended and MLflow knows of each."""
        from ultraread.serving.store import outbox

        def waiting() -> int:
            return len(outbox.pending(self.store))

        self.wait(lambda: not self.open_reads(), seconds, "the end of all reads", self._progress)
        self.wait(lambda: not waiting(), seconds, "an empty outbox", waiting)

    def _progress(self) -> object:
        return [(row.id, row.ranges_done) for row in self.open_reads()]

    def state(self) -> str:
        states = [(row.id[-4:], row.state, row.attempts, row.epoch) for row in self.open_reads()]
        return f"open: {states}, workers alive: {sum(child.is_alive() for child in self.children)}"

    def result_dirs(self, read_id: str) -> list[Path]:
        return sorted((Path(self.spec.data_dir) / "reads" / read_id).glob("result-*"))

    def _start(self, nursery: Nursery, changes: dict[str, Any]) -> Child:
        self.started += 1
        child = nursery.fork(replace(self.spec, name=f"w{self.started}", **changes))
        self.children.append(child)
        return child


@contextmanager
def house(
    folder: Path,
    nursery: Nursery,
    mlflow_url: str,
    load: Load = SMALL,
    database_url: str = "",
    seen_as: str = "",
    data_dir: Path | None = None,
    before: Callable[[Spec], None] = lambda spec: None,
    **spec: Any,  # noqa: ANN401  # of Spec
) -> Iterator[House]:
    """Open one, with slides and without workers; whoever still works at the end is killed.

    Workers see the database as `seen_as`: through a proxy. `before` is called before it is opened here.
    """
    data_dir = data_dir or folder / "data"
    url = database_url or f"sqlite:///{data_dir}/ultraread.db"
    model = _model(folder.parent)
    told = Spec(
        "w0", str(data_dir), seen_as or url, mlflow_url, str(model.path), str(folder / "journal"),
        load.lease_s, load.heartbeat_s, load.range_tiles, load.tile_s, load.max_attempts, **spec,
    )  # fmt: skip
    prepare_folders(settings_of(told))
    before(told)
    store = open_store(url)
    jobs = Jobs(store, load.lease_s, load.max_attempts)
    opened = House(folder, nursery, mlflow_url, url, load, told, store, jobs, model)
    try:
        for seed in range(load.slides):
            opened.file(_own_copy(slide_of(folder.parent, load, seed), folder))
        yield opened
    finally:
        for child in opened.children:
            child.kill()
        store.close()


def slide_of(folder: Path, load: Load, seed: int) -> Path:
    """A simulated slide of this load; the same seed gives the same bytes."""
    path = folder / f"slide-{load.across}-{seed}.tif"
    if not path.exists():
        side = load.across * TILE_PX
        unfinished = path.with_suffix(f".{random.getrandbits(32):x}")
        write_tiff(unfinished, simulated_tissue(side, side, seed)).replace(path)
    return path


def _own_copy(slide: Path, folder: Path) -> Path:
    """Filing keeps a second name of a file: with one file for all, a byte flipped in a house is in each."""
    return Path(shutil.copy(slide, folder))


def digests_of(result: Path) -> dict[str, str]:
    """File name to digest, of all that has to be the same in every run; names below the slide's folder."""
    files = (path for path in sorted(result.rglob("*")) if path.is_file() and path.name not in NOT_COMPARED)
    return {
        "/".join(path.relative_to(result).parts[1:]): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _model(folder: Path) -> ModelFolder:
    from ultraread.models.registry import find_model

    path = folder / "model"
    return find_model(str(path)) if path.exists() else tiny_model(path)
