"""Web addresses: what is asked, what is refused, and where the limits are."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from whatwhere.errors import ImageError, UsageError
from whatwhere.images import encode_image
from whatwhere.runtime import Sources, fetch
from whatwhere.runtime.fetch import UrlLimits, is_public
from whatwhere.runtime.items import Item

PNG = encode_image(np.full((4, 6, 3), 7, np.uint8), ".png")
LOCAL = UrlLimits(private=True)


class Handler(BaseHTTPRequestHandler):
    asked: list[tuple[str, dict[str, str]]]

    def do_GET(self) -> None:
        self.asked.append((self.path, dict(self.headers)))
        kind, _, rest = self.path[1:].partition("/")
        getattr(self, f"_{kind.partition('?')[0].partition('.')[0]}")(rest)

    def _a(self, rest: str) -> None:
        self._send(200, PNG, {"Content-Length": str(len(PNG))})

    def _gone(self, rest: str) -> None:
        self._send(404, b"", {})

    def _to(self, rest: str) -> None:
        self._send(302, b"", {"Location": rest})

    def _loop(self, rest: str) -> None:
        self._send(301, b"", {"Location": "/loop/x" + rest})

    def _large(self, rest: str) -> None:
        self._send(200, b"x" * 2000, {"Content-Length": "2000"} if rest == "said" else {})

    def _cut(self, rest: str) -> None:
        self._send(200, PNG[:20], {"Content-Length": str(len(PNG))})

    def _drip(self, rest: str) -> None:
        self._send(200, b"", {})
        for _ in range(200):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.02)

    def _garbage(self, rest: str) -> None:
        self.wfile.write(b"nothing of the kind\r\n\r\n")

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *values: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = []
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_picture(server: str) -> None:
    url = f"{server}/a.png?width=6&x=é"
    (item,) = Sources(url, urls=LOCAL)
    assert isinstance(item, Item)
    assert item.name == url
    assert Handler.asked == []  # not before it is read
    assert (item.read(100) == 7).all()
    ((path, headers),) = Handler.asked
    assert path == "/a.png?width=6&x=%C3%A9"
    assert headers["Host"] == server.removeprefix("http://")
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization", "Referer"} & set(headers)
    with pytest.raises(ImageError, match="over the limit of 23 pixels"):
        item.read(23)


def test_addresses_must_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="allow these with --urls"):
        Sources("http://example.org/a.jpg")
    assert Sources("HTTPS://example.org/a.jpg", urls=True).count() == 1


@pytest.mark.parametrize(
    "url", ["http://", "http://:80/", "http://h:x/", "http://h:0/", "http://a b/", "http://[::1/"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="is not a web address"):
        Sources(url, urls=True)


def test_passwords_are_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match=r"host:8/? holds|at host:8 holds a password") as found:
        Sources("http://user:secret@host:8/a.png", urls=True)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "fec0::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1", "2001:db8::1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]"])
def test_this_machine_is_not_asked(server: str, host: str) -> None:
    port = server.rpartition(":")[2]
    with pytest.raises(ImageError, match=r"is not asked|cannot be reached"):
        fetch.fetch(f"http://{host}:{port}/a", UrlLimits())
    assert Handler.asked == []


def _resolve(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Names have these addresses, one list after the other; gives the names that were asked."""
    names: list[str] = []
    left = iter(answers)

    def find(host: str, port: int, **kinds: object) -> list[object]:
        names.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(left)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", find)
    return names


def test_one_private_address_of_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve(monkeypatch, ["8.8.8.8", "192.168.0.1"])
    with pytest.raises(ImageError, match=r"because photos\.org is 192\.168\.0\.1"):
        fetch.fetch("http://photos.org/a.png", UrlLimits())


def test_a_name_is_resolved_once_and_that_address_is_used(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = server.rpartition(":")[2]
    names = _resolve(monkeypatch, ["127.0.0.1"])
    assert fetch.fetch(f"http://photos.org:{port}/a", LOCAL) == PNG
    assert names == ["photos.org"]
    assert Handler.asked[0][1]["Host"] == f"photos.org:{port}"


def test_redirects_are_followed_and_checked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch.fetch(f"{server}/to//a", LOCAL) == PNG
    assert len(Handler.asked) == 2
    with pytest.raises(ImageError, match="more than 5 times"):
        fetch.fetch(f"{server}/loop", LOCAL)
    with pytest.raises(ImageError, match="not to a web address"):
        fetch.fetch(f"{server}/to/file:///etc/passwd", LOCAL)
    with pytest.raises(ImageError, match="leads to a wrong address"):
        fetch.fetch(f"{server}/to/http://a:b@host/", LOCAL)
    # The first address is taken for a public one, the second is what it is.
    monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.1")
    Handler.asked.clear()
    with pytest.raises(ImageError, match=r"because 169\.254\.169\.254 is 169\.254\.169\.254"):
        fetch.fetch(f"{server}/to/http://169.254.169.254/meta", UrlLimits())
    assert len(Handler.asked) == 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("gone", "the server says 404 Not Found"),
        ("large/said", "more than 1,000 bytes"),
        ("large", "more than 1,000 bytes"),
        ("cut", f"ended after 20 of {len(PNG)} bytes"),
        ("garbage", "cannot be read"),
        ("nothing", "cannot be read"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_answers_that_are_no_picture(server: str, path: str, words: str) -> None:
    limits = UrlLimits(most_bytes=1000, private=True)
    with pytest.raises(ImageError, match=words):
        fetch.fetch(f"{server}/{path}", limits)


def test_time_is_bounded_whatever_the_server_does(server: str) -> None:
    start = time.monotonic()
    with pytest.raises(ImageError, match=r"took more than 0\.3 s"):
        fetch.fetch(f"{server}/drip", UrlLimits(seconds=0.3, private=True))
    assert time.monotonic() - start < 3


def test_a_server_that_does_not_answer() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        for scheme in ("http", "https"):
            with pytest.raises(ImageError, match=r"took more than 0\.2 s"):
                fetch.fetch(f"{scheme}://127.0.0.1:{port}/", UrlLimits(seconds=0.2, private=True))
    with pytest.raises(ImageError, match=r"cannot be reached"):
        fetch.fetch(f"http://127.0.0.1:{port}/", LOCAL)
