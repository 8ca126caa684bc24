"""Errors as ``application/problem+json``: what, where, do; never a stack trace.

Source: RFC 9457, https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import logging
import secrets
from difflib import get_close_matches
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from springtide.domain.errors import SpringtideError, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import ExceptionHandlersMap

__all__ = ["HANDLERS"]

logger = logging.getLogger("springtide.api")

AnyRequest = Request[Any, Any, Any]


def _of_ours(request: AnyRequest, error: SpringtideError) -> Response[dict[str, Any]]:
    if error.status >= 500:
        logger.warning("%s %s: %s", request.method, request.url.path, error)
    # What is still on its way of a body that is too large is not waited for.
    headers = {"connection": "close"} if isinstance(error, TooLarge) else None
    kind = type(error).__name__
    return _problem(
        kind, error.status, what=error.what, where=error.where, do=error.do, facts=error.facts, headers=headers
    )


def _of_http(request: AnyRequest, error: HTTPException) -> Response[dict[str, Any]]:
    """Unknown routes, wrong methods, bodies that are too large or not what a route takes."""
    if error.status_code >= 500:
        return _unexpected(request, error)
    what, do = _explain(request, error)
    where = f"{request.method} {request.url.path}"
    kind = HTTPStatus(error.status_code).phrase.title().replace(" ", "")
    return _problem(kind, error.status_code, what=what, where=where, do=do, headers=error.headers)


def _unexpected(request: AnyRequest, error: Exception) -> Response[dict[str, Any]]:
    """Our own fault: the log has the trace, the client a number to find it by."""
    number = secrets.token_hex(4)
    logger.error("%s %s failed (%s)", request.method, request.url.path, number, exc_info=error)
    return _problem(
        "Unexpected",
        500,
        what="something is wrong in the server",
        where=f"{request.method} {request.url.path}",
        do=f"look for {number} in the server's log, and report what it says there",
    )


HANDLERS: ExceptionHandlersMap = {SpringtideError: _of_ours, HTTPException: _of_http, Exception: _unexpected}


def _explain(request: AnyRequest, error: HTTPException) -> tuple[str, str]:
    if error.status_code == 404:
        close = get_close_matches(request.url.path, {route.path for route in request.app.routes}, n=1)
        return f"there is no route {request.url.path}", f"did you mean {close[0]}? see /docs" if close else "see /docs"
    if error.status_code == 405:
        return f"{request.method} is not possible here", "use the method that /docs lists for this route"
    if error.status_code == 413:
        most = request.route_handler.resolve_request_max_body_size()
        return f"the body is larger than the {most:,} bytes that this route takes", "send fewer rows in one request"
    reasons = [_reason(extra) for extra in error.extra or () if isinstance(extra, dict)]
    return "; ".join(reasons) or error.detail, "send what /docs lists for this route"


def _reason(extra: Mapping[str, Any]) -> str:
    return f"{extra['key']}: {extra['message']}" if extra.get("key") else str(extra.get("message", ""))


def _problem(
    kind: str,
    status: int,
    *,
    what: str,
    where: str,
    do: str,
    facts: Mapping[str, Any] = MappingProxyType({}),
    headers: dict[str, str] | None = None,
) -> Response[dict[str, Any]]:
    content = {"type": f"/docs#{kind}", "title": what, "status": status, "where": where, "do": do, **facts}
    return Response(content, status_code=status, media_type="application/problem+json", headers=headers)
