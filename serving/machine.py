"""Does the service fit this machine? Says what does not, before Ray would wait for it without a word."""

import os
from dataclasses import dataclass
from math import floor

import psutil

from ultraread.errors import MachineTooSmall
from ultraread.serving.settings import Settings

SUPPORT_CPUS = 0.1
"""Core share that Ray books for each deployment that mostly waits: API, runner, aggregator, outbox."""
SUPPORT_DEPLOYMENTS = 4
MEMORY_BYTES = 1_500 * 2**20
"""Idle Ray and Serve with their deployments, as measured (0.9 GB), and room to work."""
MEMORY_BYTES_A_REPLICA = 400 * 2**20


@dataclass(frozen=True, slots=True)
class Share:
    """What one classifier replica gets: `cpus` as booked with Ray, `threads` for its ONNX session."""

    cpus: float
    threads: int


def own_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine_cpus(settings: Settings) -> int:
    """Cores that the service divides among its deployments."""
    return settings.cpus or own_cpus()


def live_versions(settings: Settings) -> int:
    """How many model versions may have classifiers at once.

    One a model, one for each further read that runs, one that takes over or is a shadow, and one for a queued
    read of an older version.
    """
    return len(settings.models) + (settings.runners * settings.max_running_reads - 1) + 2


def share_of_replica(settings: Settings) -> Share:
    """Divide the cores. Raises MachineTooSmall naming the setting that asks for too much.

    What is booked with Ray only decides what may start: it leaves room for every version that may be live.
    The threads do the work. While two versions score at once, they share the cores by the system's scheduler.
    """
    if settings.profile == "cluster":
        return share_of_node(settings, machine_cpus(settings))
    cpus, replicas = machine_cpus(settings), settings.replicas * len(settings.models)
    free = cpus - SUPPORT_CPUS * SUPPORT_DEPLOYMENTS
    if replicas > cpus or free <= 0:
        raise MachineTooSmall(
            f"{replicas} classifier replicas ({settings.replicas} for each of {len(settings.models)} models) "
            f"need a core each, and the rest {SUPPORT_CPUS * SUPPORT_DEPLOYMENTS:g}; there are {cpus:g}",
            "Lower `replicas` or the number of `models`.",
        )
    booked = floor(1000 * free / (settings.replicas * live_versions(settings))) / 1000
    return Share(cpus=booked, threads=max(1, cpus // replicas))


def share_of_node(settings: Settings, cpus: float) -> Share:
    """Of a node of a cluster, which holds at most one replica of a version. Raises MachineTooSmall."""
    free = cpus - SUPPORT_CPUS * (SUPPORT_DEPLOYMENTS + 1)
    if free <= 0:
        raise MachineTooSmall(f"a node of {cpus:g} cores has none for a classifier", "Raise `cpus`.")
    return Share(cpus=floor(1000 * free / live_versions(settings)) / 1000, threads=max(1, floor(cpus)))


def check_memory(settings: Settings) -> None:
    """Raise MachineTooSmall where the memory that is free now will not do."""
    replicas = settings.replicas * (len(settings.models) + 1)  # one takes over while the old one is live
    needed = MEMORY_BYTES + replicas * MEMORY_BYTES_A_REPLICA
    available = psutil.virtual_memory().available
    if available < needed:
        raise MachineTooSmall(
            f"{needed / 2**30:.1f} GiB of memory are needed, {available / 2**30:.1f} GiB are free",
            "Close other programs or lower `replicas`.",
        )
