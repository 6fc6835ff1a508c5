"""The page of figures is what its data say."""

import json

from chaos import report
from chaos.figures import Figures, bound, line
from chaos.room import ROWS


def test_the_page_is_made_from_the_figures() -> None:
    assert report.PAGE.read_text() == report.page(json.loads(report.JSON.read_text()))


def test_figures_of_rows_that_are_no_more_are_not_shown() -> None:
    assert {told["row"] for told in json.loads(report.JSON.read_text())} <= set(ROWS)


def test_what_did_not_hold_is_told_for_good_and_beside_it_where_it_did() -> None:
    kept = json.loads(report.JSON.read_text())[:1]
    before, after = (
        {**kept[0], "commit": commit, "broken": told} for commit, told in (("a", ["x"]), ("b", []))
    )
    assert f"{kept[0]['row']}, seed {kept[0]['seed']}, commit a: x\n" in report.page([before])
    assert "commit a: x (held at b)\n" in report.page([before, after])
    assert "held at" not in report.page([after, before])


def test_what_a_zero_says() -> None:
    assert [bound(count) for count in (1, 20, 1000, 10_000)] == ["100 %", "15 %", "0.3 %", "0.03 %"]


def test_a_take_over_that_is_too_late_is_told() -> None:
    figures = Figures("kill-random", "", 20, 7, 1.0, judges_ranges=True, faults=20, ranges_again=3)
    assert figures.broken() == []
    figures.take_over_s, figures.judged_s, figures.ranges_again = [1.0, 3.2], [1.0, 3.2], 21
    assert len(figures.broken()) == 2
    assert "take-over 2.1/3.2 s of 3" in line(figures)
