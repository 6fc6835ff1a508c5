"""A place that keeps files under names: a folder or a prefix of an object store.

What is put there is whole or not there: written under another name, made durable, read back and held against
its digest before it gets its own name.
"""

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ultraread.errors import IntegrityFailed, StorageUnreachable
from ultraread.serving.storage.durable import fsync, full_storage_coded

PIECE_BYTES = 8 * 2**20
UNFINISHED = ".unfinished-"
UNANSWERED = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTDIR,
}  # fmt: skip
"""What a disk or a network file system says when it does not answer."""
UNREADABLE = ("", 0)
"""Digest and size of a file of which the disk gives back an error and no bytes."""
GIVEN_UP_S = 86400.0
"""Seconds after which a file that nobody finished is cleared away."""


@dataclass(frozen=True, slots=True)
class StoredName:
    """A file as it has to be: its name in the place (`<id>/0.tif`, identifies nobody), digest and size."""

    name: str
    sha256: str
    bytes: int

    @property
    def digest(self) -> tuple[str, int]:
        return self.sha256, self.bytes


class Target(Protocol):
    """Safe to call from threads. Every method raises StorageUnreachable where the place does not answer."""

    @property
    def url(self) -> str: ...

    def location(self, name: str) -> str:
        """Where `open_file` finds the file."""
        ...

    def check(self) -> None:
        """Raise StorageUnreachable where nothing can be kept here."""
        ...

    def put(self, file: StoredName, pieces: Iterator[bytes]) -> None:
        """Keep the bytes. Raises IntegrityFailed where they are not the file's, and StorageFull."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """The file's bytes in order. Raises FileNotFoundError."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of the file; None where there is none."""
        ...

    def remove(self, name: str) -> None:
        """Forget the file, there or not."""
        ...

    def names(self, below: str) -> list[str]:
        """Names of the files below this folder, sorted."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine."""

    path: Path

    @property
    def url(self) -> str:
        return str(self.path)

    def location(self, name: str) -> str:
        return str(self._file(name))

    def check(self) -> None:
        there = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        if not there.is_dir() or not os.access(there, os.R_OK | os.W_OK | os.X_OK):
            raise StorageUnreachable(
                f"{there} cannot be written to", "Mount it, and let the service's user write to it."
            )

    def put(self, file: StoredName, pieces: Iterator[bytes]) -> None:
        final = self._file(file.name)
        with _reachable(), full_storage_coded("a copy"):
            self._make_folders(final.parent)
            _clear_given_up(final.parent)
            unfinished = final.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")
            try:
                _write(unfinished, pieces)
                confirm(file, digest_of_pieces(_from_disk(unfinished)))
                unfinished.replace(final)
            finally:
                unfinished.unlink(missing_ok=True)
            fsync(final.parent)

    def link(self, file: StoredName, source: Path) -> None:
        """Keep a file of this machine that is digested already: a second name for it, where that can be.

        Raises as `put` does.
        """
        final = self._file(file.name)
        with _reachable(), full_storage_coded("a copy"):
            self._make_folders(final.parent)
        try:
            final.unlink(missing_ok=True)
            os.link(source, final)
        except OSError:  # another file system, or one without links
            self.put(file, _from_disk(source))
        else:
            fsync(final)
            fsync(final.parent)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Raises OSError where this file cannot be read: a bad sector is damage, and no outage."""
        with _reachable(but={errno.EIO}):
            yield from _from_disk(self._file(name))

    def size(self, name: str) -> int | None:
        with suppress(FileNotFoundError), _reachable():
            return self._file(name).stat().st_size
        return None

    def remove(self, name: str) -> None:
        """Folders that are empty then go too."""
        file = self._file(name)
        with _reachable():
            file.unlink(missing_ok=True)
            with suppress(OSError):  # not empty, or gone
                while (file := file.parent) != self.path:
                    file.rmdir()

    def names(self, below: str) -> list[str]:
        with _reachable():
            found = [file for file in self._file(below).rglob("*") if file.is_file()]
        kept = (file for file in found if not file.name.startswith(UNFINISHED))
        return sorted(str(file.relative_to(self.path)) for file in kept)

    def _file(self, name: str) -> Path:
        return self.path / name

    def _make_folders(self, folder: Path) -> None:
        """For their owner only, and there after a loss of power."""
        if folder.is_dir():
            return
        self._make_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        fsync(folder.parent)


def digest_at(
    target: Target,
    name: str,
    pause: Callable[[int], None] = lambda _bytes: None,
    hear: Callable[[bytes], object] = lambda _piece: None,
) -> tuple[str, int] | None:
    """sha256 and size of what is there now, read again; None where nothing is. `pause` hears the bytes of
    each piece, `hear` the piece.

    What the disk cannot give back is nobody's bytes: UNREADABLE.
    """
    try:
        return digest_of_pieces(target.pieces(name), pause, hear)
    except FileNotFoundError:
        return None
    except OSError:
        return UNREADABLE


def digest_of_pieces(
    pieces: Iterator[bytes],
    pause: Callable[[int], None] = lambda _bytes: None,
    hear: Callable[[bytes], object] = lambda _piece: None,
) -> tuple[str, int]:
    """sha256 and size of the bytes."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        hear(piece)
        pause(len(piece))
    return digest.hexdigest(), size


def confirm(file: StoredName, found: tuple[str, int]) -> None:
    """Raise IntegrityFailed where what was found is not the file."""
    if found != file.digest:
        raise IntegrityFailed(f"{file.name} is not what its digest says", "Restore it from its copy.")


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    path.touch(mode=0o600, exist_ok=False)
    with path.open("r+b") as stream:
        for piece in pieces:
            stream.write(piece)
        stream.flush()
        os.fsync(stream.fileno())


def _from_disk(path: Path) -> Iterator[bytes]:
    """Pieces as the disk holds them: what the system remembers of the file is dropped first."""
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while piece := stream.read(PIECE_BYTES):
            yield piece


def _clear_given_up(folder: Path) -> None:
    """What a process left behind that died while it wrote."""
    for file in folder.glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > GIVEN_UP_S:
                file.unlink()


@contextmanager
def _reachable(but: Collection[int] = ()) -> Iterator[None]:
    """A folder that does not answer is an outage; a missing file and a full disk are facts of their own."""
    try:
        yield
    except OSError as failure:
        if failure.errno not in UNANSWERED or failure.errno in but:
            raise
        raise StorageUnreachable(
            f"the folder of copies does not answer ({failure.strerror})",
            "Mount it, and let the service's user write to it.",
        ) from failure
