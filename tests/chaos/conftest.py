"""One room for all rows, which run a few at a time: most of their time is waiting for leases to end."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from chaos.figures import Figures, line, measured
from chaos.house import SMALL, nursery
from chaos.room import ROWS, Room
from chaos.table import TABLE
from mlflow_server import MlflowServer

AT_ONCE = 3
SEED = int(os.environ.get("SEED", "1"))
PROPERTY = "chaos"


@pytest.fixture(scope="session")
def room(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServer
) -> Iterator[Room]:
    """The small load, with every shared server up: rows ask for theirs from threads."""
    parts: dict[str, Any] = {name: request.getfixturevalue(name) for name in ("postgres", "object_store")}
    with nursery() as nurse:
        yield Room(tmp_path_factory.mktemp("chaos"), nurse, mlflow_server, SMALL, parts.__getitem__)


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest, room: Room) -> Iterator[dict[str, "Future[Figures]"]]:
    """What the rows of this session give, begun here in the order of the table."""
    asked = [item.callspec.params["name"] for item in request.session.items if _is_row(item)]
    room.clean()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="row") as pool:
        yield {name: pool.submit(measured, room, ROWS[name], ROWS[name].small, SEED) for name in asked}


@pytest.fixture
def told(
    figures: dict[str, "Future[Figures]"], name: str, record_property: Callable[[str, object], None]
) -> Figures:
    """The figures of one row, printed at the end of the session too."""
    found = figures[name].result()
    record_property(PROPERTY, line(found))
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line a row: count, seed, lost, doubled, wrong, and what a zero bounds."""
    reports = chain.from_iterable(terminalreporter.stats.values())
    noted = chain.from_iterable(getattr(report, "user_properties", ()) for report in reports)
    lines = dict.fromkeys(str(told) for name, told in noted if name == PROPERTY)
    if lines:
        terminalreporter.section("chaos")
        for each in lines:
            terminalreporter.write_line(each)


def _is_row(item: pytest.Item) -> bool:
    return (
        isinstance(item, pytest.Function) and "told" in item.fixturenames and Path(item.path).parent == HERE
    )


HERE = Path(__file__).parent
assert TABLE is ROWS
