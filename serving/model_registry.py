"""The registry of models: what is registered, what aliases point to, and every change as an audit event.

The store decides; MLflow is told of it (`model_mirror`), so that no read depends on MLflow.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import (
    IntegrityFailed,
    ModelOutputInvalid,
    ModelRefused,
    ModelUnknown,
    ModelVersionTaken,
    ModelWithdrawn,
    PromotionRefused,
    RequestInvalid,
)
from ultraread.models.evaluation import EVALUATION_FILE, Evaluation, load_evaluation
from ultraread.models.promotion import Alias, Damage, Gate, PromotionPolicy, Proof, failed, gates_of
from ultraread.models.registry import ModelFolder, find_model
from ultraread.serving.model_files import ModelFiles, Prove, prove_here
from ultraread.serving.settings import Settings
from ultraread.serving.store import versions as rows
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import AliasChangeRow, ModelRow, ModelVersionRow, ReadRow

SHIPPED = "named in the setting `models`, and its name had no champion"
SYSTEM = "system"
_REF = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)(?:/(?P<version>\d+\.\d+\.\d+)|@(?P<alias>[a-z]+))?")


@dataclass(frozen=True, slots=True)
class Ref:
    """A parsed reference; with neither version nor alias it names the champion."""

    name: str
    version: str | None = None
    alias: Alias | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A registered version as it stands: its row, its aliases, its files or why they cannot be opened."""

    row: ModelVersionRow
    aliases: tuple[Alias, ...]
    files: ModelFolder | Damage

    @property
    def model(self) -> ModelFolder | None:
        return self.files if isinstance(self.files, ModelFolder) else None

    @property
    def damaged(self) -> str | None:
        """The code of what is wrong with its files."""
        return None if isinstance(self.files, ModelFolder) else self.files.code


@dataclass(frozen=True, slots=True)
class Judged:
    """A version held against the gates of an alias; `change` is the alias change that held then."""

    row: ModelVersionRow
    alias: Alias
    gates: tuple[Gate, ...]
    change: int | None


@dataclass(frozen=True, slots=True)
class ModelRegistry:
    """What people do with models, each as one transaction with its audit event."""

    store: Store
    files: ModelFiles
    policy: PromotionPolicy
    prove: Prove = prove_here

    def register(self, model: ModelFolder, evaluation: Path | None, who: str) -> ModelVersionRow:
        """Copy a model in and give it the alias `candidate`; once done, a repeat changes nothing.

        A repeat with a newer evaluation keeps that one. Raises ModelVersionTaken where other content has this
        name and version, and the ModelRefused that says why it does not load; nothing is registered then.
        """
        beside = model.path / EVALUATION_FILE
        evaluation = evaluation or (beside if beside.is_file() else None)
        with self.files.alone():
            there = self._there(model)
            if there is None or not self.files.holds(model):
                model = self.files.add(model, evaluation, self.prove)
            elif evaluation is not None:
                self.files.replace_evaluation(self.files.open(there), evaluation)
            row = self._enter(model, Alias.CANDIDATE, who, "registered")
            return self._note_evaluation(row, who) if evaluation is not None else row

    def serve(self, model: ModelFolder, prove: Prove) -> ModelVersionRow:
        """Register a model of the settings; where its name has no champion, it becomes it."""
        with self.files.alone():
            there = self._there(model, withdrawn_too=True)
            if there is None or not self.files.holds(model):
                model = self.files.add(model, None, prove)
            return self._enter(model, Alias.CHAMPION, SYSTEM, SHIPPED)

    def judge(self, ref: str, alias: Alias) -> Judged:
        """Hold a version against the gates of an alias. Raises ModelUnknown and ModelWithdrawn."""
        with self.store.reading() as session:
            row = self._usable(session, parse_ref(ref))
            now = rows.change_of(session, row.name, alias)
            champion = self._champion(session, row.name) if alias is Alias.CHAMPION else None
        return Judged(row, alias, self._gates(row, alias, champion), _sequence(now))

    def promote(self, judged: Judged, who: str, reason: str) -> ModelVersionRow:
        """Point the alias to the version that was judged.

        Raises PromotionRefused, naming every gate that did not pass; the alias stays where it was.
        """
        row, alias = judged.row, judged.alias
        if failed(judged.gates):
            self._tell_refusal(judged, who)
            raise PromotionRefused(f"{row.ref} does not become {alias}: {failed(judged.gates)}")
        with self.store.writing() as session:
            now = rows.change_of(session, row.name, alias)
            if _sequence(now) != judged.change:
                raise PromotionRefused(f"{row.name}@{alias} was moved meanwhile", "Look at it and try again.")
            self._usable(session, Ref(row.name, row.version))
            _move(session, row, alias, judged.gates, who, reason)
        return row

    def rollback(self, name: str, alias: Alias, who: str, reason: str) -> ModelVersionRow:
        """Point an alias to the version before, if it loads here. Raises PromotionRefused without one."""
        with self.store.reading() as session:
            row = self._before(session, name, alias)
        self.prove(self.files.open(row))
        with self.store.writing() as session:
            return self._back(session, name, alias, who, reason)

    def give_up(self, row: ModelVersionRow, error: Damage) -> None:
        """A promoted version does not load where it runs: its aliases go back, and the trail says why."""
        with self.store.writing() as session:
            AuditLog(session).append(SYSTEM, "model_take_up_failed", row.ref, {"error": error.problem()})
            for alias in {Alias.SHADOW, Alias.CHAMPION}.intersection(rows.aliases_of(session, row)):
                try:
                    self._back(session, row.name, alias, SYSTEM, f"{row.ref} does not load: {error.code}")
                except PromotionRefused:
                    rows.point(session, row.name, alias, None, None, SYSTEM, error.code)

    def withdraw(self, ref: str, who: str, reason: str) -> tuple[ModelVersionRow, Sequence[ReadRow]]:
        """Let nothing new be read with a version; return the reads that were, whatever became of them.

        It loses its aliases at once. Where it was the champion, reads are refused until another one is.
        """
        with self.store.writing() as session:
            row = self._named(session, parse_ref(ref))
            touched = rows.reads_with(session, row)
            if row.withdrawn is None:
                _withdraw(session, row, who, reason, len(touched))
            return row, touched

    def quarantine(self, ref: str, invalid: ModelOutputInvalid) -> None:
        """Withdraw a version whose answers cannot be: a person may register another one."""
        self.withdraw(ref, SYSTEM, f"{invalid.code}: {invalid.what}")

    def standings(self, name: str | None = None) -> list[Standing]:
        """Every registered version, or those of one model, with its aliases."""
        with self.store.reading() as session:
            found = [(row, tuple(rows.aliases_of(session, row))) for row in rows.versions(session, name)]
        return [Standing(row, aliases, self._files_of(row)) for row, aliases in found]

    def standing(self, name: str, version: str) -> Standing:
        """One registered version; no other one's files are opened. Raises ModelUnknown."""
        with self.store.reading() as session:
            row = rows.find_version(session, name, version)
            aliases = tuple(rows.aliases_of(session, row))
        return Standing(row, aliases, self._files_of(row))

    def only_name_with(self, alias: Alias) -> str:
        """The one model that has, or had, this alias. Raises RequestInvalid where several have."""
        with self.store.reading() as session:
            names = {row.name for row in rows.versions(session)}
            having = [name for name in sorted(names) if rows.change_of(session, name, alias)]
        if len(having) != 1:
            raise RequestInvalid(f"{len(having)} models have the alias {alias}", "Give --name.")
        return having[0]

    def reason_of_withdrawal(self, model: ModelFolder) -> str | None:
        """Why a registered version was withdrawn; None where it was not."""
        with self.store.reading() as session:
            return rows.find_version(session, model.card.name, model.card.version).withdrawn_reason

    def usable(self, name: str, version: str) -> ModelVersionRow:
        """A registered version that was not withdrawn. Raises ModelUnknown and ModelWithdrawn."""
        with self.store.reading() as session:
            return self._usable(session, Ref(name, version))

    def readable(self, ref: str, also: Collection[str] = ()) -> ModelFolder:
        """The version that a new read of `ref` takes: one that is champion, or was, or is one of `also`.

        Raises ModelUnknown, ModelWithdrawn, and PromotionRefused for one that never passed the gates.
        """
        with self.store.reading() as session:
            row = self._usable(session, parse_ref(ref))
            if row.ref not in also and not rows.was_champion(session, row):
                raise PromotionRefused(f"{row.ref} was never champion here", "Promote it or ask for another.")
        return self.files.open(row)

    def find(self, ref: str) -> ModelFolder:
        """The registered version that `ref` names, withdrawn or not. Raises ModelUnknown."""
        with self.store.reading() as session:
            return self.files.open(self._named(session, parse_ref(ref)))

    def _there(self, model: ModelFolder, withdrawn_too: bool = False) -> ModelVersionRow | None:
        card = model.card
        with self.store.reading() as session:
            row = session.get(ModelVersionRow, (card.name, card.version))
        if row is None:
            return None
        if (row.onnx_sha256, row.card_sha256) != (card.sha256, model.card_sha256):
            raise ModelVersionTaken(f"{row.ref} is registered with another card or other weights")
        if row.withdrawn is not None and not withdrawn_too:
            raise ModelWithdrawn(f"{row.ref} was withdrawn: {row.withdrawn_reason}")
        return row

    def _enter(self, model: ModelFolder, alias: Alias, who: str, reason: str) -> ModelVersionRow:
        """The row, its first alias and its events: together or not at all.

        A candidate is whatever was registered last; a champion is given only where there never was one.
        """
        with self.store.writing() as session:
            row = session.get(ModelVersionRow, (model.card.name, model.card.version))
            is_new = row is None
            if row is None:
                row = _added(session, model)
                AuditLog(session).append(who, "model_registered", row.ref, _digests(row))
            is_free = rows.change_of(session, row.name, alias) is None
            if (is_new if alias is Alias.CANDIDATE else is_free) and row.withdrawn is None:
                _move(session, row, alias, (), who, reason)
            session.flush()
            session.refresh(row)
            return row

    def _note_evaluation(self, row: ModelVersionRow, who: str) -> ModelVersionRow:
        digest = sha256_of_file(self.files.open(row).path / EVALUATION_FILE)
        with self.store.writing() as session:
            row = rows.find_version(session, row.name, row.version)
            if digest != row.evaluation_sha256:
                row.evaluation_sha256 = digest
                rows.note_change(session, row.name)
                AuditLog(session).append(who, "model_evaluated", row.ref, {"evaluation_sha256": digest})
            return row

    def _gates(
        self, row: ModelVersionRow, alias: Alias, champion: ModelFolder | Damage | None
    ) -> tuple[Gate, ...]:
        candidate = self.files.open(row)
        evaluation = _evaluation(candidate, row)
        return gates_of(alias, candidate, self._proof(candidate), evaluation, champion, self.policy)

    def _proof(self, model: ModelFolder) -> Proof:
        try:
            return self.prove(model)
        except ModelRefused as refused:
            return refused

    def _files_of(self, row: ModelVersionRow) -> ModelFolder | Damage:
        try:
            return self.files.open(row)
        except (ModelRefused, IntegrityFailed) as damage:
            return damage

    def _champion(self, session: Session, name: str) -> ModelFolder | Damage | None:
        """The one to be compared with: after a withdrawal, the one before it.

        A version that is damaged and withdrawn is passed over: nobody could bring it back.
        """
        change = rows.change_of(session, name, Alias.CHAMPION)
        while change is not None:
            row = rows.find_version(session, name, change.version) if change.version else None
            found = self._files_of(row) if row else None
            if row and (isinstance(found, ModelFolder) or row.withdrawn is None):
                return found
            change = session.get_one(AliasChangeRow, change.before) if change.before else None
        return None

    def _tell_refusal(self, judged: Judged, who: str) -> None:
        detail = {"alias": judged.alias, "gates": _told(judged.gates)}
        with self.store.writing() as session:
            AuditLog(session).append(who, "promotion_refused", judged.row.ref, detail)

    def _before(self, session: Session, name: str, alias: Alias) -> ModelVersionRow:
        before = _change_before(session, name, alias)
        row = rows.find_version(session, name, before.version or "")
        if row.withdrawn is not None:
            told = f"{row.ref}, the version before, was withdrawn: {row.withdrawn_reason}"
            raise PromotionRefused(told, "Promote another version.")
        return row

    def _back(self, session: Session, name: str, alias: Alias, who: str, reason: str) -> ModelVersionRow:
        row, left = self._before(session, name, alias), rows.version_at(session, name, alias)
        before = _change_before(session, name, alias)
        rows.point(session, name, alias, before.version, before.before, who, reason)
        detail = {"alias": alias, "before": left, "reason": reason}
        AuditLog(session).append(who, "model_rolled_back", row.ref, detail)
        return row

    def _named(self, session: Session, ref: Ref) -> ModelVersionRow:
        if ref.version is not None:
            return rows.find_version(session, ref.name, ref.version)
        alias = ref.alias or Alias.CHAMPION
        change = rows.change_of(session, ref.name, alias)
        if change is None:
            raise ModelUnknown(f"{ref.name}@{alias} points to no version")
        if change.version is None:
            told = f"{ref.name}@{alias} points to no version any more: {change.reason}"
            raise ModelWithdrawn(told, "Roll back, or promote another version.")
        return rows.find_version(session, ref.name, change.version)

    def _usable(self, session: Session, ref: Ref) -> ModelVersionRow:
        row = self._named(session, ref)
        if row.withdrawn is not None:
            raise ModelWithdrawn(f"{row.ref} was withdrawn: {row.withdrawn_reason}")
        return row


def open_registry(settings: Settings, store: Store, prove: Prove = prove_here) -> ModelRegistry:
    """The registry of a data folder."""
    return ModelRegistry(store, ModelFiles(settings.models_dir), settings.promotion_policy, prove)


def serve_models(settings: Settings, registry: ModelRegistry, prove: Prove) -> list[ModelFolder]:
    """Register the models of the settings; return them, the default first."""
    models = [find_model(ref) for ref in settings.models]
    for model in models:
        registry.serve(model, prove)
    return models


def parse_ref(ref: str) -> Ref:
    """name, name/version or name@alias. Raises ModelUnknown for anything else: paths are no references."""
    found = _REF.fullmatch(ref)
    if found is None or found["alias"] not in {None, *Alias}:
        raise ModelUnknown(f"{ref} is not name, name/version or name@alias of a registered model")
    return Ref(found["name"], found["version"], Alias(found["alias"]) if found["alias"] else None)


def _withdraw(session: Session, row: ModelVersionRow, who: str, reason: str, touched: int) -> None:
    lost = rows.aliases_of(session, row)
    for alias in lost:
        now = rows.change_of(session, row.name, alias)
        rows.point(session, row.name, alias, None, now.before if now else None, who, f"withdrawn: {reason}")
    row.withdrawn, row.withdrawn_reason = utc_now(), reason
    rows.note_change(session, row.name)
    detail = {"reason": reason, "aliases": lost, "reads": touched, **_digests(row)}
    AuditLog(session).append(who, "model_withdrawn", row.ref, detail)
    session.flush()
    session.refresh(row)


def _change_before(session: Session, name: str, alias: Alias) -> AliasChangeRow:
    now = rows.change_of(session, name, alias)
    if now is None or now.before is None:
        raise PromotionRefused(f"{name}@{alias} has no version before", "Promote one.")
    return session.get_one(AliasChangeRow, now.before)


def _sequence(change: AliasChangeRow | None) -> int | None:
    return change.sequence if change else None


def _move(
    session: Session, row: ModelVersionRow, alias: Alias, found: tuple[Gate, ...], who: str, reason: str
) -> None:
    """Let the alias point to the version; nothing happens where it does already."""
    now = rows.change_of(session, row.name, alias)
    if now is not None and now.version == row.version:
        return
    before = now.sequence if now and now.version else now.before if now else None
    rows.point(session, row.name, alias, row.version, before, who, reason)
    detail = {"alias": alias, "before": now and now.version, "reason": reason, "gates": _told(found)}
    AuditLog(session).append(who, "model_promoted", row.ref, detail)


def _added(session: Session, model: ModelFolder) -> ModelVersionRow:
    card = model.card
    if session.get(ModelRow, card.name) is None:
        session.add(ModelRow(name=card.name))
        session.flush()
    row = ModelVersionRow(
        name=card.name, version=card.version, onnx_sha256=card.sha256, card_sha256=model.card_sha256
    )
    session.add(row)
    session.flush()
    rows.note_change(session, card.name)
    return row


def _digests(row: ModelVersionRow) -> dict[str, str]:
    return {"onnx_sha256": row.onnx_sha256, "card_sha256": row.card_sha256}


def _evaluation(model: ModelFolder, row: ModelVersionRow) -> Evaluation | None:
    """The registered evaluation; None where there is none. What was changed since is not believed."""
    file = model.path / EVALUATION_FILE
    if row.evaluation_sha256 is None or not file.is_file() or sha256_of_file(file) != row.evaluation_sha256:
        return None
    return load_evaluation(file)


def _told(found: Sequence[Gate]) -> list[dict[str, object]]:
    return [asdict(gate) for gate in found]
