"""From a name to the run that is meant, and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from springtide.app.report.page import render_report
from springtide.domain.errors import NotFound

if TYPE_CHECKING:
    from springtide.app.home import Home
    from springtide.domain.run import Run
    from springtide.registry.registry import Registry

__all__ = ["find_run", "report_on"]


def find_run(home: Home, what: str) -> Run:
    """A run by its id, the run that made ``MODEL@VERSION``, or the newest run of ``MODEL``.

    Raises
    ------
    NotFound
        If there is none.
    """
    registry = home.registry
    if "@" in what:
        return registry.run(registry.resolve(what).manifest.run)
    if newest := registry.runs(what, limit=1):
        return newest[0]
    if what in home.settings.models:
        raise NotFound(f"{what} has no run yet", where="the registry", do=f"run `springtide retrain {what}`")
    return registry.run(what)


def report_on(registry: Registry, run: Run) -> str:
    """The report of a run as HTML."""
    return render_report(run, None if run.version is None else registry.version(run.model, run.version))
