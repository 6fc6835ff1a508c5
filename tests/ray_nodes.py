"""A Ray cluster of several nodes on this machine, each of processes of its own, to lose one for good."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
from real_parts import LOOPBACK, free_ports

HEAD = Path(str(find_spec("ray").origin)).with_name("core") / "src" / "ray" / "gcs" / "gcs_server"  # type: ignore[union-attr]
START_S = 10.0
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


OF_NODES = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every port on loopback, as in `embedded`
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Ray reads them once a process: whoever talks to the nodes is a process of its own."""


@contextmanager
def started_nodes(count: int) -> Iterator[Nodes]:
    """Start a head and its workers beside this process; kill what is left of them at the end."""
    command = [sys.executable, __file__, str(count)]
    environment = os.environ | OF_NODES | {"PYTHONPATH": str(Path(__file__).parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as keeper:
        try:
            told = json.loads(_answer(keeper))
            yield Nodes(told["address"], tuple(Node(**node) for node in told["nodes"]))
        finally:
            keeper.communicate(timeout=60)


def _answer(keeper: "subprocess.Popen[str]") -> str:
    assert keeper.stdout is not None
    return next(line for line in keeper.stdout if line.startswith("{"))


def keep_nodes(count: int) -> None:
    """Start them, tell of them on stdout, and stop them when stdin ends."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        handles = [cluster.head_node, *(cluster.add_node(wait=False, **NODE) for _ in range(count - 1))]
        cluster.wait_for_nodes()
        nodes = [asdict(_node(handle)) for handle in handles]
        print(json.dumps({"address": cluster.address, "nodes": nodes}), flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


def _node(handle: Any) -> Node:  # noqa: ANN401  # Ray's own
    (raylet,) = (one.process.pid for one in handle.all_processes["raylet"])
    return Node(handle.node_id, raylet)


@contextmanager
def started_head(folder: Path, mode: str) -> Iterator[str]:
    """Start the store of a cluster's head alone, which its nodes and drivers join; yield its address."""
    (port,) = free_ports(1)
    options = {
        "log_dir": folder, "session-dir": folder, "session-name": "head", "config_list": "e30=",
        "gcs_server_port": port, "metrics-agent-port": -1, "node-ip-address": LOOPBACK, "node-id": "0" * 56,
    }  # fmt: skip
    command = [HEAD, *(f"--{name}={value}" for name, value in options.items())]
    environment = os.environ | OF_NODES | {"RAY_AUTH_MODE": mode}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as head:
        try:
            _wait_for_port(port, head)
            yield f"{LOOPBACK}:{port}"
        finally:
            head.kill()


def _wait_for_port(port: int, head: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_S
    with socket.socket() as probe:
        while probe.connect_ex((LOOPBACK, port)):
            assert head.poll() is None, "the head of the cluster does not start"
            assert time.monotonic() < until
            time.sleep(0.05)


def is_gone(pid: int) -> bool:
    """Whether no such process runs, or only its remains wait for their parent."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True


if __name__ == "__main__":
    keep_nodes(int(sys.argv[1]))
