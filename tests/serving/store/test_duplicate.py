"""A copy holds every row, of whichever kind of database."""

from pathlib import Path

from filed import file_a_slide, new_read, rows_of

from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.duplicate import copy_to_file
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.jobs import Jobs, Progress, ReadResult
from ultraread.serving.store.tables import ReadState


def test_a_copy_in_a_file_holds_every_row(jobs: Jobs, tmp_path: Path) -> None:
    slide = file_a_slide(jobs.store)
    for _ in range(2):
        jobs.enqueue(new_read(slide), "a test")
    first, second = (jobs.claim("a runner") for _ in range(2))
    assert first is not None
    assert second is not None
    jobs.checkpointed(first, slide, 0, 0, "a" * 64, 4, Progress(8, 4, 1))
    jobs.finish(second, ReadState.SUCCEEDED, ReadResult({"plan": "128"}, {"fraction": 0.1}))
    copy_to_file(jobs.store, tmp_path / "copy.db")
    copy = open_store(f"sqlite:///{tmp_path}/copy.db")
    assert rows_of(copy) == rows_of(jobs.store)
    assert len(rows_of(copy)["read_ranges"]) == 1
    copy.close()


def test_what_was_copied_goes_on(jobs: Jobs, tmp_path: Path) -> None:
    jobs.enqueue(new_read(file_a_slide(jobs.store)), "a test")
    copy_to_file(jobs.store, tmp_path / "copy.db")
    copy = open_store(f"sqlite:///{tmp_path}/copy.db")
    taken = Jobs(copy, 60, 3).claim("another")
    assert taken is not None
    with copy.writing() as session:
        AuditLog(session).append("a test", "read_requested", taken.read.id)
    copy.close()
