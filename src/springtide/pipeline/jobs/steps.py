"""The steps of a job, each of which another process can take up: check, train, predict, judge, export, publish."""

from __future__ import annotations

import io
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from springtide.domain.errors import BadRows, Conflict, ModelRefused
from springtide.pipeline.jobs.cells import CellFailed
from springtide.pipeline.jobs.judging import read_answers, read_arrays
from springtide.pipeline.jobs.material import Material, form_of, utc
from springtide.pipeline.jobs.publishing import LEFT_OUT, TASK, judge, publish
from springtide.pipeline.steps import MANIFEST
from springtide.sdk import Refusal
from springtide.trainers.formats import FORMATS, PREPROCESSING
from springtide.trainers.proving import GRAPH, PROBE, prove
from springtide.trainers.structure import check_structure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from springtide.domain.job import Job
    from springtide.pipeline.jobs.cells import Bench, Done
    from springtide.sandbox.seam import Limits
    from springtide.tasks.seam import Progress

__all__ = ["STEPS", "JobSteps"]

GRACE_S = 60.0  # beyond its budget that a training gets, for its libraries and its model
ROOM = 0.1  # of the time of a cell, which the grace takes at most
STEPS = ("check", "train", "predict", "judge", "export", "publish", "deliver")


@dataclass(frozen=True, slots=True)
class JobSteps:
    """One job's steps; they read of one another only what is at hand: the record and the run's files."""

    at_hand: Material
    code: str
    bench: Callable[[], Bench]
    deliver: Callable[[Job, int], Mapping[str, Any]]  # puts a version where the job wants it

    @property
    def results(self) -> dict[str, Mapping[str, Any]]:
        """What each finished step told, by name: plain JSON."""
        return self.at_hand.results

    @property
    def names(self) -> tuple[str, ...]:
        """The steps in their order."""
        return STEPS if self.at_hand.job.params.deliver else STEPS[:-1]

    def take(self, name: str, result: dict[str, Any], *, progress: Progress, now: Callable[[], datetime]) -> None:
        """Do one step and put what it tells into `result`; a step that is done again comes to the same."""
        del progress  # what the sandbox reports is told as it comes
        match name:
            case "check":
                self._check(result)
            case "train":
                self._train(result)
            case "predict":
                self._predict(result)
            case "judge":
                result.update(asdict(judge(self.at_hand)))
            case "export":
                self._export(result)
            case "publish":
                entry = publish(self.at_hand, self.code, now)
                result.update(version=entry.version, action=entry.action, serving=entry.serving)
            case "deliver":
                result.update(self.deliver(self.at_hand.job, int(self.results["publish"]["version"])))
        self.results[name] = result

    # The steps

    def _check(self, result: dict[str, Any]) -> None:
        """Everything that can be wrong with what was sent is said before anything is trained."""
        champion = self.at_hand.champion
        if champion is not None and champion.manifest.task != TASK:
            raise Conflict(
                f"{champion.name} is no model of a table: a job cannot go on from it, nor be judged beside it",
                where="name in the params of the job",
                do="choose another name",
            )
        table, parts = self.at_hand.table, self.at_hand.parts
        form = self.at_hand.given_form
        notes = [*table.notes, *self._notes_on_judging(), *self._notes_on_what_the_champion_knows()]
        if champion is not None and (strange := self.at_hand.strange_columns):
            notes.append(f"{champion.name} reads {', '.join(strange[:5])}, which this table does not have as it was")
        result.update(
            rows=table.frame.height,
            columns=[asdict(column) for column in table.columns],
            question=table.question,
            classes=list(table.classes),
            training_rows=parts.training.height,
            judging_rows=parts.judging.height,
            notes=notes,
            given=None if form is None else form.name,
            champion=None if champion is None else champion.number,
            environment=self.at_hand.environment,
        )
        if table.time is not None:
            until, last = utc(parts.training[table.time].max()), utc(parts.judging[table.time].max())
            result.update(trained_until=until.isoformat(), judged_until=last.isoformat())
        bench = self.bench()  # no sandbox: said before anything else is done
        self._check_params(bench.limits)
        if self.at_hand.is_foreign or self.at_hand.champion_is_foreign:
            bench.engine.admit_foreign()
        for environment in {result["environment"], self.at_hand.champions_environment} - {None}:
            wanted = self.at_hand.requirements if environment == result["environment"] else None
            bench.engine.build(environment, wanted, lambda line: bench.told("log", {"level": "info", "line": line}))

    def _check_params(self, limits: Limits) -> None:
        """Refuse what this table, or the sandbox, cannot keep."""
        params = self.at_hand.job.params
        if params.rule == "anytime" and params.time is None:
            raise BadRows(
                "the rule 'anytime' counts every time once, and the rows have no times",
                where="rule in the params of the job",
                do='name the column of times as "time", or ask for the rule "significant"',
            )
        most_s = limits.seconds - min(GRACE_S, limits.seconds * ROOM)
        if params.budget_s > most_s:
            raise BadRows(
                f"a training may take {most_s:,g} s here, and {params.budget_s:,g} s were asked for",
                where="budget_s in the params of the job",
                do="ask for fewer, or raise `time` in section [sandbox] of the server's springtide.toml",
            )

    def _notes_on_judging(self) -> list[str]:
        """Rows that judge and are all alike are no measure: a table sorted by its target, most of the time."""
        table, parts = self.at_hand.table, self.at_hand.parts
        if not table.classes or parts.judging[table.target].n_unique() > 1:
            return []
        only = parts.judging[table.target][0]
        return [
            f"all {parts.judging.height} rows that judge are {only!r}: is the table sorted by its target? "
            "Shuffle it, or name the column of times"
        ]

    def _notes_on_what_the_champion_knows(self) -> list[str]:
        """Who has seen the rows does well on them: to have beaten it counts, not to have beaten it says little."""
        champion = self.at_hand.champion
        if champion is None or not self.at_hand.champion_may_know:
            return []
        start = ": trained from scratch" if self.at_hand.may_start_from_champion else ""
        return [
            f"nobody knows whether {champion.name} has seen the rows that judge{start}; "
            "if it has, that helps it and not the new model"
        ]

    def _task(self, mode: str, part: str, **more: Any) -> dict[str, Any]:
        params, table = self.at_hand.job.params, self.at_hand.table
        told = {
            "mode": mode,
            "task": table.question,
            "data": f"/in/{part}.parquet",
            "columns": [asdict(column) for column in table.columns],
            "target": table.target,
            "time": table.time,
            "classes": list(table.classes) or None,
            "budget_s": params.budget_s,
            "seed": params.seed,
            "params": dict(params.params),
        }
        return {key: value for key, value in {**told, **more}.items() if value is not None}

    def _rows(self, part: str) -> Path:
        """The rows of a part as Parquet; those that judge without their target."""
        frame = (
            self.at_hand.parts.training
            if part == "training"
            else self.at_hand.parts.judging.drop(self.at_hand.table.target)
        )
        path = self.at_hand.folder / f"{part}.parquet"
        frame.write_parquet(path)
        return path

    def _train(self, result: dict[str, Any]) -> None:
        """The training; with it, where nothing but our own code runs, what the new model answers, and its graph."""
        environment = str(self.results["check"]["environment"])
        inputs: dict[str, Path] = {"training.parquet": self._rows("training")}
        more: dict[str, Any] = {}
        if self.at_hand.given is not None:
            more["model"] = _put(inputs, "given", self.at_hand.given)
        elif self.at_hand.starts_from_champion:
            assert self.at_hand.champion_files is not None
            more["model"] = _put(inputs, "champion", self.at_hand.champion_files[0])
            more["preprocessing"] = _put(inputs, "champions", self.at_hand.champion_files[1])
        else:
            more["framework"] = self.at_hand.job.params.framework or "lightgbm"
        if "script" in self.at_hand.job.files:
            more |= {
                "script": _put(inputs, "train", self.at_hand.script),
                "framework": self.at_hand.job.params.framework,
            }
        tasks = [self._task("train", "training", **more)]
        if self.at_hand.is_ours:
            inputs["judging.parquet"] = self._rows("judging")
            after = {"model": f"/work/0/model{self.at_hand.suffix}", "preprocessing": f"/work/0/{PREPROCESSING}"}
            tasks += [self._task("predict", "judging", **after), self._task("convert", "training", **after)]
        wanted, foreign = self.at_hand.requirements, self.at_hand.is_foreign
        most_s = (
            self.at_hand.job.params.budget_s + GRACE_S if "script" in self.at_hand.job.files else None
        )  # ours keep their time
        with self.bench().do(environment, tasks, inputs, requirements=wanted, foreign=foreign, most_s=most_s) as done:
            self._keep(done[0], _name_of_model(done[0]))
            if done[0].has(PREPROCESSING):
                self._keep(done[0], PREPROCESSING)
            if self.at_hand.is_ours:
                self._keep_answers("new", done[1])
                self._keep_graph(done[2])
            result.update(done[0].result)
        if self.at_hand.starts_from_champion:
            result["start"] = self.at_hand.champion.name  # type: ignore[union-attr] # it starts from it

    def _keep(self, done: Done, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ModelRefused(
                f"{name!r:.120} is no name of an output", where="step train", do="use letters, digits, dots and dashes"
            )
        with done.path(name).open("rb") as file:
            self.at_hand.files.put(f"out/{name}", file)

    def _keep_answers(self, name: str, done: Done) -> None:
        rows, classes = self.at_hand.parts.judging.height, max(1, len(self.at_hand.table.classes))
        arrays = read_arrays(done.file("predictions.npz"), most_bytes=64 * rows * classes + (1 << 20))
        answers = read_answers(arrays, self.at_hand.table, rows, of=f"the {name} model")
        file = io.BytesIO()
        np.save(file, answers, allow_pickle=False)
        self.at_hand.files.put(f"answers/{name}.npy", file.getvalue())

    def _keep_graph(self, done: Done) -> None:
        """Keep the graph, or why there is none; one that foreign code may have written is proven as a server would do it."""
        try:
            told = {key: done.result[key] for key in ("parity", "checked_rows", "width")} | {"onnx": GRAPH}
            graph = done.file(GRAPH)
            if self.at_hand.is_ours:
                check_structure(graph, where="step export")
            else:
                prove(graph, done.file(PROBE), where="step export")
            for name in (GRAPH, PROBE):
                self._keep(done, name)
        except (ModelRefused, Refusal) as refused:
            told = {"onnx": None, "why": refused.what}
        self._tell_of_graph(told)

    def _tell_of_graph(self, told: Mapping[str, Any]) -> None:
        self.at_hand.files.put("graph.json", msgspec.json.encode(told))

    def _predict(self, result: dict[str, Any]) -> None:
        """The new model, the given one and the champion on the rows that judge, which none of them sees with a target.

        A rival that cannot answer is left out, and that is said: then nothing is promoted.
        """
        by_script = self.results["train"].get("predicted_by") == "script"
        if self.at_hand.files.get("answers/new.npy") is None:
            self._answer("new", *self.at_hand.new, by_script=by_script)
        rivals = {"given": (self.at_hand.given, None), "champion": self.at_hand.champion_files or (None, None)}
        for name, (model, preprocessing) in rivals.items():
            if model is None:
                continue
            try:
                self._answer(name, model, preprocessing, by_script=by_script and name == "given")
                result[name] = "judged"
            except (ModelRefused, CellFailed) as refused:
                result[name] = f"{LEFT_OUT}{refused.what}"
        result["new"] = "judged"

    def _answer(self, name: str, model: Path, preprocessing: Path | None, *, by_script: bool) -> None:
        form = form_of(model, of=f"the {name} model")
        environment = str(self.results["check"]["environment"]) if form.name == "bundle" else form.environment
        inputs = {"judging.parquet": self._rows("judging")}
        more = {"model": _put(inputs, "model", model)}
        if preprocessing is not None:
            more["preprocessing"] = _put(inputs, "preprocessing", preprocessing)
        if by_script:
            more["script"] = _put(inputs, "train", self.at_hand.script)
        task = self._task("predict", "judging", **more)
        wanted = self.at_hand.requirements if by_script else None
        foreign = name == "given" or (self.at_hand.is_foreign if name == "new" else self.at_hand.champion_is_foreign)
        with self.bench().do(environment, [task], inputs, requirements=wanted, foreign=foreign) as (done,):
            self._keep_answers(name, done)

    def _export(self, result: dict[str, Any]) -> None:
        """An ONNX graph with the same answers, where there is a converter; without one it is not served, and that is said."""
        result.update(self._exported())
        if result["onnx"] is None:
            result["notes"] = [f"no ONNX graph, so no answers over HTTP: {result['why']}; the model can be downloaded"]

    def _exported(self) -> dict[str, Any]:
        if self.results["train"].get("predicted_by") == "script":
            return {"onnx": None, "why": "it answers through the script's own predict"}
        if self.at_hand.files.get("graph.json") is None:
            model, preprocessing = self.at_hand.new
            inputs = {"training.parquet": self._rows("training")}
            more = {"model": _put(inputs, "model", model)}
            if preprocessing is not None:
                more["preprocessing"] = _put(inputs, "preprocessing", preprocessing)
            environment = FORMATS[str(self.results["train"]["format"])].environment
            tasks, foreign = [self._task("convert", "training", **more)], self.at_hand.is_foreign
            try:
                with self.bench().do(environment, tasks, inputs, foreign=foreign) as (done,):
                    self._keep_graph(done)
            except CellFailed as failed:
                self._tell_of_graph({"onnx": None, "why": failed.what})
        return dict(msgspec.json.decode(self.at_hand.sent("graph.json")))


def _name_of_model(done: Done) -> str:
    """What the training calls its model; not one of the names that mean something here."""
    name = str(done.result["model"])
    if name in (PREPROCESSING, PROBE, MANIFEST):
        raise ModelRefused(f"the model is called {name!r}", where="step train", do="give it a name of its own")
    return name


def _put(inputs: dict[str, Path], name: str, path: Path) -> str:
    """Add a file to what a cell sees; where it sees it."""
    inputs[f"{name}{path.suffix}"] = path
    return f"/in/{name}{path.suffix}"
