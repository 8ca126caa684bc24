"""Models that jobs have made: bare graphs, proven elsewhere and opened when they are first asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.domain.errors import BadRows, ModelRefused, NotFound, NotReady, StoreFailed, TooLarge, did_you_mean
from springtide.sdk import Refusal
from springtide.serving.asked import Asked
from springtide.serving.guarded import Guarded
from springtide.serving.session import Session
from springtide.trainers.answers import read_answer
from springtide.trainers.formats import PREPROCESSING
from springtide.trainers.preprocessing import parse_preprocessing
from springtide.trainers.proving import GRAPH, PROBE, ROWS, prove

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from springtide.domain.model import Version
    from springtide.registry.registry import Registry
    from springtide.trainers.preprocessing import Preprocessing

__all__ = ["Graph", "Graphs"]

FRESH_S = 1.0  # how long an answer to who serves is believed
MOST_OPEN = 32  # graphs
MOST_HELD = 2 << 30  # bytes that all open graphs hold
MOST_NUMBERS = 5_000_000  # that the rows of one request and their answers come to
NUMBERS_AT_ONCE = 2_000_000  # of them that are made before the graph has answered
PROOFS = 2  # at once
PATIENCE_S = 5.0  # that a request waits while others have a graph proven
LOG = logging.getLogger("springtide.serving")


@dataclass(frozen=True, slots=True)
class Graph:
    """One version, opened: its graph, and what makes rows of a table the graph's input."""

    version: Version
    session: Guarded
    preprocessing: Preprocessing
    held: int  # bytes, about

    def predict(self, rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> dict[str, list[float]]:
        """An answer to each row, as columns: the mean, or the probability of every class.

        Raises
        ------
        BadRows
            If a row lacks a column, or holds something else than what the column is.
        TooLarge
            If the rows come to more numbers than one request may.
        ModelRefused
            If what the graph answers is not what its preprocessing says.
        """
        asked = Asked(rows, where=f"rows sent to model {self.version.model}")
        asked.check_columns(self.preprocessing.features)
        classes, at_once = self.preprocessing.classes, self._rows_at_once(asked)
        raw = self.session.answer(len(asked), lambda part: self._matrix(asked, part), at_once=at_once)
        try:
            answer = read_answer(raw, len(classes), self.preprocessing.output or "mean")
        except Refusal as refused:
            raise ModelRefused(refused.what, where=self.version.name, do=refused.do) from refused
        if not np.isfinite(answer).all():
            raise BadRows(
                "no finite answer to these rows", where=asked.where, do="look for gaps and extreme values in them"
            )
        if not classes:
            return {self.preprocessing.target: answer.tolist()}
        return dict(zip(classes, answer.T.tolist(), strict=True))

    def _rows_at_once(self, asked: Asked) -> int:
        """How many rows are made into numbers together; raises `TooLarge` where all come to too many."""
        width = int(self.session.inputs[0].shape[1] or 1)
        numbers = width + len(self.preprocessing.classes)
        if len(asked) * numbers > MOST_NUMBERS:
            raise TooLarge(
                f"{len(asked):,} rows, each of which is {numbers:,} numbers to the model",
                where=asked.where,
                do=f"send at most {max(1, MOST_NUMBERS // numbers):,} rows at once",
            )
        return max((rows for rows in ROWS if rows * width <= NUMBERS_AT_ONCE), default=1)

    def _matrix(self, asked: Asked, part: slice) -> NDArray[Any]:
        """Some of the rows as the graph's input."""
        arrays = {name: asked.column(name, kind, part) for name, kind in self.preprocessing.kinds()}
        try:
            return self.preprocessing.matrix(arrays)
        except Refusal as refused:
            raise BadRows(refused.what, where=asked.where, do=refused.do) from refused


@dataclass
class _Place:
    """What is known of one name; whoever opens a version of it holds the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    proven: int | None = None  # a version that has passed once; it need not be proven again
    held: int = 0  # bytes that it holds
    refused: tuple[int, ModelRefused] | None = None  # the version that should serve, and why it does not

    def refusal(self, number: int) -> ModelRefused | None:
        """Why that version may not serve."""
        return self.refused[1] if self.refused is not None and self.refused[0] == number else None


class Graphs:
    """The graphs that serve, each at what the registry calls its champion; one that fails its proof leaves the last one.

    Whoever made a graph may mean harm: each is proven in a process of its own before this one opens it. `most` are open
    at once, with `most_bytes` together; the one that was asked longest ago goes first.
    """

    def __init__(self, registry: Registry, *, most: int = MOST_OPEN, most_bytes: int = MOST_HELD) -> None:
        self._registry, self._most, self._most_bytes = registry, most, most_bytes
        self._open: OrderedDict[str, Graph] = OrderedDict()  # the one asked last at its end
        self._places: dict[str, _Place] = {}
        self._champions: Mapping[str, int] | None = None  # as far as the database was heard of
        self._asked = -np.inf
        self._asking = threading.Lock()  # held by the one request that asks it
        self._away = False  # when it was last asked
        self._lock = threading.Lock()  # of what is above; never held while a graph is proven, opened or run
        self._proofs = threading.BoundedSemaphore(PROOFS)

    def graph(self, name: str) -> Graph:
        """What answers for a model of that name; while a new version is opened it is the last one.

        Raises
        ------
        NotFound
            If no job has made one.
        NotReady
            If it has no graph, the graph does not give its own answers, or it is being proven still.
        """
        number = self._champion(name)
        with self._lock:
            place = self._places.setdefault(name, _Place())
            known = self._open.get(name)
            if known is not None:
                self._open.move_to_end(name)
        if known is not None and (known.version.number == number or place.refusal(number) is not None):
            return known
        if not place.lock.acquire(timeout=0 if known is not None else PATIENCE_S):
            if known is None:
                raise _being_opened(name)
            return known
        try:
            return self._follow(name, number, place, known)
        finally:
            place.lock.release()

    def prove(self, version: Version) -> None:
        """Open a version as if it served; one without a graph is for those who download it.

        Raises
        ------
        ModelRefused
            If it may not serve.
        """
        if GRAPH in version.manifest.files:
            self._opened(version, _Place())

    def state(self, version: Version | None) -> str:
        """What can be said of a champion without opening it."""
        if version is None:
            return "empty"
        if version.manifest.task != "table":
            return "not in springtide.toml"
        if GRAPH not in version.manifest.files:
            return "without a graph"
        place = self._places.get(version.model)
        return "serving" if place is None or place.refusal(version.number) is None else "refused"

    def warning(self, name: str) -> str | None:
        """Why the version that should serve does not, where another one does."""
        number, place = (self._champions or {}).get(name, 0), self._places.get(name)
        refusal = None if place is None else place.refusal(number)
        return None if refusal is None else f"{name}@{number} is refused and does not serve: {refusal.what}"

    def _champion(self, name: str) -> int:
        champions = self._known_champions()
        if name not in champions:
            if name in self._registry.models():
                raise NotReady(
                    f"no version of {name!r} serves: none has won",
                    where=f"model {name}",
                    do=f"`springtide journal {name}` says why; `springtide promote {name}@NUMBER` lets one serve by hand",
                )
            known = did_you_mean(name, champions)
            raise NotFound(f"there is no model {name!r}", where="springtide.toml, and models of jobs", do=known)
        return champions[name]

    def _known_champions(self) -> Mapping[str, int]:
        """Who serves; one request at a time asks for it, and while the database is away those that were known go on."""
        known = self._champions
        if time.monotonic() - self._asked <= FRESH_S and known is not None:
            return known
        if not self._asking.acquire(timeout=0 if known is not None else PATIENCE_S):
            if known is None:
                raise NotReady(
                    "the database is being asked who serves", where="the registry", do="ask again in a moment"
                )
            return known
        try:
            if known is None and self._champions is not None:  # somebody else was told while this one waited
                return self._champions
            self._champions, self._away = self._registry.champions(), False
        except (NotReady, StoreFailed) as away:
            if known is None:
                raise
            if not self._away:
                LOG.warning("the models that serve go on, and new ones do not come: %s", away.what)
            self._away = True
            return known
        finally:
            self._asked = time.monotonic()
            self._asking.release()
        return self._champions

    def _follow(self, name: str, number: int, place: _Place, known: Graph | None) -> Graph:
        """Open a version, or remember why it may not be."""
        with self._lock:
            opened = self._open.get(name)  # by whoever had the lock before
        if opened is not None and opened.version.number == number:
            return opened
        refusal = place.refusal(number)
        if refusal is None:
            version = self._registry.version(name, number)
            if GRAPH not in version.manifest.files:
                raise NotReady(
                    f"{version.name} has no ONNX graph",
                    where=f"model {name}",
                    do="download it, and run it where it came from",
                )
            try:
                return self._keep(name, self._opened(version, place))
            except ModelRefused as refused:
                refusal = refused
                place.refused = number, refused
                LOG.error("%s", self.warning(name))  # noqa: TRY400 - it says what is needed
            except NotReady:  # too many are being proven
                if known is None:
                    raise
                return known
        if known is not None:
            return known
        raise NotReady(f"nothing serves: {refusal.what}", where=refusal.where, do=refusal.do) from refusal

    def _opened(self, version: Version, place: _Place) -> Graph:
        """A version as it answers, proven before."""
        data = self._registry.read(version, GRAPH)
        written = self._registry.read(version, PREPROCESSING)
        try:
            preprocessing = parse_preprocessing(written.decode(errors="replace"), where=PREPROCESSING)
            width = preprocessing.width()
            if place.proven != version.number:
                place.held = self._proven(data, self._registry.read(version, PROBE), version.name)
                place.proven = version.number
        except Refusal as refused:
            raise ModelRefused(refused.what, where=f"{version.name}: {refused.where}", do=refused.do) from refused
        session = Guarded(Session(data, where=f"{GRAPH} of {version.name}"))
        if session.inputs[0].shape[1] != width:
            raise ModelRefused(
                f"the graph takes {session.inputs[0].shape[1]} numbers a row, and its preprocessing makes {width}",
                where=version.name,
                do="keep the version that serves; retrain",
            )
        return Graph(version, session, preprocessing, place.held)

    def _proven(self, graph: bytes, probe: bytes, where: str) -> int:
        if not self._proofs.acquire(timeout=PATIENCE_S):
            raise _being_opened(where)
        try:
            return prove(graph, probe, where=where)
        finally:
            self._proofs.release()

    def _keep(self, name: str, graph: Graph) -> Graph:
        """Let it serve; those that were not asked for longest are closed when there are too many."""
        with self._lock:
            self._open[name] = graph
            self._open.move_to_end(name)
            while len(self._open) > 1 and (
                len(self._open) > self._most or sum(one.held for one in self._open.values()) > self._most_bytes
            ):
                self._open.popitem(last=False)
        LOG.info("%s serves", graph.version.name)
        return graph


def _being_opened(name: str) -> NotReady:
    return NotReady("it is being opened", where=f"model {name}", do="ask again in a moment")
