"""What the server answers, one method per verb; the same for HTTP and the command line."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from springtide.app.request_rows import columns_of_request
from springtide.app.tensors import array_of, form_of, tensor_of
from springtide.domain.clock import utc_now
from springtide.domain.errors import BadRows, NotFound, NotReady, did_you_mean
from springtide.domain.rows import KEY, SERIES, TIME
from springtide.domain.units import format_span
from springtide.serving.graphs import Graphs
from springtide.serving.shelf import Shelf
from springtide.settings.words import RowsSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from springtide.app.home import Home
    from springtide.app.live_home import LiveHome
    from springtide.domain.model import JournalEntry, Version
    from springtide.domain.run import Run
    from springtide.serving.graphs import Graph
    from springtide.serving.live import Answer, Answering, Model
    from springtide.serving.shelf import Place

__all__ = ["Answers", "LiveAnswers"]

STALE_STEPS = 3  # newest rows older than this many steps are worth a warning


class LiveAnswers:
    """The answers of a springtide.toml as it stands: once it was changed others are made ready, and then given instead."""

    def __init__(self, live: LiveHome) -> None:
        self._live = live
        self.now = Answers(live.look())  # a request takes one reference, and keeps it to its end

    def look(self) -> None:
        """Look for a changed springtide.toml, for new champions and new rows."""
        home, answers = self._live.look(), self.now
        if home is not answers.home:
            answers = Answers(home, before=answers)
        answers.shelf.look()
        self.now = answers


class Answers:
    """Everything the server can be asked; `shelf` must be looked after by the caller (see `watching`)."""

    def __init__(self, home: Home, *, clock: Callable[[], datetime] = utc_now, before: Answers | None = None) -> None:
        self.home, self.clock = home, clock
        kept = before if before is not None and before.home.registry is home.registry else None
        self.shelf: Shelf = Shelf(
            home.settings.models,
            registry=home.registry,
            lake=home.lake,
            codecs=home.codecs,
            clock=clock,
            known={} if kept is None else kept.shelf.places,
        )
        self.graphs: Graphs = Graphs(home.registry) if kept is None else kept.graphs

    # what there is

    def ready(self) -> dict[str, list[str]]:
        """The models that serve, those that have expired and those that are missing; raises `NotReady` when all are.

        An expired model is loaded and is asked to say so: a server that has nothing else is ready all the same. So is one
        of which no model is asked, for it takes rows and jobs.
        """
        at = self.clock()
        states = {name: place.state(at) for name, place in self.shelf.places.items()}
        serving = [name for name, state in states.items() if state == "serving"]
        expired = [name for name, state in states.items() if state == "expired"]
        missing = [name for name in states if name not in serving and name not in expired]
        if missing and not serving and not expired:
            raise NotReady(
                f"no model serves yet; missing: {', '.join(missing)}",
                where="springtide.toml, [models]",
                do=f"run `springtide retrain {missing[0]}`",
            )
        return {"serving": serving, "expired": expired, "missing": missing}

    def models(self) -> list[dict[str, Any]]:
        """The models of the settings, then those that jobs have made, each with its state and what serves."""
        at, registry = self.clock(), self.home.registry
        of_jobs = [name for name in registry.models() if self._is_of_a_job(name)]
        return [
            *(self._card(place, at) for place in self.shelf.places.values()),
            *(self._card_of_a_job(name, registry.champion(name)) for name in of_jobs),
        ]

    def model(self, name: str) -> dict[str, Any]:
        """One model: its settings, what serves, what was refused, and how fresh its rows are."""
        if self._is_of_a_job(name):
            self._check_known(name)
            champion = self.home.registry.champion(name)
            facts = {} if champion is None else _facts(champion)
            return self._card_of_a_job(name, champion) | {"champion": facts.get("version"), "serving": facts or None}
        place, at = self.shelf.place(name), self.clock()
        now = place.live.now
        serving = None if now is None else _facts(now.model.version)
        return self._card(place, at) | {
            "champion": self.home.registry.champions().get(name),
            "serving": serving,
            "settings": place.settings.model_dump(mode="json"),
            "rows": None
            if now is None or now.rows is None
            else {"table": now.rows.table, "version": now.rows.version, "newest": _newest(now.rows.columns[TIME])},
            "rows_problem": place.rows_problem,
            "states": {} if now is None else _states(now, tuple(now.forecasts), at),
            "swaps": place.live.swaps,
            "refusals": place.refusals,
        }

    def versions(self, name: str) -> list[Version]:
        """All versions of a model, newest first."""
        self._check_known(name)
        return self.home.registry.versions(name)

    def journal(self, name: str) -> list[JournalEntry]:
        """Who served when, newest first."""
        self._check_known(name)
        return self.home.registry.journal(name)

    def runs(self, model: str | None = None, *, limit: int = 50) -> list[Run]:
        """The newest runs of one model or of all, newest first."""
        if model is not None:
            self._check_known(model)
        return self.home.registry.runs(model, limit)

    def run(self, run: str) -> Run:
        """The run of that id."""
        return self.home.registry.run(run)

    def tables(self) -> list[dict[str, Any]]:
        """The tables of the lake, and those that rows can be sent to; these have no version before the first."""
        lake, sources = self.home.lake, self.home.settings.sources
        taking = {source.table or name: source for name, source in sources.items() if isinstance(source, RowsSource)}
        facts: dict[str, dict[str, Any]] = {
            name: {"version": None, "step_s": source.step_s, "key": (*KEY, *source.key)}
            for name, source in taking.items()
        }
        for name in lake.names():
            table = lake.table(name)
            facts[name] = {"version": table.version(), "step_s": table.step_s, "key": table.key}
        return [{"table": name, **facts[name], "takes_rows": name in taking} for name in sorted(facts)]

    # forecasts

    def forecast(self, name: str, series: Sequence[str] = ()) -> dict[str, Any]:
        """What the champion says of these series (all it knows when none is named), from the newest rows of the table.

        The forecast itself was worked out when the rows came; this only looks it up. Whether model and rows are too old is
        a matter of now: a series that has expired is left out of a question about all, and refused when it is named.

        Raises
        ------
        Expired
            If the model, or the rows of a named series or of all, are too old.
        """
        if self._is_of_a_job(name) and name in self.home.registry.models():
            raise NotFound(
                f"{name!r} answers rows of a table, and has no series to forecast",
                where=f"model {name}",
                do=f"send rows to POST /v1/models/{name}/predict",
            )
        place, at = self.shelf.place(name), self.clock()
        now = place.now
        asked = tuple(dict.fromkeys(series)) or now.answered(at) or tuple(now.forecasts)
        answers = now.forecast(asked, at)
        left_out = {} if series else now.faults(at)
        answer = self._answer(place, now.model, answers, asked, at=at, rows_from="lake", left_out=left_out)
        return answer | {"states": _states(now, asked if series else tuple(now.forecasts), at)}

    def predict(self, name: str, rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """What the champion says of rows that the caller brings: a list of records, or a mapping of columns.

        ``ds`` is a time with its zone (RFC 3339 when it is text), or seconds since 1970 UTC. Rows may be of any age: who
        brings old ones wants to know what the model says of them. Only the model's own age counts.

        Raises
        ------
        Expired
            If the model is too old.
        BadRows
            If a row lacks a column, or holds what is no time or no number.
        TooFewRows
            If a series is shorter than the model's window.
        StoreFailed
            If rows of other tables are older than those at hand, and cannot be read.
        """
        if self._is_of_a_job(name):
            return self._predict_table(name, rows)
        place, at = self.shelf.place(name), self.clock()
        now = place.now
        now.check_age(at)
        model = now.model
        columns = columns_of_request(rows, where=f"rows sent to model {name}")
        answer = model.predict(columns, outside=self.shelf.outside(now, columns))
        asked = tuple(dict.fromkeys(answer.columns[SERIES]))
        return self._answer(place, model, [answer], asked, at=at, rows_from="request")

    def infer(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run the bare graph: tensors in and out, as the Open Inference Protocol (version 2) writes them.

        Raises `Expired` when the model is too old.

        Source: https://github.com/kserve/open-inference-protocol
        """
        model: Model | Graph
        if self._is_of_a_job(name):
            model = self.graphs.graph(name)
        else:
            now = self.shelf.place(name).now
            now.check_age(self.clock())
            model = now.model
        feeds = {tensor["name"]: array_of(tensor, where=f"inputs sent to model {name}") for tensor in request["inputs"]}
        outputs = dict(zip((form.name for form in model.session.outputs), model.session.run(feeds), strict=True))
        wanted = [output["name"] for output in request.get("outputs") or ()] or list(outputs)
        if unknown := [output for output in wanted if output not in outputs]:
            raise BadRows(
                f"the graph has no output {unknown[0]!r}", where=f"model {name}", do=did_you_mean(unknown[0], outputs)
            )
        answer = {
            "model_name": name,
            "model_version": str(model.version.number),
            "outputs": [tensor_of(output, outputs[output]) for output in wanted],
        }
        return answer | ({"id": request["id"]} if request.get("id") else {})

    def metadata(self, name: str) -> dict[str, Any]:
        """What `infer` takes and gives, as the Open Inference Protocol writes it."""
        model = self.graphs.graph(name) if self._is_of_a_job(name) else self.shelf.place(name).now.model
        return {
            "name": name,
            "versions": [str(model.version.number)],
            "platform": "onnxruntime_onnx",
            "inputs": [form_of(form) for form in model.session.inputs],
            "outputs": [form_of(form) for form in model.session.outputs],
        }

    def _is_of_a_job(self, name: str) -> bool:
        """Whether a model is none of the settings: then a job may have made it."""
        return name not in self.shelf.places

    def _predict_table(
        self, name: str, rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]
    ) -> dict[str, Any]:
        """An answer for each row of a table, by a model that a job has made."""
        graph = self.graphs.graph(name)
        columns = graph.predict(rows)
        version = graph.version
        return {
            "model": name,
            "version": version.number,
            "run": version.manifest.run,
            "trained_until": version.manifest.trained_until,
            "verdict": version.verdict.reason,
            "warning": self.graphs.warning(name),
            "columns": columns,
        }

    # who serves

    def promote(self, name: str, number: int, *, by: str) -> JournalEntry:
        """Let a version serve because a person says so; it is proven first, and serves here when this returns."""
        self._check_known(name)
        version = self.home.registry.version(name, number)
        if self._is_of_a_job(name):
            self.graphs.prove(version)
        else:
            self.shelf.prove(version)
        verdict = version.verdict
        entry = self.home.registry.promote(
            name,
            number,
            run=None,
            by=by,
            reason="promoted by hand",
            at=self.clock(),
            warning=None if verdict.promote else f"promoted by hand against the verdict: {verdict.reason}",
        )
        self.shelf.look()
        return entry

    def rollback(self, name: str, *, by: str, to: int | None = None) -> JournalEntry:
        """Let the champion before this one (or the earlier champion `to`) serve again."""
        self._check_known(name)
        entry = self.home.registry.rollback(name, by=by, reason="rolled back by hand", at=self.clock(), to=to)
        self.shelf.look()
        return entry

    # the parts of an answer

    def _check_known(self, name: str) -> None:
        if name not in self.shelf.places and name not in (known := self.home.registry.models()):
            raise NotFound(
                f"there is no model {name!r}",
                where="springtide.toml and the registry",
                do=did_you_mean(name, {*self.shelf.places, *known}),
            )

    def _card(self, place: Place, at: datetime) -> dict[str, Any]:
        now = place.live.now
        return {
            "model": place.name,
            "state": place.state(at),
            "expires_at": None if now is None else now.expires_at(),
            "task": place.settings.task,
            "table": place.settings.table,
            "series": [] if now is None else list(now.forecasts or now.model.series),
            "version": None if now is None else now.model.version.number,
            "verdict": None if now is None else now.model.version.verdict.reason,
            "warning": None if now is None else now.model.warning,
            "refusal": None if place.refusal is None else asdict(place.refusal),
        }

    def _card_of_a_job(self, name: str, champion: Version | None) -> dict[str, Any]:
        return {
            "model": name,
            "state": self.graphs.state(champion),
            "expires_at": None,
            "task": "table" if champion is None else champion.manifest.task,
            "table": None,
            "series": [],
            "version": None if champion is None else champion.number,
            "verdict": None if champion is None else champion.verdict.reason,
            "warning": self.graphs.warning(name),
            "refusal": None,
        }

    def _answer(
        self,
        place: Place,
        model: Model,
        answers: Sequence[Answer],
        asked: Sequence[str],
        *,
        at: datetime,
        rows_from: str,
        left_out: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Any]:
        version = model.version
        snapshot = version.manifest.snapshot
        cutoff = max(answer.columns["cutoff"][-1] for answer in answers) if answers else None
        doubt = _doubt(model, answers)
        return {
            "model": place.name,
            "version": version.number,
            "series": list(asked),
            "cutoff": cutoff,
            "rows_from": rows_from,
            "run": version.manifest.run,
            "verdict": version.verdict.reason,
            "warning": self._warning(place, model, answers, doubt, at=at, left_out=left_out),
            "doubt": doubt,
            "snapshot": {
                "table": snapshot.table,
                "version": snapshot.version,
                "rows": snapshot.rows,
                "first": snapshot.first,
                "last": snapshot.last,
                "sha256": snapshot.sha256,
            },
            "columns": _joined([answer.columns for answer in answers]),
        }

    def _warning(
        self,
        place: Place,
        model: Model,
        answers: Sequence[Answer],
        doubt: Mapping[str, Mapping[str, Any]],
        *,
        at: datetime,
        left_out: Mapping[str, str],
    ) -> str | None:
        """All that a reader of the forecast should know before trusting it, in one text."""
        said = [model.warning] if model.warning else []
        if (refusal := place.refusal) is not None:
            said.append(
                f"{place.name}@{refusal.version} was refused ({refusal.what}), {model.version.name} goes on serving"
            )
        said += [f"{series} is left out: {why}" for series, why in left_out.items()]
        for answer in answers:
            said += [
                f"{series}: {steps} steps of the window had no row and were filled"
                for series, steps in answer.filled_steps.items()
                if steps
            ]
            said += [
                f"{series}: not all features are known that the model has learned from ({', '.join(groups)})"
                for series, groups in answer.unknown_features.items()
                if groups
            ]
            said += _staleness(model, answer, at)
        said += [
            f"{series}: the input is far from what the model was trained on ({one['dissimilarity']:.3g}, usual is below "
            f"{one['threshold']:.3g})"
            for series, one in doubt.items()
            if one["doubtful"]
        ]
        return "; ".join(said) or None


def _facts(version: Version) -> dict[str, Any]:
    """What is said of a version that serves."""
    manifest = version.manifest
    return {
        "version": version.number,
        "run": manifest.run,
        "created": manifest.created,
        "code": manifest.code,
        "snapshot": manifest.snapshot,
        "metrics": manifest.metrics,
        "signature": manifest.signature,
        "verdict": version.verdict,
    }


def _states(now: Answering, series: Sequence[str], at: datetime) -> dict[str, dict[str, Any]]:
    """Of each series whether it is answered, and until when if nothing new comes."""
    return {one: {"state": now.state(one, at), "expires_at": now.expires_at(one)} for one in series}


def _doubt(model: Model, answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    """How far the input of each series is from the training items, and from where on that is doubtful.

    Source: Meyer & Pebesma 2021, doi:10.1111/2041-210X.13650
    """
    threshold = model.signature.get("doubt_threshold")
    if threshold is None:
        return {}
    return {
        series: {"dissimilarity": far, "threshold": threshold, "doubtful": far > threshold}
        for answer in answers
        for series, far in answer.dissimilarity.items()
    }


def _staleness(model: Model, answer: Answer, at: datetime) -> list[str]:
    step_s = model.signature.get("step_s")
    if step_s is None:
        return []
    limit = timedelta(seconds=STALE_STEPS * step_s)
    newest = dict(zip(answer.columns[SERIES], answer.columns["cutoff"], strict=True))
    return [
        f"{series}: the newest row is of {cutoff:%Y-%m-%d %H:%M} UTC, over {STALE_STEPS} steps of "
        f"{format_span(timedelta(seconds=step_s))} ago"
        for series, cutoff in newest.items()
        if at - cutoff > limit
    ]


def _newest(seconds: NDArray[np.int64]) -> datetime | None:
    return datetime.fromtimestamp(int(seconds.max()), UTC) if len(seconds) else None


def _joined(parts: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    if not parts:
        return {}
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}
