"""Several versions side by side: on the newest items that none of them has seen."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from springtide.domain.errors import Conflict, NotFound, NotReady
from springtide.evaluation.confidence_set import EXCLUDED, compare_all
from springtide.evaluation.significance import compare
from springtide.pipeline.gathering import gather
from springtide.pipeline.judgement import judging_start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from springtide.domain.model import Version
    from springtide.evaluation.losses import Losses
    from springtide.evaluation.significance import Difference
    from springtide.lake.table import Table
    from springtide.registry.registry import Registry
    from springtide.settings.words import Model
    from springtide.tasks.seam import Prepared, Task

__all__ = ["Contender", "SideBySide", "compare_versions"]


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those compared.

    `difference` is of the champion against this one, None for the champion itself and where none serves. The set of
    those that are `in_set` holds the best one with 90 % confidence.
    """

    name: str
    kind: Literal["champion", "version", "baseline"]
    loss: float
    difference: Difference | None
    mcs_p_value: float
    in_set: bool
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Versions, champion and baselines on the same items, predicted between `first` and `last`; the best one first."""

    loss_name: str
    items: int
    first: datetime
    last: datetime
    contenders: tuple[Contender, ...]
    notes: tuple[str, ...]


def compare_versions(
    model: str,
    settings: Model,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    registry: Registry,
    last: int,
) -> SideBySide:
    """Ask the newest `last` versions that have files, the champion and the baselines for the same items.

    The items are those of the gate's judging span that come after all that any of the versions compared has seen. One
    that answers another question is left out first, so that it costs the others no items.

    Raises
    ------
    NotReady
        If there is no version.
    TooFewRows
        If a version that is compared has seen all rows, or too few are left.
    """
    champion = registry.champion(model)
    with tempfile.TemporaryDirectory(prefix="springtide-") as folder:
        files, notes = _fetch(registry, model, champion, Path(folder), last)
        gathered = gather(settings, task=task, tables=tables, known_at=None)

        def start_after(version: Version) -> datetime:
            return judging_start(gathered.snapshot, settings.gate, version)

        def prepare(start: datetime) -> Prepared:
            items: Prepared = task.prepare(gathered.rows, settings.recipe, judged_from=start, outside=gathered.others)
            return items

        widest = start_after(min((version for version, _ in files), key=_seen))
        prepared = prepare(widest)
        losses, left_out = _ask(task, files, prepared)
        comparable = [(version, place) for version, place in files if version.name in losses]
        start = max((start_after(version) for version, _ in comparable), default=widest)
        if start > widest:
            prepared = prepare(start)
            losses, more = _ask(task, comparable, prepared)
            left_out += more
        notes += left_out
        versions = list(losses)
        baselines = task.baselines(prepared, settings.gate.baselines)
        losses |= {name: task.losses(rival, prepared) for name, rival in baselines.items()}
    return _stand(losses, versions, champion, notes, seed=settings.seed)


def _fetch(
    registry: Registry, model: str, champion: Version | None, folder: Path, last: int
) -> tuple[list[tuple[Version, Path]], list[str]]:
    """The champion, and the newest versions as far as retention has left their files; and what has none."""
    wanted, found, notes = registry.versions(model)[:last], [], []
    if not wanted:
        raise NotReady(f"{model!r} has no version yet", where=f"model {model}", do=f"run `springtide retrain {model}`")
    if champion is not None and champion.number not in {version.number for version in wanted}:
        wanted.append(champion)
    for version in wanted:
        try:
            found.append((version, registry.fetch(version, folder / str(version.number))))
        except NotFound as gone:
            notes.append(f"{version.name} was left out: {gone.what}")
    if not found:
        raise NotReady(f"no version of {model!r} has files", where=notes[0], do=f"run `springtide retrain {model}`")
    return found, notes


def _seen(version: Version) -> datetime:
    return version.manifest.trained_until or datetime.min.replace(tzinfo=UTC)


def _ask(
    task: Task[Any, Any, Any], files: Sequence[tuple[Version, Path]], prepared: Prepared
) -> tuple[dict[str, Losses], list[str]]:
    """The losses of all versions that answer this question, and why others do not."""
    losses, notes = {}, []
    for version, place in files:
        try:
            losses[version.name] = task.losses(task.load(place), prepared)
        except Conflict as other_question:
            notes.append(f"{version.name} was left out: {other_question.what}, {other_question.where}")
    return losses, notes


def _stand(
    losses: Mapping[str, Losses], versions: Sequence[str], champion: Version | None, notes: Sequence[str], *, seed: int
) -> SideBySide:
    p_values = compare_all(losses, rng=np.random.default_rng(seed))
    serving = champion.name if champion is not None and champion.name in losses else None
    contenders = [
        Contender(
            name=name,
            kind="champion" if name == serving else "version" if name in versions else "baseline",
            loss=one.mean,
            difference=None if serving in (None, name) else compare(losses[serving], one),
            mcs_p_value=p_values[name],
            in_set=p_values[name] > EXCLUDED,
            metrics=one.metrics,
        )
        for name, one in losses.items()
    ]
    anyone = next(iter(losses.values()))
    return SideBySide(
        loss_name=anyone.name,
        items=len(anyone.values),
        first=_moment(anyone.times.min()),
        last=_moment(anyone.times.max()),
        contenders=tuple(sorted(contenders, key=lambda one: one.loss)),
        notes=tuple(notes),
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(int(seconds), tz=UTC)
