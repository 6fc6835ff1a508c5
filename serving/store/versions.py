"""Model versions and aliases as rows: what is registered, what an alias points to and pointed to before."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ultraread.errors import ModelUnknown
from ultraread.models.promotion import Alias
from ultraread.serving.store.tables import AliasChangeRow, ModelRow, ModelVersionRow, ReadRow


def find_version(session: Session, name: str, version: str) -> ModelVersionRow:
    """Return the registered version. Raises ModelUnknown."""
    row = session.get(ModelVersionRow, (name, version))
    if row is None:
        raise ModelUnknown(f"{name}/{version} is not registered")
    return row


def versions(session: Session, name: str | None = None) -> list[ModelVersionRow]:
    """Registered versions by name, oldest version first."""
    query = select(ModelVersionRow)
    rows = session.scalars(query if name is None else query.where(ModelVersionRow.name == name))
    return sorted(rows, key=lambda row: (row.name, *map(int, row.version.split("."))))


def change_of(session: Session, name: str, alias: Alias) -> AliasChangeRow | None:
    """The change that holds now; None where the alias never pointed anywhere."""
    query = select(AliasChangeRow).where(AliasChangeRow.name == name, AliasChangeRow.alias == alias.value)
    return session.scalars(query.order_by(AliasChangeRow.sequence.desc()).limit(1)).first()


def version_at(session: Session, name: str, alias: Alias) -> str | None:
    """The version that an alias points to."""
    change = change_of(session, name, alias)
    return change.version if change else None


def aliases(session: Session, name: str) -> dict[Alias, str]:
    """Every alias of a model that points to a version."""
    found = {alias: version_at(session, name, alias) for alias in Alias}
    return {alias: version for alias, version in found.items() if version is not None}


def aliases_of(session: Session, row: ModelVersionRow) -> list[Alias]:
    """The aliases that point to this version."""
    return [alias for alias, version in aliases(session, row.name).items() if version == row.version]


def was_champion(session: Session, row: ModelVersionRow) -> bool:
    """Is it the champion, or was it once?"""
    query = select(AliasChangeRow.sequence).where(
        AliasChangeRow.name == row.name,
        AliasChangeRow.version == row.version,
        AliasChangeRow.alias == Alias.CHAMPION.value,
    )
    return session.scalars(query.limit(1)).first() is not None


def point(
    session: Session, name: str, alias: Alias, version: str | None, before: int | None, who: str, reason: str
) -> AliasChangeRow:
    """Let an alias point to a version, or to none; `before` is what a rollback would go back to."""
    row = AliasChangeRow(name=name, alias=alias.value, version=version, before=before, who=who, reason=reason)
    session.add(row)
    note_change(session, name)
    session.flush()
    return row


def note_change(session: Session, name: str) -> None:
    """MLflow has to be told of this model."""
    session.execute(update(ModelRow).where(ModelRow.name == name).values(revision=ModelRow.revision + 1))


def untold(session: Session) -> Sequence[ModelRow]:
    """Models with changes that MLflow has not heard of."""
    return session.scalars(select(ModelRow).where(ModelRow.told < ModelRow.revision)).all()


def reads_with(session: Session, row: ModelVersionRow) -> Sequence[ReadRow]:
    """Every read that was asked of exactly this card, with its weights or with their twin, oldest first."""
    query = select(ReadRow).where(
        ReadRow.model_name == row.name,
        ReadRow.model_version == row.version,
        ReadRow.model_card_sha256 == row.card_sha256,
    )
    return session.scalars(query.order_by(ReadRow.id)).all()
