"""A finished run once more, from its record: what it gives now beside what it gave then."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from springtide.domain.errors import Conflict, NotFound
from springtide.pipeline.differences import (
    Finding,
    compare_fact,
    compare_file,
    compare_values,
    read_probe,
    read_weights,
)
from springtide.pipeline.gathering import gather_again
from springtide.pipeline.judgement import evidence_of, judge, judging_start, measure_rivals
from springtide.settings.words import Model
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from springtide.domain.model import Version
    from springtide.domain.run import Run
    from springtide.lake.table import Table
    from springtide.registry.registry import Registry
    from springtide.tasks.seam import Progress, Task

__all__ = ["Past", "Reproduction", "find_past", "reproduce"]

FILES = {"weights": ("model.onnx", read_weights), "probe": ("probe.npz", read_probe)}  # as the seam names them
NOT_REPEATED = {"seconds", "stopped_by"}  # of a training: the repetition is stopped by its number of steps


@dataclass(frozen=True, slots=True)
class Past:
    """A run that is over, and the version that it made."""

    run: Run
    version: Version

    def result(self, step: str) -> Mapping[str, Any]:
        """What the step of that name gave."""
        return next((one.result for one in self.run.steps if one.name == step), {})


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What a run gave then and what it gives now.

    `same` says that all `results` are; `circumstances` are the code, the libraries and the machine.
    """

    run: str
    version: str
    same: bool
    conclusion: str
    results: tuple[Finding, ...]
    circumstances: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Repeated:
    """What the repetition gave, under the names that the record has for it."""

    items: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    verdict: Mapping[str, Any]
    folder: Path  # of the exported files


def find_past(registry: Registry, run: str) -> Past:
    """A run whose record says enough to repeat it.

    Raises
    ------
    NotFound
        If there is no such run, or if it is from a time when less was recorded.
    Conflict
        If it made no version.
    """
    found = registry.run(run)
    if found.version is None or found.state != "succeeded":
        raise Conflict(
            f"run {run} {'is not over' if found.state == 'running' else found.state}: there is nothing to compare with",
            where=f"run {run}",
            do="take a run that made a version: `springtide runs` lists them",
        )
    version = registry.version(found.model, found.version)
    if not version.manifest.settings:
        raise NotFound(
            f"the manifest of {version.name} does not say with which seed and gate it was made",
            where=f"run {run}, code {version.manifest.code}",
            do="retrain: every new run records its settings",
        )
    return Past(found, version)


def reproduce(
    past: Past,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    registry: Registry,
    code: str,
    environment: Mapping[str, Any],
    progress: Progress,
) -> Reproduction:
    """Repeat a run from its record, publish nothing, and compare.

    The repetition has the rows, the settings, the champion and the evidence of the run, and trains as many steps as the
    run did, however long they take. `code` and `environment` are those of now.

    Raises
    ------
    NotFound
        If the rows or the files of the champion are gone.
    Conflict
        If the rows are others, or the settings of the run are not understood any more.
    ModelRefused
        If a stored file is damaged.
    """
    version = past.version
    with tempfile.TemporaryDirectory(prefix="springtide-") as name:
        folder = Path(name)
        stored = _fetch_stored(version, registry, folder / "stored")  # first: a damaged file must not cost a training
        repeated = _Repetition(past, task, registry, folder).steps(tables, progress)
        results = (
            compare_values("items", past.result("prepare"), repeated.items),
            compare_values("training", past.result("train"), repeated.training),
            *_compare_files(version, stored, repeated.folder),
            compare_values("metrics", version.manifest.metrics, repeated.metrics),
            compare_values("verdict", asdict(version.verdict), repeated.verdict),
        )
    now = {"code": code, **environment}
    then = {"code": version.manifest.code, **version.manifest.environment}
    circumstances = tuple(compare_fact(name, value, now.get(name)) for name, value in then.items())
    return Reproduction(
        run=past.run.id,
        version=version.name,
        same=all(one.same for one in results),
        conclusion=_conclude(results, circumstances),
        results=results,
        circumstances=circumstances,
    )


@dataclass(frozen=True, slots=True)
class _Repetition:
    """The steps of a run again, each with what the record says of it."""

    past: Past
    task: Task[Any, Any, Any]
    registry: Registry
    folder: Path

    def steps(self, tables: Callable[[str], Table], progress: Progress) -> _Repeated:
        task, manifest, settings = self.task, self.past.version.manifest, self._settings()
        asked = task.outside(settings.recipe)
        gathered = gather_again(manifest.snapshot, manifest.outside, tables=tables, asked=asked)
        champion = self._champion()
        evidence = self._evidence()
        judged_from = judging_start(gathered.snapshot, settings.gate, champion[0] if champion else None)
        prepared = task.prepare(gathered.rows, settings.recipe, judged_from=judged_from, outside=gathered.others)
        baselines = task.baselines(prepared, settings.gate.baselines)
        start = champion[1] if champion is not None and settings.start == "champion" else None
        fitted = task.fit(prepared, start=start, budget=self._budget(settings), progress=progress)
        challenger = self.folder / "challenger"
        challenger.mkdir()
        task.export(fitted, prepared, challenger)
        rivals = measure_rivals(task, prepared, challenger=challenger, champion=champion, baselines=baselines)
        verdict = judge(rivals, settings.gate, first=champion is None, evidence=evidence)
        trained = dict(fitted.facts)
        if champion is not None and trained.get("start") == "champion":
            trained["start"] = champion[0].name
        return _Repeated(
            items={
                **prepared.facts,
                "trained_until": prepared.trained_until.isoformat(),
                "judged_from": prepared.judged_from.isoformat(),
            },
            training={name: fact for name, fact in trained.items() if name not in NOT_REPEATED},
            metrics=rivals.metrics(),
            verdict=asdict(verdict),
            folder=challenger,
        )

    def _settings(self) -> Model:
        manifest = self.past.version.manifest
        try:
            recipe = self.task.recipe.model_validate(manifest.recipe)
            return Model(task=manifest.task, table=manifest.snapshot.table, recipe=recipe, **manifest.settings)
        except ValidationError as error:
            first = error.errors()[0]
            raise Conflict(
                f"the settings of the run are not understood by this code: {first['msg']}",
                where=f"manifest of {self.past.version.name}, {'.'.join(map(str, first['loc']))}",
                do=f"reproduce the run with the code that made it: {manifest.code}",
            ) from error

    def _champion(self) -> tuple[Version, Path] | None:
        """Who served when the run began: it is judged against, and perhaps started from."""
        number = self.past.result("snapshot")["champion"]
        if number is None:
            return None
        version = self.registry.version(self.past.run.model, number)
        return version, self.registry.fetch(version, self.folder / "champion")

    def _evidence(self) -> Mapping[str, Any] | None:
        """What the verdicts before this run had found."""
        lines = self.registry.journal(self.past.run.model)
        own = next((line.number for line in lines if line.run == self.past.run.id), None)
        if own is None:
            raise Conflict(
                f"the journal does not tell of run {self.past.run.id}: it was made by a replay of history",
                where=f"the journal of {self.past.run.model}",
                do="replay again with `springtide backtest --retrain-every`",
            )
        return evidence_of(self.registry, (line for line in lines if line.number < own))

    def _budget(self, settings: Model) -> Budget:
        trained = self.past.result("train")
        device = "cpu" if trained.get("device") == "cpu" else "auto"
        return Budget(settings.budget.total_seconds(), settings.seed, device, steps=trained.get("steps"))


def _fetch_stored(version: Version, registry: Registry, folder: Path) -> Path | None:
    """The files that the run published; None where retention has removed them."""
    try:
        return registry.fetch(version, folder)
    except NotFound:
        return None


def _compare_files(version: Version, stored: Path | None, repeated: Path) -> Iterator[Finding]:
    for name, (file, read) in FILES.items():
        then = None if stored is None else stored / file
        yield compare_file(name, then, repeated / file, sha256_then=version.manifest.files[file], read=read)


def _conclude(results: Sequence[Finding], circumstances: Sequence[Finding]) -> str:
    """One sentence: what differs, and what the reason most likely is."""
    differ = {one.name for one in results if not one.same}
    others = {one.name: one.says for one in circumstances if not one.same}
    if not differ:
        although = f", although there is another {', another '.join(others)}" if others else ""
        return f"the same weights, answers, metrics and verdict{although}"
    if "code" in others:
        reason = f"most likely because of the code: {others['code']}"
    elif others:
        reason = f"most likely because of {'; '.join(f'{name}: {says}' for name, says in others.items())}"
    elif differ <= {"weights", "probe"}:
        reason = (
            "what was recorded of the run is the same to the last digit, so the stored files are not those that it made"
        )
    else:
        reason = (
            "code, libraries and machine are the same, so a computation is not the same each time (as sums on a GPU)"
        )
    names = [one.name for one in results if one.name in differ]
    return f"other {', '.join(names)}: {reason}"
