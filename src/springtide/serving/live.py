"""The model that answers now: proven first, then put in place by one assignment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.domain.errors import BadRows, ModelRefused, NotFound, NotReady, SpringtideError, did_you_mean
from springtide.domain.rows import SERIES
from springtide.serving.rows import Want
from springtide.serving.session import Session, check_answers, read_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from springtide.domain.model import Version
    from springtide.serving.rows import Rows
    from springtide.serving.session import Probe
    from springtide.tasks.seam import Codec

__all__ = ["Answer", "Answering", "Columns", "Live", "Model", "open_model"]

GRAPH, PROBE = "model.onnx", "probe.npz"

Columns = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Forecast columns; `filled_steps` counts, series by series, the steps of the window that had no row."""

    columns: Columns
    filled_steps: Mapping[str, int]


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
        return self.want.filter.series

    @property
    def want(self) -> Want:
        """The rows of the lake that it forecasts from."""
        return Want(*self.codec.rows(self.signature))

    def predict(self, columns: Mapping[str, NDArray[Any]], *, series: Sequence[str] = ()) -> Answer:
        """Answer from these rows, for the named series (all that are in the rows when none is named)."""
        signature = self.signature
        encoded = self.codec.encode(signature, columns, series=series)
        outputs = self.session.run(encoded.inputs)
        if not all(np.isfinite(output).all() for output in outputs):
            raise BadRows(
                f"{self.version.name} gives no finite answer to these rows",
                where=f"model {self.version.model}",
                do="look for extreme values in the newest rows",
            )
        asked = encoded.context.get("series", ())
        filled = dict(zip(asked, encoded.context.get("filled_steps", ()), strict=False))
        return Answer(self.codec.decode(signature, encoded, outputs, model=self.version.model), filled)


@dataclass(frozen=True, slots=True)
class Answering:
    """A model, the rows it forecasts from and the forecasts that follow from both: they change together or not at all."""

    model: Model
    rows: Rows | None = None
    forecasts: Mapping[str, Answer | SpringtideError] = field(default_factory=dict)

    def answered(self) -> tuple[str, ...]:
        """The series that have a forecast."""
        return tuple(name for name, found in self.forecasts.items() if isinstance(found, Answer))

    def faults(self) -> dict[str, str]:
        """Why the others have none."""
        return {name: found.what for name, found in self.forecasts.items() if isinstance(found, SpringtideError)}

    def forecast(self, series: Sequence[str]) -> list[Answer]:
        """What the model says of these series, worked out when the rows came.

        Raises
        ------
        NotReady
            If no rows have been read yet.
        NotFound
            If the model does not know one of the series.
        TooFewRows, BadRows
            If the rows of a series are too few, or such that nothing follows from them.
        """
        name = self.model.version.model
        if self.rows is None:
            raise NotReady(
                f"the rows that {name} forecasts from have not been read",
                where=f"model {name}",
                do="bring in rows with `springtide ingest`, or send rows to /predict",
            )
        answers = []
        for one in series:
            found = self.forecasts.get(one)
            if found is None:
                raise NotFound(
                    f"{name} does not forecast {one!r}", where=f"model {name}", do=did_you_mean(one, self.forecasts)
                )
            if isinstance(found, SpringtideError):
                raise found.with_traceback(None)
            answers.append(found)
        return answers


class Live:
    """The model that answers now; a reader takes `now` once and never sees half a change."""

    def __init__(self) -> None:
        self.now: Answering | None = None
        self.swaps = 0

    def swap(self, candidate: Model, probe: Probe, *, rows: Callable[[Want], Rows | None]) -> None:
        """Replace the model if `candidate` reproduces the answers stored with it.

        `rows` gives the rows the candidate wants; its forecasts are ready before it is put in place.
        """
        _prove(candidate, probe)
        now = _answering(candidate, rows(candidate.want))
        _check_answers_something(now)
        self.now = now  # one assignment: atomic for readers
        self.swaps += 1

    def refresh(self, rows: Rows) -> None:
        """Forecast anew from newer rows."""
        if self.now is not None:
            self.now = _answering(self.now.model, rows)


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


def _answering(model: Model, rows: Rows | None) -> Answering:
    return Answering(model) if rows is None else Answering(model, rows, _forecasts(model, rows))


def _forecasts(model: Model, rows: Rows) -> dict[str, Answer | SpringtideError]:
    """The forecast of every series, all in one batch; one by one when that fails, so that only the faulty are missing."""
    names = model.series or tuple(dict.fromkeys(rows.columns[SERIES].tolist()))
    try:
        return _by_series(model.predict(rows.columns, series=names), names)
    except SpringtideError:
        return {name: _forecast_or_error(model, rows, name) for name in names}


def _forecast_or_error(model: Model, rows: Rows, name: str) -> Answer | SpringtideError:
    try:
        return model.predict(rows.columns, series=(name,))
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
        )
        for name, mine in places.items()
    }
