"""What is sent again is whole: it takes the place of files of the same slide that are damaged or gone."""

from collections.abc import Sequence
from pathlib import Path

from ultraread.serving.storage.house import files_of
from ultraread.serving.storage.scrub import state_of
from ultraread.serving.storage.slide_store import SlideStore, pieces_of
from ultraread.serving.store import copies
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.copies import Copy
from ultraread.serving.store.engine import Store
from ultraread.serving.store.stored import find_stored
from ultraread.serving.store.tables import CopyPlace, CopyRow, CopyState, Json, StoredKind


def mend(
    store: Store, slides: SlideStore, slide_id: str, sent: Sequence[Json], paths: Sequence[Path], who: str
) -> None:
    """Read the first copy of a filed slide again, and put back what is not as it was filed.

    `sent`: [{name, sha256, bytes}] of `paths`, the same bytes as those that were filed. Raises StorageFull,
    StorageUnreachable.
    """
    with store.reading() as session:
        stored = find_stored(session, StoredKind.SLIDE, slide_id)
        copy = Copy(stored, session.get_one(CopyRow, (stored.kind, stored.id, CopyPlace.FIRST.value)))
    damaged = [file for file in files_of(stored) if state_of(slides.target, file) is not CopyState.GOOD]
    whole = {file["sha256"]: path for file, path in zip(sent, paths, strict=True)}
    for file in damaged:
        slides.target.put(file, pieces_of(whole[file.sha256]))
    if damaged:
        with store.writing() as session:
            copies.mark(session, copy, CopyState.GOOD)
            AuditLog(session).append(
                who, "copy_repaired", slide_id, {"files": len(damaged), "from": "upload"}
            )
