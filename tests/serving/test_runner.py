"""The runner with a real store and a real model, its scorer in this process."""

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from filed import end_lease
from postgres import Postgres
from reading_house import CASE, SCALE, House, Score, counting
from simulated import cut_off, flip_bit, simulated_tissue, write_tiff

from ultraread.errors import ReadCancelled, Unavailable
from ultraread.serving.conclusion import ReadToConclude, conclude_read
from ultraread.serving.score_tiles import RangeScores, RangeTask
from ultraread.serving.store import outbox
from ultraread.serving.store.clock import LONG_AGO
from ultraread.serving.store.jobs import EndState, ReadResult
from ultraread.serving.store.stored_name import stored_name
from ultraread.serving.store.tables import ReadRow


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.scorer.close()
    house.store.close()


def test_a_read_ends_with_results_a_finished_row_and_no_work_left(house: House, tmp_path: Path) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 192)))
    read_id = house.request(slide)
    assert house.runner().run_next()
    read = house.read(read_id)
    assert (read.state, read.tiles_done, read.tiles_total, read.ranges_done) == ("succeeded", 12, 12, 3)
    assert (house.settings.result_dir(read_id, epoch=1) / slide / "findings.json").is_file()
    assert [path.name for path in (house.settings.reads_dir / read_id).iterdir()] == ["result-1"]
    assert not house.runner().run_next(), "nothing is left to do"


def test_a_slide_that_turns_out_unreadable_makes_its_case_partial_and_is_named(
    house: House, tmp_path: Path
) -> None:
    good = house.file(write_tiff(tmp_path / "good.tif", simulated_tissue(256, 256)))
    bad = house.file(_damaged(tmp_path / "bad.tif"))
    read_id = house.request(good, bad, case_id=CASE)
    house.runner().run_next()
    assert house.read(read_id).state == "partial"
    case = (house.settings.result_dir(read_id, epoch=1) / "case.json").read_text()
    assert "read_too_many_failed_tiles" in case
    assert (house.settings.result_dir(read_id, epoch=1) / good).is_dir()
    assert not (house.settings.result_dir(read_id, epoch=1) / bad).exists()


def test_a_read_of_one_damaged_slide_fails_with_its_code(house: House, tmp_path: Path) -> None:
    slide = house.file(_damaged(tmp_path / "cut.tif"))
    read_id = house.request(slide)
    house.runner().run_next()
    read = house.read(read_id)
    assert (read.state, read.error_code) == ("failed", "read_too_many_failed_tiles")
    assert not house.settings.result_dir(read_id, epoch=1).exists()


def test_a_slide_that_changed_after_filing_gives_no_result(house: House, tmp_path: Path) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    (kept,) = (house.settings.slides_dir / slide).iterdir()
    flip_bit(kept, kept.stat().st_size - 100)
    read_id = house.request(slide)
    house.runner().run_next()
    read = house.read(read_id)
    assert (read.state, read.error_code) == ("failed", "read_input_changed")


def test_a_damaged_slide_that_was_put_back_is_opened_anew(house: House, tmp_path: Path) -> None:
    """A scorer keeps the slide of its last range open: here the damaged file, which has no name any more."""
    path = write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256))
    slide, other = house.file(path), house.file(path)
    (kept,) = (house.settings.slides_dir / slide).iterdir()
    whole = path.read_bytes()
    kept.write_bytes(whole[:20_000] + bytes(4_000) + whole[24_000:])
    damaged = house.request(slide)
    house.runner().run_next()
    path.replace(kept)
    reads = {slide: house.request(slide), other: house.request(other)}
    for _ in reads:
        house.runner().run_next()
    assert house.read(damaged).error_code == "read_input_changed"
    folders = [house.settings.result_dir(read_id, epoch=1) / name for name, read_id in reads.items()]
    first, second = ((folder / "tiles.csv").read_text() for folder in folders)
    assert first == second


def test_a_slide_of_several_files_is_read_and_watched_over_all_of_them(house: House, tmp_path: Path) -> None:
    beside = write_tiff(tmp_path / "beside.tif", simulated_tissue(256, 256, seed=1))
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)), beside)
    first, second = house.request(slide), house.request(slide)
    house.runner().run_next()
    assert house.read(first).state == "succeeded"
    flip_bit(house.settings.slides_dir / slide / stored_name(1, beside.name), -100)
    house.runner().run_next()
    assert house.read(second).error_code == "read_input_changed"


def test_a_slide_that_is_gone_makes_its_case_partial(house: House, tmp_path: Path) -> None:
    good = house.file(write_tiff(tmp_path / "good.tif", simulated_tissue(256, 256)))
    gone = house.file(write_tiff(tmp_path / "gone.tif", simulated_tissue(256, 256, seed=1)))
    (kept,) = (house.settings.slides_dir / gone).iterdir()
    kept.unlink()
    read_id = house.request(good, gone, case_id=CASE)
    house.runner().run_next()
    case = json.loads((house.settings.result_dir(read_id, epoch=1) / "case.json").read_text())
    assert house.read(read_id).state == case["state"] == "partial"
    assert [field["error_code"] for field in case["fields"]].count("slide_not_found") == 1


def test_tiles_of_a_field_without_result_count_as_not_looked_at(house: House, tmp_path: Path) -> None:
    good = house.file(write_tiff(tmp_path / "good.tif", simulated_tissue(256, 256)))
    bad = house.file(_damaged(tmp_path / "bad.tif"))
    read_id = house.request(good, bad, case_id=CASE)
    house.runner().run_next()
    case = json.loads((house.settings.result_dir(read_id, epoch=1) / "case.json").read_text())
    assert (case["coverage"]["tiles_planned"], case["coverage"]["tiles_failed"]) == (16 + 256, 256)
    assert {finding["assertion"] for finding in case["findings"]} == {"not_assessed"}


def test_an_aggregator_that_dies_pauses_the_read_and_the_next_attempt_ends_it(
    house: House, tmp_path: Path
) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    read_id = house.request(slide)

    def dies(read: ReadToConclude) -> NoReturn:
        (read.folder.with_name(f".{read.folder.name}")).mkdir(parents=True)
        raise Unavailable("the aggregator died while it wrote a result")

    replace(house.runner(), conclude=dies).run_next()
    assert house.read(read_id).state == "running"
    end_lease(house.store, read_id)
    house.runner().run_next()
    assert house.read(read_id).state == "succeeded"
    assert [path.name for path in (house.settings.reads_dir / read_id).iterdir()] == ["result-2"]


def test_mlflow_is_told_figures_over_all_slides_and_no_free_text(house: House, tmp_path: Path) -> None:
    slides = [
        house.file(write_tiff(tmp_path / f"{n}.tif", simulated_tissue(256, 256, seed=n))) for n in (1, 2)
    ]
    house.request(*slides)
    house.runner().run_next()
    taken = outbox.take_due(house.store)
    assert taken is not None
    assert taken.body["metrics"]["tiles_planned"] == 32
    assert str(SCALE["reason"]) not in json.dumps(taken.body)
    assert ".tif" not in json.dumps(taken.body)


def test_a_cancelled_read_stops_at_its_next_range(house: House, tmp_path: Path) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    read_id = house.request(slide)

    def cancel_after_one(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for task in tasks:
            yield house.scorer(task)
            house.jobs.request_cancel(read_id, "a test")

    house.runner(cancel_after_one).run_next()
    read = house.read(read_id)
    assert (read.state, read.error_code) == ("cancelled", ReadCancelled.code)
    assert read.tiles_done < read.tiles_total


def test_a_second_runner_goes_on_from_the_checkpoints_of_one_that_died(house: House, tmp_path: Path) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    read_id = house.request(slide)
    scored: list[int] = []

    def die_after_two(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for task in tasks:
            if len(scored) == 2:
                raise KeyboardInterrupt
            scored.append(task.number)
            yield house.scorer(task)

    def count(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for task in tasks:
            scored.append(task.number)
            yield house.scorer(task)

    with pytest.raises(KeyboardInterrupt):
        house.runner(die_after_two).run_next()
    assert house.read(read_id).state == "running"
    end_lease(house.store, read_id)
    assert house.runner(count).run_next()
    assert house.read(read_id).state == "succeeded"
    assert sorted(scored) == [0, 1, 2, 3], "no range was scored twice"


def test_a_runner_that_lost_its_lease_writes_nothing(house: House, tmp_path: Path) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    read_id = house.request(slide)

    def overtaken(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for task in tasks:
            while house.read(read_id).owner != "another runner":  # its heartbeat may be the faster one
                end_lease(house.store, read_id)
                house.jobs.claim("another runner")
            yield house.scorer(task)

    house.runner(overtaken).run_next()
    read = house.read(read_id)
    assert (read.state, read.owner, read.ranges_done) == ("running", "another runner", 0)
    assert not house.settings.result_dir(read_id, epoch=1).exists()


def test_a_checkpoint_that_rotted_is_named_and_its_range_is_scored_again(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    read_id = house.request(slide)
    runner = house.runner(_stopping_after(house, 2))
    assert runner.run_next()
    rotten = house.settings.reads_dir / read_id / "work" / slide / "00000-0000001.npz"
    flip_bit(rotten, rotten.stat().st_size // 2)
    scored: list[int] = []
    assert house.runner(counting(house, scored)).run_next()
    read = house.read(read_id)
    assert (read.state, sorted(scored), read.ranges_scored) == ("succeeded", [1, 2, 3], 5)
    assert "00000-0000001.npz is not as it was written" in caplog.text


def test_a_range_that_rots_before_it_is_counted_gives_no_result_but_a_second_try(
    house: House, tmp_path: Path
) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    read_id = house.request(slide)

    def rots(read: ReadToConclude) -> tuple[EndState, ReadResult]:
        file = read.slides[0].ranges / "00000-0000002.npz"
        flip_bit(file, file.stat().st_size // 2)
        return conclude_read(read)

    replace(house.runner(), conclude=rots).run_next()
    assert house.read(read_id).state == "running"
    end_lease(house.store, read_id)
    scored: list[int] = []
    house.runner(counting(house, scored)).run_next()
    assert (house.read(read_id).state, scored) == ("succeeded", [2])


def test_a_runner_that_is_asked_to_stop_gives_its_read_back_after_the_range(
    house: House, tmp_path: Path
) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    read_id = house.request(slide)
    runner = house.runner(_stopping_after(house, 1))
    assert runner.run_next()
    assert not runner.run_next(), "it claims nothing any more"
    assert (house.read(read_id).attempts, house.read(read_id).ranges_done) == (0, 1)
    scored: list[int] = []
    assert house.runner(counting(house, scored)).run_next(), "another one need not wait for the lease"
    assert sorted(scored) == [1, 2, 3]


def test_a_read_whose_deadline_passes_while_it_runs_fails_and_leaves_nothing(
    house: House, tmp_path: Path
) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    read_id = house.request(slide)

    def too_slow(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for task in tasks:
            with house.store.writing() as session:
                session.get_one(ReadRow, read_id).finish_by = LONG_AGO
            yield house.scorer(task)

    house.runner(too_slow).run_next()
    read = house.read(read_id)
    assert (read.state, read.error_code) == ("failed", "read_deadline_passed")
    assert not (house.settings.reads_dir / read_id).exists()


def test_what_the_owner_of_a_hopeless_read_left_is_removed(house: House, tmp_path: Path) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    read_id = house.request(slide)
    house.runner(_stopping_after(house, 2)).run_next()
    house.jobs.request_cancel(read_id, "a test")
    assert (house.settings.reads_dir / read_id / "work").is_dir()
    assert not house.runner().run_next()
    assert house.read(read_id).state == "cancelled"
    assert not (house.settings.reads_dir / read_id).exists()


@pytest.mark.parametrize("at", ["a range", "the end"])
def test_a_database_that_goes_away_delays_the_read_and_nothing_else(
    postgres: Postgres, postgres_url: str, tmp_path: Path, at: str
) -> None:
    house = House(tmp_path, database_url=postgres_url)
    read_id = house.request(house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256))))
    back = threading.Timer(1.5, postgres.start)

    def goes_away() -> None:
        postgres.kill()
        back.start()

    def score(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for task in tasks:
            scores = house.scorer(task)
            if at == "a range" and task.number == 1:
                goes_away()
            yield scores

    def conclude(read: ReadToConclude) -> tuple[EndState, ReadResult]:
        concluded = conclude_read(read)
        if at == "the end":
            goes_away()
        return concluded

    assert replace(house.runner(score), conclude=conclude).run_next()
    back.join()
    read = house.read(read_id)
    assert (read.state, read.epoch, read.ranges_scored) == ("succeeded", 1, 4)
    assert len(outbox.pending(house.store)) == 1
    house.scorer.close()
    house.store.close()


def _stopping_after(house: House, ranges: int) -> Score:
    """A scorer whose process is asked to stop after so many ranges."""

    def score(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for count, task in enumerate(tasks, 1):
            if count == ranges:
                house.stop.set()
            yield house.scorer(task)

    return score


def _damaged(path: Path) -> Path:
    """A slide of which half the stored tiles are cut off."""
    return cut_off(write_tiff(path, simulated_tissue(1024, 1024)), keep=0.5)
