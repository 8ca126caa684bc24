"""Events on their way out: what the outbox holds for the stream is published, and crossed off when the broker has it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from springtide.app.jobs import message_of_key
from springtide.domain.errors import NotFound
from springtide.domain.notice import STREAM
from springtide.streams.messages import EventMessage, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from springtide.app.home import Home
    from springtide.domain.notice import Notice
    from springtide.streams.broker import Broker

__all__ = ["OfJob", "message_of", "publish_events"]

AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class OfJob:
    """That a notice is about a job, and the id of the message that the job came in, if it did."""

    message: str | None = None


async def publish_events(home: Home, broker: Broker, topic: str, *, mine: Callable[[], bool] = lambda: True) -> int:
    """Publish what waits, in the order in which it was written; how many events that were.

    Before each hundred `mine` is asked whether the publishing is still this process's: two would send everything twice.

    The first failure ends it: what comes later waits, so that order is kept, and nothing is ever given up. After a
    kill between the broker's answer and the crossing off an event is sent again, under the same id.
    """
    count = 0
    while waiting := await asyncio.to_thread(home.registry.next_events, AT_ONCE):
        if not await asyncio.to_thread(mine):
            break
        for one in waiting:
            job = await asyncio.to_thread(_job_of, home, one.notice)
            message = message_of(one.notice, base=_base(home), job=job)
            key = message.model or message.source or message.id
            await broker.publish(topic, encode(message), key=key, message_id=message.id)
            await asyncio.to_thread(home.registry.notice_delivered, one.notice.id, STREAM)
            count += 1
    return count


def message_of(notice: Notice, *, base: str, job: OfJob | None = None) -> EventMessage:
    """A notice as it travels, with links to what it is about; the model of a job is found at the job, once it is made."""
    links, facts = {}, dict(notice.facts)
    if job is not None and job.message is not None:
        facts["message"] = job.message
    if job is not None:
        links["job"] = f"{base}/v1/jobs/{notice.run}"
        if notice.version is not None:
            links["model"] = f"{base}/v1/jobs/{notice.run}/model"
    elif notice.model is not None:
        links["model"] = f"{base}/v1/models/{notice.model}"
    if notice.run is not None:
        links["run"] = f"{base}/v1/runs/{notice.run}"
    return EventMessage(
        id=notice.id,
        event=notice.event,
        at=notice.at,
        title=notice.title,
        text=notice.text,
        model=notice.model,
        model_version=notice.version,
        run=notice.run,
        source=notice.source,
        facts=facts,
        links=links,
    )


def _job_of(home: Home, notice: Notice) -> OfJob | None:
    if notice.run is None:
        return None
    try:
        if home.registry.run(notice.run).kind != "job":
            return None
    except NotFound:
        return None  # forgotten
    try:
        key = home.registry.job(notice.run).key or ""
    except NotFound:  # forgotten; its run is still known
        return OfJob()
    return OfJob(message_of_key(key))


def _base(home: Home) -> str:
    serve = home.settings.serve
    return (home.settings.streams.link or f"http://{serve.host}:{serve.port}").rstrip("/")
