"""What the service does by itself when reads have ended."""

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import update

from ultraread.errors import UrlNotAllowed
from ultraread.serving.outgoing import outgoing
from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.store.clock import utc_in
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.tables import UploadRow
from ultraread.serving.store.uploads import open_uploads


def test_nothing_to_do_is_said_and_expired_uploads_go(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", deliver_url=str(tmp_path / "out"))
    prepare_folders(settings)
    with closing(open_store(f"sqlite:///{tmp_path}/ultraread.db")) as store:
        open_uploads(settings, store).open("u-1", "a.tif", 10)
        with store.writing() as session:
            session.execute(update(UploadRow).values(created=utc_in(-49 * 3600)))
        assert [step() for step in outgoing(settings, store)] == [False] * 6
        assert list(settings.uploads_dir.iterdir()) == []
        with pytest.raises(UrlNotAllowed):
            outgoing(settings.model_copy(update={"deliver_url": "gs://bucket"}), store)
