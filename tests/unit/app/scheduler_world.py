"""A home with real tables and a real database, a clock that is turned by hand, and a scheduler that writes down."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from springtide.app.home import open_home, read_settings
from springtide.app.ingestion import Brought
from springtide.app.scheduler import Scheduler
from springtide.domain.model import Manifest
from springtide.domain.rows import Filter, Snapshot
from springtide.domain.run import Run, Step
from springtide.domain.verdict import Comparison, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.app.scheduler import TickReport
    from springtide.domain.trigger import Finding

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
MODEL = '[models.{}]\ntask = "forecast"\ntable = "candles"\nseries = ["BTC/USDT"]\n[models.{}.retrain]\n{}\n'
VERDICT = Verdict(
    promote=True,
    reason="beats every rival",
    rule="better",
    loss_name="pinball",
    items=5,
    loss=0.1,
    comparisons=(Comparison("last-value", "baseline", 0.2, 0.5, 0.01, passed=True),),
)


class Inline(Executor):
    """Makes each call at once, so that a tick sees what came of it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 # as a pool keeps it
            future.set_exception(error)
        return future


@dataclass
class World:
    """What a scheduler sees, and what it did."""

    folder: Path
    home: Home
    now: datetime = NOON
    submitted: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    found: list[Finding] = field(default_factory=list)
    bring: Callable[[str], int] = lambda _source: 0
    drift: dict[str, list[str]] = field(default_factory=dict)

    def scheduler(self, **pools: Executor) -> Scheduler:
        """A process that has just been given the duty."""
        return Scheduler(
            self.home,
            submit=lambda model, reasons: self.submitted.append((model, reasons)),
            ingest=self.ingest,
            now=lambda: self.now,
            announce=self.found.append,
            look_for_drift=lambda model: self.drift.get(model, []),
            **{"asking": Inline(), "looking": Inline(), **pools},
        )

    def ingest(self, source: str) -> Brought:
        self.asked.append(source)
        return Brought(source, source, 1, new=self.bring(source))

    def ticks(self, scheduler: Scheduler, *after: str | timedelta) -> list[TickReport]:
        """Tick at these times of the day, or so much later each time."""
        reports = []
        for step in after:
            if isinstance(step, timedelta):
                self.now += step
            else:
                self.now = datetime.combine(self.now.date(), datetime.strptime(step, "%H:%M:%S").time(), UTC)  # noqa: DTZ007
            reports.append(scheduler.tick())
        return reports

    def reads(self, toml: str) -> None:
        """Settings as another springtide.toml has them; tables and database stay."""
        self.home = open_in(self.folder, toml)

    def publish(self, model: str, made: datetime) -> int:
        """A version that serves from now on."""
        export = self.folder / "export"
        export.mkdir(exist_ok=True)
        (export / "model.onnx").write_bytes(f"{model} {made}".encode())
        snapshot = Snapshot("candles", 0, Filter(), 1, "0" * 64, made, made)
        manifest = Manifest(model, "forecast", f"run-{made.isoformat()}", made, "1", snapshot, {}, {}, {})
        version = self.home.registry.publish(manifest, export, VERDICT)
        self.home.registry.promote(model, version.number, run=manifest.run, by="gate", reason="won", at=made)
        return version.number

    def ran(self, model: str, *, table: str = "candles", version: int) -> None:
        """A run that has seen a version of a table, and then failed."""
        facts = {"table": table, "version": version}
        run = Run(
            f"run-{self.now.isoformat()}",
            model,
            "failed",
            ("x",),
            self.now,
            steps=(Step("snapshot", self.now, 1.0, facts),),
        )
        self.home.registry.save_run(run)

    def write(self, first: int, last: int, *, series: str = "BTC/USDT", table: str = "candles") -> int:
        """Hours of a series, numbered from noon on; the table's version afterwards."""
        times = [NOON + timedelta(hours=hour) for hour in range(first, last)]
        rows = pl.DataFrame({"unique_id": series, "ds": times, "y": [1.0] * len(times)})
        return self.home.lake.open(table, step_s=3600).write(rows.cast({"ds": pl.Datetime("us", "UTC")})).version


def open_in(folder: Path, toml: str) -> Home:
    """The home of a folder."""
    file = folder / "springtide.toml"
    file.write_text(toml)
    places = {"SPRINGTIDE_HOME__STORE": str(folder / "var")}
    places["SPRINGTIDE_HOME__DATABASE"] = f"sqlite:///{folder}/var/springtide.db"
    return open_home(read_settings(file, environ=places))


def model(name: str, retrain: str) -> str:
    """A section of a model and its triggers."""
    return MODEL.format(name, name, retrain)
