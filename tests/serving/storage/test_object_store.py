"""The S3 server of the tests is one: it refuses wrong keys, and listens on loopback alone."""

import psutil
import pytest
from object_store import LOOPBACK, ObjectStore


def test_a_wrong_secret_is_refused(object_store: ObjectStore) -> None:
    import s3fs

    keys = {"key": object_store.key, "secret": f"not {object_store.secret}"}
    stranger = s3fs.S3FileSystem(**keys, endpoint_url=object_store.endpoint, skip_instance_cache=True)
    with pytest.raises(PermissionError):
        stranger.ls("")


def test_what_is_written_comes_back_by_ranges(object_store: ObjectStore) -> None:
    files, place = object_store.files(), f"{object_store.bucket()}/one"
    files.pipe_file(place, b"0123456789")
    assert files.cat_file(place, start=2, end=5) == b"234"


def test_every_port_is_on_loopback(object_store: ObjectStore) -> None:
    port = int(object_store.endpoint.rpartition(":")[2])
    listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    (server,) = {one.pid for one in listening if one.laddr.port == port}
    assert {one.laddr.ip for one in listening if one.pid == server} == {LOOPBACK}
