"""The steps of a run, each of which another process can take up: it needs only what the record of those before it says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any, Protocol

import msgspec

from springtide.domain.errors import Leak, NotFound, SettingsError, did_you_mean
from springtide.domain.model import Manifest
from springtide.domain.units import format_span
from springtide.pipeline.gathering import Gathered, gather, gather_again, snapshot_facts, snapshots_from
from springtide.pipeline.judgement import Rivals, evidence_of, judge, judging_start, measure_rivals
from springtide.pipeline.recipes import DECLARED, Origin
from springtide.registry.wire import verdict_from
from springtide.tasks.seam import Budget, Exported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from springtide.domain.model import JournalEntry, Version
    from springtide.domain.verdict import Verdict
    from springtide.lake.table import Table
    from springtide.registry.registry import Registry
    from springtide.settings.words import Model
    from springtide.tasks.seam import Fitted, Prepared, Progress, Task

__all__ = ["MANIFEST", "STEPS", "Files", "Order", "Steps", "write_manifest"]

STEPS = ("collect", "snapshot", "prepare", "train", "export", "evaluate", "judge", "explain", "publish")
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be retrained, why, with which code, and where."""

    run: str
    model: str
    settings: Model
    reasons: tuple[str, ...]
    code: str
    until: datetime | None = None  # learn and judge from what was known at this time; from all rows when None
    origin: Origin = DECLARED  # of the recipe in `settings`
    environment: Mapping[str, Any] = field(default_factory=dict)  # versions, machine, threads: for the manifest


class Files(Protocol):
    """Where a run leaves bytes for the process that goes on with it."""

    def put(self, name: str, data: bytes | IO[bytes]) -> None:
        """Store bytes, or a file in pieces, as a whole in place of the one before it."""

    def get(self, name: str) -> bytes | None:
        """The bytes of a file, None where there is none."""


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """Where a training keeps how far it has come: a file of the run."""

    files: Files

    def load(self) -> bytes | None:
        """What was saved last."""
        return self.files.get("checkpoint")

    def save(self, data: bytes) -> None:
        """Replace it."""
        self.files.put("checkpoint", data)


@dataclass
class Steps:
    """One run's steps; what is in memory is made again from the record and the run's files where a process begins later.

    Attributes
    ----------
    results : dict
        What each finished step told, by name: plain JSON. The steps read of one another only this and the files.
    folder : Path
        This process's own copy of the model files of champion and challenger.
    """

    order: Order
    task: Task[Any, Any, Any]
    tables: Callable[[str], Table]
    registry: Registry
    folder: Path
    collect: Callable[[], Mapping[str, Any]] | None = None
    files: Files | None = None  # None: the run ends with its process
    results: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    entry: JournalEntry | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The steps in their order."""
        return STEPS if self.collect is not None else STEPS[1:]

    def take(self, name: str, result: dict[str, Any], *, progress: Progress, now: Callable[[], datetime]) -> None:
        """Do one step and put what it tells into `result`; a step that is done again comes to the same."""
        match name:
            case "collect":
                assert self.collect is not None  # else it is not among the names
                result.update(self.collect())
            case "snapshot":
                self._snapshot(result)
            case "prepare":
                self._prepare(result, now())
            case "train":
                self._train(result, progress)
            case "export":
                self._export(result)
            case "evaluate":
                result.update(self._rivals.metrics(), details=self._rivals.details())
            case "judge":
                result.update(asdict(self._judge()))
            case "explain":
                result["explanation"] = self.task.explain(
                    self._challenger, self._prepared, seed=self.order.settings.seed
                )
            case "publish":
                self._publish(result, now)
        self.results[name] = result

    # What is in memory, and how it is made again

    @cached_property
    def _champion(self) -> tuple[Version, Path] | None:
        """Who served when the rows were fixed, whoever does now."""
        number = self.results["snapshot"].get("champion")
        if number is None:
            return None
        version = self.registry.version(self.order.model, number)
        folder = self.folder / "champion"
        folder.mkdir()
        return version, self.registry.fetch(version, folder)

    @cached_property
    def _gathered(self) -> Gathered:
        asked = self.task.outside(self.order.settings.recipe)
        return gather_again(*snapshots_from(self.results["snapshot"]), tables=self.tables, asked=asked)

    @cached_property
    def _prepared(self) -> Prepared:
        champion = self._champion[0] if self._champion else None
        start = judging_start(self._gathered.snapshot, self.order.settings.gate, champion)
        _check_not_searched(self.order.origin, start)
        prepared: Prepared = self.task.prepare(
            self._gathered.rows, self.order.settings.recipe, judged_from=start, outside=self._gathered.others
        )
        _check_apart(prepared)
        return prepared

    @cached_property
    def _baselines(self) -> Mapping[str, Any]:
        return self.task.baselines(self._prepared, self.order.settings.gate.baselines)

    @cached_property
    def _challenger(self) -> Path:
        """The folder of the exported files."""
        folder = self.folder / "challenger"
        folder.mkdir()
        for name in self._exported.files:
            (folder / name).write_bytes(self._left(f"challenger/{name}"))
        return folder

    @cached_property
    def _exported(self) -> Exported:
        return msgspec.json.decode(self._left("exported.json"), type=Exported)

    def _left(self, name: str) -> bytes:
        """A file that an earlier process left."""
        data = None if self.files is None else self.files.get(name)
        if data is None:
            raise NotFound(f"the run has left no file {name!r}", where="step export", do="start a new run")
        return data

    @cached_property
    def _rivals(self) -> Rivals:
        return measure_rivals(
            self.task,
            self._prepared,
            challenger=self._challenger,
            champion=self._champion,
            baselines=self._baselines,
        )

    @cached_property
    def _verdict(self) -> Verdict:
        return verdict_from(msgspec.json.encode(self.results["judge"]).decode())

    # The steps

    def _snapshot(self, result: dict[str, Any]) -> None:
        champion = self.registry.champion(self.order.model)
        gathered = gather(self.order.settings, task=self.task, tables=self.tables, known_at=self.order.until)
        result.update(snapshot_facts(gathered), champion=None if champion is None else champion.number)
        self._gathered = gathered

    def _prepare(self, result: dict[str, Any], now: datetime) -> None:
        prepared = self._prepared
        self._check_age(prepared, now)
        result.update(self.order.origin.facts)
        result.update(prepared.facts)
        result.update(trained_until=prepared.trained_until.isoformat(), judged_from=prepared.judged_from.isoformat())
        known = self._baselines  # here: a mistyped name must not cost a training
        if unknown := sorted(set(self.order.settings.gate.baselines) - set(known)):
            raise SettingsError(
                f"baseline {unknown[0]!r} is not known",
                where=f"models.{self.order.model}.gate.baselines",
                do=did_you_mean(unknown[0], {*known, *self.task.costly_baselines}),
            )

    def _check_age(self, prepared: Prepared, now: datetime) -> None:
        """Refuse, before anything is trained, a version that could never answer because it is too old when it is made."""
        limit, seen = self.order.settings.expires.model, prepared.trained_until
        if self._champion is not None and self.order.settings.start == "champion":
            seen = max(seen, self._champion[0].manifest.trained_until or seen)
        if limit is not None and seen + limit <= now:
            raise SettingsError(
                f"the new version would have expired at {seen + limit:%Y-%m-%d %H:%M} UTC, before it is made: it sees nothing "
                f"after {seen:%Y-%m-%d %H:%M}, and expires.model is {format_span(limit)}",
                where=f"models.{self.order.model}.expires.model",
                do="bring in newer rows, make expires.model longer, or gate.judge shorter",
            )

    def _fit(self, progress: Progress) -> Fitted:
        settings = self.order.settings
        fitted: Fitted = self.task.fit(
            self._prepared,
            start=self._champion[1] if self._champion is not None and settings.start == "champion" else None,
            budget=Budget(settings.budget.total_seconds(), settings.seed),
            progress=progress,
            checkpoint=None if self.files is None else _Checkpoint(self.files),
        )
        return fitted

    def _train(self, result: dict[str, Any], progress: Progress) -> None:
        self._fitted = self._fit(progress)
        result.update(self._fitted.facts)
        if self._champion is not None and result.get("start") == "champion":
            result["start"] = self._champion[0].name

    def _export(self, result: dict[str, Any]) -> None:
        fitted = getattr(self, "_fitted", None) or self._fit(lambda _advance: None)  # from its last checkpoint
        folder = self.folder / "challenger"
        folder.mkdir(exist_ok=True)
        exported = self.task.export(fitted, self._prepared, folder)
        if self.files is not None:
            for name in exported.files:
                self.files.put(f"challenger/{name}", (folder / name).read_bytes())
            self.files.put("exported.json", msgspec.json.encode(exported))
        self._exported, self._challenger = exported, folder
        sizes = {name: (folder / name).stat().st_size for name in exported.files}
        result.update(exported.facts, parity=exported.parity, bytes=sizes)

    def _judge(self) -> Verdict:
        gate = self.order.settings.gate
        evidence = evidence_of(self.registry, self.registry.journal(self.order.model))
        verdict = judge(self._rivals, gate, first=self._champion is None, evidence=evidence)
        self._verdict = verdict
        return verdict

    def _seen(self) -> datetime:
        """The time of the latest outcome that the new weights have seen, be it through the champion that they began as."""
        seen = datetime.fromisoformat(self.results["prepare"]["trained_until"])
        if self._champion is not None and self.results["train"].get("start") == self._champion[0].name:
            return max(seen, self._champion[0].manifest.trained_until or seen)
        return seen

    def _publish(self, result: dict[str, Any], now: Callable[[], datetime]) -> None:
        order, verdict, challenger = self.order, self._verdict, self._challenger
        version = self.registry.publish(self._describe(now()), challenger, verdict)
        said: dict[str, Any] = {
            "run": order.run,
            "by": "gate",
            "reason": verdict.reason,
            "at": now(),
            "warning": verdict.warning,
        }
        if verdict.promote:
            serving = self._champion[0].number if self._champion else None
            self.entry = self.registry.promote(order.model, version.number, **said, expected=serving)
        else:
            self.entry = self.registry.keep(order.model, version.number, **said)
        self.registry.retain(order.model, order.settings.keep_versions)
        result.update(version=version.number, action=self.entry.action, serving=self.entry.serving)

    def _describe(self, created: datetime) -> Manifest:
        order, exported, challenger = self.order, self._exported, self._challenger
        own, others = snapshots_from(self.results["snapshot"])
        manifest = Manifest(
            model=order.model,
            task=self.task.name,
            run=order.run,
            created=created,
            code=order.code,
            snapshot=own,
            outside=others,
            recipe=order.settings.recipe.model_dump(mode="json"),
            signature={**exported.signature, "model": order.model},
            metrics={name: value for name, value in self.results["evaluate"].items() if name != "details"},
            files={name: sha256((challenger / name).read_bytes()).hexdigest() for name in exported.files},
            trained_until=self._seen(),
            settings=order.settings.model_dump(mode="json", include={"seed", "budget", "start", "gate"}),
            environment=order.environment,
        )
        return write_manifest(manifest, challenger)


def write_manifest(manifest: Manifest, folder: Path) -> Manifest:
    """Put the manifest beside the model's files, for people who have only those; returns it with the file listed."""
    files = {name: digest for name, digest in manifest.files.items() if name != MANIFEST}
    text = msgspec.json.encode(replace(manifest, files=files))
    (folder / MANIFEST).write_bytes(msgspec.json.format(text, indent=2))
    return replace(manifest, files={**files, MANIFEST: ""})  # the registry fills in the digest of this one


def _check_not_searched(origin: Origin, judged_from: datetime) -> None:
    """Refuse a recipe that was chosen by what it is to be judged on."""
    if origin.seen_until is not None and origin.seen_until > judged_from:
        raise Leak(
            f"the recipe was found by a search that has looked at rows until {origin.seen_until:%Y-%m-%d %H:%M}, "
            f"and judging begins at {judged_from:%Y-%m-%d %H:%M}",
            where="step prepare",
            do="search again, or forget what was found: springtide retrain MODEL --declared",
        )


def _check_apart(prepared: Prepared) -> None:
    """Refuse a task whose training part reaches into what is judged."""
    if prepared.trained_until > prepared.judged_from:
        raise Leak(
            f"training sees outcomes until {prepared.trained_until:%Y-%m-%d %H:%M}, "
            f"and judging begins at {prepared.judged_from:%Y-%m-%d %H:%M}",
            where="step prepare",
            do="cut the parts in time order: what is judged must come after all that is learned from",
        )
