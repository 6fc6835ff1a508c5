"""How long reads take while MLflow is away, as a ratio to the same while it is there.

A reader and a sender of the outbox are processes of their own, as in the service; the store is SQLite, MLflow
a real server behind a proxy that resets connections or lets them hang. The classifier sleeps instead of
computing (5 ms a tile): what is compared is everything else. Rounds of both kinds take turns; the outbox is
empty before each. At the end every read has exactly one run, or this fails.

    python benchmarks/reads_without_mlflow.py
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from chaos.house import SMALL, House, seeded
from chaos.night import night_room
from chaos.rows_kills import settled
from cutting_proxy import CuttingProxy, Fault, Reset, Stall, cutting
from mlflow_server import CLIENT_PATIENCE

from ultraread.serving.store import outbox

DRAWS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--reads", type=int, default=12, help="of each kind in a round")
    asked = parser.parse_args()
    there: list[float] = []
    away: list[float] = []
    with night_room(SMALL) as room, cutting(room.mlflow.url) as proxy:
        patience = CLIENT_PATIENCE | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}
        with room.house(mlflow_url=proxy.endpoint, environment=patience) as house:
            house.start(1, tells=False)
            house.start(1, reads=False)
            _round(house, proxy, Fault(), asked.reads)
            for number in range(asked.rounds):
                there += _round(house, proxy, Fault(), asked.reads)
                away += _round(house, proxy, Reset() if number % 2 else Stall(), asked.reads)
            verdict = settled(room, house)
    if verdict.notes:
        raise SystemExit("\n".join(verdict.notes))
    for name, of in (("median", statistics.median), ("p95", p95)):
        low, high = _interval(there, away, of)
        print(f"{name} with MLflow away / there: {of(away) / of(there):.3f} ({low:.3f} to {high:.3f}, 95 %)")
    print(f"{len(there)} + {len(away)} reads, each with exactly one run")


def p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1]


def _round(house: House, proxy: CuttingProxy, fault: Fault, reads: int) -> list[float]:
    """Seconds of each read, one after the other."""
    proxy.fault = fault
    try:
        return [_seconds_of_a_read(house, number) for number in range(reads)]
    finally:
        proxy.heal()
        house.wait(lambda: not outbox.pending(house.store), what="an empty outbox")


def _seconds_of_a_read(house: House, number: int) -> float:
    read_id = house.ask(number)
    house.wait(lambda: house.read(read_id).ended, what="the end of a read")
    row = house.read(read_id)
    return (datetime.fromisoformat(str(row.ended)) - datetime.fromisoformat(row.created)).total_seconds()


def _interval(
    there: list[float], away: list[float], of: Callable[[list[float]], float]
) -> tuple[float, float]:
    """95 % of the ratio, by drawing reads again."""
    chance = seeded(1)
    ratios = [
        of(chance.choices(away, k=len(away))) / of(chance.choices(there, k=len(there))) for _ in range(DRAWS)
    ]
    cuts = statistics.quantiles(ratios, n=40)
    return cuts[0], cuts[-1]


if __name__ == "__main__":
    main()
