"""Notices to people: every chat, mail and push service that apprise knows, each by one URL."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from springtide.notify.answer import Answer

if TYPE_CHECKING:
    from pydantic import SecretStr

    from springtide.domain.notice import Notice

__all__ = ["send"]

TIMEOUT_S = 10.0
QUIET = {  # libraries that write whole URLs, passwords included, and the level from which on they do not
    "apprise": logging.CRITICAL,
    "oauthlib": logging.WARNING,
    "requests_oauthlib": logging.WARNING,
    "urllib3": logging.WARNING,
    "urllib3.connectionpool": logging.WARNING,
}
KINDS = {
    "promoted": "success",
    "failed": "failure",
    "drift": "warning",
    "source_silent": "warning",
    "skill_lost": "warning",
}


def send(notice: Notice, url: SecretStr, *, timeout_s: float = TIMEOUT_S) -> Answer:
    """Send title and text of a notice to the service of a URL."""
    try:
        import apprise  # noqa: PLC0415 # an extra, and 0.2 s
    except ModuleNotFoundError:
        return Answer(delivered=False, words="apprise is not installed: run `pip install 'springtide[notify]'`")
    _quieten()
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
        if not service.add(url.get_secret_value()):
            return Answer(delivered=False, words="apprise cannot read this URL")
        result = service.notify(body=notice.text, title=notice.title, notify_type=kind, body_format="text")
    except Exception as error:  # noqa: BLE001 # of a plugin, whose words may hold the URL: a delivery that failed
        return Answer(delivered=False, words=f"apprise failed: {type(error).__name__}", silent=True)
    if result:
        return Answer(delivered=True, words="sent")
    return Answer(delivered=False, words=f"not sent: {result.status.name.lower()}", silent=True)


def _quieten() -> None:
    """Write no log line with a URL in it; for good, because what takes too long goes on in a thread of its own."""
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
