"""Brings rows from sources into tables, a batch and a commit at a time."""

from __future__ import annotations

import gc
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.domain.errors import NotFound, SettingsError, did_you_mean
from springtide.settings.words import CoinGeckoSource, ExchangeSource, FilesSource, RowsSource, SimulatorSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from springtide.app.home import Home
    from springtide.domain.rows import Gap
    from springtide.lake.tables import Lake
    from springtide.sources.budget import CallLedger
    from springtide.sources.seam import Source

__all__ = ["Brought", "ingest", "ingest_file", "sources_of"]

MARKET_START = datetime(2024, 1, 1, tzinfo=UTC)  # fixed, so that the simulated past is the same at every call


@dataclass(frozen=True, slots=True)
class Brought:
    """What came of bringing in one source; `version` is None when the table does not exist yet."""

    source: str
    table: str
    version: int | None
    new: int = 0
    corrected: int = 0
    unchanged: int = 0
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()


def ingest(home: Home, source: str, *, now: Callable[[], datetime], told: Callable[[Brought, float], None]) -> Brought:
    """Bring in what is new of a source of springtide.toml."""
    if source not in home.settings.sources:
        raise NotFound(
            f"there is no source {source!r}", where="springtide.toml", do=did_you_mean(source, home.settings.sources)
        )
    settings = home.settings.sources[source]
    if isinstance(settings, RowsSource):
        raise SettingsError(
            f"source {source!r} is sent to, it cannot be asked",
            where=f"[sources.{source}]",
            do=f"send rows with POST /v1/tables/{settings.table or source}/rows",
        )
    with _open(source, settings, now=now, ledger=home.registry) as opened:
        brought = _bring(home.lake, opened, settings.table or source, told=told)
    if isinstance(settings, ExchangeSource | SimulatorSource):
        del opened
        gc.collect()  # an exchange's client holds itself in circles: 50 MB a call, which Python leaves until there are many
    return brought


def ingest_file(
    home: Home,
    path: Path,
    *,
    table: str,
    columns: Mapping[str, str],
    series: str | None,
    timeframe: str | None,
    now: Callable[[], datetime],
    told: Callable[[Brought, float], None],
) -> Brought:
    """Bring in one file or folder that springtide.toml does not name."""
    settings = FilesSource(kind="files", path=str(path), columns=dict(columns), series=series, timeframe=timeframe)
    with _open(path.name, settings, now=now, ledger=home.registry) as opened:
        return _bring(home.lake, opened, table, told=told)


def sources_of(home: Home, table: str) -> list[str]:
    """The sources that can be asked for rows of a table."""
    asked = {name: source for name, source in home.settings.sources.items() if not isinstance(source, RowsSource)}
    return [name for name, source in asked.items() if (source.table or name) == table]


def _bring(lake: Lake, source: Source, name: str, *, told: Callable[[Brought, float], None]) -> Brought:
    """Store each batch with its marks in one commit, so that a stop anywhere loses nothing and doubles nothing."""

    def mark(of: str) -> int | None:
        return lake.table(name).mark(of) if name in lake.names() else None

    brought = Brought(source.name, name, lake.table(name).version() if name in lake.names() else None)
    for batch in source.batches(mark):
        brought = replace(brought, gaps=brought.gaps + batch.gaps, notes=_with_note(brought.notes, batch.note))
        if batch.rows.height or batch.marks:
            written = lake.open(name, step_s=source.step_s()).write(batch.rows, marks=batch.marks)
            brought = replace(
                brought,
                version=written.version,
                new=brought.new + written.new,
                corrected=brought.corrected + written.corrected,
                unchanged=brought.unchanged + written.unchanged,
            )
        told(brought, batch.done)
    return brought


def _with_note(notes: tuple[str, ...], note: str) -> tuple[str, ...]:
    return notes if not note or note in notes else (*notes, note)


def _open(
    name: str,
    settings: ExchangeSource | CoinGeckoSource | SimulatorSource | FilesSource,
    *,
    now: Callable[[], datetime],
    ledger: CallLedger,
) -> AbstractContextManager[Source]:
    """The source behind its settings; what is heavy is imported for the kind that needs it."""
    match settings:
        case FilesSource():
            from springtide.sources.files.source import FilesSource as Files  # noqa: PLC0415 # each kind alone

            return nullcontext(
                Files(
                    Path(settings.path),
                    name=name,
                    now=now,
                    columns=settings.columns,
                    series=settings.series,
                    timeframe=settings.timeframe,
                )
            )
        case ExchangeSource():
            from springtide.sources.exchange import ExchangeSource as Exchange  # noqa: PLC0415 # ccxt costs 0.5 s

            return nullcontext(Exchange(settings, name=name, now=now))
        case CoinGeckoSource():
            from springtide.sources.coingecko.source import CoinGeckoSource as CoinGecko  # noqa: PLC0415 # this kind alone

            return nullcontext(CoinGecko(settings, name=name, now=now, ledger=ledger))
        case SimulatorSource():
            return _simulated(name, settings, now=now)


def _never_after(now: Callable[[], datetime], faster: Callable[[], datetime]) -> Callable[[], datetime]:
    """The market's time has no rows of tomorrow."""
    return lambda: min(now(), faster())


@contextmanager
def _simulated(name: str, settings: SimulatorSource, *, now: Callable[[], datetime]) -> Iterator[Source]:
    """A simulated exchange on loopback for as long as its candles are being fetched."""
    from springtide.sources.exchange import ExchangeSource as Exchange  # noqa: PLC0415 # ccxt costs 0.5 s
    from springtide.sources.simulator.clock import AcceleratedClock  # noqa: PLC0415 # belongs to this kind alone
    from springtide.sources.simulator.market import Market  # noqa: PLC0415
    from springtide.sources.simulator.server import simulated_exchange  # noqa: PLC0415

    market = Market(settings.symbols, seed=settings.seed, start=MARKET_START, base=settings.timeframe)
    if settings.speed is not None and settings.since is not None:
        faster = AcceleratedClock(
            MARKET_START + settings.history, speed=settings.speed, clock=now, begun=settings.since
        )
        now = _never_after(now, faster)
    with simulated_exchange(market, clock=now) as exchange:
        speaks_binance = ExchangeSource(
            kind="exchange",
            exchange="binance",
            symbols=settings.symbols,
            timeframe=settings.timeframe,
            history=settings.history,
            overlap=settings.overlap,
            url=exchange.url,
        )
        yield Exchange(speaks_binance, name=name, now=now)
