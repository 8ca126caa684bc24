"""Notices to a web address, each with a signature by which the receiver knows the sender."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec

from springtide import __version__
from springtide.notify.reach import TIMEOUT_S, reach, resolve_host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from springtide.domain.notice import Notice
    from springtide.notify.answer import Answer
    from springtide.settings.words import Webhook

__all__ = ["send", "sign"]


def sign(secret: str, body: bytes, unix_s: int) -> str:
    """The value of ``Springtide-Signature``: HMAC-SHA256 over ``{unix_s}.{body}``.

    >>> sign("key", b"{}", 1)
    't=1,v1=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224'
    """
    digest = hmac.digest(secret.encode(), f"{unix_s}.".encode() + body, "sha256").hex()
    return f"t={unix_s},v1={digest}"


def send(
    notice: Notice,
    hook: Webhook,
    *,
    now: Callable[[], datetime],
    resolve: Callable[[str, int], Sequence[str]] = resolve_host,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Post a notice; see `reach` for when it has arrived."""
    body = msgspec.json.encode(notice)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"springtide/{__version__}",
        "Springtide-Id": notice.id,
        "Springtide-Signature": sign(hook.secret.get_secret_value(), body, int(now().timestamp())),
    }
    return reach(
        "POST",
        hook.url.get_secret_value(),
        body,
        headers,
        allow_private=hook.allow_private,
        resolve=resolve,
        timeout_s=timeout_s,
    )
