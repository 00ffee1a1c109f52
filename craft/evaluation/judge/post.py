"""One HTTP request that ends in time, whatever the server does.

The standard library's client restarts its timeout with every byte and reads bodies of any length,
and its openers send a request's headers, including the key, wherever a redirect points. Here a
request has a deadline and a size limit, and redirects are returned like any other reply.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from craft.errors import CraftError


class NotSent(Exception):
    """No connection could be made, so the server saw nothing of the request."""


class ReplyLost(Exception):
    """The request was sent but no complete reply came back; the server may have processed it."""


@dataclass(frozen=True)
class Reply:
    """What a server answered.

    Attributes:
        headers: their names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def split_url(url: str) -> SplitResult:
    """The parts of a server's URL.

    Raises:
        CraftError: it is not an http or https URL, or contains a user name or password, which error
            messages and logs would repeat.
    """
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:  # malformed brackets or port
        fits, parts = False, urlsplit("")
    if parts.username is not None or parts.password is not None:
        raise CraftError(
            "the judge's URL contains a user name or password; remove it and set OPENAI_API_KEY"
        )
    if not fits or not url.isascii() or not url.isprintable() or " " in url:
        raise CraftError(
            f"{url!r} is not a server's URL; expected one such as http://localhost:8000/v1"
        )
    return parts


def post(
    url: SplitResult, content: bytes, headers: Mapping[str, str], *, seconds: float, most: int
) -> Reply:
    """Send ``content`` and read the reply, through the proxy that the environment names, if any.

    Args:
        seconds: for the whole exchange, except that name resolution and trying several addresses
            of the server may take longer.
        most: largest allowed size of the reply's body, in bytes.

    Raises:
        NotSent: no connection could be made.
        ReplyLost: no reply came in time, or it was cut short, is too long, or is not HTTP.
        CraftError: the environment names a proxy of an unknown kind.
    """
    connection, target, added = _connection(url, seconds)
    with _ended_after(seconds, connection) as watch:
        try:
            connection.connect()
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if isinstance(error, ssl.SSLCertVerificationError):
                reason += "; SSL_CERT_FILE can name a file of additional certificates to trust"
            raise NotSent(f"no connection to {connection.host}: {reason}") from error
        watch.sock = connection.sock
        try:
            connection.request("POST", target, content, {**headers, **added})
            response = connection.getresponse()
            body = response.read(most + 1)
            cut = bool(response.length) and len(body) <= most
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = f"no complete answer within {seconds:g} s" if watch.over else _broken(error)
            raise ReplyLost(said) from error
        if watch.over:
            raise ReplyLost(f"no complete answer within {seconds:g} s")
    if len(body) > most:
        raise ReplyLost(f"the answer has more than {most} bytes")
    if cut:
        raise ReplyLost("the answer was cut short")
    told = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, told, body)


def _broken(error: Exception) -> str:
    return f"the connection broke ({type(error).__name__})"


def _connection(
    url: SplitResult, seconds: float
) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """An unopened connection, the request target, and headers for a proxy."""
    host, target = url.hostname or "", url.path or "/"
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or proxy_bypass(host):
        return kind(host, url.port, timeout=seconds), target, {}
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise CraftError(
            f"the environment names a proxy of kind {proxy.scheme!r} for {url.scheme} URLs; only "
            f"http proxies are supported: unset it, or add {host} to NO_PROXY"
        )
    login = {}
    if proxy.username is not None:
        words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        login["Proxy-Authorization"] = f"Basic {base64.b64encode(words.encode()).decode()}"
    connection = kind(proxy.hostname, proxy.port or 80, timeout=seconds)
    if url.scheme == "https":  # through a tunnel, which the proxy cannot read
        connection.set_tunnel(host, url.port, login)
        return connection, target, {}
    return connection, f"{url.scheme}://{url.netloc}{target}", login


@dataclass
class _Watch:
    """Whether the time is up, and the socket to shut down when it is."""

    connection: http.client.HTTPConnection
    sock: socket.socket | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    over: bool = False

    def run(self, seconds: float) -> None:
        if self.finished.wait(seconds):
            return
        self.over = True
        while True:  # repeatedly, since the connection may be about to change its socket
            for sock in (self.sock, self.connection.sock):
                if sock is not None:
                    with suppress(OSError):
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)
            if self.finished.wait(0.05):
                return


@contextmanager
def _ended_after(seconds: float, connection: http.client.HTTPConnection) -> Iterator[_Watch]:
    """Shut the connection down once the time is up, whatever call is blocking."""
    watch = _Watch(connection)
    thread = threading.Thread(target=watch.run, args=(seconds,), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.finished.set()
        thread.join()
        connection.close()
        if watch.sock is not None:
            watch.sock.close()
