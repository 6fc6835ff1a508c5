"""Proof that every node of a cluster works in the same data folder, not in one of its own of that name."""

import os
import secrets
from pathlib import Path
from typing import Any

from ultraread.errors import DataDirNotShared
from ultraread.serving.settings import Settings

INSTALLATION = "installation"
"""File with the id of what is kept in the folder, made once."""
PROBE = ".probe-"


def installation_id(settings: Settings) -> str:
    """The folder's id, made where it has none yet."""
    file = settings.data_dir / INSTALLATION
    try:
        with open(file, "x", opener=_for_its_owner) as fresh:
            fresh.write(secrets.token_hex(16))
            fresh.flush()
            os.fsync(fresh.fileno())
    except FileExistsError:
        pass
    return file.read_text()


def refuse_another_folder(settings: Settings, installation: str) -> None:
    """Raise DataDirNotShared where this process sees another folder than the one that deployed it."""
    try:
        there = (settings.data_dir / INSTALLATION).read_text()
    except OSError as failure:
        raise DataDirNotShared(f"a node sees no installation in data_dir ({failure.strerror})") from failure
    if there != installation:
        raise DataDirNotShared("a node sees another installation in data_dir")


def refuse_unless_shared(settings: Settings, timeout_s: float = 60.0) -> int:
    """Let every node of the connected cluster answer in the folder; return how many there are.

    Raises DataDirNotShared: a copy of the folder has the same id, but what a node writes there, others miss.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    installation = installation_id(settings)
    nodes = [node["NodeID"] for node in _nodes() if node["Alive"]]
    probes = {node: settings.data_dir / f"{PROBE}{secrets.token_hex(8)}" for node in nodes}
    answer = ray.remote(num_cpus=0, max_retries=0)(_answered)
    asked = [
        answer.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            settings, installation, str(probe)
        )
        for node, probe in probes.items()
    ]
    try:
        ray.get(asked, timeout=timeout_s)
    except RayTaskError as failure:
        raise DataDirNotShared("a node sees no installation, or another one, in data_dir") from failure
    except GetTimeoutError as failure:
        raise DataDirNotShared(f"a node did not answer in {timeout_s:g} s") from failure
    finally:
        missed = [node for node, probe in probes.items() if not _is_there(probe)]
    if missed:
        raise DataDirNotShared(f"{len(missed)} of {len(nodes)} nodes write to a data_dir of their own")
    return len(nodes)


def _nodes() -> list[dict[str, Any]]:
    import ray

    listed: Any = ray.nodes
    found: list[dict[str, Any]] = listed()
    return found


def _answered(settings: Settings, installation: str, probe: str) -> None:
    """Runs on a node."""
    refuse_another_folder(settings, installation)
    with open(probe, "x", opener=_for_its_owner) as fresh:
        fresh.write(installation)


def _is_there(probe: Path) -> bool:
    """And away with it."""
    try:
        probe.unlink()
    except FileNotFoundError:
        return False
    return True


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
