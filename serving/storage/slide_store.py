"""Where the slides lie that were filed: the first copy of each, in a folder or in an object store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from ultraread.datasets.slide_address import FileAddress, SlideAddress
from ultraread.serving.settings import Settings
from ultraread.serving.storage.places import target_at
from ultraread.serving.storage.target import PIECE_BYTES, Folder, StoredName, Target
from ultraread.serving.store.blocks import blocks_of
from ultraread.serving.store.stored_name import stored_name
from ultraread.serving.store.tables import Json, SlideRow


@dataclass(frozen=True, slots=True)
class SlideStore:
    """Files of a slide are called `<slide id>/<n>.<suffix>`; everybody who opens a slide asks here where."""

    target: Target

    def put(self, slide_id: str, files: Sequence[Json], sources: Sequence[Path]) -> None:
        """Keep digested files of this machine as this slide's; none of them where one cannot be kept.

        `files`: [{name, sha256, bytes}] as in the row. Raises IntegrityFailed where a source is not what its
        digest says, StorageFull, StorageUnreachable.
        """
        names = stored_names(slide_id, files)
        try:
            for name, source in zip(names, sources, strict=True):
                self._put(name, source)
        except BaseException:
            self.drop(slide_id, files)
            raise

    def drop(self, slide_id: str, files: Sequence[Json]) -> None:
        """Forget a slide that was not filed after all."""
        for name in stored_names(slide_id, files):
            self.target.remove(name.name)

    def address(self, session: Session, slide: SlideRow) -> SlideAddress:
        """Where the slide's files lie, the one to open first in front. It is called by its id.

        In an object store with the digests of their blocks, where they are known. Raises IntegrityFailed.
        """
        known = () if isinstance(self.target, Folder) else blocks_of(session, slide)
        blocks = known or [None] * len(slide.files)
        names = stored_names(slide.id, slide.files)
        addresses = (
            FileAddress(file["name"], self.target.location(kept.name), of_file)
            for file, kept, of_file in zip(slide.files, names, blocks, strict=True)
        )
        return SlideAddress(slide.id, tuple(addresses))

    def _put(self, name: StoredName, source: Path) -> None:
        if isinstance(self.target, Folder):
            self.target.link(name, source)
        else:
            self.target.put(name, pieces_of(source))


def open_slide_store(settings: Settings) -> SlideStore:
    """The place that the settings name. Raises UrlNotAllowed, RequestInvalid."""
    return SlideStore(target_at(settings.slides_place))


def stored_names(slide_id: str, files: Sequence[Json]) -> list[StoredName]:
    """What a slide's files are called where they are kept, in their order."""
    return [
        StoredName(f"{slide_id}/{stored_name(index, file['name'])}", file["sha256"], file["bytes"])
        for index, file in enumerate(files)
    ]


def pieces_of(path: Path) -> Iterator[bytes]:
    """A file of this machine, piece by piece."""
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece
