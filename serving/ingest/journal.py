"""What a watch has done so far, in the folder itself: who starts after a crash does nothing twice."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ultraread.datasets.file_stamp import Stamp, stamp_of
from ultraread.errors import Unavailable
from ultraread.serving.alone import alone
from ultraread.serving.ingest.regular import FileMoved, open_folder
from ultraread.serving.ingest.watched import DONE, STATE, Unit
from ultraread.serving.storage.durable import fsync

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Journal:
    """One small file for each slide, by its key: uploads, slide, read, and where its files are moved to."""

    folder: Path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder of state, and hold it alone. Raises Unavailable where another watch does."""
        self._state.mkdir(mode=0o700, exist_ok=True)
        another = Unavailable(
            "another `ultraread watch` watches this folder", "Stop that one, or leave it to it."
        )
        with alone(self._state / "lock", another):
            yield

    def of(self, key: str) -> Json:
        """What is known of the slide; empty where nothing is."""
        try:
            known: Json = json.loads(self._file(key).read_text())
        except FileNotFoundError:
            return {}
        return known

    def note(self, key: str, known: Mapping[str, Any]) -> None:
        """Durable before it returns."""
        _write(self._file(key), known)

    def move(self, key: str, unit: Unit, place: str, note: Mapping[str, Any]) -> None:
        """Move what the unit is made of to `place`, with a note beside it; a crash between is made good."""
        target = self._target(key, unit, place)
        target.mkdir(parents=True, exist_ok=True)
        _write(target / f"{unit.name}.json", note)
        tops = [[name, asdict(stamp)] for name, stamp in self._tops(unit)]
        known = self.of(key) | {"move": {"to": str(target.relative_to(self.folder)), "names": tops}}
        self.note(key, known)
        self._moved(key, known)

    def unfinished(self) -> list[str]:
        """Keys of what a watch that died had begun to move."""
        keys = (file.stem for file in sorted(self._state.glob("*.json")))
        return [key for key in keys if "move" in self.of(key)]

    def moving(self, key: str) -> set[str]:
        """Names that are moved, or still to be."""
        return {name for name, _ in self.of(key).get("move", {}).get("names", [])}

    def finish_move(self, key: str) -> None:
        """Go on with a move that was begun. Raises OSError where something cannot be moved now."""
        known = self.of(key)
        if "move" in known:
            self._moved(key, known)

    def _moved(self, key: str, known: Json) -> None:
        move = known.pop("move")
        target, source = open_folder(self.folder / move["to"]), open_folder(self.folder)
        try:
            for name, stamp in move["names"]:
                with suppress(FileNotFoundError):
                    if stamp is None or _stamp(name, source) == stamp:
                        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            with suppress(FileNotFoundError):
                os.unlink(f"{move['names'][0][0]}{DONE}", dir_fd=source)
            os.fsync(target)
            os.fsync(source)
        finally:
            os.close(target)
            os.close(source)
        self.note(key, known)

    def _tops(self, unit: Unit) -> list[tuple[str, Stamp]]:
        """What lies in the folder itself; what has changed since it was sent stays where it is."""
        if not unit.is_folder:
            return list(unit.files)
        try:
            return [(unit.name, stamp_of(os.lstat(self.folder / unit.name)))]
        except FileNotFoundError:
            raise FileMoved from None

    def _target(self, key: str, unit: Unit, place: str) -> Path:
        """A folder of its own where one of that name is there already: nothing is ever written over."""
        plain = self.folder / place
        taken = any(os.path.lexists(plain / name) for name in (*unit.names, f"{unit.name}.json"))
        return plain / f"{key[:12]}-{secrets.token_hex(4)}" if taken else plain

    @property
    def _state(self) -> Path:
        return self.folder / STATE

    def _file(self, key: str) -> Path:
        return self._state / f"{key}.json"


def _stamp(name: str, folder: int) -> Json:
    return asdict(stamp_of(os.stat(name, dir_fd=folder, follow_symlinks=False)))


def _write(path: Path, body: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    new = path.with_name(f".{secrets.token_hex(8)}")
    new.write_text(json.dumps(body, indent=1))
    fsync(new)
    new.replace(path)
    fsync(path.parent)
