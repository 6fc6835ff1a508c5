"""What `/metrics` shows: sums of what processes counted, and what the store says waits now."""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ultraread.errors import StorageFull, Unavailable
from ultraread.serving.draining import draining_of
from ultraread.serving.metrics import COUNTERS, DURATIONS, Durations, Sample
from ultraread.serving.settings import Settings
from ultraread.serving.store import counts, workers
from ultraread.serving.store.engine import Store
from ultraread.serving.store.facts import Facts, facts_of
from ultraread.serving.store.operation_tables import WorkerRow

Sums = dict[Sample, float]


def exposition(settings: Settings, store: Store) -> bytes:
    """In the text format that Prometheus scrapes. While the store is away, that is what it tells."""
    registry = CollectorRegistry()
    registry.register(_Collector(settings, store))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store

    def collect(self) -> Iterator[Metric]:
        try:
            with self._store.reading() as session:
                sums, facts = dict(counts.sums(session)), facts_of(session)
                there = list(workers.there(session))
        except (Unavailable, StorageFull):
            sums, facts, there = {}, None, []
        yield from _of_service(self._settings, is_up=facts is not None)
        if facts is not None:
            yield from _of_facts(facts)
            yield from _of_workers(there)
            yield from _of_sums(sums)


def _of_service(settings: Settings, is_up: bool) -> Iterator[Metric]:
    yield _gauge("ultraread_info", "The version that answers.", ("version",), {(version("ultraread"),): 1})
    yield _gauge("ultraread_store_up", "1 where the database answers.", (), {(): is_up})
    yield _gauge("ultraread_draining", "1 while the service stops.", (), {(): draining_of(settings).is_on})
    free = shutil.disk_usage(settings.data_dir).free
    yield _gauge("ultraread_data_free_bytes", "Free bytes of data_dir's disk.", (), {(): free})


def _of_facts(facts: Facts) -> Iterator[Metric]:
    yield _gauge("ultraread_reads", "Reads that have not ended.", ("state", "priority"), dict(facts.reads))
    yield _gauge("ultraread_oldest_queued_seconds", "Age of the oldest read that waits.", (),
                 {(): facts.oldest_queued_s})  # fmt: skip
    of_kind = {(kind,): one for kind, one in facts.outbox.items()}
    yield _gauge("ultraread_outbox_waiting", "What other systems have not been told.", ("kind",),
                 {kind: one.count for kind, one in of_kind.items()})  # fmt: skip
    yield _gauge("ultraread_outbox_failed", "Of those, tried in vain.", ("kind",),
                 {kind: one.failed for kind, one in of_kind.items()})  # fmt: skip
    yield _gauge("ultraread_outbox_oldest_seconds", "Age of the oldest of those.", ("kind",),
                 {kind: one.oldest_s for kind, one in of_kind.items()})  # fmt: skip
    yield _gauge("ultraread_uploads_open", "Uploads that are not filed.", (), {(): facts.uploads})
    yield _gauge("ultraread_uploads_bytes", "Bytes of them that are there.", (), {(): facts.upload_bytes})
    yield _gauge("ultraread_copies", "Copies of slides, results and records.", ("place", "state"),
                 dict(facts.copies))  # fmt: skip
    yield _gauge("ultraread_audit_events", "Events of the audit trail, of all sites.", (),
                 {(): facts.audit_events})  # fmt: skip
    told = "Age of the last checkpoint of a chain that went on."
    yield _gauge("ultraread_audit_unsigned_seconds", told, (), {(): facts.unsigned_s})


def _of_workers(there: Iterable[WorkerRow]) -> Iterator[Metric]:
    number: defaultdict[tuple[str, ...], float] = defaultdict(float)
    resident: dict[tuple[str, ...], float] = {}
    files: dict[tuple[str, ...], float] = {}
    for row in there:
        number[row.deployment,] += 1
        resident[row.deployment, row.id] = row.body["resident_bytes"]
        files[row.deployment, row.id] = row.body["open_files"]
    yield _gauge("ultraread_workers", "Processes that were seen lately.", ("deployment",), number)
    labels = ("deployment", "worker")
    yield _gauge("ultraread_resident_bytes", "Memory of a process.", labels, resident)
    yield _gauge("ultraread_open_files", "Open files and sockets of a process.", labels, files)


def _of_sums(sums: Sums) -> Iterator[Metric]:
    for counter in COUNTERS:
        family = CounterMetricFamily(counter.name, counter.told, labels=counter.labels)
        for (name, labels), value in sums.items():
            if name == counter.name:
                family.add_metric(_values(counter.labels, labels), value)
        yield family
    for durations in DURATIONS:
        yield _histogram(durations, sums)


def _histogram(durations: Durations, sums: Sums) -> Metric:
    """Buckets are kept apart and added up here, as Prometheus has them."""
    family = HistogramMetricFamily(durations.name, durations.told, labels=durations.labels)
    counted: defaultdict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    seconds: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for (name, labels), value in sums.items():
        key = tuple(_values(durations.labels, labels))
        if name == f"{durations.name}_bucket":
            counted[key][dict(labels)["le"]] = value
        elif name == f"{durations.name}_sum":
            seconds[key] = value
    bounds = [*(f"{bound:g}" for bound in durations.upto), "+Inf"]
    for key, buckets in counted.items():
        upto = list(zip(bounds, accumulate(buckets.get(bound, 0.0) for bound in bounds), strict=True))
        family.add_metric(list(key), upto, seconds[key])
    return family


def _values(of: Iterable[str], labels: Iterable[tuple[str, str]]) -> list[str]:
    """Empty for a label that the version which counted did not know: sums outlive versions."""
    known = dict(labels)
    return [known.get(label, "") for label in of]


def _gauge(name: str, told: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    """`values` by the values of `labels`, a tuple of as many."""
    family = GaugeMetricFamily(name, told, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), float(value))
    return family
