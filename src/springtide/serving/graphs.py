"""Models that jobs have made: bare graphs, opened when they are first asked for, proven before they answer."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.domain.errors import BadRows, ModelRefused, NotFound, NotReady, did_you_mean
from springtide.sdk import Refusal
from springtide.serving.session import Session, check_answers, read_probe
from springtide.trainers.answers import read_answer
from springtide.trainers.formats import PREPROCESSING
from springtide.trainers.labels import label
from springtide.trainers.preprocessing import parse_preprocessing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from springtide.domain.model import Version
    from springtide.registry.registry import Registry
    from springtide.trainers.preprocessing import Preprocessing

__all__ = ["Graph", "Graphs"]

GRAPH, PROBE = "model.onnx", "probe.npz"
FRESH_S = 1.0  # how long an answer to who serves is believed
LOG = logging.getLogger("springtide.serving")


@dataclass(frozen=True, slots=True)
class Graph:
    """One version, opened: its graph, and what makes rows of a table the graph's input."""

    version: Version
    session: Session
    preprocessing: Preprocessing

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """An answer a row: the mean, or the probability of every class.

        Raises
        ------
        BadRows
            If a row lacks a column, or holds something else than what the column is.
        """
        where = f"rows sent to model {self.version.model}"
        arrays = {name: _column(rows, name, kind, where) for name, kind in self.preprocessing.kinds()}
        try:
            matrix = self.preprocessing.matrix(arrays)
        except Refusal as refused:
            raise BadRows(refused.what, where=where, do=refused.do) from refused
        (raw,) = self.session.run({self.session.inputs[0].name: matrix})
        classes = self.preprocessing.classes
        answer = read_answer(raw, len(classes), self.preprocessing.output or "mean")
        if not np.isfinite(answer).all():
            raise BadRows("no finite answer to these rows", where=where, do="look for gaps and extreme values in them")
        if not classes:
            return [{self.preprocessing.target: value} for value in answer.tolist()]
        return [dict(zip(classes, line, strict=True)) for line in answer.tolist()]


class Graphs:
    """The graphs that serve, each at what the registry calls its champion; one that fails its proof leaves the last one."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._open: dict[str, Graph] = {}
        self._refused: dict[str, tuple[int, ModelRefused]] = {}
        self._champions: Mapping[str, int] = {}
        self._asked = -np.inf
        self._lock = threading.Lock()

    def graph(self, name: str) -> Graph:
        """What answers for a model of that name.

        Raises
        ------
        NotFound
            If no job has made one.
        NotReady
            If it has no graph, or the graph does not give its own answers.
        """
        with self._lock:
            number = self._champion(name)
            known = self._open.get(name)
            if known is not None and known.version.number == number:
                return known
            try:
                return self._follow(name, number)
            except ModelRefused as refused:
                self._refused[name] = (number, refused)
                LOG.error("%s@%d is refused and does not serve: %s", name, number, refused)  # noqa: TRY400 - it says what is needed
                if known is not None:
                    return known
                raise NotReady(f"nothing serves: {refused.what}", where=refused.where, do=refused.do) from refused

    def _champion(self, name: str) -> int:
        if time.monotonic() - self._asked > FRESH_S:
            self._champions, self._asked = self._registry.champions(), time.monotonic()
        if name not in self._champions:
            known = did_you_mean(name, self._champions)
            raise NotFound(f"there is no model {name!r}", where="springtide.toml, and models of jobs", do=known)
        return self._champions[name]

    def _follow(self, name: str, number: int) -> Graph:
        tried, refused = self._refused.get(name, (0, None))
        if refused is not None and tried == number:
            raise refused
        version = self._registry.version(name, number)
        if GRAPH not in version.manifest.files:
            raise NotReady(
                f"{version.name} has no ONNX graph",
                where=f"model {name}",
                do="download it, and run it where it came from",
            )
        session = Session(self._registry.read(version, GRAPH), where=f"{GRAPH} of {version.name}")
        probe = read_probe(self._registry.read(version, PROBE), where=f"{PROBE} of {version.name}")
        check_answers(session.run(probe.inputs), probe, where=version.name)
        written = self._registry.read(version, PREPROCESSING).decode()
        graph = Graph(version, session, parse_preprocessing(written))
        self._open[name] = graph
        LOG.info("%s serves", version.name)
        return graph


def _column(rows: Sequence[Mapping[str, Any]], name: str, kind: str, where: str) -> NDArray[Any]:
    """One column of all rows; a value that is not there is a gap, as it was in training."""
    if rows and not any(name in row for row in rows):
        raise BadRows(f"no column {name!r}", where=where, do="send the columns that the model has learned from")
    values = [row.get(name) for row in rows]
    try:
        if kind == "number":
            return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
        if kind == "date":
            return np.array(
                [np.datetime64("NaT") if value is None else np.datetime64(str(value)) for value in values],
                "datetime64[us]",
            )
    except (TypeError, ValueError) as error:
        raise BadRows(f"column {name!r} is a {kind}: {error}", where=where, do=f"send a {kind}, or null") from error
    return np.array([None if value is None else label(value) for value in values], dtype=object)
