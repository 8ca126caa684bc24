"""The steps of a job, each of which another process can take up: check, train, predict, judge, export, publish."""

from __future__ import annotations

import io
import re
import tempfile
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from springtide.domain.errors import Conflict, ModelRefused, NotFound
from springtide.domain.model import Manifest
from springtide.domain.rows import Filter, Snapshot
from springtide.evaluation.gate import Rule, decide
from springtide.pipeline.jobs.judging import baselines, measure, names_of_baselines, read_answers, read_arrays
from springtide.pipeline.jobs.table import cut, read_table
from springtide.pipeline.steps import write_manifest
from springtide.registry.wire import verdict_from
from springtide.sdk import Refusal
from springtide.trainers.formats import ENVIRONMENTS, FORMATS, PREPROCESSING, recognise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from springtide.domain.job import Job
    from springtide.domain.model import JournalEntry, Version
    from springtide.domain.verdict import Verdict
    from springtide.pipeline.jobs.cells import Bench, Done
    from springtide.pipeline.jobs.table import JobTable, Parts
    from springtide.pipeline.steps import Files
    from springtide.registry.registry import Registry
    from springtide.tasks.seam import Progress
    from springtide.trainers.formats import Format

__all__ = ["STEPS", "TASK", "JobSteps"]

STEPS = ("check", "train", "predict", "judge", "export", "publish", "deliver")
FORMAT_OF = {
    "tensorflow": "keras",
    "pytorch": "pt2",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "scikit-learn": "skops",
}
LEFT_OUT = "left out: "
TASK = "table"  # in the manifests of what jobs have made


@dataclass
class JobSteps:
    """One job's steps; they read of one another only the record and the run's files.

    Attributes
    ----------
    results : dict
        What each finished step told, by name: plain JSON.
    """

    job: Job
    code: str
    registry: Registry
    files: Files
    folder: Path  # this process's own
    bench: Callable[[], Bench]
    deliver: Callable[[Job, bytes, str], Mapping[str, Any]]
    results: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    entry: JournalEntry | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The steps in their order."""
        return STEPS if self.job.params.deliver else STEPS[:-1]

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
                result.update(asdict(self._judge(result)))
            case "export":
                self._export(result)
            case "publish":
                self._publish(result, now)
            case "deliver":
                data, file = self._trained, self._trained_name
                result.update(self.deliver(self.job, data, file))
        self.results[name] = result

    @property
    def model(self) -> str:
        """The name under which the result is kept."""
        return self.job.params.name or self.job.id

    # What is in memory, and how it is made again

    def _sent(self, name: str) -> bytes:
        data = self.files.get(name)
        if data is None:
            raise NotFound(f"the job has lost its {name}", where=f"job {self.job.id}", do="send the job again")
        return data

    @cached_property
    def _table(self) -> JobTable:
        return read_table(self._sent("data"), self.job.files["data"], self.job.params)

    @cached_property
    def _champion(self) -> Version | None:
        """Who served when the job began, whoever does now."""
        if "check" not in self.results:
            return self.registry.champion(self.model)
        number = self.results["check"]["champion"]
        return None if number is None else self.registry.version(self.model, number)

    @cached_property
    def _parts(self) -> Parts:
        champion = self._champion
        return cut(
            self._table, self.job.params.judge, not_before=None if champion is None else champion.manifest.trained_until
        )

    @cached_property
    def _given(self) -> Path | None:
        """The model that was sent, as a file; of the name that it was sent by it has the ending alone."""
        if "model" not in self.job.files:
            return None
        path = self.folder / f"given{_ending(self.job.files['model'])}"
        path.write_bytes(self._sent("model"))
        return path

    @cached_property
    def _given_form(self) -> Format | None:
        return None if self._given is None else _form_of(self._given, of="the model that was sent")

    @cached_property
    def _champion_files(self) -> tuple[Path, Path] | None:
        """The champion's model and its preprocessing."""
        if self._champion is None:
            return None
        folder = self.folder / "champion"
        folder.mkdir(exist_ok=True)
        self.registry.fetch(self._champion, folder)
        return folder / str(self._champion.manifest.recipe["model"]), folder / PREPROCESSING

    @property
    def _trained_name(self) -> str:
        return str(self.results["train"]["model"])

    @cached_property
    def _trained(self) -> bytes:
        return self._sent(f"out/{self._trained_name}")

    @property
    def _trained_until(self) -> datetime | None:
        """The latest time that the new model has learned from, by itself or before."""
        if self._table.time is None:
            return None
        times = [_utc(self._parts.training[self._table.time].max())]
        if self._starts_from_champion() and self._champion is not None and self._champion.manifest.trained_until:
            times.append(self._champion.manifest.trained_until)
        return max(times)

    @property
    def _verdict(self) -> Verdict:
        return verdict_from(msgspec.json.encode(self.results["judge"]).decode())

    # The steps

    def _check(self, result: dict[str, Any]) -> None:
        """Everything that can be wrong with what was sent is said before anything is trained."""
        champion = self._champion
        if champion is not None and champion.manifest.task != TASK:
            raise Conflict(
                f"{champion.name} is no model of a table: a job cannot go on from it, nor be judged beside it",
                where="name in the params of the job",
                do="choose another name",
            )
        table, parts = self._table, self._parts
        form = self._given_form
        notes = list(table.notes)
        if champion is not None and table.time is None and self.job.params.start == "champion":
            notes.append(f"nobody knows whether {champion.name} has seen the rows that judge: trained from scratch")
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
            environment=self._environment(form),
        )
        if table.time is not None:
            until, last = _utc(parts.training[table.time].max()), _utc(parts.judging[table.time].max())
            result.update(trained_until=until.isoformat(), judged_until=last.isoformat())
        bench = self.bench()  # no sandbox: said before anything else is done
        for environment in {result["environment"], *self._environments_of_rivals()}:
            wanted = self._requirements if environment == result["environment"] else None
            bench.engine.build(environment, wanted, lambda line: bench.told("log", {"level": "info", "line": line}))

    def _environments_of_rivals(self) -> set[str]:
        """Where the champion answers."""
        if self._champion is None:
            return set()
        return {FORMATS[str(self._champion.manifest.recipe["format"])].environment}

    def _environment(self, form: Format | None) -> str:
        framework = self.job.params.framework
        if form is not None and form.name != "bundle":
            return form.environment
        if form is None and framework is None and self._starts_from_champion():
            return str(self._champion.manifest.recipe["environment"])  # type: ignore[union-attr] # it is there
        return ENVIRONMENTS[framework or "lightgbm"]

    def _starts_from_champion(self) -> bool:
        """Only where times tell that the champion has not seen the rows that judge."""
        asked, champion = self.job.params, self._champion
        if champion is None or self._given is not None or asked.start == "scratch" or "script" in self.job.files:
            return False
        if self._table.time is None:
            return False
        return asked.framework in (None, champion.manifest.recipe.get("framework"))

    def _task(self, mode: str, part: str, **more: Any) -> dict[str, Any]:
        params, table = self.job.params, self._table
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
        frame = self._parts.training if part == "training" else self._parts.judging.drop(self._table.target)
        path = self.folder / f"{part}.parquet"
        frame.write_parquet(path)
        return path

    def _train(self, result: dict[str, Any]) -> None:
        """The training; with it, where nothing but our own code runs, what the new model answers, and its graph."""
        environment = str(self.results["check"]["environment"])
        inputs: dict[str, Path] = {"training.parquet": self._rows("training")}
        more: dict[str, Any] = {}
        if self._given is not None:
            more["model"] = _put(inputs, "given", self._given)
        elif self._starts_from_champion():
            assert self._champion_files is not None
            more["model"] = _put(inputs, "champion", self._champion_files[0])
            more["preprocessing"] = _put(inputs, "champions", self._champion_files[1])
        else:
            more["framework"] = self.job.params.framework or "lightgbm"
        if "script" in self.job.files:
            more |= {"script": _put(inputs, "train", self._script), "framework": self.job.params.framework}
        tasks = [self._task("train", "training", **more)]
        if self._is_ours:
            inputs["judging.parquet"] = self._rows("judging")
            after = {"model": f"/work/0/model{self._suffix}", "preprocessing": f"/work/0/{PREPROCESSING}"}
            tasks += [self._task("predict", "judging", **after), self._task("convert", "training", **after)]
        with self.bench().do(environment, tasks, inputs, requirements=self._requirements) as done:
            self._keep(done[0], _name_of_model(done[0]))
            if done[0].has(PREPROCESSING):
                self._keep(done[0], PREPROCESSING)
            if self._is_ours:
                self._keep_answers("new", done[1])
                self._keep_graph(done[2])
            result.update(done[0].result)
        if self._starts_from_champion():
            result["start"] = self._champion.name  # type: ignore[union-attr] # it starts from it

    @cached_property
    def _is_ours(self) -> bool:
        """Whether no code but ours runs in the training: then it may answer the judging rows as well."""
        given = self._given_form
        return "script" not in self.job.files and (given is None or not (given.pickled or given.name == "bundle"))

    @property
    def _suffix(self) -> str:
        """How the file of the new model will end."""
        if self._given_form is not None:
            return self._given_form.suffix
        if self._starts_from_champion():
            return Path(str(self._champion.manifest.recipe["model"])).suffix  # type: ignore[union-attr] # it is there
        return FORMATS[FORMAT_OF[self.job.params.framework or "lightgbm"]].suffix

    def _keep(self, done: Done, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ModelRefused(
                f"{name!r:.120} is no name of an output", where="step train", do="use letters, digits, dots and dashes"
            )
        self.files.put(f"out/{name}", done.file(name))

    def _keep_answers(self, name: str, done: Done) -> None:
        rows, classes = self._parts.judging.height, max(1, len(self._table.classes))
        arrays = read_arrays(done.file("predictions.npz"), most_bytes=64 * rows * classes + (1 << 20))
        answers = read_answers(arrays, self._table, rows, of=f"the {name} model")
        file = io.BytesIO()
        np.save(file, answers, allow_pickle=False)
        self.files.put(f"answers/{name}.npy", file.getvalue())

    def _keep_graph(self, done: Done) -> None:
        """Keep the graph, or why there is none."""
        try:
            told = {key: done.result[key] for key in ("parity", "checked_rows", "width")} | {"onnx": "model.onnx"}
            for name in ("model.onnx", "probe.npz"):
                self._keep(done, name)
        except ModelRefused as refused:
            told = {"onnx": None, "why": refused.what}
        self.files.put("graph.json", msgspec.json.encode(told))

    @cached_property
    def _script(self) -> Path:
        path = self.folder / "train.py"
        path.write_bytes(self._sent("script"))
        return path

    @property
    def _requirements(self) -> str | None:
        return self._sent("requirements").decode() if "requirements" in self.job.files else None

    @cached_property
    def _new(self) -> tuple[Path, Path | None]:
        """The new model and its preprocessing, as files."""
        folder = self.folder / "new"
        folder.mkdir(exist_ok=True)
        model = folder / self._trained_name
        model.write_bytes(self._trained)
        preprocessing = self.files.get(f"out/{PREPROCESSING}")
        if preprocessing is None:
            return model, None
        (folder / PREPROCESSING).write_bytes(preprocessing)
        return model, folder / PREPROCESSING

    def _predict(self, result: dict[str, Any]) -> None:
        """The new model, the given one and the champion on the rows that judge, which none of them sees with a target.

        A rival that cannot answer is left out, and that is said: then nothing is promoted.
        """
        by_script = self.results["train"].get("predicted_by") == "script"
        if self.files.get("answers/new.npy") is None:
            self._answer("new", *self._new, by_script=by_script)
        rivals = {"given": (self._given, None), "champion": self._champion_files or (None, None)}
        for name, (model, preprocessing) in rivals.items():
            if model is None:
                continue
            try:
                self._answer(name, model, preprocessing, by_script=by_script and name == "given")
                result[name] = "judged"
            except ModelRefused as refused:
                result[name] = f"{LEFT_OUT}{refused.what}"
        result["new"] = "judged"

    def _answer(self, name: str, model: Path, preprocessing: Path | None, *, by_script: bool) -> None:
        form = _form_of(model, of=f"the {name} model")
        environment = str(self.results["check"]["environment"]) if form.name == "bundle" else form.environment
        inputs = {"judging.parquet": self._rows("judging")}
        more = {"model": _put(inputs, "model", model)}
        if preprocessing is not None:
            more["preprocessing"] = _put(inputs, "preprocessing", preprocessing)
        if by_script:
            more["script"] = _put(inputs, "train", self._script)
        task = self._task("predict", "judging", **more)
        with self.bench().do(environment, [task], inputs, requirements=self._requirements if by_script else None) as (
            done,
        ):
            self._keep_answers(name, done)

    def _judge(self, result: dict[str, Any]) -> Verdict:
        """The gate, with the target that never entered the sandbox."""
        params, found = self.job.params, {}
        for name in ("new", "given", "champion"):
            if self.results["predict"].get(name) == "judged":
                answers = np.load(io.BytesIO(self._sent(f"answers/{name}.npy")), allow_pickle=False)
                found[name] = measure(answers, self._table, self._parts)
        rivals = dict(baselines(self._table, self._parts))
        bars = names_of_baselines(self._table.question)
        if "given" in found:
            rivals["the given model"], bars = found["given"], (*bars, "the given model")
        champion = None
        if "champion" in found and self._champion is not None:
            champion = (self._champion.name, found["champion"])
        rule = Rule(params.rule, params.alpha, bars)
        verdict = decide(found["new"], champion=champion, baselines=rivals, rule=rule, evidence=self._evidence())
        verdict = self._kept_where_a_rival_is_unbeaten(verdict)
        metrics = {"challenger": dict(found["new"].metrics)} | {name: dict(one.metrics) for name, one in rivals.items()}
        if champion is not None:
            metrics[champion[0]] = dict(champion[1].metrics)
        self.files.put("metrics.json", msgspec.json.encode(metrics))
        return verdict

    def _kept_where_a_rival_is_unbeaten(self, verdict: Verdict) -> Verdict:
        """Nothing is better than what could not be asked."""
        names = {"given": "the given model", "champion": self._champion.name if self._champion else ""}
        for one, name in names.items():
            said = str(self.results["predict"].get(one, "judged"))
            if said != "judged":
                why = f"{name} could not answer these rows ({said.removeprefix(LEFT_OUT)}): keep, it is not beaten"
                return replace(verdict, promote=False, reason=f"{verdict.reason}; but {why}")
        return verdict

    def _evidence(self) -> Mapping[str, Any] | None:
        if self._champion is None:
            return None
        newest = next((line for line in self.registry.journal(self.model) if line.run is not None), None)
        return None if newest is None else self.registry.version(self.model, newest.version).verdict.evidence

    def _export(self, result: dict[str, Any]) -> None:
        """An ONNX graph with the same answers, where there is a converter."""
        if self.results["train"].get("predicted_by") == "script":
            result.update(onnx=None, why="the model answers through the script's own predict")
            return
        if self.files.get("graph.json") is None:
            model, preprocessing = self._new
            inputs = {"training.parquet": self._rows("training")}
            more = {"model": _put(inputs, "model", model)}
            if preprocessing is not None:
                more["preprocessing"] = _put(inputs, "preprocessing", preprocessing)
            environment = FORMATS[str(self.results["train"]["format"])].environment
            with self.bench().do(environment, [self._task("convert", "training", **more)], inputs) as (done,):
                self._keep_graph(done)
        result.update(msgspec.json.decode(self._sent("graph.json")))

    def _publish(self, result: dict[str, Any], now: Callable[[], datetime]) -> None:
        verdict = self._verdict
        with tempfile.TemporaryDirectory(prefix="springtide-") as name:
            folder = Path(name)
            version = self.registry.publish(self._describe(folder, now()), folder, verdict)
        said: dict[str, Any] = {
            "run": self.job.id,
            "by": "gate",
            "reason": verdict.reason,
            "at": now(),
            "warning": verdict.warning,
        }
        if verdict.promote:
            serving = self._champion.number if self._champion else None
            try:
                self.entry = self.registry.promote(self.model, version.number, **said, expected=serving)
            except Conflict as overtaken:
                said["reason"] = f"{verdict.reason}; but {overtaken.what}"
                self.entry = self.registry.keep(self.model, version.number, **said)
        else:
            self.entry = self.registry.keep(self.model, version.number, **said)
        result.update(version=version.number, action=self.entry.action, serving=self.entry.serving)

    def _describe(self, folder: Path, created: datetime) -> Manifest:
        names = [self._trained_name, PREPROCESSING, "model.onnx", "probe.npz"]
        files = {}
        for name in dict.fromkeys(names):
            if (data := self.files.get(f"out/{name}")) is not None:
                (folder / name).write_bytes(data)
                files[name] = sha256(data).hexdigest()
        table, trained = self._table, self.results["train"]
        manifest = Manifest(
            model=self.model,
            task=TASK,
            run=self.job.id,
            created=created,
            code=self.code,
            snapshot=_snapshot(table, self.job),
            recipe={
                "model": self._trained_name,
                "format": trained["format"],
                "framework": trained["framework"],
                "environment": self.results["check"]["environment"],
                "question": table.question,
                "target": table.target,
                "columns": [asdict(column) for column in table.columns],
                "classes": list(table.classes),
            },
            signature={"model": self.model, "onnx": self.results["export"].get("onnx")},
            metrics=msgspec.json.decode(self._sent("metrics.json")),
            files=files,
            trained_until=self._trained_until,
            settings={"seed": self.job.params.seed, "budget": self.job.params.budget_s, "start": trained.get("start")},
        )
        return write_manifest(manifest, folder)


def _form_of(model: Path, *, of: str) -> Format:
    """The format of a model file, whose content is foreign to us.

    Raises
    ------
    ModelRefused
        If it is none.
    """
    try:
        return recognise(model)
    except Refusal as refused:
        raise ModelRefused(refused.what, where=of, do=refused.do) from refused


def _ending(name: str) -> str:
    """Of a name that somebody else has chosen, if it is a plain one."""
    found = re.search(r"\.[A-Za-z0-9]{1,10}\Z", name)
    return found.group() if found else ""


def _name_of_model(done: Done) -> str:
    """What the training calls its model; not one of the names that mean something here."""
    name = str(done.result["model"])
    if name in (PREPROCESSING, "probe.npz", "manifest.json"):
        raise ModelRefused(f"the model is called {name!r}", where="step train", do="give it a name of its own")
    return name


def _snapshot(table: JobTable, job: Job) -> Snapshot:
    """What was sent, as the manifest of every version names its rows."""
    times = None if table.time is None else table.frame[table.time]
    first, last = (job.created, job.created) if times is None else (_utc(times.min()), _utc(times.max()))
    return Snapshot(f"sent: {job.files['data']}", 0, Filter(), table.frame.height, table.sha256, first, last)


def _utc(moment: Any) -> datetime:
    """A time of the table, whose times are UTC without saying so."""
    found: datetime = moment.replace(tzinfo=UTC)
    return found


def _put(inputs: dict[str, Path], name: str, path: Path) -> str:
    """Add a file to what a cell sees; where it sees it."""
    inputs[f"{name}{path.suffix}"] = path
    return f"/in/{name}{path.suffix}"
