"""The model that answers now: proven first, then put in place by one assignment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from springtide.domain.errors import BadRows, Expired, ModelRefused, NotFound, NotReady, SpringtideError, did_you_mean
from springtide.domain.rows import SERIES, TIME
from springtide.serving.expiry import data_expiry, expired, first_moment, model_expiry
from springtide.serving.rows import Want
from springtide.serving.session import Session, check_answers, read_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from springtide.domain.model import Version
    from springtide.serving.expiry import Expiry
    from springtide.serving.rows import Rows
    from springtide.serving.session import Probe
    from springtide.settings.words import Expires
    from springtide.tasks.seam import Codec

__all__ = ["Answer", "Answering", "Columns", "Live", "Model", "SeriesState", "open_model"]

GRAPH, PROBE = "model.onnx", "probe.npz"
DISSIMILARITY = "dissimilarity"  # the output of a graph that says how far its input is from the training's, (series,)

SeriesState = Literal["serving", "expired", "faulty"]

Columns = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Forecast columns; `filled_steps` counts, series by series, the steps of the window that had no row.

    `unknown_features` names of each series the groups of features that are usually known and are not now.
    `dissimilarity` says of each series how far its input is from what the model was trained on; it is empty where the
    graph does not say.
    """

    columns: Columns
    filled_steps: Mapping[str, int]
    dissimilarity: Mapping[str, float] = field(default_factory=dict)
    unknown_features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model, opened: its graph and the codec of its task. Nothing here changes."""

    version: Version
    session: Session
    codec: Codec
    warning: str | None = None  # what the journal says against it

    @property
    def signature(self) -> Mapping[str, Any]:
        """What the codec needs to know; with the model's name, which its errors mention."""
        return {**self.version.manifest.signature, "model": self.version.model}

    @property
    def series(self) -> tuple[str, ...]:
        """The series it can be asked for from the lake."""
        return self.codec.series(self.signature)

    @property
    def want(self) -> Want:
        """The rows of the lake that it forecasts from."""
        return Want(*self.codec.rows(self.signature), self.codec.outside(self.signature))

    def predict(
        self,
        columns: Mapping[str, NDArray[Any]],
        *,
        series: Sequence[str] = (),
        outside: Mapping[str, Mapping[str, NDArray[Any]]] = MappingProxyType({}),
    ) -> Answer:
        """Answer from these rows, for the named series (all that are in the rows when none is named).

        `outside` holds rows of other tables; features of one that is not there are not known.
        """
        signature = self.signature
        encoded = self.codec.encode(signature, columns, series=series, outside=outside)
        outputs = self.session.run(encoded.inputs)
        if not all(np.isfinite(output).all() for output in outputs):
            raise BadRows(
                f"{self.version.name} gives no finite answer to these rows",
                where=f"model {self.version.model}",
                do="look for extreme values in the newest rows",
            )
        named = dict(zip((form.name for form in self.session.outputs), outputs, strict=True))
        asked = encoded.context.get("series", ())
        filled = dict(zip(asked, encoded.context.get("filled_steps", ()), strict=False))
        unknown = dict(zip(asked, encoded.context.get("unknown_features", ()), strict=False))
        dissimilarity = dict(zip(asked, named.pop(DISSIMILARITY, np.empty(0)).tolist(), strict=False))
        decoded = self.codec.decode(signature, encoded, list(named.values()), model=self.version.model)
        return Answer(decoded, filled, dissimilarity, unknown)


@dataclass(frozen=True, slots=True)
class Answering:
    """A model, the rows it forecasts from and the forecasts that follow from both: they change together or not at all.

    What is said `at` a time depends on the limits of age: `expiries` holds those of the model, and `series_expiries` those
    of the model and of the rows of each series.
    """

    model: Model
    rows: Rows | None = None
    forecasts: Mapping[str, Answer | SpringtideError] = field(default_factory=dict)
    expiries: tuple[Expiry, ...] = ()
    series_expiries: Mapping[str, tuple[Expiry, ...]] = field(default_factory=dict)

    def answered(self, at: datetime) -> tuple[str, ...]:
        """The series that have a forecast."""
        return tuple(name for name in self.forecasts if self.state(name, at) == "serving")

    def faults(self, at: datetime) -> dict[str, str]:
        """Why the others have none."""
        found = {name: self._found(name, at) for name in self.forecasts}
        return {name: error.what for name, error in found.items() if isinstance(error, SpringtideError)}

    def state(self, series: str, at: datetime) -> SeriesState:
        """Whether a series is answered, is too old, or has rows from which nothing follows."""
        found = self._found(series, at)
        if isinstance(found, Answer):
            return "serving"
        return "expired" if isinstance(found, Expired) else "faulty"

    def expires_at(self, series: str | None = None) -> datetime | None:
        """When a series will be answered no more if nothing new comes, or the last of them all; None: there is no end."""
        if series is not None:
            return first_moment(self.series_expiries.get(series, self.expiries))
        whole = [name for name, found in self.forecasts.items() if isinstance(found, Answer)] or list(self.forecasts)
        moments = [self.expires_at(name) for name in whole] or [first_moment(self.expiries)]
        ends = [moment for moment in moments if moment is not None]
        return max(ends) if len(ends) == len(moments) else None

    def check_age(self, at: datetime) -> None:
        """Raise `Expired` when the model itself is too old, whatever the rows."""
        if (error := expired(self.expiries, at, where=f"model {self.model.version.model}")) is not None:
            raise error

    def forecast(self, series: Sequence[str], at: datetime) -> list[Answer]:
        """What the model says of these series, worked out when the rows came.

        Raises
        ------
        Expired
            If the model or the rows of a series are too old by now.
        NotReady
            If no rows have been read yet.
        NotFound
            If the model does not know one of the series.
        TooFewRows, BadRows
            If the rows of a series are too few, or such that nothing follows from them.
        """
        self.check_age(at)
        name = self.model.version.model
        if self.rows is None:
            raise NotReady(
                f"the rows that {name} forecasts from have not been read",
                where=f"model {name}",
                do="bring in rows with `springtide ingest`, or send rows to /predict",
            )
        answers = []
        for one in series:
            found = self._found(one, at)
            if found is None:
                raise NotFound(
                    f"{name} does not forecast {one!r}", where=f"model {name}", do=did_you_mean(one, self.forecasts)
                )
            if isinstance(found, SpringtideError):
                raise found.with_traceback(None)
            answers.append(found)
        return answers

    def _found(self, series: str, at: datetime) -> Answer | SpringtideError | None:
        """The forecast that is kept for a series, or why there is none; one that is too old is not looked up."""
        where = f"model {self.model.version.model}, series {series}"
        return expired(self.series_expiries.get(series, ()), at, where=where) or self.forecasts.get(series)


class Live:
    """The model that answers now; a reader takes `now` once and never sees half a change."""

    def __init__(self, limits: Expires) -> None:
        self.limits = limits
        self.now: Answering | None = None
        self.swaps = 0

    def swap(self, candidate: Model, probe: Probe, *, rows: Callable[[Want], Rows | None]) -> None:
        """Replace the model if `candidate` reproduces the answers stored with it.

        `rows` gives the rows the candidate wants; its forecasts are ready before it is put in place.
        """
        _prove(candidate, probe)
        now = _answering(candidate, rows(candidate.want), self.limits)
        _check_answers_something(now)
        self.now = now  # one assignment: atomic for readers
        self.swaps += 1

    def keep_to(self, limits: Expires) -> None:
        """Answer within other limits."""
        self.limits = limits
        if self.now is not None:
            self.now = _answering(self.now.model, self.now.rows, limits)

    def refresh(self, rows: Rows) -> None:
        """Forecast anew from newer rows."""
        if self.now is not None:
            self.now = _answering(self.now.model, rows, self.limits)


def open_model(
    version: Version, read: Callable[[Version, str], bytes], codec: Codec, *, warning: str | None = None
) -> tuple[Model, Probe]:
    """Open a version and read its probe; `read` gives the checked bytes of one of its files.

    Raises
    ------
    ModelRefused
        If a file is damaged or is no graph or no probe.
    """
    session = Session(read(version, GRAPH), where=f"{GRAPH} of {version.name}")
    probe = read_probe(read(version, PROBE), where=f"{PROBE} of {version.name}")
    return Model(version, session, codec, warning), probe


def _prove(candidate: Model, probe: Probe) -> None:
    try:
        given = candidate.session.run(probe.inputs)
    except BadRows as error:
        raise ModelRefused(
            f"the model cannot answer its own probe: {error.what}",
            where=candidate.version.name,
            do="keep the version that serves; retrain, or restore the model's files from a backup",
        ) from error
    check_answers(given, probe, where=candidate.version.name)


def _check_answers_something(now: Answering) -> None:
    """Refuse a model that cannot forecast a single series from the rows of now."""
    errors = [found for found in now.forecasts.values() if isinstance(found, SpringtideError)]
    if errors and len(errors) == len(now.forecasts):
        raise ModelRefused(
            f"the model can forecast no series from the newest rows: {errors[0].what}",
            where=now.model.version.name,
            do=errors[0].do,
        )


def _answering(model: Model, rows: Rows | None, limits: Expires) -> Answering:
    expiries = model_expiry(model.version, limits)
    if rows is None:
        return Answering(model, expiries=expiries)
    forecasts, closed = _forecasts(model, rows), _closed(model, rows)
    of_series = {
        name: expiries + (data_expiry(name, closed[name], limits) if name in closed else ()) for name in forecasts
    }
    return Answering(model, rows, forecasts, expiries, of_series)


def _closed(model: Model, rows: Rows) -> dict[str, datetime]:
    """When the newest row of each series closed."""
    step = timedelta(seconds=model.signature.get("step_s", 0))
    names, seconds = rows.columns[SERIES], rows.columns[TIME]
    return {
        str(name): datetime.fromtimestamp(int(seconds[names == name].max()), UTC) + step for name in np.unique(names)
    }


def _forecasts(model: Model, rows: Rows) -> dict[str, Answer | SpringtideError]:
    """The forecast of every series, all in one batch; one by one when that fails, so that only the faulty are missing."""
    names = model.series or tuple(dict.fromkeys(rows.columns[SERIES].tolist()))
    try:
        return _by_series(model.predict(rows.columns, series=names, outside=rows.outside), names)
    except SpringtideError:
        return {name: _forecast_or_error(model, rows, name) for name in names}


def _forecast_or_error(model: Model, rows: Rows, name: str) -> Answer | SpringtideError:
    try:
        return model.predict(rows.columns, series=(name,), outside=rows.outside)
    except SpringtideError as error:
        return error


def _by_series(answer: Answer, names: Sequence[str]) -> dict[str, Answer | SpringtideError]:
    places: dict[str, list[int]] = {name: [] for name in names}
    for place, name in enumerate(answer.columns[SERIES]):
        places[name].append(place)
    return {
        name: Answer(
            {column: [values[place] for place in mine] for column, values in answer.columns.items()},
            {name: answer.filled_steps.get(name, 0)},
            {name: answer.dissimilarity[name]} if name in answer.dissimilarity else {},
            {name: answer.unknown_features.get(name, ())},
        )
        for name, mine in places.items()
    }
