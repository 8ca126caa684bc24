"""What one worker does for all: it ticks the scheduler, and sends what people want to be told."""

from __future__ import annotations

import logging
import math
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from springtide.app.ingestion import Brought, ingest
from springtide.app.jobs import forget_lost_files, forget_old_jobs
from springtide.app.notifying import Silence, announce, deliver, forget_old_notices
from springtide.app.queue import executor_command, submit
from springtide.app.scheduler import Scheduler
from springtide.domain.clock import utc_now
from springtide.domain.errors import NotReady, StoreFailed
from springtide.domain.notice import Notice
from springtide.pipeline.durable.child import Child

if TYPE_CHECKING:
    from collections.abc import Sequence

    from springtide.app.home import Home
    from springtide.app.live_home import LiveHome
    from springtide.domain.notice import Event
    from springtide.domain.trigger import Finding

__all__ = ["SchedulerDuties"]

LOG = logging.getLogger("springtide.duties")
TIDY_S = 3600.0  # between two looks for jobs and notices that are old enough to be forgotten
LOST_AFTER = timedelta(days=1)
TOLD = {"source_silent": "is silent", "source_speaks": "brings rows again", "source_failed": "fails"}


class SchedulerDuties:
    """The scheduler of springtide.toml as it stands now, and the delivery of notices in a thread of its own.

    A file that was changed is read again; one that cannot be read leaves things as they were, and that is logged.
    """

    def __init__(self, live: LiveHome) -> None:
        self._live = live
        self._closed = threading.Event()
        self._tidied = -math.inf
        self._home = live.look()
        self._scheduler = self._scheduler_of(self._home)
        threading.Thread(target=self._deliver, daemon=True).start()

    def tick(self) -> None:
        """Do what is due."""
        if (home := self._live.look()) is not self._home:
            before, self._home, self._scheduler = self._scheduler, home, self._scheduler_of(home)
            before.close()
        if time.monotonic() - self._tidied > TIDY_S:
            self._tidied = time.monotonic()
            forget_old_jobs(self._home, before=utc_now() - self._home.settings.jobs.keep)
            forget_lost_files(self._home, before=utc_now() - LOST_AFTER)
            forget_old_notices(self._home)
        report = self._scheduler.tick()
        for model, reasons in report.submitted.items():
            LOG.info("a run of %s was asked for: %s", model, "; ".join(reasons))
        for model, why in report.refused.items():
            LOG.warning("no run of %s could be asked for: %s", model, why)

    def close(self) -> None:
        """Stop."""
        self._closed.set()
        self._scheduler.close()

    def _scheduler_of(self, home: Home) -> Scheduler:
        return Scheduler(home, self._submit, self._ingest, utc_now, self._tell, self._look_for_drift)

    def _submit(self, model: str, reasons: tuple[str, ...]) -> object:
        return submit(self._home, model, reasons=reasons)

    def _ingest(self, source: str) -> Brought:
        return ingest(self._home, source, now=utc_now, told=lambda _brought, _done: None)

    def _look_for_drift(self, model: str) -> Sequence[str]:
        """Why a model needs a run; looked at in a process of its own, because that takes the training libraries."""
        if self._home.registry.champion(model) is None:
            return ()
        child = Child(executor_command(self._live.config))
        try:
            answer = child.ask(ask="drift", model=model)
        finally:
            child.close()
        if "failed" in answer:
            LOG.warning("drift of %s could not be looked at: %s", model, answer["failed"]["what"])
        reasons = tuple(answer.get("reasons", ()))
        if reasons:
            self._tell_drift(model, reasons, skill_lost=answer["skill_lost"])
        return reasons

    def _tell_drift(self, model: str, reasons: Sequence[str], *, skill_lost: bool) -> None:
        """Once a day: what has moved; the last reason is that of the losses, where these are worse than a baseline's."""
        told: list[tuple[Event, str, Sequence[str]]] = [("drift", "has drifted", reasons)]
        if skill_lost:
            told = [("skill_lost", "is worse than a baseline", reasons[-1:]), ("drift", "has drifted", reasons[:-1])]
        for event, words, of_it in told:
            if of_it:
                notice = Notice(
                    id=f"{event}-{model}-{utc_now():%Y%m%d}",
                    event=event,
                    title=f"{model} {words}",
                    text="\n".join(of_it),
                    at=utc_now(),
                    model=model,
                )
                announce(self._home, notice)

    def _tell(self, finding: Finding) -> None:
        LOG.warning("%s: %s", finding.subject, finding.what)
        if finding.kind in TOLD:
            notice = Notice(
                id=finding.id,
                event="source_silent",
                title=f"{finding.subject} {TOLD[finding.kind]}",
                text=finding.what,
                at=finding.at,
                source=finding.subject,
                facts={"finding": finding.kind},
            )
            announce(self._home, notice)

    def _deliver(self) -> None:
        silence = Silence()
        while not self._closed.wait(1.0):
            try:
                deliver(self._home, silence=silence)
            except (NotReady, StoreFailed):
                continue  # the database is away: again in a second
            except Exception:
                LOG.exception("notices could not be delivered; again in a second")
