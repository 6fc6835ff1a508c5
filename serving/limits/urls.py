"""Addresses that come from outside and that this service is to ask: none, unless the operator listed them."""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import httpx

from ultraread.errors import UrlNotAllowed

S3 = "s3"
LONGEST_URL = 2000
TIMEOUT_S = 10.0
NAT64 = ipaddress.ip_network("64:ff9b::/96")
HOST_OF_AZURE = ipaddress.ip_address("168.63.129.16")
"""Trusts the machines that it hosts, and is written like any public address."""

LIST_HOST = (
    "Ask the operator to list it in webhook_hosts, webhook_http_hosts or webhook_networks: "
    "docs/guides/uploads.md."
)
LIST_PLACE = "Ask the operator to list it in ingest_urls: docs/guides/uploads.md."

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"(0x[0-9a-f]*|\d+)")
"""What resolvers take for an address in decimal, octal or hexadecimal when a name ends in it."""
_OPTION = re.compile(r"[?#%\\]|::")
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a name, by the system's resolver. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class UrlGuard:
    """What may be asked: `hosts` as `name`, `name:port` or an IP address; with none, nothing.

    A name may resolve to a public address, or into `networks` (`10.2.0.0/16`): the service stands inside a
    network where loopback, neighbours and the cloud's metadata trust whoever asks. An IP address among
    `hosts` is allowed as it stands.
    """

    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ("https",)
    resolve: Resolve = resolve

    def check(self, url: str) -> SplitResult:
        """Return the parts of an address that may be asked, before its name is resolved.

        Raises UrlNotAllowed.
        """
        parts = _split(url)
        if parts.scheme not in self.schemes:
            raise UrlNotAllowed(f"only {' and '.join(self.schemes)} addresses are taken", LIST_HOST)
        host, port = _host(parts)
        if not {host, f"{host}:{port}"} & {listed.lower() for listed in self.hosts}:
            raise UrlNotAllowed("the operator has not listed this host", LIST_HOST)
        return parts

    def addresses(self, url: str) -> list[str]:
        """Resolve the name once; return where to connect. Raises UrlNotAllowed.

        One bad address among good ones refuses all: who answers for the name may answer anything.
        """
        host, port = _host(self.check(url))
        try:
            found = [ipaddress.ip_address(address) for address in self.resolve(host, port)]
        except (OSError, ValueError, UnicodeError) as failure:
            raise UrlNotAllowed("the host has no address", "Check its name.") from failure
        if not found or not all(self._may_connect(address, host) for address in found):
            raise UrlNotAllowed("the host has an address that must not be asked", LIST_HOST)
        return [str(address) for address in found]

    def _may_connect(self, address: Address, host: str) -> bool:
        inner = _innermost(address)
        if str(inner) == host or any(inner in ipaddress.ip_network(listed) for listed in self.networks):
            return True
        return inner.is_global and not inner.is_multicast and inner != HOST_OF_AZURE


class GuardedTransport(httpx.BaseTransport):
    """Connects to the very address that was checked; certificates are still those of the name."""

    def __init__(self, guard: UrlGuard, inner: httpx.BaseTransport | None = None) -> None:
        self._guard = guard
        self._inner = inner or httpx.HTTPTransport(trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        *others, last = self._guard.addresses(str(request.url))
        for address in others:
            try:
                return self._inner.handle_request(_sent_to(request, address))
            except httpx.ConnectError:
                continue
        return self._inner.handle_request(_sent_to(request, last))

    def close(self) -> None:
        self._inner.close()


def guarded_client(guard: UrlGuard, timeout_s: float = TIMEOUT_S) -> httpx.Client:
    """An HTTP client that follows no redirect, asks no proxy and connects to nothing that `guard` refuses.

    Its requests raise UrlNotAllowed before anything is sent. `timeout_s` bounds connecting and each silence.
    """
    return httpx.Client(
        transport=GuardedTransport(guard), timeout=timeout_s, follow_redirects=False, trust_env=False
    )


def allowed_s3(url: str, prefixes: Sequence[str]) -> str:
    """Return `url` where it lies below one of `prefixes` (`s3://bucket/folder`). Raises UrlNotAllowed.

    Chains of fsspec (`simplecache::s3://...`), other schemes, options that would name another endpoint and
    `..` are refused whatever is listed.
    """
    scheme, _, place = url.partition("://")
    bucket, *steps = place.split("/")
    if scheme != S3 or not _BUCKET.fullmatch(bucket) or len(url) > LONGEST_URL:
        raise UrlNotAllowed("only s3://bucket/key addresses are taken", LIST_PLACE)
    if not url.isprintable() or _OPTION.search(place) or {"", ".", ".."} & set(steps):
        raise UrlNotAllowed("the key is not one plain path", "Write bucket and key as they are.")
    if not any(_is_below(url, prefix) for prefix in prefixes):
        raise UrlNotAllowed("the operator has not listed this place", LIST_PLACE)
    return url


def _is_below(url: str, prefix: str) -> bool:
    return url.startswith(prefix.rstrip("/") + "/")


def _split(url: str) -> SplitResult:
    """Raises UrlNotAllowed for what programs would read in different ways."""
    if len(url) > LONGEST_URL or _UNPRINTABLE.search(url) or "::" in url.partition("[")[0]:
        raise UrlNotAllowed("this is no single address", "Give one address, without chains and blanks.")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises for what is no port
    except ValueError as failure:
        raise UrlNotAllowed("this is no address", "Check how it is written.") from failure
    if parts.fragment or "@" in parts.netloc or "\\" in url or not parts.netloc:
        raise UrlNotAllowed("this is no plain address", "Leave out names, passwords and fragments.")
    return parts


def _host(parts: SplitResult) -> tuple[str, int]:
    """Name or canonical IP address, and port. Raises UrlNotAllowed for numbers that only look like a name."""
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or {"http": 80}.get(parts.scheme, 443)
    try:
        return str(_innermost(ipaddress.ip_address(host))), port
    except ValueError:
        if _NUMBER.fullmatch(host.rpartition(".")[2]) or not _NAME.fullmatch(host):
            raise UrlNotAllowed("this is no host name", "Write the name, or four decimal numbers.") from None
    return host, port


def _innermost(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does: mapped, 6to4, Teredo or NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
    return inner or address


def _sent_to(request: httpx.Request, address: str) -> httpx.Request:
    """The same request to an IP address; `Host` was written from the name already."""
    extensions = request.extensions | {"sni_hostname": request.url.host}
    url = request.url.copy_with(host=address)
    return httpx.Request(
        request.method, url, headers=request.headers, stream=request.stream, extensions=extensions
    )
