"""From a table's columns to the matrix that a model sees: fitted on training rows, kept as JSON, the same code ever after."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from springtide.sdk import Refusal
from springtide.trainers.labels import level
from springtide.trainers.task import Question

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from springtide.trainers.table import Arrays
    from springtide.trainers.task import Column

__all__ = ["Output", "Preprocessing", "fit", "parse_preprocessing", "plain", "read_preprocessing"]

FORMAT = 1
MOST_LEVELS = 100  # of a category; rarer ones are "other"
MOST_TEXT = 10_000_000  # letters of what is read
DAY_S, WEEK_DAYS, YEAR_DAYS = 86_400, 7, 365.2425

Output = Literal["mean", "probabilities", "logits"]  # what the model's numbers are


@dataclass(frozen=True, slots=True)
class Number:
    """A number, its gaps filled with the median, in standard deviations from the mean; another column says where gaps were."""

    name: str
    fill: float
    mean: float
    scale: float
    gaps: bool

    @classmethod
    def fit(cls, name: str, values: NDArray[np.float64]) -> Number:
        """Learn from (n,) training values."""
        missing = np.isnan(values)
        fill = float(np.median(values[~missing])) if not missing.all() else 0.0
        filled = np.where(missing, fill, values)
        return cls(name, fill, float(filled.mean()), float(filled.std()) or 1.0, bool(missing.any()))

    def columns(self, values: NDArray[np.float64]) -> list[NDArray[Any]]:
        """Return the matrix's columns of (n,) values."""
        missing = np.isnan(values)
        scaled = (np.where(missing, self.fill, values) - self.mean) / self.scale
        return [scaled, missing] if self.gaps else [scaled]


@dataclass(frozen=True, slots=True)
class Category:
    """One column a level, and one for every other: rare ones, unknown ones, gaps."""

    name: str
    levels: tuple[str, ...]

    @classmethod
    def fit(cls, name: str, values: NDArray[Any]) -> Category:
        """Take the most frequent levels of (n,) training values."""
        counts = Counter(value for value in values if value is not None)
        frequent = sorted(counts, key=lambda one: (-counts[one], one))[:MOST_LEVELS]
        return cls(name, tuple(sorted(frequent)))

    def columns(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the matrix's columns of (n,) labels."""
        one_hot = [values == level(known) for known in self.levels]
        return [*one_hot, ~np.logical_or.reduce([*one_hot, np.zeros(len(values), bool)])]


@dataclass(frozen=True, slots=True)
class Date:
    """How long since the training began, in units of its length; the day of the week, of the year, and the hour as angles."""

    name: str
    begin_s: float  # seconds since 1970; also what fills a gap
    length_s: float
    hours: bool  # whether there is a time of day

    @classmethod
    def fit(cls, name: str, values: NDArray[np.datetime64]) -> Date:
        """Learn from (n,) training times, UTC."""
        seconds = values[~np.isnat(values)].astype("datetime64[us]").astype(np.int64) / 1e6
        if not len(seconds):
            return cls(name, 0.0, float(DAY_S), hours=False)
        begin = float(seconds.min())
        return cls(name, begin, float(seconds.max()) - begin or float(DAY_S), hours=bool((seconds % DAY_S).any()))

    def columns(self, values: NDArray[np.datetime64]) -> list[NDArray[Any]]:
        """Return the matrix's columns of (n,) times."""
        known = ~np.isnat(values)
        seconds = np.where(known, values.astype("datetime64[us]").astype(np.int64) / 1e6, self.begin_s)
        days = seconds / DAY_S
        turns = [days / WEEK_DAYS, days / YEAR_DAYS, *([days] if self.hours else [])]
        return [
            (seconds - self.begin_s) / self.length_s,
            *(wave(2 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)),
        ]


@dataclass(frozen=True, slots=True)
class Plain:
    """A number as it is: the input of a model that was not trained here."""

    name: str

    def columns(self, values: NDArray[np.float64]) -> list[NDArray[Any]]:
        """Return the matrix's column of (n,) values."""
        return [values]


Part = Number | Category | Date | Plain
_PARTS: Mapping[str, type[Part]] = {"number": Number, "category": Category, "date": Date, "plain": Plain}
_KINDS = {part: kind for kind, part in _PARTS.items()}
_HELD = {"number": "numbers", "date": "times", "category": "texts"}
_FITS: Mapping[str, Callable[[Any], bool]] = {  # what JSON holds, by the annotation of a field
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "float": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value),
    "tuple[str, ...]": lambda value: all(isinstance(one, str) for one in value),
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What stands beside every model."""

    question: Question
    target: str
    parts: tuple[Part, ...]
    classes: tuple[str, ...]  # none for a regression
    output: Output | None = None  # None until a model has answered

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of the table that it reads."""
        return tuple(part.name for part in self.parts)

    def matrix(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the model's input, (n, width) float32.

        Raises
        ------
        Refusal
            If a column is missing or of another kind, or a value is too large for it.
        """
        if missing := [name for name in self.features if name not in arrays]:
            raise Refusal(
                f"there is no column {missing[0]!r}, which the model reads",
                where="the table",
                do=f"name it as it was ({', '.join(self.features[:8])}), or begin without the model",
            )
        for name, kind in self.kinds():
            if (found := _kind_of(arrays[name])) != kind:
                raise Refusal(
                    f"column {name!r} holds {_HELD[found]}, and the model has learned from {_HELD[kind]}",
                    where="the table",
                    do="look for cells that are something else than the others, or begin without the model",
                )
        columns = [column for part in self.parts for column in part.columns(arrays[part.name])]
        with np.errstate(over="ignore"):  # it is told below
            matrix = np.column_stack(columns).astype(np.float32)
        if np.isinf(matrix).any():
            raise Refusal(
                f"{int(np.isinf(matrix).sum())} values are too large for float32",
                where=f"the columns {', '.join(self.features[:8])}",
                do="leave these rows out, or give the column in a larger unit",
            )
        return matrix

    def kinds(self) -> tuple[tuple[str, str], ...]:
        """Name and kind of each column that it reads."""
        return tuple((part.name, "number" if isinstance(part, Plain) else _KINDS[type(part)]) for part in self.parts)

    def width(self) -> int:
        """How many numbers a row has for the model, told from a row of gaps.

        Raises
        ------
        Refusal
            If not even that can be made.
        """
        gaps = {"number": np.array([np.nan]), "date": np.array(["NaT"], "datetime64[us]")}
        return len(self.matrix({name: gaps.get(kind, np.array([None])) for name, kind in self.kinds()})[0])

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        parts = [{"kind": _KINDS[type(part)], **asdict(part)} for part in self.parts]
        written = {"format": FORMAT, **asdict(self), "parts": parts}
        path.write_text(json.dumps(written, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _kind_of(array: NDArray[Any]) -> str:
    """The kind of a column whose array this is (see `Arrays`)."""
    return {"f": "number", "M": "date"}.get(array.dtype.kind, "category")


def fit(
    arrays: Arrays, columns: Sequence[Column], *, question: Question, target: str, classes: tuple[str, ...]
) -> Preprocessing:
    """Learn the preprocessing of `columns` from the training rows alone."""
    parts = tuple(_PARTS[column.kind].fit(column.name, arrays[column.name]) for column in columns)  # type: ignore[union-attr] # a column has no plain kind
    return Preprocessing(question, target, parts, classes)


def plain(names: Sequence[str], *, question: Question, target: str, classes: tuple[str, ...]) -> Preprocessing:
    """Give the columns `names` as they are, in this order."""
    return Preprocessing(question, target, tuple(Plain(name) for name in names), classes)


def read_preprocessing(path: Path) -> Preprocessing:
    """Read what `Preprocessing.write` wrote.

    Raises
    ------
    Refusal
        If it is something else.
    """
    return parse_preprocessing(path.read_text(errors="replace"), where=path.name)


def parse_preprocessing(text: str, *, where: str = "preprocessing.json") -> Preprocessing:
    """Read the text of what `Preprocessing.write` wrote; see `read_preprocessing`."""
    if len(text) > MOST_TEXT:
        raise Refusal(f"it has {len(text)} letters, more than {MOST_TEXT}", where=where, do="train from scratch")
    try:
        written = json.loads(text)
        parts = tuple(_read_part(dict(part)) for part in written["parts"])
        format_ = written["format"]
        read = Preprocessing(
            written["question"], written["target"], parts, tuple(written["classes"]), written["output"]
        )
        _check_types(read)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise Refusal(
            f"cannot be read as preprocessing: {error!s:.200}", where=where, do="send it unchanged"
        ) from error
    if format_ != FORMAT:
        raise Refusal(f"its format {format_!r:.20} is not {FORMAT}", where=where, do="train from scratch")
    return read


def _read_part(written: dict[str, Any]) -> Part:
    part = _PARTS[written.pop("kind")]
    if "levels" in written:
        written["levels"] = tuple(written["levels"])
    read = part(**written)
    for field in fields(part):
        if not _FITS[str(field.type)](getattr(read, field.name)):
            raise ValueError(f"{field.name!r} of a {part.__name__} is {getattr(read, field.name)!r:.50}")
    return read


def _check_types(read: Preprocessing) -> None:
    """What JSON cannot promise; a wrong value would else fail at the first row that is asked."""
    if read.question not in get_args(Question) or read.output not in (None, *get_args(Output)):
        raise ValueError(f"the question {read.question!r:.50}, and {read.output!r:.50} as output")
    if not read.parts or not _FITS["str"](read.target) or not _FITS["tuple[str, ...]"](read.classes):
        raise ValueError("no columns, or target and classes are no texts")
