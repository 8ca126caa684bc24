"""The HTTP server: routes, documents and errors put together, and its life from start to stop."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin

import springtide
from springtide.api.jobs import JOB_ROUTES
from springtide.api.metrics import Metrics
from springtide.api.page import Page
from springtide.api.problems import HANDLERS
from springtide.api.routes import ROUTES
from springtide.domain.errors import SettingsError
from springtide.serving.watch import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from springtide.app.answers import Answers, LiveAnswers

__all__ = ["create_server", "serve"]

GRACE_S = 30  # how long requests in flight may take to finish when the server is asked to stop
BACKLOG = 1024
BODY_BYTES = 8_000_000  # the largest body, but of those routes that settings say more of


def create_server(answers: Callable[[], Answers]) -> Litestar:
    """The application; each request is answered by what `answers` gives, which whoever runs it keeps fresh (see `serve`)."""
    counts = Metrics()
    jobs = Router("/", route_handlers=JOB_ROUTES, request_max_body_size=answers().home.settings.jobs.max_body)
    return Litestar(
        route_handlers=[*ROUTES, jobs],
        dependencies={
            "answers": Provide(answers, sync_to_thread=False),
            "counts": Provide(lambda: counts, sync_to_thread=False),
        },
        exception_handlers=HANDLERS,
        middleware=[counts.middleware],
        before_send=[counts.before_send],
        request_max_body_size=BODY_BYTES,
        openapi_config=_documents(),
        logging_config=None,
        debug=False,
    )


def serve(answers: LiveAnswers, *, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are finished first.

    `announce` is given the server's URL once it can be asked; with port 0 the system has chosen a free one.

    Raises
    ------
    SettingsError
        If the address cannot be used.
    """
    config = uvicorn.Config(
        create_server(lambda: answers.now),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    settings = answers.now.home.settings.serve
    listening = _listen(settings.host, settings.port)
    keeping_fresh = watching(answers.look, poll_s=settings.poll_s, stop=threading.Event())
    with listening, _stopped_by_signals(server), keeping_fresh:
        announce(_url(listening))
        server.run(sockets=[listening])


def _documents() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Springtide",
        version=springtide.__version__,
        description="Keeps models in production fresh and honest.",
        path="/docs",
        render_plugins=[
            Page(path="/"),
            JsonRenderPlugin(path="/openapi.json", media_type="application/json"),  # type: ignore[arg-type] # browsers show it
            YamlRenderPlugin(path="/openapi.yaml"),
        ],
        use_handler_docstrings=True,
    )


def _listen(host: str, port: int) -> socket.socket:
    """A socket that already takes connections, so that nobody is turned away once the URL is announced."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"{host}:{port} cannot be used: {error.strerror}",
            where="[serve] in springtide.toml",
            do="stop what listens there, or choose another host or port",
        ) from error


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if listening.family == socket.AF_INET6 else f"http://{host}:{port}"


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let a signal end the server and no more: one that comes before it runs counts, one that it has obeyed is over.

    While the server runs it has handlers of its own; when it has finished, it raises the same signal again for ours.
    """

    def stop(_number: int, _frame: Any) -> None:
        server.should_exit = True

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
