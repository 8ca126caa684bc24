"""The seam that everything else is built around: what a task is to the pipeline, and to the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003 - read by what makes an export of JSON
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from pathlib import Path

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from springtide.domain.rows import Filter
    from springtide.evaluation.losses import Losses

__all__ = [
    "Advance",
    "Between",
    "Budget",
    "Checkpoint",
    "Choice",
    "Circumstances",
    "Codec",
    "Encoded",
    "Exported",
    "Fitted",
    "OneOf",
    "Prepared",
    "Progress",
    "Task",
]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a fit may cost.

    `steps` repeats a fit that its time stopped: exactly so many steps (the ``steps`` of its facts), however long they take.
    """

    seconds: float
    seed: int = 0
    device: str = "auto"  # "auto" takes CUDA when it is there
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a fit has come."""

    done: float  # share of the budget, 0 to 1
    epoch: int
    loss: float  # validation loss
    seconds_left: float


class Progress(Protocol):
    """Told of every advance; may raise to stop the fit."""

    def __call__(self, advance: Advance) -> None:
        """Take note of `advance`."""


class Checkpoint(Protocol):
    """Where a fit keeps how far it has come, for another process to go on from if this one is killed."""

    def load(self) -> bytes | None:
        """What was saved last; None when nothing was."""

    def save(self, data: bytes) -> None:
        """Replace what was saved before: wholly, or not at all if the process is killed."""


class Prepared(Protocol):
    """Training, validation and judging items in time order; nothing fitted on what comes after training."""

    @property
    def trained_until(self) -> datetime:
        """The latest outcome that training or validation may see."""

    @property
    def judged_from(self) -> datetime:
        """The earliest time at which a judging item is predicted."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Plain JSON for the run's record: how many items, what was left out and why."""


class Fitted(Protocol):
    """A trained model; nobody above the seam looks inside."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Plain JSON for the run's record: steps, losses, why it stopped, on which device.

        ``start`` is ``"champion"`` where the weights of `start` were really taken, else ``"scratch"``.
        """


@dataclass(frozen=True, slots=True)
class OneOf:
    """A key of a recipe that has one of some values: text, numbers, truth values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """A key of a recipe that is a number between two others, both included."""

    low: float
    high: float
    logarithmic: bool = False  # as likely to be within a factor of two anywhere


Choice = OneOf | Between

P = TypeVar("P", bound=Prepared)
F = TypeVar("F", bound=Fitted)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of an exported model, in the folder it was exported to.

    `signature` is plain JSON and all that the codec needs. `probe` names an ``.npz`` file with inputs and the
    answers that this very model gave to them.
    """

    files: Sequence[str]
    signature: Mapping[str, Any]
    parity: float  # largest relative difference between the trained model and the exported file
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Circumstances:
    """Facts about the inputs of two spans of time, each by the same names for people: ``volatility of BTC/USDT``.

    Attributes
    ----------
    reference : mapping
        (n,) float64 by name, in time order and evenly spaced: what a version has learned from. NaN: not known.
    recent : mapping
        (m,) float64 by the same names, as far apart: what it is asked now.
    """

    reference: Mapping[str, NDArray[np.float64]]
    recent: Mapping[str, NDArray[np.float64]]


class Task(Protocol[P, F, R]):
    """One kind of learning problem, from rows to a file that can be served.

    ``P`` is what the task prepares, ``F`` what it fits, ``R`` how it predicts; nobody above the seam looks inside them.
    """

    name: str
    recipe: type[BaseModel]  # the task's own keys in a [models.NAME] section
    costly_baselines: tuple[str, ...]  # names of rivals that are worked out only where they are asked for

    def rows(self, recipe: Any, *, until: datetime | None) -> Filter:
        """Which rows of the table a run needs."""

    def outside(self, recipe: Any) -> Mapping[str, Filter]:
        """Which rows of which other tables, by name."""

    def space(self, recipe: Any) -> Mapping[str, Choice]:
        """What a search may choose, key by key; the recipe's own values are among them.

        No key decides which rows a run needs, or which question is answered.
        """

    def prepare(
        self,
        rows: pl.LazyFrame,
        recipe: Any,
        *,
        judged_from: datetime,
        judged_until: datetime | None = None,
        outside: Mapping[str, pl.LazyFrame] = MappingProxyType({}),
    ) -> P:
        """Split into items: no judging item is predicted before `judged_from`, no other outcome comes after it.

        No judging item is predicted at `judged_until` or later, if it is given; their outcomes may come later.
        """

    def fit(
        self,
        prepared: P,
        *,
        start: Path | None,
        budget: Budget,
        progress: Progress,
        checkpoint: Checkpoint | None = None,
    ) -> F:
        """Train, from the exported model in the folder `start` or from nothing.

        With a `checkpoint` the fit goes on from where the one that saved it stood, and returns what that one returned if
        it had ended; the seconds that were spent count. One that cannot be used (of something else, damaged) is ignored.
        """

    def predictor(self, fitted: F) -> R:
        """The fitted model as a rival."""

    def load(self, folder: Path) -> R:
        """An exported model as a rival; raises `Conflict` when it answers another question."""

    def baselines(self, prepared: P, also: Collection[str] = ()) -> Mapping[str, R]:
        """Cheap rivals, at least one, and the costly ones that `also` names, fitted on the training part only."""

    def losses(self, predictor: R, prepared: P) -> Losses:
        """One loss per judging item, the same items for every rival."""

    def export(self, fitted: F, prepared: P, folder: Path) -> Exported:
        """Write ``model.onnx``, ``probe.npz`` and what a later fine-tuning starts from."""

    def explain(self, folder: Path, prepared: P, *, seed: int) -> Mapping[str, Any]:
        """Which inputs move what the exported model in `folder` says, as plain JSON; empty where a task cannot tell."""

    def circumstances(self, prepared: P, *, seen_until: datetime, recent_from: datetime) -> Circumstances:
        """Facts about the inputs that a version has seen until then, and about those since `recent_from`; cheap."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows turned into what the graph takes; `context` is for the same codec's `decode`."""

    inputs: Mapping[str, NDArray[Any]]
    context: Mapping[str, Any]


class Codec(Protocol):
    """The serving half of a task: numpy and JSON, no training library."""

    def series(self, signature: Mapping[str, Any]) -> tuple[str, ...]:
        """The series that the model answers for; empty: whatever is in the rows."""

    def rows(self, signature: Mapping[str, Any]) -> tuple[Filter, int]:
        """Which series a forecast from the lake needs, and how many of the newest steps of each."""

    def outside(self, signature: Mapping[str, Any]) -> Mapping[str, tuple[Filter, int]]:
        """Which rows of which other tables, by name, and how many seconds of them up to the newest row."""

    def encode(
        self,
        signature: Mapping[str, Any],
        columns: Mapping[str, NDArray[Any]],
        *,
        series: Sequence[str] = (),
        outside: Mapping[str, Mapping[str, NDArray[Any]]] = MappingProxyType({}),
    ) -> Encoded:
        """Turn columns of rows into the graph's inputs, for the named series (all when empty)."""

    def decode(
        self, signature: Mapping[str, Any], encoded: Encoded, outputs: Sequence[NDArray[Any]], *, model: str
    ) -> dict[str, list[Any]]:
        """Turn the graph's outputs into named columns, ready for JSON or a file."""
