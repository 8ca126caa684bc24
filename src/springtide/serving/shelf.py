"""The models that this process serves, kept at what the registry and the lake say."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from springtide.domain.errors import ModelRefused, NotFound, NotReady, SpringtideError, StoreFailed, did_you_mean
from springtide.domain.rows import SERIES, TIME
from springtide.serving.live import Live, open_model
from springtide.serving.rows import read_newest, read_outside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from springtide.domain.model import Version
    from springtide.lake.table import Table
    from springtide.lake.tables import Lake
    from springtide.registry.registry import Registry
    from springtide.serving.live import Answering, Model
    from springtide.serving.rows import Rows, Want
    from springtide.serving.session import Probe
    from springtide.settings.words import Model as ModelSettings
    from springtide.tasks.seam import Codec

__all__ = ["ModelState", "Place", "Refusal", "Shelf"]

ModelState = Literal["serving", "expired", "refused", "empty"]
T = TypeVar("T")
logger = logging.getLogger("springtide.serving")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that may not serve here, and why."""

    version: int
    at: datetime
    what: str
    where: str
    do: str


class Place:
    """One model's place on the shelf: what answers, what was refused, what its rows are like."""

    def __init__(self, name: str, settings: ModelSettings) -> None:
        self.name, self.settings = name, settings
        self.live = Live(settings.expires)
        self.refusal: Refusal | None = None  # of the version that should serve now
        self.rows_problem: str | None = None
        self.refusals = 0

    def go_by(self, settings: ModelSettings) -> None:
        """Go by these settings from now on; what answers goes on."""
        if settings != self.settings:
            self.settings = settings
            self.live.keep_to(settings.expires)

    def state(self, at: datetime) -> ModelState:
        """Whether the model answers, is too old to, was refused with none before it, or has no champion yet."""
        if (now := self.live.now) is not None:
            end = now.expires_at()
            return "serving" if end is None or at < end else "expired"
        return "empty" if self.refusal is None else "refused"

    @property
    def now(self) -> Answering:
        """What answers; raises `NotReady` when nothing does."""
        if (now := self.live.now) is not None:
            return now
        if (refusal := self.refusal) is not None:
            raise NotReady(
                f"nothing serves: {self.name}@{refusal.version} was refused: {refusal.what}",
                where=refusal.where,
                do=refusal.do,
            )
        raise NotReady(
            f"no version of {self.name!r} serves yet",
            where=f"model {self.name}",
            do=f"run `springtide retrain {self.name}`; if its versions were kept, `springtide journal {self.name}` says why, "
            f"and `springtide promote {self.name}@NUMBER` lets one serve by hand",
        )


class Shelf:
    """The models of the settings, each with the version that the registry calls its champion.

    A champion that is damaged or does not reproduce its own answers never serves: the version before it goes on, and
    the refused one is not tried again until the champion changes. While the database or the store does not answer,
    everything goes on as it is.

    Parameters
    ----------
    models
        The settings of each.
    registry, lake, codecs
        Where versions and rows are, and how each task's inputs and outputs are written.
    clock
        Tells the time.
    known
        The places of a shelf that is looked after no more: what answers there goes on, by the settings of now.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSettings],
        *,
        registry: Registry,
        lake: Lake,
        codecs: Mapping[str, Codec],
        clock: Callable[[], datetime],
        known: Mapping[str, Place] = MappingProxyType({}),
    ) -> None:
        self.places = {name: known.get(name) or Place(name, settings) for name, settings in models.items()}
        for name, place in self.places.items():
            place.go_by(models[name])
        self._registry, self._lake, self._codecs, self._clock = registry, lake, codecs, clock
        self._tables: dict[str, Table] = {}
        self._said: dict[str, str] = {}  # what was last logged about what: a lasting failure is said once
        self._looking = threading.Lock()

    def place(self, name: str) -> Place:
        """The place of a model; raises `NotFound`."""
        if name not in self.places:
            raise NotFound(f"there is no model {name!r}", where="springtide.toml", do=did_you_mean(name, self.places))
        return self.places[name]

    def look(self) -> None:
        """Look once for new champions and new rows, and take them; what fails is logged, and leaves the rest alone."""
        with self._looking:
            champions = self._trying("champions", self._registry.champions) or {}
            for place in self.places.values():
                if (number := champions.get(place.name)) is not None:
                    self._trying(f"champion of {place.name}", partial(self._follow, place, number))
                self._refresh(place)

    def outside(self, now: Answering, columns: Mapping[str, NDArray[Any]]) -> Mapping[str, Mapping[str, NDArray[Any]]]:
        """The rows of other tables that belong to rows which a caller brings: those at hand, or older ones read for them.

        There are none while the rows of the lake cannot be read.
        """
        if now.rows is None:
            return {}
        want, names, seconds = now.model.want, columns[SERIES], columns[TIME]
        cutoffs = [int(seconds[names == name].max()) for name in np.unique(names)]
        if not want.outside or min(cutoffs) >= now.rows.columns[TIME].max():
            return now.rows.outside
        first, last = (datetime.fromtimestamp(cutoff, UTC) for cutoff in (min(cutoffs), max(cutoffs)))
        step = timedelta(seconds=now.model.signature.get("step_s", 0))  # what comes after the close is not known there
        return read_outside(self._table, want, since=first, until=last + step + timedelta(seconds=1))

    def prove(self, version: Version) -> None:
        """Open a version and check it against its probe, without serving it; raises `ModelRefused`."""
        place = self.place(version.model)
        Live(place.settings.expires).swap(*self._open(place, version), rows=lambda _: None)

    # champions

    def _follow(self, place: Place, number: int) -> None:
        """Let the champion `number` serve, unless it does or has been refused."""
        now, refusal = place.live.now, place.refusal
        if now is not None and now.model.version.number == number:
            place.refusal = None
            return
        if refusal is not None and refusal.version == number:
            return
        try:
            self._swap(place, number)
            place.refusal = None
        except (ModelRefused, NotFound) as error:
            place.refusals += 1
            place.refusal = Refusal(number, self._clock(), error.what, error.where, error.do)
            logger.error("%s@%d is refused and does not serve: %s", place.name, number, error)  # noqa: TRY400 - the error says what a person needs
            if now is None:
                self._fall_back(place, number)

    def _fall_back(self, place: Place, refused: int) -> None:
        """After a start with a refused champion: serve the champion before it, as if we had been running all along."""
        earlier = [entry.serving for entry in self._registry.journal(place.name)]
        for number in dict.fromkeys(n for n in earlier if n not in (None, refused)):
            try:
                return self._swap(place, number)
            except (ModelRefused, NotFound) as error:
                logger.warning("%s@%d cannot stand in: %s", place.name, number, error.what)
        return None

    def _swap(self, place: Place, number: int) -> None:
        version = self._registry.version(place.name, number)
        model, probe = self._open(place, version)
        place.live.swap(model, probe, rows=lambda want: self._rows_at_swap(place, want))
        logger.info("%s serves", version.name)

    def _open(self, place: Place, version: Version) -> tuple[Model, Probe]:
        codec = self._codecs.get(version.manifest.task)
        if codec is None:
            raise ModelRefused(
                f"{version.name} is of task {version.manifest.task!r}, which this server cannot serve",
                where=f"model {place.name}",
                do=did_you_mean(version.manifest.task, self._codecs),
            )
        return open_model(version, self._registry.read, codec, warning=self._warning(version))

    def _warning(self, version: Version) -> str | None:
        """What the journal said when the version came to serve; what the gate said, when it has not yet."""
        entries = self._registry.journal(version.model)
        said = (
            entry.warning for entry in entries if entry.serving == entry.version == version.number and entry.warning
        )
        return next(said, version.verdict.warning)

    # rows

    def _refresh(self, place: Place) -> None:
        """Read the table's newest rows when it has a new version; on failure the rows that are there stay."""
        if (now := place.live.now) is None:
            return
        about = f"rows of {place.name}"
        try:
            rows = self._rows(place, now.model.want)
        except SpringtideError as error:
            place.rows_problem = error.what
            self._say(about, f"no newer {about}: {error}")
            return
        place.rows_problem = None
        self._said.pop(about, None)
        if rows is not now.rows:
            place.live.refresh(rows)

    def _rows_at_swap(self, place: Place, want: Want) -> Rows | None:
        """The rows of a candidate; it waits when it cannot have them and the version before it has its own."""
        try:
            return self._rows(place, want)
        except SpringtideError as error:
            if place.live.now is None or place.live.now.rows is None:
                return None  # /predict needs no rows of ours
            raise NotReady(
                f"the rows of a new champion cannot be read: {error.what}", where=error.where, do=error.do
            ) from error

    def _rows(self, place: Place, want: Want) -> Rows:
        """The newest rows as `want` asks for them; read only when a table or the wish has changed."""
        known = None if place.live.now is None else place.live.now.rows
        if known is not None and known.want == want:
            versions = {name: self._table(name).version() for name in (place.settings.table, *want.outside)}
            if versions == known.versions:
                return known
        return read_newest(self._table, place.settings.table, want)

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            self._tables[name] = self._lake.table(name)
        return self._tables[name]

    # failures

    def _trying(self, what: str, act: Callable[[], T]) -> T | None:
        try:
            done = act()
        except (StoreFailed, NotReady) as error:
            self._say(what, f"{what}: {error}")
            return None
        self._said.pop(what, None)
        return done

    def _say(self, about: str, text: str) -> None:
        """Log a failure that is tried again every second, once for as long as it stays the same."""
        if self._said.get(about) != text:
            self._said[about] = text
            logger.warning("%s", text)
