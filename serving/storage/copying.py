"""Make the second copies, in the background: filing and reading never wait for it, an outage delays it."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from ultraread.errors import IntegrityFailed, UltraReadError
from ultraread.serving.storage.house import House, files_of
from ultraread.serving.storage.target import StoredName, Target, digest_at
from ultraread.serving.store import copies
from ultraread.serving.store.copies import Copy
from ultraread.serving.store.tables import CopyPlace, CopyState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Copier:
    """Makes one copy at a time."""

    house: House

    def copy_next(self) -> bool:
        """Make the copy that waits longest; False where there is none, or where it cannot be made now."""
        address = self.house.second_address
        copy = copies.take_waiting(self.house.store, address) if address is not None else None
        if copy is None:
            return copies.want_second_copies(self.house.store, address) > 0
        return self._made(copy)

    def _made(self, copy: Copy) -> bool:
        try:
            self._make(copy)
        except UltraReadError as error:
            log.warning("the second copy of %s %s waits: %s", copy.row.kind, copy.row.id, error.code)
            copies.mark_failed(self.house.store, copy, error.code)
            return False
        with self.house.store.writing() as session:
            copies.mark(session, copy, CopyState.GOOD)
        return True

    def _make(self, copy: Copy) -> None:
        """What is there already, from a copier that died or from an earlier house, is read and kept."""
        first = self.house.target(copy.row.kind, CopyPlace.FIRST)
        second = self.house.target(copy.row.kind, CopyPlace.SECOND)
        for file in files_of(copy.stored):
            if digest_at(second, file.name) != file.digest:
                second.put(file, bytes_of(first, file))


def bytes_of(target: Target, file: StoredName) -> Iterator[bytes]:
    """The file's bytes, to be put elsewhere. Raises IntegrityFailed where they are gone or unreadable."""
    try:
        yield from target.pieces(file.name)
    except FileNotFoundError as gone:
        raise IntegrityFailed(f"{file.name} is gone", "Restore it from its copy.") from gone
    except OSError as failure:
        raise IntegrityFailed(
            f"{file.name} cannot be read ({failure.strerror})", "Look at the disk, restore it from its copy."
        ) from failure
