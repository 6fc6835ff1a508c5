"""Which model versions have classifiers now: they come with an alias or a read, and go when none needs them.

A read holds on to the version that it was asked with. A version that takes over starts beside the old one.
"""

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from ultraread.errors import IntegrityFailed, ModelRefused, Unavailable
from ultraread.models.promotion import Alias
from ultraread.models.registry import ModelFolder
from ultraread.serving.model_files import FittedModels
from ultraread.serving.model_registry import ModelRegistry
from ultraread.serving.score_tiles import ScoreRanges
from ultraread.serving.store import versions as rows
from ultraread.serving.store.tables import (
    ModelRow,
    ModelVersionRow,
    ReadRow,
    ReadState,
    ShadowReadRow,
    ShadowState,
)

log = logging.getLogger(__name__)

MODEL = "model-"
"""What the names of the applications of model versions begin with."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A live model version and how its replicas are reached."""

    model: ModelFolder
    score_ranges: ScoreRanges


class Classifiers(Protocol):
    """Starts and stops the replicas of a version."""

    def start(self, model: ModelFolder) -> ScoreRanges:
        """Return when they answer. Raises Unavailable where they do not come up."""
        ...

    def there(self) -> list[str]:
        """Versions that have replicas already: those of the service's start, or of a runner that died."""
        ...

    def stop(self, ref: str) -> None:
        """Return when they are gone."""
        ...


class LiveModels:
    """The live versions, at most `places` at once; threads share it, and one process holds it."""

    def __init__(self, registry: ModelRegistry, classifiers: Classifiers, places: int) -> None:
        self._registry, self._classifiers, self._places = registry, classifiers, places
        self._fit = FittedModels()
        self._live: dict[str, ServedModel] = {}
        self._has_adopted = False
        self._looking = threading.Lock()
        """Held for moments: what is live, and whether it is needed."""
        self._changing = threading.Lock()
        """Held for seconds, while replicas start or stop."""

    def take(self, name: str, version: str) -> ServedModel:
        """The version, started where it is not live. Raises ModelUnknown, ModelWithdrawn, Unavailable.

        Call it for a read that is running by the store: then it is not retired before that read ends.
        """
        row = self._registry.usable(name, version)
        if served := self._at_hand(row.ref):
            return served
        with self._changing:
            return self._at_hand(row.ref) or self._start(row)

    def refs(self) -> list[str]:
        """The versions that are live."""
        with self._looking:
            return sorted(self._live)

    def follow(self) -> bool:
        """Start what an alias points to, retire what nothing needs; True where something changed."""
        with self._registry.store.reading() as session:
            pointed = list(_pointed_to(session))
        with self._changing:
            if not self._has_adopted:
                self._adopt()
            return any([*map(self._take_up, pointed), *map(self._retire, list(self._live))])

    def _at_hand(self, ref: str) -> ServedModel | None:
        with self._looking:
            return self._live.get(ref)

    def _adopt(self) -> None:
        """Know every version that is there, so that it is counted, and retired like any other."""
        for ref in set(self._classifiers.there()) - set(self._live):
            name, _, version = ref.partition("/")
            try:
                self._start(self._registry.usable(name, version))
            except (ModelRefused, IntegrityFailed):
                self._classifiers.stop(ref)
        self._has_adopted = True

    def _take_up(self, row: ModelVersionRow) -> bool:
        """One that does not load never becomes live: its alias goes back."""
        if row.ref in self._live or len(self._live) >= self._places:
            return False
        try:
            self._start(row)
        except (ModelRefused, IntegrityFailed) as refused:
            log.error("%s is not taken up: %s", row.ref, refused.code)
            self._registry.give_up(row, refused)
        return True

    def _start(self, row: ModelVersionRow) -> ServedModel:
        model = self._fit(self._registry.files.open(row))
        self._registry.prove(model)  # a replica that refuses its model could only die, again and again
        if row.ref not in self._classifiers.there():
            self._make_room()
        served = ServedModel(model, self._classifiers.start(model))
        with self._looking:
            self._live[row.ref] = served
        log.info("%s is live", row.ref)
        return served

    def _make_room(self) -> None:
        """Where all places are taken, stop one that no running read holds: no alias first, then shadows."""
        if len(self._live) < self._places:
            return
        with self._registry.store.reading() as session:
            pointed = [row.ref for row in _pointed_to(session)][::-1]
            held = set(_refs_of_reads(session, [ReadState.RUNNING]))
        free = sorted(set(self._live) - held, key=lambda ref: pointed.index(ref) if ref in pointed else -1)
        if not any(self._drop(ref, [ReadState.RUNNING]) for ref in free):
            raise Unavailable("every place for a model version is taken by a running read")

    def _retire(self, ref: str) -> bool:
        with self._registry.store.reading() as session:
            if ref in {row.ref for row in _pointed_to(session)}:
                return False
        return self._drop(ref, [ReadState.QUEUED, ReadState.RUNNING])

    def _drop(self, ref: str, states: Iterable[ReadState]) -> bool:
        """Stop a version unless a read in one of these states needs it."""
        with self._looking:
            with self._registry.store.reading() as session:
                if ref in set(_refs_of_reads(session, states)):
                    return False
            del self._live[ref]
        self._classifiers.stop(ref)
        log.info("%s is retired", ref)
        return True


def _pointed_to(session: Session) -> Iterator[ModelVersionRow]:
    """Versions that shall be live: every champion, then every shadow."""
    names = session.scalars(select(ModelRow.name).order_by(ModelRow.name)).all()
    for alias in (Alias.CHAMPION, Alias.SHADOW):
        for name in names:
            version = rows.version_at(session, name, alias)
            if version is not None:
                yield rows.find_version(session, name, version)


def _refs_of_reads(session: Session, states: Iterable[ReadState]) -> Iterator[str]:
    """Versions of reads in these states, and of the shadow that runs."""
    of_reads = select(ReadRow.model_name, ReadRow.model_version).where(ReadRow.state.in_([*states]))
    of_shadows = select(ShadowReadRow.model_name, ShadowReadRow.model_version).where(
        ShadowReadRow.state == ShadowState.RUNNING
    )
    for name, version in session.execute(of_reads.union(of_shadows)):
        yield f"{name}/{version}"


def application_of(ref: str) -> str:
    """The name of a version's application."""
    return MODEL + ref.replace("/", "-")


def ref_of(application: str) -> str:
    """The version that an application of this name is of; versions have no hyphens."""
    return "/".join(application.removeprefix(MODEL).rsplit("-", 1))


def versions_to_start_with(registry: ModelRegistry) -> list[ModelVersionRow]:
    """What an alias points to when the service starts."""
    with registry.store.reading() as session:
        return [*{row.ref: row for row in _pointed_to(session)}.values()]
