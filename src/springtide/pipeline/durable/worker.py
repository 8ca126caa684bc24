"""The worker: takes runs off the queue one at a time, has their steps done, and takes over what dead workers left."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dbos import DBOS

from springtide.domain.clock import utc_now
from springtide.domain.errors import NotReady, StoreFailed
from springtide.domain.run import Failure, Run, Worker
from springtide.pipeline.dead_runs import is_gone, this_process
from springtide.pipeline.durable.child import Child, ChildGone
from springtide.pipeline.durable.queue import FORMAT, QUEUE, WORKFLOW, dbos_url, quiet, serializer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dbos import DBOSConfig

    from springtide.registry.registry import Registry

__all__ = ["Duties", "Limits", "RunWorker"]

POLL_S = 0.1  # of the queue
WATCH_S = 0.25  # between two looks at the process of a run
BEAT_S = 2.0
DEAD_S = 6.5  # in which a living worker has beaten three times
DUTY_S = 1.0
LEASE = timedelta(seconds=10)
MOST_RUNS = 20  # of one process, about, against libraries that never give memory back
MOST_ATTEMPTS = 20  # to take up a run: one that ends every worker must itself come to an end
MOST_DEATHS = 3  # of the process of a step, for no reason of ours
RETRIES_S = (1, 2, 4, 8, 16, 32, 60)  # waits between the tries of a step that failed for a passing reason
FINAL = ("publish", "deliver")  # a run that has come so far is not stopped any more
HANDED_BACK = "handed back"

LOG = logging.getLogger("springtide.worker")
T = TypeVar("T")
Said = dict[str, Any]
"""What came of a step: empty, or ``failed`` with what, where and do, or ``cancelled`` with why."""


class Duties(Protocol):
    """What one worker does for all."""

    def tick(self) -> object:
        """Do what is due; called every second."""

    def close(self) -> None:
        """Another worker does it from now on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use."""

    seconds: float
    memory: int  # bytes


@dataclass(eq=False)
class _Current:
    """The run that this worker has."""

    run: str
    child: Child
    limits: Limits
    began: float = field(default_factory=time.monotonic)
    step: str = ""
    said: Said | None = None  # why it was killed


class RunWorker:
    """One worker: one run at a time.

    Parameters
    ----------
    registry : Registry
        Where runs stand; the queue is in the same database.
    database : str
        Its URL.
    host, code : str
        This machine's name and the version of the code.
    command : sequence of str
        Starts the process that does steps.
    limits : callable
        What a run may use.
    ended : callable
        Told of every run that came to its end here; once more where it is not certain that it heard it.
    duties : callable, optional
        Makes what one worker does for all, each time that this becomes that one.
    sweep : callable, optional
        Clears away what processes of this machine left that were killed; it raises nothing.
    """

    def __init__(  # noqa: PLR0913 # what the composition root knows, each by its name
        self,
        registry: Registry,
        database: str,
        *,
        host: str,
        code: str,
        command: Sequence[str],
        limits: Callable[[Run], Limits],
        ended: Callable[[Run], object] = lambda _run: None,
        duties: Callable[[], Duties] | None = None,
        sweep: Callable[[], object] = lambda: None,
    ) -> None:
        self._registry, self._database, self._host, self._code = registry, database, host, code
        self._command, self._limits, self._ended, self._duties = list(command), limits, ended, duties
        self._sweep = sweep
        self._stopping = threading.Event()
        self._spare: Child | None = None
        self._fresh: Child | None = None  # takes the place of one that has worked on enough runs
        self._current: _Current | None = None
        self._heard: dict[str, tuple[Worker, float]] = {}  # every other worker's last beat, and when it was first seen
        self.me: Worker

    # Life

    def start(self) -> Worker:
        """Take a place, begin to beat, and listen to the queue."""
        quiet()
        self._sweep()
        now = utc_now()
        draft = Worker("", this_process(), self._code, now, now)
        self.me = self._registry.take_place(
            draft, host=self._host, free=lambda one: not one.process or is_gone(one.process)
        )
        self._spare = Child(self._command)
        config: DBOSConfig = {
            "name": "springtide",
            "system_database_url": dbos_url(self._database),
            "application_version": FORMAT,
            "executor_id": self.me.id,
            "serializer": serializer(),
            "log_level": "CRITICAL",
            "use_listen_notify": False,
        }
        DBOS(config=config)

        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
        def work(run: str) -> str:
            return self._work(run)

        DBOS.listen_queues([QUEUE])
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=1, polling_interval_sec=POLL_S, on_conflict="always_update")
        for duty in (self._beat, self._watch, self._do_duties):
            threading.Thread(target=duty, daemon=True).start()
        return self.me

    def stop(self, *, grace_s: float) -> None:
        """Let the run come to its end if it does so in time; else hand it back, for another worker to go on with.

        The process must end after this: threads that wait for what was handed back never return.
        """
        self._stopping.set()
        until = time.monotonic() + grace_s
        while self._current is not None and time.monotonic() < until:
            time.sleep(0.05)
        if (current := self._current) is not None:
            current.child.kill(HANDED_BACK)
            self._bury(current.child)
            self._hand_back(current.run)
        for child in (self._spare, self._fresh):
            if child is not None:
                child.close()
        self._registry.hand_back(self.me)

    def _hand_back(self, run: str) -> None:
        """Let the run wait again, until another worker takes it up."""

        def waits(found: Run) -> Run:
            return found if found.ended else replace(found, state="queued", worker=None, process=None)

        self._registry.change_run(run, waits)
        self._registry.add_event(run, "state", {"state": "queued", "why": f"handed back by {self.me.id}"}, utc_now())

    @property
    def idle(self) -> bool:
        """Whether it has no run."""
        return self._current is None

    # The workflow: DBOS writes down which steps are done

    def _work(self, run: str) -> str:
        """One run from where it stands to its end."""
        try:
            found = self._take_up(run)
            if found.ended:  # perhaps by a worker that was killed before it could tell
                self._patiently(lambda: self._ended(found))
                return found.state
            said: Said = DBOS.run_step({"name": "begin"}, self._ask_again, run, ask="begin")
            for name in said.get("steps", ()):
                said = DBOS.run_step({"name": name}, self._ask_again, run, ask="step", step=name)
                if said:
                    break
            return DBOS.run_step({"name": "end"}, self._end, run, said)
        finally:
            self._release()

    def _take_up(self, run: str) -> Run:
        """Mark a run as running here, unless it has ended already."""

        def taken(found: Run) -> Run:
            if found.ended:
                return found
            return replace(
                found,
                state="running",
                started=utc_now() if found.attempts == 0 else found.started,
                worker=self.me.id,
                process=self.me.process,
                attempts=found.attempts + 1,
            )

        found = self._patiently(lambda: self._registry.change_run(run, taken))
        if found.ended:
            return found
        self._tell(run, "state", state="running", worker=self.me.id, attempt=found.attempts)
        child = self._spare if self._spare is not None and self._spare.alive else Child(self._command)
        self._spare = None
        self._current = _Current(run, child, self._limits(found))
        if found.attempts > MOST_ATTEMPTS:
            self._current.said = _failed(
                f"it was taken up {MOST_ATTEMPTS} times and never came to its end",
                where="the worker",
                do="look at its events: springtide runs --follow",
            )
        return found

    def _ask_again(self, run: str, **question: Any) -> Said:
        """What the process of the run says, asked again where something failed that passes."""
        deaths, waits = 0, iter(RETRIES_S)
        while True:
            said = self._ask(run, **question)
            failed = said.get("failed")
            if failed is None:
                return said
            deaths += failed.get("died", False)
            wait = next(waits, None)
            if wait is None or deaths > MOST_DEATHS or not failed.get("transient"):
                return said
            self._tell(run, "step_retried", step=question.get("step", "begin"), what=failed["what"], in_seconds=wait)
            self._wait(wait)

    def _ask(self, run: str, **question: Any) -> Said:
        """What the process of the run says; a new process where there is none."""
        current = self._current
        assert current is not None  # a workflow has taken its run up
        if current.said is not None:
            return current.said
        if not current.child.alive:
            current.child.close()
            current.child = Child(self._command)
        current.step = question.get("step", "")
        try:
            return current.child.ask(run=run, **question)
        except ChildGone as gone:
            if gone.why == HANDED_BACK:
                threading.Event().wait()  # for ever: this process ends, another worker goes on
            self._bury(current.child)
            step = f"step {current.step}" if current.step else "before the first step"
            return current.said or _failed(
                gone.why, where=step, do="look at the log of the worker", transient=True, died=True
            )

    def _bury(self, child: Child) -> None:
        """Clear away what a process left that was killed: its cell, and its folders."""
        child.close()
        self._sweep()

    def _wait(self, seconds: float) -> None:
        """Sleep, but no longer than until somebody stops the run."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._current is not None and self._current.said is None:
            time.sleep(WATCH_S)

    def _end(self, run: str, said: Said) -> str:
        """Store the end of a run."""
        state, failure = _end_of(said)
        end = self._patiently(
            lambda: self._registry.end_run(
                run, lambda found: replace(found, state=state, failure=failure, finished=utc_now())
            )
        )
        self._patiently(lambda: self._ended(end))
        return end.state

    def _release(self) -> None:
        """Keep the process for the next run, if it is fit for one."""
        current, self._current = self._current, None
        if current is None:
            return
        child = current.child
        child.done += 1
        fresh, self._fresh = self._fresh, None
        if fresh is not None or current.said is not None or not child.alive:
            self._bury(child)
            self._spare = fresh or Child(self._command)
            return
        self._spare = child
        if child.done == MOST_RUNS:
            threading.Thread(target=self._make_fresh, daemon=True).start()

    def _make_fresh(self) -> None:
        """A new process, for after the next run: whoever asks for one does not wait until its libraries are there."""
        fresh = Child(self._command)
        try:
            fresh.ask(ask="ready")
        except ChildGone:
            fresh.close()
        else:
            self._fresh = fresh

    # What goes on beside it

    def _watch(self) -> None:
        """Stop the run when somebody asks for it, or when it uses more than it may."""
        while True:
            time.sleep(WATCH_S)
            current = self._current
            if current is None or current.said is not None or current.step in FINAL:
                continue
            if (said := self._over(current) or self._asked_to_stop(current)) is not None:
                current.said = said
                current.child.kill("stopped")

    def _over(self, current: _Current) -> Said | None:
        limits, step = current.limits, f"step {current.step}" if current.step else "before the first step"
        if time.monotonic() - current.began > limits.seconds:
            words = f"the run took longer than the {limits.seconds:g} s it may take"
            return _failed(words, where=step, do="raise limits.time of the model, or lower its budget")
        if (used := current.child.memory()) > limits.memory:
            words = f"the run used {used / 1e9:.2f} GB of memory, more than the {limits.memory / 1e9:.2f} GB it may use"
            return _failed(words, where=step, do="raise limits.memory of the model, or give it fewer rows")
        return None

    def _asked_to_stop(self, current: _Current) -> Said | None:
        try:
            why = self._registry.run(current.run).stop_asked
        except (NotReady, StoreFailed):
            return None  # the database is away: asked again at the next look
        return None if why is None else {"cancelled": why}

    def _beat(self) -> None:
        """Say that this worker lives, and look who does not."""
        while True:
            try:
                if not self._registry.beat(self.me, utc_now()):
                    self._lose_place()
                self._look_for_the_dead()
            except (NotReady, StoreFailed):
                self._heard.clear()  # while the database is away nobody can be heard
            time.sleep(BEAT_S)

    def _lose_place(self) -> None:
        """Others took this worker for dead and went on with its run: it must do nothing more."""
        try:
            if (current := self._current) is not None:
                current.child.kill(HANDED_BACK)
                self._bury(current.child)
        finally:
            os._exit(75)

    def _look_for_the_dead(self) -> None:
        """Take over from workers whose beat has not changed for a while, by the time that passed here.

        No clock is compared with another: hosts may differ, and clocks may jump.
        """
        now = time.monotonic()
        for one in self._registry.workers():
            last, since = self._heard.get(one.id, (one, now))
            self._heard[one.id] = (one, now) if one.beat != last.beat else (last, since)
            if one.id != self.me.id and (not one.process or (one.beat == last.beat and now - since > DEAD_S)):
                self._end_runs_of_other_formats(one.id)
                DBOS._recover_pending_workflows([one.id])  # noqa: SLF001 - the only way that checks whose they are
                self._registry.leave_place(one)
                del self._heard[one.id]
                threading.Thread(
                    target=self._sweep, daemon=True
                ).start()  # an engine that hangs must not stop the beats

    def _end_runs_of_other_formats(self, dead: str) -> None:
        """A run whose steps came in another order cannot be gone on with: it ends, and says so."""
        for left in DBOS.list_workflows(executor_id=dead, status=["PENDING", "ENQUEUED"]):
            if left.app_version in (None, FORMAT):
                continue
            said = _failed(
                f"it was begun in format {left.app_version} of runs; this release goes on only with format {FORMAT}",
                where="the worker",
                do="start it again; before an upgrade let workers come to the end of their runs",
            )
            self._end(left.workflow_id, said)
            DBOS.cancel_workflow(left.workflow_id)

    def _do_duties(self) -> None:
        """Do what one worker does for all, while it is this one."""
        if self._duties is None:
            return
        mine: Duties | None = None
        while not self._stopping.wait(DUTY_S):
            try:
                if not self._registry.lease("duties", self.me.id, utc_now(), LEASE):
                    if mine is not None:
                        mine.close()
                    mine = None
                    continue
                mine = mine or self._duties()
                mine.tick()
            except (NotReady, StoreFailed):
                continue  # the database is away: again in a second
            except Exception:
                LOG.exception("the scheduler stumbled; it goes on in a second")
        if mine is not None:
            mine.close()

    # Words

    def _tell(self, run: str, kind: str, **body: Any) -> None:
        self._patiently(lambda: self._registry.add_event(run, kind, body, utc_now()))

    def _patiently(self, act: Callable[[], T]) -> T:
        """Do something with the database, however long it is away."""
        while True:
            try:
                return act()
            except NotReady:
                time.sleep(1.0)


def _failed(what: str, *, where: str, do: str, **flags: bool) -> Said:
    return {"failed": {"what": what, "where": where, "do": do, **flags}}


def _end_of(said: Said) -> tuple[Any, Failure | None]:
    if "cancelled" in said:
        return "cancelled", Failure(said["cancelled"], "the run", "start it again when you like")
    if "failed" in said:
        failed = said["failed"]
        return "failed", Failure(failed["what"], failed["where"], failed["do"])
    return "succeeded", None
