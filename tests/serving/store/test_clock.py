"""The clock of leases is nobody's wall clock."""

import datetime as dt
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filed import file_a_slide, new_read, read_of
from real_parts import need, program
from sqlalchemy import select, text, update

from ultraread.serving.store import outbox
from ultraread.serving.store.clock import doubled_s, steady_in, steady_now, utc_in, utc_now
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.job_tables import BootRow
from ultraread.serving.store.jobs import Jobs, ReadResult
from ultraread.serving.store.tables import OutboxRow, ReadState

HOUR, DAY = 3600, 86400
PROBE = """
import sys
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.jobs import Jobs
claim = Jobs(open_store(sys.argv[1]), 60, 3).claim("another process")
print(claim.read.id if claim else "none")
"""


def test_both_clocks_tell_iso_text_of_one_width_that_sorts_by_time(store: Store) -> None:
    with store.reading() as session:
        told = session.execute(
            select(utc_in(-1.5), utc_now(), utc_in(0.25), steady_now(), steady_in(5))
        ).one()
    assert {len(moment) for moment in told} == {len("2026-01-01T00:00:00.000Z")}
    assert told[0] < told[1] < told[2]
    assert told[3] < told[4]
    wall = dt.datetime.fromisoformat(told[1])
    assert abs((dt.datetime.now(dt.UTC) - wall).total_seconds()) < 10


@pytest.fixture
def faketime() -> Path:
    found = program("faketime")
    need("faketime", found is not None)
    assert found is not None
    return found


@pytest.mark.parametrize("step", [HOUR, -HOUR, -DAY], ids=["an hour on", "an hour back", "a day back"])
def test_no_step_of_a_wall_clock_steals_a_lease(tmp_path: Path, faketime: Path, step: int) -> None:
    url = f"sqlite:///{tmp_path}/ultraread.db"
    store = open_store(url)
    jobs = Jobs(store, 60, 3)
    jobs.enqueue(new_read(file_a_slide(store)), "a test")
    assert jobs.claim("the owner")
    assert _claimed_elsewhere(url, faketime, step) == "none"
    store.close()


@pytest.mark.parametrize("step", [-DAY], ids=["a day back"])
def test_no_step_of_a_wall_clock_prolongs_a_lease(tmp_path: Path, faketime: Path, step: int) -> None:
    url = f"sqlite:///{tmp_path}/ultraread.db"
    store = open_store(url)
    jobs = Jobs(store, 0.01, 3)
    read_id = jobs.enqueue(new_read(file_a_slide(store)), "a test").id
    assert jobs.claim("the owner")
    time.sleep(0.02)
    assert _claimed_elsewhere(url, faketime, step) == read_id
    store.close()


def test_with_a_new_boot_every_lease_and_every_wait_is_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ultraread.db"
    store = open_store(url)
    jobs, slide = Jobs(store, DAY, 3), file_a_slide(store)
    first, second = (jobs.enqueue(new_read(slide), "a test").id for _ in range(2))
    claim = jobs.claim("an owner of before")
    assert claim is not None
    jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())
    assert jobs.claim("an owner of before")
    with store.writing() as session:
        session.execute(update(OutboxRow).values(due=steady_in(DAY)))
        session.execute(update(BootRow).values(boot_id="of before"))
    store.close()
    again = open_store(url)
    assert outbox.take_due(again) is not None
    resumed = Jobs(again, DAY, 3).claim("an owner of now")
    assert resumed is not None
    assert (claim.read.id, resumed.read.id) == (first, second)
    again.close()


def test_a_database_of_an_older_version_keeps_its_leases(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ultraread.db"
    store = open_store(url)
    jobs = Jobs(store, DAY, 3)
    read_id = jobs.enqueue(new_read(file_a_slide(store)), "a test").id
    assert jobs.claim("a replica of the older version")
    with store.writing() as session:
        session.execute(text("DELETE FROM boots"))
    store.close()
    newer = open_store(url)
    assert Jobs(newer, DAY, 3).claim("a replica of this version") is None
    assert read_of(newer, read_id).owner == "a replica of the older version"
    newer.close()


def _claimed_elsewhere(url: str, faketime: Path, step: int) -> str:
    """Ask another process, whose wall clock is `step` seconds off, to claim; the id that it got, or none."""
    environment = os.environ | {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    command = [str(faketime), "-f", f"{step:+d}s", sys.executable, "-c", PROBE, url]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def test_waits_double_up_to_the_longest_however_often_it_was_tried() -> None:
    assert [doubled_s(attempt, 5, 60) for attempt in (1, 2, 4, 5, 100_000)] == [5, 10, 40, 60, 60]
