"""Signs where each site's chain stands, now and then, into a table and into a file beside the database."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from ultraread.serving.audit.checkpoint_file import append_missing
from ultraread.serving.audit.signing import Checkpoint, Signer, load_signer
from ultraread.serving.settings import Settings
from ultraread.serving.store.audit import seal, sites_unsealed
from ultraread.serving.store.audit_tables import AuditCheckpointRow, AuditHeadRow
from ultraread.serving.store.clock import utc_in, utc_now
from ultraread.serving.store.engine import Store


@dataclass(frozen=True, slots=True)
class Checkpointer:
    """Without a signer, it only takes into the chains what a version without them wrote."""

    store: Store
    signer: Signer | None
    file: Path
    every_events: int
    every_s: float

    def step(self) -> bool:
        """Sign the chains that grew by `every_events`, or at all in `every_s`; True where one was.

        Raises Unavailable, StorageFull where the file takes none: the table has them, and it gets them later.
        """
        signed = self._sign(at_once=False)
        if signed:
            append_missing(self.file, self.store)
        return bool(signed)

    def sign_all(self) -> list[Checkpoint]:
        """Sign every chain that is longer than its last checkpoint: before a backup, and at the end.

        The file gets what it lacks even where nothing is signed. Raises what `step` does.
        """
        signed = self._sign(at_once=True)
        if self.signer is not None:
            append_missing(self.file, self.store)
        return signed

    def _sign(self, *, at_once: bool) -> list[Checkpoint]:
        seal_all(self.store)
        if self.signer is None:
            return []
        with self.store.reading() as session:
            due = [head.site for head in self._due(session, self.signer.public_key, at_once)]
        return [signed for site in due if (signed := self._sign_one(self.signer, site))]

    def _due(self, session: Session, public_key: str, at_once: bool) -> list[AuditHeadRow]:
        row = AuditCheckpointRow
        newest = (
            select(row.site, func.max(row.sequence).label("sequence"), func.max(row.at).label("at"))
            .where(row.public_key == public_key)
            .group_by(row.site)
            .subquery()
        )
        heads, signed = AuditHeadRow, func.coalesce(newest.c.sequence, 0)
        query = select(heads).outerjoin(newest, newest.c.site == heads.site).where(heads.sequence > signed)
        if not at_once:
            grown = heads.sequence >= signed + self.every_events
            old = or_(newest.c.at.is_(None), newest.c.at <= utc_in(-self.every_s))
            query = query.where(or_(grown, old))
        return list(session.scalars(query.order_by(heads.site)))

    def _sign_one(self, signer: Signer, site: str) -> Checkpoint | None:
        """Into the table first: what the file alone had would look as if the table had lost it."""
        with self.store.writing() as session:
            heads = AuditHeadRow
            query = select(heads.sequence, heads.hash, utc_now()).where(heads.site == site)
            signed = signer.sign(Checkpoint(site, *session.execute(query.with_for_update()).one()))
            if session.get(AuditCheckpointRow, (site, signed.sequence, signed.public_key)):
                return None  # another replica was faster
            session.add(AuditCheckpointRow(**signed.as_json()))
        return signed


def open_checkpointer(settings: Settings, store: Store) -> Checkpointer:
    """Raises ConfigInsecure for a key that is not kept as it should be."""
    return Checkpointer(
        store=store,
        signer=signer_of(settings),
        file=settings.checkpoint_file,
        every_events=settings.audit_checkpoint_events,
        every_s=60 * settings.audit_checkpoint_minutes,
    )


def signer_of(settings: Settings) -> Signer | None:
    """None where the settings name no key. Raises ConfigInsecure for one that is not kept as it should be."""
    key = settings.audit_key_file
    return load_signer(key, settings.data_dir) if key else None


def seal_all(store: Store) -> None:
    """Take every site's rows into its chain that a version without one wrote."""
    with store.reading() as session:
        sites = sites_unsealed(session.connection())
    for site in sites:
        left = 1
        while left:
            with store.writing() as session:
                left = seal(session.connection(), site)
