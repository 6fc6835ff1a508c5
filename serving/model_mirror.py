"""MLflow's registry as a mirror of ours: after an outage it is made equal again, however much it missed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import update

from ultraread.errors import UltraReadError
from ultraread.models.promotion import Alias
from ultraread.serving.mlflow_log import mlflow_client, register_model
from ultraread.serving.model_files import ModelFiles
from ultraread.serving.store import versions as rows
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import ModelRow, ModelVersionRow

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelMirror:
    """Blocks while it talks to MLflow, so give it a thread of its own."""

    store: Store
    files: ModelFiles
    tracking_uri: str

    def tell(self) -> int:
        """Tell MLflow of every model that changed since; return how many. Raises what MLflow raises."""
        with self.store.reading() as session:
            names = [model.name for model in rows.untold(session)]
        for name in names:
            with self.files.alone():
                self._tell(name)
        return len(names)

    def try_to_tell(self) -> bool:
        """False where MLflow does not answer: it is told later, by the service or the next command."""
        try:
            self.tell()
        except Exception as failure:  # of MLflow, its database or the network
            log.warning("MLflow was not told: %s", type(failure).__name__)
            return False
        return True

    def _tell(self, name: str) -> None:
        with self.store.reading() as session:
            revision = session.get_one(ModelRow, name).revision
            versions, aliases = rows.versions(session, name), rows.aliases(session, name)
        client = mlflow_client(self.tracking_uri)
        numbers = {row.version: number for row in versions if (number := self._number(client, row))}
        if numbers:
            _point(client, name, {alias: numbers[v] for alias, v in aliases.items() if v in numbers})
        with self.store.writing() as session:
            session.execute(update(ModelRow).where(ModelRow.name == name).values(told=revision))

    def _number(self, client: "MlflowClient", row: ModelVersionRow) -> str | None:
        """MLflow's number of the version, with its tags; None where its files are gone."""
        try:
            model = self.files.open(row)
        except UltraReadError as damaged:
            log.warning("MLflow is not told of %s: %s", row.ref, damaged.code)
            return None
        number = register_model(model.card, model.path, self.tracking_uri)
        for tag, value in _tags(row).items():
            client.set_model_version_tag(row.name, number, tag, value)
        return number


def _tags(row: ModelVersionRow) -> dict[str, str]:
    stated = {
        "evaluation_sha256": row.evaluation_sha256,
        "withdrawn": row.withdrawn,
        "withdrawn_reason": row.withdrawn_reason,
    }
    return {tag: value for tag, value in stated.items() if value is not None}


def _point(client: "MlflowClient", name: str, wanted: Mapping[Alias, str]) -> None:
    """Set and remove aliases until they are those wanted; those that people made beside ours stay."""
    there = {alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()}
    for alias in Alias:
        if alias in wanted and there.get(alias) != wanted[alias]:
            client.set_registered_model_alias(name, alias.value, wanted[alias])
        if alias not in wanted and alias in there:
            client.delete_registered_model_alias(name, alias.value)
