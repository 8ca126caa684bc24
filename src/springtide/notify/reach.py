"""One request to an address that somebody else has named: checked, pinned to what was checked, and ended in time."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from threading import Event, Timer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from springtide.notify.addresses import is_own, is_public
from springtide.notify.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from urllib.parse import SplitResult

__all__ = ["TIMEOUT_S", "reach", "resolve_host"]

TIMEOUT_S = 5.0  # to connect, and as long again for the answer


def resolve_host(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system knows them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def reach(
    method: str,
    address: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    resolve: Callable[[str, int], Sequence[str]] = resolve_host,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Send a body; it has arrived when the answer is 2xx. Redirects are not followed.

    The name is resolved once and the connection made to the very addresses that were checked, so that a name that
    points elsewhere a moment later changes nothing. `allow_private` opens this machine and private networks, never
    link-local (a cloud's metadata), multicast or reserved addresses. Of the answer only the status is looked at.
    """
    url = urlsplit(address)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        addresses = resolve(str(url.hostname), port)
        closed = [one for one in addresses if not is_public(one)]
        if not all(map(is_own, closed)):
            return Answer(delivered=False, words="its address is neither public nor private: nothing is sent there")
        if closed and not allow_private:
            return Answer(delivered=False, words="its address is private; set allow_private = true if that is meant")
        with (
            _connected(addresses, port, timeout_s) as plain,
            _secured(plain, url) as connected,
            _cut_off(connected, timeout_s),
        ):
            status = _ask(method, connected, url, body, headers)
    except (OSError, HTTPException, UnicodeError) as error:  # the last: a name that no host can have
        return Answer(delivered=False, words=_say(error), silent=True)
    note = "; redirects are not followed" if 300 <= status < 400 else ""
    return Answer(delivered=200 <= status < 300, words=f"answered {status}{note}")


@contextmanager
def _connected(addresses: Sequence[str], port: int, timeout_s: float) -> Iterator[socket.socket]:
    """A connection to the first address that takes one."""
    for number, address in enumerate(addresses, start=1):
        try:
            connected = socket.create_connection((address, port), timeout=timeout_s / len(addresses))
        except OSError:
            if number == len(addresses):
                raise
        else:
            connected.settimeout(timeout_s)
            with connected:
                yield connected
            return


def _secured(plain: socket.socket, url: SplitResult) -> socket.socket:
    """The connection under TLS where the URL asks for it; the first byte sent makes the handshake, with all checks."""
    if url.scheme != "https":
        return plain
    context = ssl.create_default_context()
    return context.wrap_socket(plain, server_hostname=url.hostname, do_handshake_on_connect=False)


@contextmanager
def _cut_off(connected: socket.socket, after_s: float) -> Iterator[None]:
    """End the connection after that time: a socket's own time-out starts again with every byte."""
    late = Event()

    def end() -> None:
        late.set()
        with suppress(OSError):  # it has ended by itself
            socket.socket.shutdown(connected, socket.SHUT_RDWR)  # below TLS, whose own one is not for two threads

    timer = Timer(after_s, end)
    timer.start()
    try:
        yield
    except (OSError, HTTPException):
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError


def _ask(method: str, connected: socket.socket, url: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
    """The status that is answered, over a connection that stands."""
    path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    with closing(HTTPConnection(str(url.hostname))) as connection:
        connection.sock = connected
        connection.request(method, path, body, {"Host": url.netloc, "Connection": "close", **headers})
        return connection.getresponse().status


def _say(error: Exception) -> str:
    """What went wrong, in words of our own: those of the error may hold the URL or what was answered."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return "its name is not known"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"no safe connection: {error.reason or type(error).__name__}"
    if isinstance(error, HTTPException | ConnectionResetError | BrokenPipeError):
        return "the connection ended before an answer"
    return f"no connection: {getattr(error, 'strerror', None) or type(error).__name__}"
