"""Addresses from outside: nothing is asked that the operator did not list, whatever a name resolves to."""

import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from ultraread.errors import UrlNotAllowed
from ultraread.serving.limits.urls import UrlGuard, allowed_s3, guarded_client

PUBLIC = "93.184.216.34"


class _Listener(ThreadingHTTPServer):
    """Notes who asked; redirects where its path says so."""

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), _Handler)
        self.asked: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, _Listener)
        self.server.asked.append(f"{self.headers['Host']}{self.path}")
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", f"http://127.0.0.1:{self.server.port}/secret")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def listener() -> Iterator[_Listener]:
    server = _Listener("127.0.0.1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _guard(*hosts: str, found: Sequence[str] = (PUBLIC,), networks: tuple[str, ...] = ()) -> UrlGuard:
    return UrlGuard(hosts, networks, ("https", "http"), lambda _host, _port: found)


def test_nothing_is_asked_unless_it_is_listed() -> None:
    with pytest.raises(UrlNotAllowed):
        UrlGuard().check("https://lis.example.org/done")


@pytest.mark.parametrize(
    "url",
    [
        "https://lis.example.org/done",
        "https://LIS.example.org:443/done",
        "https://lis.example.org./done?x=1",
    ],
)
def test_a_listed_name_with_a_public_address_is_asked(url: str) -> None:
    assert _guard("lis.example.org").addresses(url) == [PUBLIC]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "file:/etc/passwd",
        "ftp://lis.example.org/",
        "gopher://lis.example.org/",
        "//lis.example.org/",
        "/etc/passwd",
        "",
        "https://",
        "https://other.example.org/",
        "https://lis.example.org.evil.example/",
        "https://evil-lis.example.org/",
        "https://lis.example.org:22x/",
        "https://lis.example.org:99999/",
        "https://lis.example.org@evil.example/",
        "https://user:word@lis.example.org/",
        "https://evil.example#lis.example.org",
        "https://evil.example\\@lis.example.org/",
        "https://lis.example.org/\r\nX-Other: 1",
        "https://lis.example.org/ x",
        "https://lis.example.org/\x00",
        "https://lis。example。org/",
        "https://" + "a" * 3000,
        "simplecache::https://lis.example.org/x",
        "filecache::https://lis.example.org/x",
        "blockcache::s3://bucket/x",
        "zip://inner.tif::https://lis.example.org/a.zip",
        "reference::https://lis.example.org/r.json",
        "tar://x::file:///etc/passwd",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        _guard("lis.example.org").addresses(url)


@pytest.mark.parametrize(
    "found",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",  # noqa: S104
        "10.0.0.7",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_a_listed_name_that_resolves_into_the_service_s_own_world_is_refused(found: str) -> None:
    for answer in ([found], [PUBLIC, found], [found, PUBLIC]):
        with pytest.raises(UrlNotAllowed):
            _guard("lis.example.org", found=answer).addresses("https://lis.example.org/done")


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "0177.0.0.1", "127.0.0.1", "[::1]",
     "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "localhost", "169.254.169.254", "[fe80::1%25eth0]"],
)  # fmt: skip
def test_this_machine_is_refused_however_it_is_written(host: str) -> None:
    for listed in ((), ("lis.example.org",)):
        with pytest.raises(UrlNotAllowed):
            UrlGuard(listed, (), ("http",)).addresses(f"http://{host}/")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "017700000001", "127.1"])
def test_numbers_are_refused_even_where_they_are_listed(host: str) -> None:
    with pytest.raises(UrlNotAllowed):
        UrlGuard((host,), (), ("http",)).addresses(f"http://{host}/")


def test_a_neighbour_is_asked_where_its_network_is_listed() -> None:
    guard = _guard("lis.example.org", found=["10.2.0.9"], networks=("10.2.0.0/16",))
    assert guard.addresses("https://lis.example.org/done") == ["10.2.0.9"]
    with pytest.raises(UrlNotAllowed):
        _guard("lis.example.org", found=["10.3.0.9"], networks=("10.2.0.0/16",)).addresses(
            "https://lis.example.org/done"
        )


def test_a_port_may_be_listed() -> None:
    guard = _guard("lis.example.org:8443")
    guard.check("https://lis.example.org:8443/done")
    with pytest.raises(UrlNotAllowed):
        guard.check("https://lis.example.org/done")


def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(UrlNotAllowed):
        UrlGuard(("no-such-host.invalid",)).addresses("https://no-such-host.invalid/")


def test_loopback_is_not_asked_even_by_a_listed_name(listener: _Listener) -> None:
    guard = UrlGuard(("localhost",), (), ("http",))
    with guarded_client(guard) as client, pytest.raises(UrlNotAllowed):
        client.post(f"http://localhost:{listener.port}/secret", content=b"x")
    assert listener.asked == []


def test_an_address_that_is_listed_itself_is_asked_under_its_name(listener: _Listener) -> None:
    here = f"127.0.0.1:{listener.port}"
    with guarded_client(UrlGuard((here,), (), ("http",))) as client:
        assert client.post(f"http://{here}/done", content=b"x").status_code == 200
    assert listener.asked == [f"{here}/done"]


def test_a_redirect_is_not_followed(listener: _Listener) -> None:
    here = f"127.0.0.1:{listener.port}"
    with guarded_client(UrlGuard((here,), (), ("http",))) as client:
        assert client.post(f"http://{here}/moved", content=b"x").status_code == 302
    assert listener.asked == [f"{here}/moved"]


def test_what_was_checked_is_what_is_connected_to(listener: _Listener) -> None:
    """A name server that says something harmless first, and loopback to whoever asks again."""
    answers = iter([["127.0.0.2"], ["127.0.0.1"]])
    guard = UrlGuard(("lis.example.org",), ("127.0.0.2/32",), ("http",), lambda _host, _port: next(answers))
    with guarded_client(guard) as client:
        url = f"http://lis.example.org:{listener.port}/done"
        with pytest.raises(httpx.ConnectError):
            client.post(url, content=b"x")
        with pytest.raises(UrlNotAllowed):
            client.post(url, content=b"x")
    assert listener.asked == []


def test_the_next_address_is_tried_where_one_does_not_answer(listener: _Listener) -> None:
    found = ["127.0.0.2", "127.0.0.1"]
    guard = UrlGuard(("lis.example.org",), ("127.0.0.0/8",), ("http",), lambda _host, _port: found)
    with guarded_client(guard) as client:
        client.post(f"http://lis.example.org:{listener.port}/done", content=b"x")
    assert listener.asked == [f"lis.example.org:{listener.port}/done"]


def test_no_proxy_of_the_environment_is_asked(listener: _Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{listener.port}")
    guard = UrlGuard(("lis.example.org",), ("127.0.0.3/32",), ("http",), lambda _host, _port: ["127.0.0.3"])
    with guarded_client(guard) as client, pytest.raises(httpx.ConnectError):
        client.post("http://lis.example.org:9/done", content=b"x")
    assert listener.asked == []


LISTED = ("s3://scanner/inbox", "s3://archive/2026/")


@pytest.mark.parametrize("url", ["s3://scanner/inbox/a.tif", "s3://archive/2026/Präparat 12 (b).svs"])
def test_objects_below_a_listed_prefix_are_taken(url: str) -> None:
    assert allowed_s3(url, LISTED) == url


@pytest.mark.parametrize(
    "url",
    [
        "s3://other/inbox/a.tif",
        "s3://scanner/inboxes/a.tif",
        "s3://scanner/inbox",
        "s3://scanner/inbox/",
        "s3://scanner/inbox/../secret/a.tif",
        "s3://scanner/inbox/./a.tif",
        "s3://scanner/inbox//a.tif",
        "s3://scanner/inbox/%2e%2e/a.tif",
        "s3://scanner/inbox/..\\a.tif",
        "s3://scanner/inbox/a.tif?endpoint_url=http://127.0.0.1",
        "s3://scanner/inbox/a.tif#x",
        "s3://key:secret@scanner/inbox/a.tif",
        "s3://scanner:9000/inbox/a.tif",
        "s3:/scanner/inbox/a.tif",
        "s3a://scanner/inbox/a.tif",
        "S3://scanner/inbox/a.tif\n",
        "simplecache::s3://scanner/inbox/a.tif",
        "zip://a.tif::s3://scanner/inbox/a.zip",
        "reference::s3://scanner/inbox/a.json",
        "file:///etc/passwd",
        "https://scanner/inbox/a.tif",
        "",
    ],
)
def test_other_objects_are_refused(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        allowed_s3(url, LISTED)


def test_no_object_is_taken_where_nothing_is_listed() -> None:
    with pytest.raises(UrlNotAllowed):
        allowed_s3("s3://scanner/inbox/a.tif", ())
