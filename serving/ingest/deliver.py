"""Results are copied to where others fetch them: whole or not to be seen, once, however often it is tried."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from ultraread.errors import StorageExpired, UltraReadError
from ultraread.serving.settings import Settings
from ultraread.serving.storage.copying import bytes_of
from ultraread.serving.storage.house import House, files_of
from ultraread.serving.storage.places import target_at
from ultraread.serving.storage.target import StoredName, Target, digest_at
from ultraread.serving.store import deliveries
from ultraread.serving.store.clock import doubled_s
from ultraread.serving.store.deliveries import Delivery
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import CopyPlace, StoredKind, StoredRow

MANIFEST = "manifest.json"
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResultCopier:
    """Copies the result of one read at a time to `deliver_url`/<site>/<read id>/."""

    settings: Settings
    store: Store
    first_wait_s: float = FIRST_WAIT_S

    def copy_next(self) -> bool:
        """Copy what is due longest; where nothing is, note what ended since. False where that is nothing."""
        taken = deliveries.take(self.store, deliveries.of_results())
        if taken is None:
            return deliveries.want_result_copies(self.store, self.settings.queue_days) > 0
        try:
            self._copy(taken)
        except UltraReadError as failure:
            self._put_off(taken, failure)
        else:
            deliveries.mark_sent(self.store, taken)
        return True

    def _copy(self, taken: Delivery) -> None:
        """What is there already, from a copier that died, is read and kept; the manifest comes last."""
        read_id, target = taken.read.id, target_at(f"{self._url}/{taken.read.site}/{taken.read.id}")
        with self.store.reading() as session:
            stored = session.get(StoredRow, (StoredKind.RESULT.value, read_id))
        if stored is None or stored.expired is not None:
            raise StorageExpired("the result is not stored any more")
        source = House(self.settings, self.store).target(StoredKind.RESULT, CopyPlace.FIRST)
        files = files_of(stored)
        for file in files:
            _put(target, _delivered(file), source, file)
        manifest = _manifest(read_id, taken.read.site, files)
        name = StoredName(MANIFEST, hashlib.sha256(manifest).hexdigest(), len(manifest))
        if digest_at(target, MANIFEST) != name.digest:
            target.put(name, iter([manifest]))

    @property
    def _url(self) -> str:
        return (self.settings.deliver_url or "").rstrip("/")

    def _put_off(self, taken: Delivery, failure: UltraReadError) -> None:
        log.warning("the result of read %s was not delivered: %s", taken.read.id, failure.code)
        if isinstance(failure, StorageExpired):
            deliveries.give_up(self.store, taken, failure.code)
            return
        wait_s = doubled_s(taken.attempt, self.first_wait_s, LONGEST_WAIT_S)
        deliveries.mark_failed(self.store, taken, failure.code, wait_s)


def _put(target: Target, wanted: StoredName, source: Target, file: StoredName) -> None:
    if digest_at(target, wanted.name) != wanted.digest:
        target.put(wanted, bytes_of(source, file))


def _delivered(file: StoredName) -> StoredName:
    """Called as in the result folder: without the read, which is the folder's name, and without its epoch."""
    name = PurePosixPath(*PurePosixPath(file.name).parts[2:])
    return StoredName(str(name), file.sha256, file.bytes)


def _manifest(read_id: str, site: str, files: Sequence[StoredName]) -> bytes:
    listed = [asdict(_delivered(file)) for file in files]
    told = {"read_id": read_id, "site": site, "research_use_only": True, "files": listed}
    return json.dumps(told, sort_keys=True, indent=1).encode()
