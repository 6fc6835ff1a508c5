"""A place of each kind."""

from pathlib import Path

import pytest
from object_store import ObjectStore

from ultraread.serving.storage.places import target_at
from ultraread.serving.storage.target import Target


@pytest.fixture(params=["folder", "bucket"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """A folder, and a prefix of a bucket on a real server."""
    if request.param == "folder":
        return target_at(str(tmp_path / "kept"))
    store: ObjectStore = request.getfixturevalue("object_store")
    return target_at(f"{store.bucket()}/kept")
