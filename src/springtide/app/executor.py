"""The process that does the steps of runs: asked by its worker in lines of JSON, and gone when its worker is."""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.app.home import check_one_store
from springtide.app.job_steps import steps_of_job, telling_of
from springtide.app.live_home import LiveHome
from springtide.app.memory import keep_memory_together
from springtide.app.worker import TASKS, find_drift, ordered
from springtide.domain.clock import utc_now
from springtide.domain.errors import (
    NotInstalled,
    NotReady,
    SettingsError,
    SourceUnavailable,
    SpringtideError,
    StoreFailed,
)
from springtide.pipeline.recorder import Recorder, Silent, failure_of, finished_steps
from springtide.pipeline.steps import Steps
from springtide.sandbox.leftovers import owned_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.app.home import Home
    from springtide.pipeline.jobs.steps import JobSteps
    from springtide.pipeline.telling import Telling
    from springtide.tasks.seam import Task

__all__ = ["Executor", "main"]

TRANSIENT = (NotReady, SourceUnavailable, StoreFailed)


class Executor:
    """Does the steps of one run after another; between two steps of a run it keeps what is in memory."""

    def __init__(self, config: Path, *, tasks: Mapping[str, Task[Any, Any, Any]] = TASKS) -> None:
        self._config, self._tasks = config, tasks
        self._run = ""
        self._live: LiveHome | None = None
        self._left = ExitStack()
        self._steps: Steps | JobSteps
        self._recorder: Recorder
        self._telling: Telling

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Do what is asked; every error is an answer too."""
        try:
            if question["ask"] == "ready":
                return {}
            if question["ask"] == "drift":
                report = find_drift(self._home(), question["model"], tasks=self._tasks)
                return {"reasons": list(report.reasons), "skill_lost": report.loss is not None and report.loss.drifted}
            if question["run"] != self._run:
                self._open(question["run"])
            if question["ask"] == "begin":
                return {"steps": list(self._steps.names)}
            self._step(question["step"])
        except Exception as error:  # noqa: BLE001 - the worker is told of every one
            self._close()
            if not isinstance(error, SpringtideError):
                traceback.print_exc()
            failure = failure_of(error, where=f"step {question.get('step', 'begin')}")
            passing = isinstance(error, TRANSIENT) and not isinstance(error, NotInstalled)
            return {"failed": {"what": failure.what, "where": failure.where, "do": failure.do, "transient": passing}}
        return {}

    def _open(self, run: str) -> None:
        """Get ready for a run, wherever it stands."""
        self._close()
        home = self._home()
        found = home.registry.run(run)
        folder = self._left.enter_context(owned_folder())
        self._telling = self._left.enter_context(telling_of(home, run))
        self._left.enter_context(_listening(self._telling))
        results = {step.name: step.result for step in finished_steps(found)}
        if found.kind == "job":
            self._steps = steps_of_job(home, found, folder, results, self._telling)
        else:
            order, collect, files = ordered(home, found)
            task = self._tasks[order.settings.task]
            self._steps = Steps(order, task, home.lake.table, home.registry, folder, collect, files, results)
        self._recorder = Recorder(found, home.registry, Silent())
        self._run = run

    def _home(self) -> Home:
        """What springtide.toml names as it stands.

        Raises
        ------
        NotReady
            If the file cannot be used, and has never been: it may be half written, and is read again.
        """
        try:
            if self._live is None:
                self._live = LiveHome(self._config, check=check_one_store)
        except SettingsError as error:
            raise NotReady(f"the settings cannot be used: {error.what}", where=error.where, do=error.do) from error
        return self._live.look()

    def _step(self, name: str) -> None:
        """Do a step, unless an earlier process has done it and was killed before it could say so."""
        if name in self._steps.results:
            return
        with self._recorder.step(name) as result:
            self._steps.take(name, result, progress=self._recorder.advance, now=utc_now)
            self._telling.flush()
        if name == self._steps.names[-1]:
            self._close()

    def _close(self) -> None:
        """Forget the run and what is in memory of it."""
        self._left.close()
        self._run = ""
        if hasattr(self, "_steps"):
            del self._steps, self._recorder


class _listening(logging.Handler):  # noqa: N801 - a context manager
    """Log lines become events of the run."""

    def __init__(self, telling: Telling) -> None:
        super().__init__(logging.INFO)
        self._told = telling

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a line."""
        self._told("log", {"level": record.levelname.lower(), "line": record.getMessage()})

    def __enter__(self) -> None:
        logging.getLogger("springtide").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("springtide").removeHandler(self)


def main() -> None:
    """Answer questions until there is nobody to ask them: ``python -m springtide.app.executor springtide.toml``."""
    keep_memory_together()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log of the worker, not among the answers
    logging.getLogger("springtide").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    questions: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions,), daemon=True).start()
    executor = Executor(Path(sys.argv[1]))
    while True:
        answers.write(json.dumps(executor.answer(json.loads(questions.get()))) + "\n")
        answers.flush()


def _listen(questions: queue.SimpleQueue[str]) -> None:
    """Take questions in while a step is being done, to notice at once that the worker is gone."""
    for line in sys.stdin:
        questions.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
