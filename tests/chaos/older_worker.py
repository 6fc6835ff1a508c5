"""A worker of an earlier release, at which `PYTHONPATH` points: its runner, store, results and outbox.

Run as `python -m chaos.older_worker` with a `Spec` as JSON on stdin; it works until SIGTERM.
"""

import json
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from chaos.fake_classifier import FakeClassifier
from chaos.journal import Journal

from ultraread.models.registry import find_model
from ultraread.serving.conclusion import conclude_read
from ultraread.serving.live_models import ServedModel
from ultraread.serving.mlflow_log import OutboxSender
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import RangeScorer, RangeScores, RangeTask
from ultraread.serving.settings import Settings
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.jobs import Jobs


def work(spec: dict[str, Any]) -> None:
    """As that release did; there was no stop of a read on its way."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    journal = Journal(Path(spec["journal"]), spec["name"])
    store, model = open_store(spec["database_url"]), find_model(spec["model"])
    settings = Settings(
        data_dir=Path(spec["data_dir"]), range_tiles=spec["range_tiles"],
        lease_s=spec["lease_s"], heartbeat_s=spec["heartbeat_s"],
    )  # fmt: skip
    scorer = RangeScorer(FakeClassifier(model.card, spec["tile_s"]))

    def score(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for task in tasks:
            journal.tell("scoring-older", spec["name"], slide=task.slide.name, number=task.number)
            yield scorer(task)

    jobs = Jobs(store, spec["lease_s"], spec["max_attempts"])
    served = ServedModel(model, score)
    runner = ReadRunner(settings, jobs, lambda *_: served, conclude_read, spec["name"])
    sender = OutboxSender(store, spec["mlflow_url"], first_wait_s=0.1)
    print("ready", flush=True)
    while not stop.is_set():
        try:
            if not runner.run_next() and not sender.send_pending():
                stop.wait(0.05)
        except Exception as outage:
            journal.tell("outage", error=type(outage).__name__)
            stop.wait(0.1)


if __name__ == "__main__":
    work(json.loads(sys.stdin.readline()))
