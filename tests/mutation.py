"""Damaged files by the hundred: seeded mutants of one file a format, opened by a worker that may die of them.

A format joins by an entry in mutated_formats.MUTATED_FORMATS. A mutant of the structure must be refused or
give the original's pixels; one of the payload must give what another library reads from it, or be refused.
"""

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

LIMIT_S = 10.0
MEMORY_BYTES = 2**30
"""Address space that a mutant may take beyond what the worker has before it opens one."""
STRUCTURE_SHARE = 0.6
JPEG_STEP = 1
"""Builds of libjpeg may round a pixel differently."""


@dataclass(frozen=True, slots=True)
class MutatedFormat:
    """A format under mutation.

    `write` makes the original, one file or a folder, and returns it; `payload` lists where its compressed or
    plain pixels lie; `oracle` names an entry of `oracles.ORACLES`.
    """

    name: str
    write: Callable[[Path], Path]
    payload: Callable[[Path], list[tuple[Path, range]]]
    oracle: str
    step: int = 0


class Outcome(StrEnum):
    """What became of a mutant. Only the last four are failures."""

    REFUSED = "refused"
    ORIGINAL = "original's pixels"
    AS_ORACLE = "as another library reads it"
    SAYS_ELSE = "says something else, and another library agrees"
    UNEXPLAINED = "neither"
    DIED = "worker died"
    HUNG = "beyond 10 s"
    RAISED = "an error without a code"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One damaged copy; `seed` makes it again."""

    seed: int
    is_of_payload: bool
    what: str
    path: Path


def mutants(format_: MutatedFormat, original: Path, folder: Path, count: int) -> Iterator[Mutant]:
    """Make `count` mutants one after the other, each in the place of the one before."""
    payload = format_.payload(original)
    files = sorted(original.rglob("*")) if original.is_dir() else [original]
    files = [file for file in files if file.is_file()]
    for seed in range(count):
        chance = np.random.default_rng([seed, len(format_.name), *format_.name.encode()])
        of_payload = bool(payload) and seed >= STRUCTURE_SHARE * count
        copy = _copied(original, folder)
        file, at = _place(files, payload, of_payload, chance)
        target = copy / file.relative_to(original) if original.is_dir() else copy
        room = _room(file, at, payload, of_payload)
        what = _damage(target, at, room, of_payload, chance)
        yield Mutant(seed, of_payload, f"{what} at byte {at} of file {files.index(file)}", copy)


def _copied(original: Path, folder: Path) -> Path:
    copy = folder / original.name
    if original.is_dir():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(original, copy)
    else:
        shutil.copyfile(original, copy)
    return copy


def _place(
    files: list[Path], payload: list[tuple[Path, range]], of_payload: bool, chance: np.random.Generator
) -> tuple[Path, int]:
    """A file and a byte in it, inside of the payload or outside of it."""
    if of_payload:
        file, where = payload[int(chance.integers(len(payload)))]
        return file, int(chance.integers(where.start, where.stop))
    while True:
        file = files[int(chance.integers(len(files)))]
        at = int(chance.integers(file.stat().st_size))
        if chance.random() < 0.5:  # most of a header stands at the front
            at = int(chance.integers(min(2048, file.stat().st_size)))
        if not any(file == other and at in where for other, where in payload):
            return file, at


def _room(file: Path, at: int, payload: list[tuple[Path, range]], of_payload: bool) -> int:
    """Bytes from `at` on that are of the same kind, payload or not."""
    ends = [where.stop if of_payload else where.start for other, where in payload if other == file]
    return min([end for end in ends if end > at], default=file.stat().st_size) - at


def _damage(path: Path, at: int, room: int, of_payload: bool, chance: np.random.Generator) -> str:
    """Change the bytes from `at`; what leaves the length as it is, where the payload is meant."""
    kinds = [_flip_bit, _set_byte, _set_run, _extreme_number]
    if not of_payload:
        kinds += [_cut_off, _leave_out, _put_in]
    kind = kinds[int(chance.integers(len(kinds)))]
    stored = bytearray(path.read_bytes())
    path.write_bytes(kind(stored, at, room, chance))
    return kind.__name__.strip("_").replace("_", " ")


def _flip_bit(stored: bytearray, at: int, room: int, chance: np.random.Generator) -> bytearray:
    stored[at] ^= 1 << int(chance.integers(8))
    return stored


def _set_byte(stored: bytearray, at: int, room: int, chance: np.random.Generator) -> bytearray:
    stored[at] = int(chance.integers(256))
    return stored


def _set_run(stored: bytearray, at: int, room: int, chance: np.random.Generator) -> bytearray:
    count = min(int(chance.integers(2, 16)), room)
    stored[at : at + count] = chance.bytes(count)
    return stored


def _extreme_number(stored: bytearray, at: int, room: int, chance: np.random.Generator) -> bytearray:
    extremes = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\0\x80", bytes(4))
    count = min(4, room)
    stored[at : at + count] = extremes[int(chance.integers(len(extremes)))][:count]
    return stored


def _cut_off(stored: bytearray, at: int, room: int, chance: np.random.Generator) -> bytearray:
    return stored[: max(1, at)]


def _leave_out(stored: bytearray, at: int, room: int, chance: np.random.Generator) -> bytearray:
    return stored[:at] + stored[at + int(chance.integers(1, 9)) :]


def _put_in(stored: bytearray, at: int, room: int, chance: np.random.Generator) -> bytearray:
    return stored[:at] + bytearray(chance.bytes(int(chance.integers(1, 9)))) + stored[at:]


class Worker:
    """One process that opens whatever it is told to; a new one takes its place when it dies or hangs."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def pixels(
        self, path: Path, reader: str, limit_s: float = LIMIT_S
    ) -> list[np.ndarray[Any, Any]] | Outcome | str:
        """All images as `reader` ("ultraread" or an oracle) reads them, else the code or the outcome."""
        told = json.dumps({"path": str(path), "reader": reader, "answer": str(self._scratch / "pixels.npz")})
        assert self._process.stdin is not None
        self._process.stdin.write(f"{told}\n".encode())
        self._process.stdin.flush()
        answer = self._answer(limit_s)
        if isinstance(answer, Outcome):
            return answer
        if "images" not in answer:
            return str(answer["refused"]) if "refused" in answer else Outcome.RAISED
        with np.load(self._scratch / "pixels.npz") as stored:
            return [stored[f"arr_{number}"] for number in range(answer["images"])]

    def _answer(self, limit_s: float) -> dict[str, Any] | Outcome:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], limit_s)
        line = self._process.stdout.readline() if ready else b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._end()
        self._process = self._start()
        return Outcome.DIED if ready else Outcome.HUNG

    def _start(self) -> subprocess.Popen[bytes]:
        worker = Path(__file__).with_name("mutation_worker.py")
        own = {
            "OPENBLAS_NUM_THREADS": "1",
            "MEMORY_BYTES": str(MEMORY_BYTES),
            "PYTHONPATH": str(worker.parent),
        }
        environment = {**os.environ, **own}
        return subprocess.Popen(
            [sys.executable, str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def judge(worker: Worker, format_: MutatedFormat, mutant: Mutant, original: list[Any]) -> Outcome:
    """Say what became of a mutant."""
    found = worker.pixels(mutant.path, "ultraread")
    if isinstance(found, Outcome):
        return found
    if isinstance(found, str):
        return Outcome.REFUSED
    if same(found, original, 0):
        return Outcome.ORIGINAL
    other = worker.pixels(mutant.path, format_.oracle)
    agrees = isinstance(other, list) and same(found, other, format_.step)
    if not agrees:
        return Outcome.UNEXPLAINED
    return Outcome.AS_ORACLE if mutant.is_of_payload else Outcome.SAYS_ELSE


def same(found: list[Any], others: list[Any], step: int) -> bool:
    """Whether all images are equal, of bytes within `step`; NaN equals NaN."""
    if [each.shape for each in found] != [each.shape for each in others]:
        return False
    if step:
        return all(
            np.abs(one.astype(float) - other.astype(float)).max() <= step
            for one, other in zip(found, others, strict=True)
        )
    return all(
        np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        for one, other in zip(found, others, strict=True)
    )
