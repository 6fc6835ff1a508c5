"""The first token, and who is still let in."""

from pathlib import Path

from sqlalchemy import select

from ultraread.serving.access.owner import write_owner_token
from ultraread.serving.access.tokens import tokens
from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.store.access_tables import TokenRow
from ultraread.serving.store.engine import Store, open_store


def _opened(settings: Settings) -> Store:
    prepare_folders(settings)
    return open_store(settings.database_address)


def test_the_owner_s_token_is_written_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    store = _opened(settings)
    write_owner_token(settings, store)
    first = settings.owner_token_file.read_text()
    assert settings.owner_token_file.stat().st_mode & 0o777 == 0o600
    write_owner_token(settings, store)
    assert settings.owner_token_file.read_text() == first
    with store.reading() as session:
        (row,) = tokens(session)
    assert first.strip() not in f"{row.hash} {row.prefix}"
    assert row.hash.startswith("$argon2id$")
    store.close()


def test_a_lost_file_is_written_anew_and_the_former_token_revoked(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    store = _opened(settings)
    write_owner_token(settings, store)
    settings.owner_token_file.unlink()
    write_owner_token(settings, store)
    with store.reading() as session:
        revoked = [row.revoked is not None for row in session.scalars(select(TokenRow).order_by(TokenRow.id))]
    assert revoked == [True, False]
    store.close()


def test_a_cluster_writes_none_unless_that_is_asked_for(tmp_path: Path) -> None:
    cluster = {"profile": "cluster", "owner_token": True}
    local = Settings(data_dir=tmp_path)
    assert local.writes_owner_token
    assert not local.model_copy(update={"profile": "cluster"}).writes_owner_token
    assert Settings.model_construct(_fields_set=set(cluster), **cluster).writes_owner_token
    assert not Settings(data_dir=tmp_path, owner_token=False).writes_owner_token
