"""Secrets and names of nobody, searched wherever the processes of a running service could spill them."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from planted import MARK

DECODING = "ultraread.serving.decoding"
IN_ENVIRONMENT = "MLFLOW_TRACKING_PASSWORD"


@dataclass(frozen=True, slots=True)
class Canaries:
    """Each is there once, and unlike anything else."""

    folder: Path
    of_nobody: str = field(default_factory=lambda: f"{MARK}{secrets.token_hex(8)}")
    """What a patient is called, in the name of a slide and in its record."""
    oidc: str = field(default_factory=lambda: secrets.token_hex(24))
    webhook: str = field(default_factory=lambda: secrets.token_hex(24))
    of_environment: str = field(default_factory=lambda: secrets.token_hex(24))

    def settings(self) -> dict[str, object]:
        """That hold them, in files of their owner."""
        return {
            "oidc_issuer": "https://login.hospital.example",
            "oidc_client_id": "ultraread",
            "oidc_client_secret_file": self._kept("oidc", self.oidc),
            "webhook_key_file": self._kept("webhook", self.webhook),
            "webhook_http_hosts": ("127.0.0.1:9",),
        }

    def _kept(self, name: str, secret: str) -> Path:
        file = self.folder / f"{name}.secret"
        file.touch(mode=0o600)
        file.write_text(secret)
        return file


def spilt_by(pids: Iterable[int], of_files: Iterable[str], of_environment: Iterable[str] = ()) -> list[str]:
    """Processes that show a secret in their command line, or in an environment that should not have it.

    Those of files are in no environment; those of the environment in that of no process that decodes.
    """
    in_files, in_environment = tuple(of_files), tuple(of_environment)
    spilt = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            words, variables = " ".join(psutil.Process(pid).cmdline()), str(psutil.Process(pid).environ())
            hidden = in_files + (in_environment if DECODING in words else ())
            in_words = any(one in words for one in in_files + in_environment)
            if in_words or any(one in variables for one in hidden):
                spilt.append(words[:200])
    return spilt


def decoding(pids: Iterable[int]) -> list[int]:
    """Those that decode slides."""
    there = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return [one.pid for one in there if DECODING in " ".join(one.cmdline())]


def files_with(canaries: Iterable[str], folder: Path, *but: str) -> list[str]:
    """Files below a folder that hold one, except below the paths that are named."""
    wanted = [canary.encode() for canary in canaries]
    return [
        str(path.relative_to(folder))
        for path in _files(folder)
        if not str(path.relative_to(folder)).startswith(but) and _holds(path, wanted)
    ]


def processes_of_service() -> list[int]:
    """This one's children, as deep as they go."""
    return [child.pid for child in psutil.Process(os.getpid()).children(recursive=True)]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _holds(path: Path, wanted: list[bytes]) -> bool:
    stored = path.read_bytes()
    return any(canary in stored for canary in wanted)
