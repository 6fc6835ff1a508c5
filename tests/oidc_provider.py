"""A real OpenID Connect provider in a process of its own (npm oidc-provider), and the way through it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urljoin

import httpx
import pooch
from real_parts import free_ports, need

from ultraread.datasets.digest import sha256_of_file

FOLDER = Path(__file__).parent / "oidc"
CLIENT_ID = "ultraread"
CLIENT_SECRET = "a-secret-of-the-tests-only-0123456789"  # noqa: S105  # provider.js has it too
INSTALL_S = 120


@dataclass(frozen=True)
class ProviderProcess:
    """Where it answers, which it calls itself, and the file of its accounts."""

    issuer: str
    accounts: Path

    def log_in(self, http: httpx.Client, address: str, who: str, **claims: object) -> httpx.Response:
        """Follow a login as a browser does; return the service's answer to the callback.

        `http` is the service's client, whose cookies count; the provider's are a browser's of their own.
        """
        with httpx.Client(timeout=10) as there:
            return http.get(self.way_back(there, address, who, **claims))

    def way_back(self, there: httpx.Client, address: str, account: str, **claims: object) -> str:
        """Prove who it is and agree, where that is asked; return the address of the callback."""
        self.accounts.write_text(json.dumps({account: claims}))
        answer = there.get(address)
        while True:
            if answer.is_redirect:
                address = urljoin(str(answer.url), answer.headers["location"])
                if not address.startswith(self.issuer):
                    return address
                answer = there.get(address)
            else:
                assert answer.status_code == 200, answer.text
                answer = there.post(_form(answer), data=_filled(answer, account))


@contextmanager
def provider_process() -> Iterator[ProviderProcess]:
    """Start it on a free port of loopback."""
    modules = _installed()
    (port,) = free_ports(1)
    with TemporaryDirectory() as folder:
        accounts = Path(folder) / "accounts.json"
        command = ["node", str(modules.parent / "provider.js"), str(port), str(accounts)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield ProviderProcess(f"http://127.0.0.1:{port}", accounts)
        finally:
            process.kill()
            process.communicate()


def _form(page: httpx.Response) -> str:
    found = re.search(r'<form[^>]* action="([^"]+)"', page.text)
    assert found is not None, page.text
    return urljoin(str(page.url), found.group(1))


def _filled(page: httpx.Response, account: str) -> dict[str, str]:
    """The page asks who it is, or whether the service may be told."""
    if 'value="login"' in page.text:
        return {"prompt": "login", "login": account, "password": "any"}
    return {"prompt": "consent"}


def _installed() -> Path:
    """The modules of the lock file, fetched by npm once into the cache; named where that cannot be."""
    need("node", shutil.which("node") is not None)
    lock = sha256_of_file(FOLDER / "package-lock.json")[:12]
    place = Path(pooch.os_cache("ultraread")) / "tests" / f"oidc-{lock}"
    if not (place / "node_modules").is_dir():
        _install(place)
    shutil.copy(FOLDER / "provider.js", place / "provider.js")
    return place / "node_modules"


def _install(place: Path) -> None:
    need("npm", shutil.which("npm") is not None)
    unfinished = place.with_name(f"{place.name}.{os.getpid()}")
    shutil.copytree(FOLDER, unfinished)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run(command, cwd=unfinished, capture_output=True, timeout=INSTALL_S, check=False)
    need("oidc-provider of npm", done.returncode == 0)
    if place.is_dir():
        shutil.rmtree(unfinished)
    else:
        unfinished.rename(place)
