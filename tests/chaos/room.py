"""What every row of the chaos table is given, and what a row is."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from chaos.house import House, Load, Nursery, house
from chaos.invariants import Oracle, Verdict, check
from mlflow_server import MlflowServer

Part = Callable[[str], Any]
"""A shared server by the name of its fixture (`object_store`): started at the first call."""


@dataclass(slots=True)
class Room:
    """The nursery, the servers, and the clean run of this load."""

    folder: Path
    nursery: Nursery
    mlflow: MlflowServer
    load: Load
    part: Part
    oracle: dict[str, Path] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    is_first: bool = False
    """Whether this is the first slice of a night: its first outage is a long one."""

    @contextmanager
    def house(self, **changes: Any) -> Iterator[House]:  # noqa: ANN401  # of `chaos.house.house`
        """A house of its own, without workers."""
        folder = self.folder / secrets.token_hex(4)
        folder.mkdir(mode=0o700)
        told = {"mlflow_url": self.mlflow.url, "load": self.load} | changes
        with house(folder, self.nursery, **told) as opened:
            yield opened

    def judge(self, house: House) -> Verdict:
        """Hold a settled house against the clean run."""
        return check(house, self.clean(), self.mlflow)

    def clean(self) -> Oracle:
        """The results of an undisturbed run."""
        with self.lock:
            if not self.oracle:
                self.oracle = self._clean()
        return self.oracle

    def _clean(self) -> dict[str, Path]:
        with self.house(load=replace(self.load, tile_s=0.0)) as quiet:
            quiet.start()
            reads = [quiet.ask(number) for number in range(len(quiet.slides))]
            quiet.settle()
            quiet.stop()
            return {quiet.read(read_id).slide_sha256s[0]: quiet.result_dirs(read_id)[0] for read_id in reads}


Run = Callable[[Room, int, int], Verdict]
"""So many faults with this seed, judged."""


@dataclass(frozen=True, slots=True)
class Row:
    """A fault of the table; `small` of it per commit, `night` of it at night, in slices of `a_slice`."""

    name: str
    fault: str
    small: int
    night: int
    run: Run
    a_slice: int = 0
    again: bool = True
    """Whether at most one range may be scored again for each fault."""
    open_defect: str = ""
    """What does not hold yet: told as an expected failure, never as a success."""

    @property
    def slice(self) -> int:
        return self.a_slice or self.night


ROWS: dict[str, Row] = {}


def row(name: str, fault: str, small: int, night: int, **more: Any) -> Callable[[Run], Run]:  # noqa: ANN401
    """Enter a function into the table."""

    def enter(run: Run) -> Run:
        ROWS[name] = Row(name, fault, small, night, run, **more)
        return run

    return enter
