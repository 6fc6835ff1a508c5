"""A bucket that falls silent in the middle of a read: it pauses, goes on, and ends with the same findings."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import s3fs
from counting_proxy import PIECE_BYTES, CountingProxy
from filed import end_lease
from object_store import ObjectStore
from simulated import simulated_tissue, write_tiff
from working_house import WorkingHouse, working_house

from ultraread.serving.score_tiles import RangeScores, RangeTask


class Line(CountingProxy):
    """The way to the server, which a test may cut."""

    is_cut = False

    def _serve(self, client: socket.socket) -> None:
        if self.is_cut:
            client.close()
        else:
            super()._serve(client)

    def _pass_on(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with suppress(OSError):  # either side left
            while (piece := source.recv(PIECE_BYTES)) and not self.is_cut:
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """Everything of this test goes to the server this way."""
    line = Line(object_store.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", line.endpoint)
    s3fs.S3FileSystem.clear_instance_cache()
    yield line
    s3fs.S3FileSystem.clear_instance_cache()
    line.close()


def findings(working: WorkingHouse, read_id: str) -> bytes:
    read = working.row(read_id)
    folder = working.house.settings.result_dir(read_id, read.epoch) / read.slide_ids[0]
    return (folder / "findings.json").read_bytes()


@pytest.mark.full
def test_a_read_goes_on_from_its_checkpoints_when_the_bucket_answers_again(
    tmp_path: Path, object_store: ObjectStore, line: Line
) -> None:
    slide = write_tiff(tmp_path / "field.tif", simulated_tissue(256, 192))
    with working_house(tmp_path / "local") as local:
        undisturbed = findings(local, local.read(local.file(slide)))
    with working_house(tmp_path / "remote", slides_url=object_store.bucket()) as remote:
        scored = []

        def score(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
            for task in tasks:
                scores = remote.scorer(task)
                scored.append(task.number)
                yield scores
                line.is_cut = len(scored) == 1

        read_id = remote.request(remote.file(slide))
        remote.run(score)
        assert (remote.row(read_id).state, remote.row(read_id).attempts) == ("running", 0)
        line.is_cut = False
        end_lease(remote.house.store, read_id)
        remote.run(score)
        assert remote.row(read_id).state == "succeeded"
        assert scored == [0, 1, 2], "no range is scored twice"
        assert findings(remote, read_id) == undisturbed
