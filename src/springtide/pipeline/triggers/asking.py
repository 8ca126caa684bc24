"""When each source is asked for new rows: a few seconds after a candle closes, or when a file has landed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.domain.units import MONDAY, parse_span
from springtide.settings.words import OFF, CoinGeckoSource, FilesSource, RowsSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from springtide.settings.words import Source

__all__ = ["Rhythm", "rhythm_of"]

WATCH = timedelta(seconds=5)
CLOSING = timedelta(seconds=5)  # an exchange has a candle that soon after its close
# CoinGecko caches candles for 15 minutes and takes the price of an hour up to 15 minutes off it; a day is complete 35
# minutes after midnight (its reference of /coins/{id}/market_chart and /ohlc).
COINGECKO_CLOSING = timedelta(minutes=16)
COINGECKO_DAY = timedelta(minutes=36)
MONTH = timedelta(days=31)
SILENT_STEPS = 3
DAY, WEEK = timedelta(days=1), timedelta(days=7)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a source is asked; None: never by itself, or never called silent."""

    every: timedelta | None
    late: timedelta = timedelta(0)  # how long after a multiple of `every`
    silent_after: timedelta | None = None
    watched: Path | None = None  # a folder or file that is only asked when something has landed

    def after(self, moment: datetime) -> datetime | None:
        """When it is asked next after a moment.

        >>> noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
        >>> f"{Rhythm(timedelta(hours=1), timedelta(seconds=5)).after(noon):%H:%M:%S}"
        '12:00:05'
        """
        if self.every is None:
            return None
        if self.watched is not None:
            return moment + self.every
        start = (EPOCH if self.every % WEEK else MONDAY) + self.late
        return start + ((moment - start) // self.every + 1) * self.every


def rhythm_of(source: Source, others: Iterable[Source]) -> Rhythm:
    """What the settings of a source say, or what fits it where they say nothing.

    Parameters
    ----------
    source
        Settings of one source.
    others
        The settings of all, this one too: sources of one CoinGecko plan share its calls.
    """
    if isinstance(source, RowsSource):  # it is sent to, never asked
        return Rhythm(None)
    if isinstance(source, FilesSource):
        path = Path(source.path)
        every = (None if path.is_file() else WATCH) if source.every is None else source.every or None
        return Rhythm(every, silent_after=source.silent_after or None, watched=path)
    timeframe = parse_span(source.timeframe)
    late = CLOSING
    if isinstance(source, CoinGeckoSource):
        late = COINGECKO_DAY if timeframe >= DAY else COINGECKO_CLOSING
        timeframe *= _steps_a_call(source, others)
    every = timeframe if source.every is None else source.every
    if every == OFF:
        return Rhythm(None)
    silent_after = SILENT_STEPS * max(every, timeframe) if source.silent_after is None else source.silent_after
    return Rhythm(every, min(late, every), silent_after or None)


def _steps_a_call(source: CoinGeckoSource, others: Iterable[Source]) -> int:
    """How many steps of its timeframe every call of a source must bring, for the calls of a month to last."""
    plan = [one for one in others if isinstance(one, CoinGeckoSource) and one.plan == source.plan and one.every != OFF]
    calls = sum(len(one.coins) * _calls_a_coin(one) * (MONTH / _pace(one)) for one in plan)
    return max(1, -int(-calls // source.calls_per_month))


def _pace(source: CoinGeckoSource) -> timedelta:
    """How often there can be something new to ask for; asking more often costs nothing."""
    return max(source.every or OFF, parse_span(source.timeframe))


def _calls_a_coin(source: CoinGeckoSource) -> int:
    """Candles of a day take their volume from a second call."""
    return 2 if (source.route, source.timeframe) == ("ohlc", "1d") else 1
