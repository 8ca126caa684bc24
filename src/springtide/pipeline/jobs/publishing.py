"""What comes of a job: the verdict on its model, and the version that it becomes."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from springtide.domain.errors import Conflict
from springtide.domain.model import Manifest
from springtide.domain.rows import Filter, Snapshot
from springtide.evaluation.gate import Rule, decide
from springtide.pipeline.jobs.judging import baselines, measure, names_of_baselines
from springtide.pipeline.jobs.material import utc
from springtide.pipeline.judgement import evidence_of
from springtide.pipeline.steps import write_manifest
from springtide.registry.wire import verdict_from
from springtide.trainers.formats import PREPROCESSING
from springtide.trainers.proving import GRAPH, PROBE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from springtide.domain.job import Job
    from springtide.domain.model import JournalEntry
    from springtide.domain.verdict import Verdict
    from springtide.pipeline.jobs.material import Material
    from springtide.pipeline.jobs.table import JobTable

__all__ = ["LEFT_OUT", "TASK", "judge", "publish"]

LEFT_OUT = "left out: "  # begins what is told of a rival that could not answer
TASK = "table"  # in the manifests of what jobs have made


def judge(at_hand: Material) -> Verdict:
    """The gate, with the target that never entered the sandbox."""
    params, found = at_hand.job.params, {}
    for name in ("new", "given", "champion"):
        if at_hand.results["predict"].get(name) == "judged":
            answers = np.load(io.BytesIO(at_hand.sent(f"answers/{name}.npy")), allow_pickle=False)
            found[name] = measure(answers, at_hand.table, at_hand.parts)
    rivals = dict(baselines(at_hand.table, at_hand.parts))
    bars = names_of_baselines(at_hand.table.question)
    if "given" in found:
        rivals["the given model"], bars = found["given"], (*bars, "the given model")
    champion = None
    if "champion" in found and at_hand.champion is not None:
        champion = (at_hand.champion.name, found["champion"])
    rule = Rule(params.rule, params.alpha, bars)
    before = evidence_of(at_hand.registry, at_hand.registry.journal(at_hand.model))
    timed = at_hand.table.time is not None
    verdict = decide(found["new"], champion=champion, baselines=rivals, rule=rule, evidence=before if timed else None)
    if not timed:  # nobody knows which of these rows were counted before: they neither add to evidence nor end it
        verdict = replace(verdict, evidence=None if before is None else dict(before))
    verdict = _kept_where_a_rival_is_unbeaten(at_hand, _told_of_a_champion_that_may_know(at_hand, verdict))
    metrics = {"challenger": dict(found["new"].metrics)} | {name: dict(one.metrics) for name, one in rivals.items()}
    if champion is not None:
        metrics[champion[0]] = dict(champion[1].metrics)
    at_hand.files.put("metrics.json", msgspec.json.encode(metrics))
    return verdict


def _kept_where_a_rival_is_unbeaten(at_hand: Material, verdict: Verdict) -> Verdict:
    """Nothing is better than what could not be asked."""
    names = {"given": "the given model", "champion": at_hand.champion.name if at_hand.champion else ""}
    for one, name in names.items():
        said = str(at_hand.results["predict"].get(one, "judged"))
        if said != "judged":
            why = f"{name} could not answer these rows ({said.removeprefix(LEFT_OUT)}): keep, it is not beaten"
            return replace(verdict, promote=False, reason=f"{verdict.reason}; but {why}")
    return verdict


def _told_of_a_champion_that_may_know(at_hand: Material, verdict: Verdict) -> Verdict:
    """Who has seen the rows does well on them: to have beaten it counts, not to have beaten it says little."""
    champion = at_hand.champion
    if champion is None or not at_hand.champion_may_know or at_hand.results["predict"].get("champion") != "judged":
        return verdict
    helped = f"{champion.name} may have seen these rows, which helps it and not the new model"
    return replace(verdict, reason=f"{verdict.reason}; {helped}")


def publish(at_hand: Material, code: str, now: Callable[[], datetime]) -> JournalEntry:
    """Keep the new model as a version; it serves if it won, and if nobody else was promoted meanwhile."""
    verdict = verdict_from(msgspec.json.encode(at_hand.results["judge"]).decode())
    folder = at_hand.folder / "version"
    folder.mkdir(exist_ok=True)
    version = at_hand.registry.publish(_describe(at_hand, folder, code, now()), folder, verdict)
    said: dict[str, Any] = {
        "run": at_hand.job.id,
        "by": "gate",
        "reason": verdict.reason,
        "at": now(),
        "warning": verdict.warning,
    }
    if verdict.promote:
        serving = at_hand.champion.number if at_hand.champion else None
        try:
            return at_hand.registry.promote(at_hand.model, version.number, **said, expected=serving)
        except Conflict as overtaken:
            said["reason"] = f"{verdict.reason}; but {overtaken.what}"
    return at_hand.registry.keep(at_hand.model, version.number, **said)


def _describe(at_hand: Material, folder: Path, code: str, created: datetime) -> Manifest:
    names = [at_hand.trained_name, PREPROCESSING, GRAPH, PROBE]
    files = {}
    for name in dict.fromkeys(names):
        if (data := at_hand.files.get(f"out/{name}")) is not None:
            (folder / name).write_bytes(data)
            files[name] = sha256(data).hexdigest()
    table, trained = at_hand.table, at_hand.results["train"]
    manifest = Manifest(
        model=at_hand.model,
        task=TASK,
        run=at_hand.job.id,
        created=created,
        code=code,
        snapshot=_snapshot(table, at_hand.job),
        recipe={
            "model": at_hand.trained_name,
            "format": trained["format"],
            "framework": trained["framework"],
            "environment": at_hand.results["check"]["environment"],
            "question": table.question,
            "target": table.target,
            "columns": [asdict(column) for column in table.columns],
            "time": table.time,
            "classes": list(table.classes),
            "foreign": at_hand.is_foreign,
        },
        signature={"model": at_hand.model, "onnx": at_hand.results["export"].get("onnx")},
        metrics=msgspec.json.decode(at_hand.sent("metrics.json")),
        files=files,
        trained_until=at_hand.trained_until,
        settings={
            "seed": at_hand.job.params.seed,
            "budget": at_hand.job.params.budget_s,
            "start": trained.get("start"),
        },
    )
    return write_manifest(manifest, folder)


def _snapshot(table: JobTable, job: Job) -> Snapshot:
    """What was sent, as the manifest of every version names its rows."""
    times = None if table.time is None else table.frame[table.time]
    first, last = (job.created, job.created) if times is None else (utc(times.min()), utc(times.max()))
    return Snapshot(f"sent: {job.files['data']}", 0, Filter(), table.frame.height, table.sha256, first, last)
