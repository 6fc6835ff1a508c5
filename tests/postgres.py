"""A real PostgreSQL server on loopback: one cluster for the session, a fresh database for each test."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest
from psycopg import sql
from real_parts import LOOPBACK, free_ports, kill_with_children, need, program

USER = "ultraread"
SERVER_ACCOUNT = "postgres"
"""Who runs it where the tests run as root: PostgreSQL refuses to be root."""
BIN = "/usr/lib/postgresql/*/bin"
START_S = 30.0
OPTIONS = {
    "listen_addresses": LOOPBACK,
    "shared_buffers": "32MB",
    "max_connections": "200",
    "fsync": "off",  # processes get killed here, the machine never loses its power
    "full_page_writes": "off",
    "log_min_messages": "fatal",
}


@dataclass(slots=True)
class Postgres:
    """A private cluster in `folder`; its port and password stay the same over stop, kill and start."""

    folder: Path
    port: int
    password: str = field(repr=False)
    process: "subprocess.Popen[bytes] | None" = None

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """For SQLAlchemy; by `port`, through a proxy of the test's own."""
        return f"postgresql+psycopg://{USER}:{self.password}@{LOOPBACK}:{port or self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = OPTIONS | {"port": str(self.port), "unix_socket_directories": str(self.folder)}
        stated = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            command = _as_server([str(_program("postgres")), "-D", str(self.folder / "data"), *stated])
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._wait()

    def stop(self) -> None:
        """An orderly stop: every session is ended, nothing is lost."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(START_S)
            self.process = None

    def kill(self) -> None:
        """SIGKILL to the server and all its sessions at once."""
        if self.process is None:
            return
        kill_with_children(self.process)
        self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """A session past the code under test; every statement is its own transaction."""
        return psycopg.connect(self.url(database).replace("+psycopg", ""), autocommit=True)

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty database by its URL, dropped at the end."""
        name = f"test_{secrets.token_hex(6)}"
        with self.connect() as session:
            session.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            yield self.url(name)
        finally:
            if self.process is None:
                self.start()
            with self.connect() as session:
                drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                session.execute(drop)

    def _wait(self) -> None:
        until = time.monotonic() + START_S
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                ended = self.process is None or self.process.poll() is not None
                if ended or time.monotonic() > until:
                    told = (self.folder / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"PostgreSQL does not start: {told}") from None
                time.sleep(0.05)
            else:
                return


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's cluster. A test that stops or kills it starts it again."""
    need("PostgreSQL", _program("initdb") is not None and _account_is_there())
    with cluster() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A database of this test alone."""
    with postgres.database() as url:
        yield url


@contextmanager
def cluster() -> Iterator[Postgres]:
    """Make a cluster and start it; stop it and remove it at the end."""
    folder = Path(mkdtemp(prefix="postgres-"))
    server = Postgres(folder, free_ports(1)[0], secrets.token_hex(12))
    try:
        _make(server)
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _make(server: Postgres) -> None:
    password = server.folder / "password"
    password.touch(mode=0o600)
    password.write_text(server.password)
    if os.geteuid() == 0:
        for path in (server.folder, password):
            shutil.chown(path, SERVER_ACCOUNT, SERVER_ACCOUNT)
    options = [
        "--no-sync", "--locale=C", "--encoding=UTF8", "--auth=scram-sha-256", f"--username={USER}",
        f"--pwfile={password}", f"--pgdata={server.folder / 'data'}",
    ]  # fmt: skip
    made = subprocess.run(
        _as_server([str(_program("initdb")), *options]), capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise RuntimeError(f"initdb: {made.stdout[-1000:]} {made.stderr[-1000:]}")


def _as_server(command: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return command
    return [
        "setpriv", f"--reuid={SERVER_ACCOUNT}", f"--regid={SERVER_ACCOUNT}", "--init-groups", "--", *command,
    ]  # fmt: skip


def _program(name: str) -> Path | None:
    return program(name, BIN)


def _account_is_there() -> bool:
    if os.geteuid() != 0:
        return True
    with suppress(KeyError):
        pwd.getpwnam(SERVER_ACCOUNT)
        return shutil.which("setpriv") is not None
    return False
