"""Pictures from web addresses, in a way that a list of addresses cannot misuse.

Only public addresses are asked: a name is resolved once, all of its addresses are checked, and
the connection goes to one that was checked, so that a name cannot change in between. Each
redirect is checked anew. Size and time are bounded, whatever the server says. No proxy is used
and nothing about the user is sent.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from whatwhere.errors import ImageError, UsageError
from whatwhere.images import read_image
from whatwhere.runtime.items import Item
from whatwhere.runtime.paths import is_web
from whatwhere.types import Image

_REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
_BLOCK = 1 << 16
# What follows this is the IPv4 address that a packet reaches in the end (RFC 6052).
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
# All other public IPv6 addresses (RFC 4291, IANA's list of global unicast addresses).
_GLOBAL = ipaddress.ip_network("2000::/3")

_IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class UrlLimits:
    """What is allowed of a picture from a web address.

    Args:
        most_bytes: of the file.
        seconds: for all of it, redirects included.
        private: whether addresses of this machine and its own network may be asked.
    """

    most_bytes: int = 50_000_000
    seconds: float = 30.0
    private: bool = False


def web_item(url: str, limits: UrlLimits) -> Item:
    """The picture at a web address; it is fetched when it is read.

    Raises:
        UsageError: the address holds a user name or password, or is not one.
    """
    _split(url)
    return Item(url, partial(_read, url, limits))


def _read(url: str, limits: UrlLimits, max_pixels: int) -> Image:
    return read_image(fetch(url, limits), name=url, max_pixels=max_pixels)


def fetch(url: str, limits: UrlLimits) -> bytes:
    """What a web address holds.

    Raises:
        ImageError: it cannot be had within the limits, or is not allowed; the message says why.
        UsageError: as for `web_item`.
    """
    end = time.monotonic() + limits.seconds
    here = url
    for _ in range(_REDIRECTS + 1):
        answer = _ask(url, here, limits, end)
        if isinstance(answer, bytes):
            return answer
        there = urljoin(here, answer)
        if not is_web(there):
            raise ImageError(f"{url} leads to {there}, not to a web address: open it yourself")
        if here.lower().startswith("https") and not there.lower().startswith("https"):
            raise ImageError(f"{url} leads from https to http: give the https address")
        here = there
    raise ImageError(f"{url} leads on more than {_REDIRECTS} times: give the address at the end")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is not a web address ({error}): correct it") from error
    if not parts.hostname or port == 0 or any(letter <= " " for letter in url):
        raise UsageError(f"{url!r} is not a web address: correct it")
    if "@" in parts.netloc:
        # It would stand in every result.
        place = parts.netloc.rpartition("@")[2]
        raise UsageError(f"the address at {place} holds a password: download the picture yourself")
    return parts


def _ask(url: str, here: str, limits: UrlLimits, end: float) -> bytes | str:
    """The content of `here`, or where it leads; `url` is what the user named."""
    try:
        parts = _split(here)
    except UsageError as error:
        raise ImageError(f"{url} leads to a wrong address: {error}") from error
    host = parts.hostname or ""
    secure = parts.scheme.lower() == "https"
    port = parts.port or (443 if secure else 80)
    try:
        channel = _connect(url, host, port, limits, end)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{url} cannot be reached ({reason}): check the address") from error
    # A second handle, since TLS takes the first one over.
    with channel, channel.dup() as handle:
        # An answer in small bites never times out by itself; this ends it whatever the server does.
        watch = threading.Timer(max(end - time.monotonic(), 0.001), _cut, [handle])
        watch.daemon = True
        watch.start()
        try:
            answer = _exchange(url, parts, channel, limits)
        except (ImageError, OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= end:
                raise _late(url, limits) from error
            if isinstance(error, ImageError):
                raise
            reason = getattr(error, "strerror", None) or error or type(error).__name__
            raise ImageError(f"{url} cannot be read ({reason}): try again later") from error
        finally:
            watch.cancel()
    if time.monotonic() >= end:
        raise _late(url, limits)
    return answer


def _cut(handle: socket.socket) -> None:
    # Where it has ended by itself there is nothing left to stop.
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


def _late(url: str, limits: UrlLimits) -> ImageError:
    return ImageError(f"{url} took more than {limits.seconds:g} s: try again, or allow more time")


def _connect(url: str, host: str, port: int, limits: UrlLimits, end: float) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for _, _, _, _, place in found:
        if not limits.private and not is_public(str(place[0])):
            raise ImageError(
                f"{url} is not asked, because {host} is {place[0]}, an address of this machine or"
                " of a private network: download the picture yourself"
            )
    error: OSError = OSError("it has no address")
    for family, kind, protocol, _, place in found:
        left = end - time.monotonic()
        if left <= 0:
            raise _late(url, limits)
        channel = socket.socket(family, kind, protocol)
        try:
            channel.settimeout(left)
            channel.connect(place)
            return channel
        except TimeoutError:
            channel.close()
            raise _late(url, limits) from None
        except OSError as failed:
            channel.close()
            error = failed
    raise error


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also inside IPv6."""
    number: _IpAddress = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address):
        inner = number.ipv4_mapped or number.sixtofour
        if number in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if number not in _GLOBAL or number.teredo is not None:
            return False
    return number.is_global and not number.is_multicast


class _Open(http.client.HTTPConnection):
    """A connection over a socket that is open already."""

    def __init__(self, host: str, channel: socket.socket) -> None:
        super().__init__(host)
        self.sock = channel

    def connect(self) -> None:
        raise http.client.NotConnected("the server closed the connection")


def _exchange(
    url: str, parts: SplitResult, channel: socket.socket, limits: UrlLimits
) -> bytes | str:
    host = parts.hostname or ""
    if parts.scheme.lower() == "https":
        channel = ssl.create_default_context().wrap_socket(channel, server_hostname=host)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    name = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    if parts.port is not None:
        name = f"{name}:{parts.port}"
    # Packed answers are not asked for: their size would say nothing.
    headers = {"Host": name, "User-Agent": "whatwhere", "Accept": "image/*"}
    headers |= {"Accept-Encoding": "identity", "Connection": "close"}
    with closing(_Open(host, channel)) as connection:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as answer:
            there = answer.getheader("Location")
            if answer.status in _MOVED and there:
                return there
            if answer.status != 200:
                reason = f"{answer.status} {answer.reason}".strip()
                raise ImageError(
                    f"{url} cannot be had (the server says {reason}): check the address"
                )
            return _content(url, answer, limits)


def _content(url: str, answer: http.client.HTTPResponse, limits: UrlLimits) -> bytes:
    large = ImageError(
        f"{url} has more than {limits.most_bytes:,} bytes: download it yourself, or allow more"
    )
    said = answer.length
    if said is not None and said > limits.most_bytes:
        raise large
    data = bytearray()
    while block := answer.read(_BLOCK):
        data += block
        if len(data) > limits.most_bytes:
            raise large
    if said is not None and len(data) < said:
        raise ImageError(f"{url} ended after {len(data):,} of {said:,} bytes: try again later")
    return bytes(data)
