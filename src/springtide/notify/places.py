"""The places that want to be told, under names that hold no secret."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from springtide.notify import chat, webhook

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pydantic import SecretStr

    from springtide.domain.notice import Notice
    from springtide.notify.answer import Answer
    from springtide.settings.words import Notify

__all__ = ["Place", "places_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """One place: `target` is its name in the database, `name` the one in the settings file.

    `target` stays when the file is sorted anew, so that what waits for a place never goes to another one.
    """

    target: str
    name: str
    events: tuple[str, ...]
    send: Callable[[Notice], Answer]


def places_of(settings: Notify, *, now: Callable[[], datetime]) -> list[Place]:
    """Every place of the section ``[notify]``."""
    chats = [
        Place(
            _target("url", url),
            f"urls.{number} ({url.get_secret_value().partition('://')[0]})",
            settings.events,
            partial(chat.send, url=url),
        )
        for number, url in enumerate(settings.urls)
    ]
    hooks = [
        Place(
            _target("webhook", hook.url),
            f"webhooks.{number}",
            hook.events,
            partial(webhook.send, hook=hook, now=now),
        )
        for number, hook in enumerate(settings.webhooks)
    ]
    return [*chats, *hooks]


@lru_cache(maxsize=64)
def _target(kind: str, url: SecretStr) -> str:
    """A name that tells places apart and does not help to guess a password: a try costs 16 MB and tens of milliseconds."""
    digest = hashlib.scrypt(url.get_secret_value().encode(), salt=b"springtide outbox", n=2**14, r=8, p=1, dklen=6)
    return f"{kind} {digest.hex()}"
