"""Tells people what happened: into the outbox first, and from there to every place until it has arrived."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from springtide.app.sealing import unseal
from springtide.domain.clock import utc_now
from springtide.domain.errors import NotFound, SettingsError
from springtide.domain.notice import OF_A_JOB, STREAM, Notice
from springtide.notify import webhook
from springtide.notify.answer import Answer
from springtide.notify.places import Place, places_of
from springtide.settings.words import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from springtide.app.home import Home
    from springtide.domain.job import Job
    from springtide.domain.model import JournalEntry
    from springtide.domain.notice import Delivery
    from springtide.domain.run import Run
    from springtide.domain.verdict import Verdict

__all__ = [
    "Silence",
    "Tried",
    "Undelivered",
    "announce",
    "deliver",
    "forget_old_notices",
    "of_run",
    "try_places",
    "undelivered",
    "wait_before_retry",
]

LOG = logging.getLogger(__name__)
MOST_TRIES = 33  # with these waits the last one comes 24 hours after the first
FIRST_WAIT = timedelta(seconds=10)
LONGEST_WAIT = timedelta(hours=1)
AT_ONCE = 20  # notices in one call for one place, and for all senders of jobs together
SENDERS_S = 10.0  # how long one call may take to tell senders of jobs
SILENT = timedelta(minutes=1)  # how long a host that did not answer is not asked again for other senders
GIVEN_UP = timedelta(hours=24)  # after which a notice that a silent host kept from being tried is given up
KEPT = timedelta(days=30)  # rows of notices that have arrived, or never will


@dataclass(frozen=True, slots=True)
class Tried:
    """What a place said to a test."""

    place: str
    delivered: bool
    answer: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A notice that has not arrived at a place, for people."""

    id: str
    at: datetime
    event: str
    title: str
    place: str
    state: str
    tries: int
    next_try: datetime | None
    failure: str | None


def announce(home: Home, notice: Notice, *, job: Job | None = None, now: Callable[[], datetime] = utc_now) -> int:
    """Put a notice into the outbox for every place that wants its event, the stream, and the sender of `job`; how many.

    Once this returns the notice is not lost. Telling the same notice again changes nothing.
    """
    settings = home.settings.notify
    wanted = [place.target for place in places_of(settings, now=now) if notice.event in place.events]
    if job is not None and job.params.webhook is not None:
        wanted.append(f"{OF_A_JOB}{job.id}")
    if home.settings.streams.url is not None:
        wanted.append(STREAM)
    if wanted:
        home.registry.post_notice(notice, wanted, due=now())
    return len(wanted)


class Silence:
    """Hosts of senders of jobs that did not answer, and until when they are left alone."""

    def __init__(self) -> None:
        self._until: dict[str, datetime] = {}

    def note(self, host: str, until: datetime) -> None:
        """It did not answer."""
        self._until[host] = until

    def of(self, host: str, now: datetime) -> datetime | None:
        """Until when a host is left alone; None when it may be asked."""
        self._until = {one: until for one, until in self._until.items() if until > now}
        return self._until.get(host)


def deliver(
    home: Home,
    *,
    now: Callable[[], datetime] = utc_now,
    silence: Silence | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Deliver what is due; how many notices have arrived.

    Costs one query when nothing is due. A notice is sent first and crossed off then: after a kill in between it is
    sent again, under the same id. A place that is silent is asked once a call, whatever waits for it. The places of the
    settings are told first; to the senders of jobs, who may be many and silent, a call gives some seconds. `silence` is
    what earlier calls have learned of their hosts.
    """
    waiting = home.registry.due_notices(now(), limit=AT_ONCE)
    if not waiting:
        return 0
    places = {place.target: place for place in places_of(home.settings.notify, now=now)}
    unknown = Answer(delivered=False, words="section [notify] has no such place any more")
    silent: set[str] = set()
    arrived = 0
    for one in waiting:
        if one.target in silent or one.target.startswith(OF_A_JOB):
            continue
        place = places.get(one.target)
        answer = unknown if place is None else _sent(place, one.notice)
        arrived += _settled(home, one, answer, now())
        if answer.silent:
            silent.add(one.target)
    of_jobs = [one for one in waiting if one.target.startswith(OF_A_JOB)]
    return arrived + _tell_senders(home, of_jobs, silence or Silence(), now=now, until=clock() + SENDERS_S, clock=clock)


def forget_old_notices(home: Home, *, now: Callable[[], datetime] = utc_now) -> None:
    """Remove notices that have arrived, or never will, a month ago."""
    home.registry.forget_notices(before=now() - KEPT)


def _tell_senders(
    home: Home,
    waiting: Sequence[Delivery],
    silence: Silence,
    *,
    now: Callable[[], datetime],
    until: float,
    clock: Callable[[], float],
) -> int:
    """Tell senders of jobs, as many as the time allows; how many notices have arrived."""
    arrived = 0
    for one in waiting:
        if clock() > until:
            break
        hook = _hook_of_a_job(home, one.target)
        if hook is None:
            _put_off(home, one, Answer(delivered=False, words="the job is forgotten, or the secret is another"), now())
            continue
        host = urlsplit(hook.url.get_secret_value()).netloc.rpartition("@")[2]
        again = silence.of(host, now())
        if again is None:
            answer = _sent(
                Place(one.target, one.target, hook.events, partial(webhook.send, hook=hook, now=now)), one.notice
            )
            arrived += _settled(home, one, answer, now())
            if answer.silent:
                silence.note(host, now() + SILENT)
        elif now() - one.created > GIVEN_UP:
            home.registry.notice_failed(one.notice.id, one.target, due=None, failure="its host does not answer")
        else:
            home.registry.postpone_notice(one.notice.id, one.target, due=again)
    return arrived


def _settled(home: Home, one: Delivery, answer: Answer, now: datetime) -> bool:
    """Cross a notice off, or put it off; whether it has arrived."""
    if answer.delivered:
        home.registry.notice_delivered(one.notice.id, one.target)
    else:
        _put_off(home, one, answer, now)
    return answer.delivered


def _hook_of_a_job(home: Home, target: str) -> Webhook | None:
    """The webhook that the sender of a job has named to be told of its end."""
    settings = home.settings.jobs
    if settings.secret is None:
        return None
    try:
        url = home.registry.job(target.removeprefix(OF_A_JOB)).params.webhook
        if url is None:
            return None
        url = unseal(url, settings.secret)
    except NotFound:
        return None  # the job is forgotten, or the secret is another
    return Webhook(url=url, secret=settings.secret, allow_private=settings.allow_private)


def _sent(place: Place, notice: Notice) -> Answer:
    """What a place says; one that cannot even be asked keeps no other from being told."""
    try:
        return place.send(notice)
    except Exception as error:
        LOG.exception("%s cannot be told", place.name)
        return Answer(delivered=False, words=f"it cannot be told: {type(error).__name__}")


def wait_before_retry(tries: int) -> timedelta:
    """How long after so many failed tries: twice as long each time, up to an hour.

    >>> [wait_before_retry(tries).total_seconds() for tries in (1, 2, 3, 9, 10, 32)]
    [10.0, 20.0, 40.0, 2560.0, 3600.0, 3600.0]
    """
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << (tries - 1)))


def try_places(home: Home, *, now: Callable[[], datetime] = utc_now) -> list[Tried]:
    """Send a test to every place at once, past the outbox."""
    places = places_of(home.settings.notify, now=now)
    if not places:
        raise SettingsError(
            "no place is set that could be told", where="springtide.toml", do="add urls or webhooks to [notify]"
        )
    moment = now()
    notice = Notice(
        id=f"test-{moment:%Y%m%d-%H%M%S-%f}",
        event="test",
        title="Springtide: test",
        text="This is how Springtide will tell you what happens.",
        at=moment,
    )
    answers = [(place, place.send(notice)) for place in places]
    return [Tried(place.name, answer.delivered, answer.words) for place, answer in answers]


def undelivered(home: Home, *, limit: int = 50) -> list[Undelivered]:
    """The newest notices that wait or were given up; a place is called as in the settings, while it stands there."""
    waiting = home.registry.notices(limit)
    names = {place.target: place.name for place in places_of(home.settings.notify, now=utc_now)} if waiting else {}
    return [
        Undelivered(
            id=one.notice.id,
            at=one.notice.at,
            event=one.notice.event,
            title=one.notice.title,
            place=names.get(one.target, one.target),
            state=one.state,
            tries=one.tries,
            next_try=one.due if one.state == "waiting" else None,
            failure=one.failure,
        )
        for one in waiting
    ]


def of_run(run: Run, entry: JournalEntry | None = None, verdict: Verdict | None = None) -> Notice:
    """The notice of a run that has ended: promoted or kept by its journal entry and verdict, else failed.

    Raises
    ------
    ValueError
        If the run has neither an entry and a verdict nor a failure.
    """
    if entry is not None and verdict is not None:
        return _of_verdict(run, entry, verdict)
    if run.failure is None:
        raise ValueError(f"run {run.id} has not ended: there is no verdict and no failure")
    return Notice(
        id=f"{run.id}-failed",
        event="failed",
        title=f"{run.model}: a run failed"
        if run.version is None
        else f"{run.model}: a run failed after it had made version {run.version}",
        text=f"{run.failure.what}\nwhere: {run.failure.where}\ndo: {run.failure.do}\nrun: {run.id}",
        at=run.finished or run.started,
        model=run.model,
        run=run.id,
        version=run.version,
        facts={"reasons": list(run.reasons), "failure": asdict(run.failure)},
    )


def _of_verdict(run: Run, entry: JournalEntry, verdict: Verdict) -> Notice:
    promoted = entry.action == "promote"
    serves = "no version serves" if entry.serving is None else f"{run.model}@{entry.serving} goes on serving"
    lines = [entry.reason, f"warning: {entry.warning}" if entry.warning else "", f"run: {run.id}"]
    return Notice(
        id=f"{run.id}-{'promoted' if promoted else 'kept'}",
        event="promoted" if promoted else "kept",
        title=f"{run.model}: version {entry.version} serves now"
        if promoted
        else f"{run.model}: version {entry.version} was not promoted, {serves}",
        text="\n".join(filter(None, lines)),
        at=entry.at,
        model=run.model,
        run=run.id,
        version=entry.version,
        facts=_facts(run, entry, verdict),
    )


def _facts(run: Run, entry: JournalEntry, verdict: Verdict) -> dict[str, Any]:
    return {
        "reasons": list(run.reasons),
        "serving": entry.serving,
        "previous": entry.previous,
        "rule": verdict.rule,
        "loss_name": verdict.loss_name,
        "loss": verdict.loss,
        "items": verdict.items,
        "comparisons": [asdict(one) for one in verdict.comparisons],
        "warning": entry.warning,
    }


def _put_off(home: Home, one: Delivery, answer: Answer, now: datetime) -> None:
    tries = one.tries + 1
    due = now + wait_before_retry(tries) if tries < MOST_TRIES else None
    home.registry.notice_failed(one.notice.id, one.target, due=due, failure=answer.words)
