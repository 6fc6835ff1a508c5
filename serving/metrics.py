"""What a process counts of its own work, until it adds it to the sums in the store.

`/metrics` shows those sums, and beside them what the store itself says (`exposition.py`). A room that wants
to count something names it here and calls `add` or `observe`.
"""

import threading
from dataclasses import dataclass

Sample = tuple[str, tuple[tuple[str, str], ...]]
"""Name as Prometheus shows it, and sorted labels."""


class _Pending:
    """Counted since it was last taken; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[Sample, float] = {}

    def add(self, name: str, labels: dict[str, str], value: float) -> None:
        sample = (name, tuple(sorted(labels.items())))
        with self._lock:
            self._counted[sample] = self._counted.get(sample, 0.0) + value

    def take(self) -> dict[Sample, float]:
        with self._lock:
            taken, self._counted = self._counted, {}
            return taken

    def give_back(self, taken: dict[Sample, float]) -> None:
        for (name, labels), value in taken.items():
            self.add(name, dict(labels), value)


PENDING = _Pending()
"""One a process, like the loggers of `logging`."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A number that only rises; `name` ends in `_total`."""

    name: str
    told: str
    labels: tuple[str, ...] = ()

    def add(self, value: float = 1.0, **labels: str) -> None:
        """Values of labels come from a small set: never ids, names or addresses."""
        PENDING.add(self.name, labels, value)


@dataclass(frozen=True, slots=True)
class Durations:
    """How long something took, in seconds; `upto` are the upper bounds of its buckets."""

    name: str
    told: str
    labels: tuple[str, ...]
    upto: tuple[float, ...]

    def observe(self, seconds: float, **labels: str) -> None:
        for bound in self.upto:
            if seconds <= bound:
                PENDING.add(f"{self.name}_bucket", labels | {"le": f"{bound:g}"}, 1.0)
                break
        else:
            PENDING.add(f"{self.name}_bucket", labels | {"le": "+Inf"}, 1.0)
        PENDING.add(f"{self.name}_sum", labels, seconds)


REQUESTS = Durations(
    "ultraread_request_seconds",
    "Time to answer HTTP requests; streams count until they end.",
    ("method", "route", "status"),
    (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
RANGES = Durations(
    "ultraread_range_seconds",
    "Time from handing a range of tiles to a classifier until its scores are back.",
    ("model",),
    (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
TILES = Counter("ultraread_tiles_scored_total", "Tiles that classifiers scored.", ("model",))
CLASSIFIER_DEATHS = Counter(
    "ultraread_classifier_deaths_total", "Classifier replicas that died while they scored a range."
)
DECODE_WORKER_DEATHS = Counter(
    "ultraread_decode_worker_deaths_total",
    "Decoding processes that were killed at a limit or died.",
    ("reason",),
)
READS_ENDED = Counter(
    "ultraread_reads_ended_total", "Reads that ended, by state and code of the error.", ("state", "code")
)
READS_TAKEN_OVER = Counter(
    "ultraread_reads_taken_over_total", "Claims of reads that another owner had begun, or had handed back."
)
STORE_OUTAGES = Counter(
    "ultraread_store_outages_total", "Times that a process could not reach the database.", ("deployment",)
)

COUNTERS = (
    TILES,
    CLASSIFIER_DEATHS,
    DECODE_WORKER_DEATHS,
    READS_ENDED,
    READS_TAKEN_OVER,
    STORE_OUTAGES,
)
DURATIONS = (REQUESTS, RANGES)
