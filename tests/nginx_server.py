"""A real nginx on loopback, with the example configuration of deploy/ and a certificate made for it."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from real_parts import LOOPBACK, free_ports, need, program

EXAMPLE = Path(__file__).resolve().parents[1] / "deploy" / "nginx" / "ultraread.conf"
HOST = "ultraread.example.org"
START_S = 10.0
AROUND = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/ultraread.conf;
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running server; `certificate` is the one that clients have to trust."""

    port: int
    plain_port: int
    certificate: Path
    folder: Path

    @property
    def url(self) -> str:
        return f"https://{LOOPBACK}:{self.port}"


@contextmanager
def nginx_before(service: str, folder: Path, **changed: str) -> Iterator[Nginx]:
    """Start nginx before a service; in the example, what is `changed` says something else."""
    found = program("nginx", "/usr/sbin")
    need("nginx", found is not None)
    folder.mkdir()
    tls, plain = free_ports(2)
    nginx = Nginx(tls, plain, write_certificate(folder), folder)
    (folder / "ultraread.conf").write_text(_example(nginx, service, changed))
    user = "user root;" if folder.owner() == "root" else ""
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user=user))
    process = subprocess.Popen(
        [str(found), "-e", folder / "error.log", "-p", folder, "-c", folder / "nginx.conf"]
    )
    try:
        _wait(nginx, process)
        yield nginx
    finally:
        process.terminate()
        process.wait()


def write_certificate(folder: Path, days: float = 1) -> Path:
    """A self-made certificate for HOST and loopback, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ip_address(LOOPBACK))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate = folder / "certificate.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    return certificate


def _example(nginx: Nginx, service: str, changed: dict[str, str]) -> str:
    text = EXAMPLE.read_text()
    replaced = {
        "listen 443 ": f"listen {LOOPBACK}:{nginx.port} ",
        "listen 80;": f"listen {LOOPBACK}:{nginx.plain_port};",
        "127.0.0.1:8000": service.removeprefix("http://"),
        "/etc/ssl/certs/ultraread.pem": str(nginx.certificate),
        "/etc/ssl/private/ultraread.key": str(nginx.folder / "key.pem"),
        "/var/log/nginx/ultraread.log": str(nginx.folder / "access.log"),
        **changed,
    }
    for there, instead in replaced.items():
        assert there in text, f"the example says no more: {there}"
        text = text.replace(there, instead)
    return text


def _wait(nginx: Nginx, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            httpx.get(f"http://{LOOPBACK}:{nginx.plain_port}/")
        except httpx.TransportError:
            told = (nginx.folder / "error.log").read_text()
            assert process.poll() is None, told
            assert time.monotonic() < until, told
            time.sleep(0.05)
        else:
            return
