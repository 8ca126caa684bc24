"""What the server counts, as Prometheus reads it.

Source: Prometheus text exposition format 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    from springtide.serving.shelf import Shelf

__all__ = ["Metrics"]

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_BEGAN = "springtide_began"


class Metrics:
    """Counts of one server; all requests are counted on the thread of its event loop, so there is no lock."""

    def __init__(self, *, timer: Callable[[], float] = time.perf_counter) -> None:
        self._timer = timer
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: Counter[tuple[str, float]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._timed: Counter[str] = Counter()

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Note when a request begins."""

        async def timed(scope: Scope, receive: Receive, send: Send) -> None:
            state: dict[str, Any] = scope["state"]
            state[_BEGAN] = self._timer()
            await app(scope, receive, send)

        return timed

    async def before_send(self, message: Message, scope: Scope) -> None:
        """Count a response when it begins; also of requests that no route takes."""
        if message["type"] != "http.response.start":
            return
        route = scope.get("path_template") or "none"
        self._requests[route, str(scope.get("method")), message["status"]] += 1
        if (began := scope["state"].get(_BEGAN)) is not None:
            self._observe(route, self._timer() - began)

    def _observe(self, route: str, seconds: float) -> None:
        self._timed[route] += 1
        self._seconds[route] += seconds  # type: ignore[assignment] # a Counter adds floats as well
        for bound in BUCKETS_S:
            if seconds <= bound:
                self._buckets[route, bound] += 1

    def render(self, shelf: Shelf, *, at: datetime) -> str:
        """All counts as text, with what the shelf says of its models at that time."""
        return "\n".join([*self._request_lines(), *_model_lines(shelf), *_expiry_lines(shelf, at)]) + "\n"

    def _request_lines(self) -> Iterator[str]:
        yield from _head("springtide_requests_total", "counter", "Requests answered.")
        for (route, method, status), count in sorted(self._requests.items()):
            labels = _labels(route=route, method=method, status=status)
            yield f"springtide_requests_total{labels} {count}"
        name = "springtide_request_seconds"
        yield from _head(name, "histogram", "Seconds until the response began.")
        for route, count in sorted(self._timed.items()):
            for bound in BUCKETS_S:
                yield f"{name}_bucket{_labels(route=route, le=bound)} {self._buckets[route, bound]}"
            yield f"{name}_bucket{_labels(route=route, le='+Inf')} {count}"
            yield f"{name}_sum{_labels(route=route)} {self._seconds[route]:.6f}"
            yield f"{name}_count{_labels(route=route)} {count}"


def _model_lines(shelf: Shelf) -> Iterator[str]:
    yield from _head("springtide_model_version", "gauge", "The version that serves; 0 when none does.")
    for name, place in shelf.places.items():
        number = 0 if place.live.now is None else place.live.now.model.version.number
        yield f"springtide_model_version{_labels(model=name)} {number}"
    yield from _head("springtide_model_swaps_total", "counter", "Versions put in place since the server started.")
    for name, place in shelf.places.items():
        yield f"springtide_model_swaps_total{_labels(model=name)} {place.live.swaps}"
    yield from _head("springtide_model_refusals_total", "counter", "Versions refused since the server started.")
    for name, place in shelf.places.items():
        yield f"springtide_model_refusals_total{_labels(model=name)} {place.refusals}"


def _expiry_lines(shelf: Shelf, at: datetime) -> Iterator[str]:
    answering = {name: place.live.now for name, place in shelf.places.items() if place.live.now is not None}
    name = "springtide_model_expires_timestamp_seconds"
    yield from _head(name, "gauge", "When the model answers no more if nothing new comes; absent without a limit.")
    for model, now in answering.items():
        if (end := now.expires_at()) is not None:
            yield f"{name}{_labels(model=model)} {end.timestamp():.0f}"
    name = "springtide_model_expired_series"
    yield from _head(name, "gauge", "Series that are not answered because the model or their rows are too old.")
    for model, now in answering.items():
        expired = sum(now.state(series, at) == "expired" for series in now.forecasts)
        yield f"{name}{_labels(model=model)} {expired}"


def _head(name: str, kind: str, words: str) -> tuple[str, str]:
    return f"# HELP {name} {words}", f"# TYPE {name} {kind}"


def _labels(**labels: object) -> str:
    r"""Labels as Prometheus writes them.

    >>> _labels(route='/v1/"x"', status=200)
    '{route="/v1/\\"x\\"",status="200"}'
    """
    escaped = {name: str(value).replace("\\", "\\\\").replace('"', '\\"') for name, value in labels.items()}
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"
