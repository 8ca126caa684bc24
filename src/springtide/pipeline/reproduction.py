"""A finished run once more, from its record: what it gives now beside what it gave then."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
import onnx.numpy_helper
from pydantic import ValidationError

from springtide.domain.errors import Conflict, NotFound
from springtide.evaluation.parity import relative_difference
from springtide.pipeline.gathering import gather_again
from springtide.pipeline.judgement import judge, judging_start, measure_rivals
from springtide.settings.words import Model
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from springtide.domain.model import Version
    from springtide.domain.run import Run
    from springtide.lake.table import Table
    from springtide.registry.registry import Registry
    from springtide.tasks.seam import Progress, Task

__all__ = ["Finding", "Past", "Reproduction", "find_past", "reproduce"]

GRAPH, PROBE = "model.onnx", "probe.npz"  # as the seam names them
NOT_COMPARED = {"seconds", "stopped_by"}  # of a training: the repetition is stopped by its number of steps
GONE = "the stored files are gone, so only hashes were compared"


@dataclass(frozen=True, slots=True)
class Past:
    """A run that is over, and the version that it made."""

    run: Run
    version: Version

    def result(self, step: str) -> Mapping[str, Any]:
        """What the step of that name gave."""
        return next((one.result for one in self.run.steps if one.name == step), {})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing as it was then and as it is now, in words."""

    name: str
    same: bool
    says: str


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
            _compare_values("items", past.result("prepare"), repeated.items),
            _compare_values("training", past.result("train"), repeated.training),
            _compare_weights(version, stored, repeated.folder),
            _compare_probes(version, stored, repeated.folder),
            _compare_values("metrics", version.manifest.metrics, repeated.metrics),
            _compare_values("verdict", asdict(version.verdict), repeated.verdict),
        )
    now = {"code": code, **environment}
    then = {"code": version.manifest.code, **version.manifest.environment}
    circumstances = tuple(_compare_fact(name, value, now.get(name)) for name, value in then.items())
    return Reproduction(
        run=past.run.id,
        version=version.name,
        same=all(one.same for one in results),
        conclusion=_conclude(results, circumstances),
        results=results,
        circumstances=circumstances,
    )


# -- repeating ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Repetition:
    """The steps of a run again, each with what the record says of it."""

    past: Past
    task: Task[Any, Any, Any]
    registry: Registry
    folder: Path

    def steps(self, tables: Callable[[str], Table], progress: Progress) -> _Repeated:
        task, manifest, settings = self.task, self.past.version.manifest, self._settings()
        gathered = gather_again(manifest.snapshot, manifest.outside, tables=tables)
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
        begun = champion[0].name if champion is not None and fitted.facts.get("start") == "champion" else "scratch"
        return _Repeated(
            items={
                **prepared.facts,
                "trained_until": prepared.trained_until.isoformat(),
                "judged_from": prepared.judged_from.isoformat(),
            },
            training={**fitted.facts, "start": begun},
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
        name = self.past.result("prepare")["champion"]
        if name is None:
            return None
        version = self.registry.resolve(name)
        return version, self.registry.fetch(version, self.folder / "champion")

    def _evidence(self) -> Mapping[str, Any] | None:
        """What the newest verdict before this run had found."""
        lines = self.registry.journal(self.past.run.model)
        own = next((line.number for line in lines if line.run == self.past.run.id), None)
        if own is None:
            raise Conflict(
                f"the journal does not tell of run {self.past.run.id}: it was made by a replay of history",
                where=f"the journal of {self.past.run.model}",
                do="replay again with `springtide backtest --retrain-every`",
            )
        before = next((line for line in lines if line.number < own and line.run is not None), None)
        return None if before is None else self.registry.version(before.model, before.version).verdict.evidence

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


# -- comparing ---------------------------------------------------------------------------------------------------


def _compare_values(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Finding:
    """All values of what both tell of, however deep."""
    told = (then.keys() & now.keys()) - NOT_COMPARED
    before, after = (dict(_flat(_plain({key: one[key] for key in told}))) for one in (then, now))
    every = sorted(before.keys() | after.keys())
    changed = [path for path in every if path not in before or path not in after or before[path] != after[path]]
    if not changed:
        return Finding(name, same=True, says=f"{len(every):,} values, all the same")
    worst = max(changed, key=lambda path: _change(before.get(path), after.get(path)))
    example = f"{worst}: {_short(before.get(worst))} then, {_short(after.get(worst))} now"
    return Finding(name, same=False, says=f"{len(changed):,} of {len(every):,} values differ, the most {example}")


def _compare_weights(version: Version, then: Path | None, now: Path) -> Finding:
    """The tensors of the graph, bit by bit."""
    if then is None:
        return _compare_hashes("weights", version.manifest.files[GRAPH], now / GRAPH)
    before, after = _weights(then / GRAPH), _weights(now / GRAPH)
    if {name: _form(one) for name, one in before.items()} != {name: _form(one) for name, one in after.items()}:
        return Finding("weights", same=False, says="the graph has tensors of other names or shapes")
    off = {name: _largest(one, after[name]) for name, one in before.items() if one.tobytes() != after[name].tobytes()}
    if not off:
        numbers = sum(one.size for one in before.values())
        return Finding("weights", same=True, says=f"{numbers:,} numbers in {len(before)} tensors, the same bit by bit")
    worst = max(off, key=lambda name: off[name])
    return Finding(
        "weights",
        same=False,
        says=f"{len(off)} of {len(before)} tensors differ, at most by {off[worst]:.2g} ({worst})",
    )


def _compare_probes(version: Version, then: Path | None, now: Path) -> Finding:
    """The stored questions and answers of the model."""
    if then is None:
        return _compare_hashes("probe", version.manifest.files[PROBE], now / PROBE)
    before, after = _arrays(then / PROBE), _arrays(now / PROBE)
    if {name: _form(one) for name, one in before.items()} != {name: _form(one) for name, one in after.items()}:
        return Finding("probe", same=False, says="other inputs or outputs")
    off = [name for name, one in before.items() if one.tobytes() != after[name].tobytes()]
    if not off:
        return Finding("probe", same=True, says=f"{len(before)} arrays of questions and answers, the same bit by bit")
    if asked := [name for name in off if name.startswith("in_")]:
        return Finding("probe", same=False, says=f"other questions were asked ({', '.join(asked)})")
    most = max(relative_difference(after[name], before[name]) for name in off)
    return Finding("probe", same=False, says=f"the answers differ by {most:.2g} of the largest one")


def _compare_hashes(name: str, then: str, now: Path) -> Finding:
    same = sha256(now.read_bytes()).hexdigest() == then
    return Finding(name, same=same, says=f"{'the same' if same else 'another'} {now.name}; {GONE}")


def _compare_fact(name: str, then: Any, now: Any) -> Finding:
    return Finding(name, same=then == now, says=str(then) if then == now else f"{then} then, {now} now")


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


def _weights(graph: Path) -> dict[str, NDArray[Any]]:
    return {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(graph).graph.initializer}


def _arrays(probe: Path) -> dict[str, NDArray[Any]]:
    with np.load(probe, allow_pickle=False) as arrays:
        return dict(arrays)


def _form(array: NDArray[Any]) -> tuple[Any, ...]:
    return array.dtype, array.shape


def _largest(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


def _plain(value: Any) -> Any:
    """As it comes back from the database: NaN as null, tuples as lists."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value with its path."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield path, value
        return
    for name, one in value.items():
        yield from _flat(one, f"{path}.{name}" if path else str(name))


def _change(then: Any, now: Any) -> float:
    """How much a number changed, as a share of the larger one; more than any number for anything else."""
    if not isinstance(then, int | float) or not isinstance(now, int | float):
        return float("inf")
    return abs(then - now) / (max(abs(then), abs(now)) or 1.0)


def _short(value: Any) -> str:
    return repr(value)[:80]
