"""Notices to people: every chat, mail and push service that apprise knows, each by one URL."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from springtide.notify.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from springtide.domain.notice import Notice

__all__ = ["send"]

TIMEOUT_S = 10.0
TALKATIVE = ("apprise", "oauthlib", "requests", "requests_oauthlib", "urllib3")
KINDS = {
    "promoted": "success",
    "failed": "failure",
    "drift": "warning",
    "source_silent": "warning",
    "skill_lost": "warning",
}


def send(notice: Notice, url: str, *, timeout_s: float = TIMEOUT_S) -> Answer:
    """Send title and text of a notice to the service of a URL."""
    try:
        import apprise  # noqa: PLC0415 # an extra, and 0.2 s
    except ModuleNotFoundError:
        return Answer(delivered=False, words="apprise is not installed: run `pip install 'springtide[notify]'`")
    asset = apprise.AppriseAsset(
        app_id="Springtide",
        app_desc="Springtide",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        http_redirects=False,
        service_timeout=timeout_s,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    service = apprise.Apprise(asset=asset)
    kind = apprise.NotifyType(KINDS.get(notice.event, "info"))
    try:
        with _quiet():
            if not service.add(url):
                return Answer(delivered=False, words="apprise cannot read this URL")
            result = service.notify(body=notice.text, title=notice.title, notify_type=kind, body_format="text")
    except Exception as error:  # noqa: BLE001 # of a plugin, whose words may hold the URL: a delivery that failed
        return Answer(delivered=False, words=f"apprise failed: {type(error).__name__}", silent=True)
    if result:
        return Answer(delivered=True, words="sent")
    return Answer(delivered=False, words=f"not sent: {result.status.name.lower()}", silent=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """No log line of a library that writes URLs into its own, passwords included, whatever level is set for the rest."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
