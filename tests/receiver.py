"""A web server on loopback that keeps what is posted to it and answers as it is told."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

PRIVATE_WORDS = "what the receiver answers is nobody's business"


@dataclass
class Receiver:
    """`statuses` are given one after the other, the last one for ever; a list may be exchanged at any time."""

    url: str
    statuses: list[int]
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def receiving(*statuses: int, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.paths.append(self.path)
            receiver.headers.append(dict(self.headers))
            receiver.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
            self.send_response(status, PRIVATE_WORDS)
            self.send_header("Location", f"{receiver.url}/elsewhere")
            self.send_header("Content-Length", str(len(PRIVATE_WORDS)))
            self.end_headers()
            self.wfile.write(PRIVATE_WORDS.encode())

        do_PUT = do_POST  # noqa: N815 - the server's own name

        def do_GET(self) -> None:  # what a redirect that is followed would ask for
            self.do_POST()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                assert tls is not None  # a client that does not like the certificate goes away in the middle

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing: what the client sees is what is tested."""

    server = Server(("127.0.0.1", port), Handler)
    scheme = "http"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        scheme = "https"
    receiver = Receiver(f"{scheme}://127.0.0.1:{server.server_address[1]}", list(statuses) or [200])
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
