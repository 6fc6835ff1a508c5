"""A Ray cluster of several nodes on this machine, each of processes of its own, to lose one for good."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from real_parts import LOOPBACK

OBJECT_STORE_BYTES = 100 * 2**20
NODE: dict[str, Any] = {
    "num_cpus": 1,
    "object_store_memory": OBJECT_STORE_BYTES,
    "node_ip_address": LOOPBACK,
    "include_dashboard": False,
}


@dataclass(frozen=True, slots=True)
class Node:
    """One raylet with all that it started."""

    id: str
    raylet: int

    def pids(self) -> list[int]:
        return [self.raylet, *(child.pid for child in psutil.Process(self.raylet).children(recursive=True))]

    def kill(self) -> list[int]:
        """SIGKILL to every process of the node at once; return their ids."""
        pids = self.pids()
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        return pids


@dataclass(frozen=True, slots=True)
class Nodes:
    """The cluster's address, and its nodes; the first one has the head."""

    address: str
    nodes: tuple[Node, ...]


@contextmanager
def started_nodes(count: int) -> Iterator[Nodes]:
    """Start a head and its workers; kill what is left of them at the end."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")  # of nodes that nobody else reaches
        environment.setenv(
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"
        )  # every port on loopback, as in `embedded`
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args=NODE)
        try:
            handles = [cluster.head_node, *(cluster.add_node(wait=False, **NODE) for _ in range(count - 1))]
            cluster.wait_for_nodes()
            yield Nodes(cluster.address, tuple(_node(handle) for handle in handles))
        finally:
            cluster.shutdown()


def _node(handle: Any) -> Node:  # noqa: ANN401  # Ray's own
    (raylet,) = (one.process.pid for one in handle.all_processes["raylet"])
    return Node(handle.node_id, raylet)


def is_gone(pid: int) -> bool:
    """Whether no such process runs, or only its remains wait for their parent."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True
