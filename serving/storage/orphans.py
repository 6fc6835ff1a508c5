"""Files of slides that were never filed: a request died between storing them and noting it."""

import time
from collections.abc import Iterator

from sqlalchemy import select

from ultraread.serving.storage.house import House
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.ids import seconds_of
from ultraread.serving.store.tables import CopyPlace, SlideRow, StoredKind

OLD_S = 86400.0
"""A slide's id tells when its filing began; what is younger may still be on its way."""


def orphans(house: House) -> list[str]:
    """Names in the place of slides that belong to no slide, and are older than a day."""
    with house.store.reading() as session:
        filed = set(session.scalars(select(SlideRow.id)))
    return list(_unknown(house.target(StoredKind.SLIDE, CopyPlace.FIRST).names(""), filed))


def remove_orphans(house: House, who: str) -> list[str]:
    """Remove them, which the audit trail tells; return their names."""
    found = orphans(house)
    target = house.target(StoredKind.SLIDE, CopyPlace.FIRST)
    for name in found:
        target.remove(name)
        with house.store.writing() as session:
            AuditLog(session).append(who, "orphan_removed", name.partition("/")[0])
    return found


def _unknown(names: list[str], filed: set[str]) -> Iterator[str]:
    for name in names:
        slide_id = name.partition("/")[0]
        try:
            is_old = time.time() - seconds_of(slide_id) > OLD_S
        except ValueError:
            continue  # nothing of ours
        if is_old and slide_id not in filed:
            yield name
