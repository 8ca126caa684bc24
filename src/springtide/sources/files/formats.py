"""The forms in which candles are published, one entry each: a new one is one more entry in `FORMATS`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from springtide.domain.errors import BadRows, did_you_mean
from springtide.domain.rows import CANDLE_VALUES, PLAIN_VALUES, SERIES, TIME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FORMATS", "Format", "Mapped", "map_columns"]

OURS = (SERIES, TIME, *CANDLE_VALUES, *PLAIN_VALUES)


@dataclass(frozen=True, slots=True)
class Format:
    """One published form of a file.

    Headers are compared without case, spaces and underscores. `columns` holds, for our column, the file's own names:
    the first one found is taken, and a star stands for any ending. `known_by` are the headers that give it away.
    """

    name: str
    known_by: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    headerless: tuple[str, ...] = ()  # the columns of its files that have no header row
    pairs: bool = False  # symbols are written BTCUSDT
    moments: bool = False  # some rows are moments between two steps, as the newest, taken at the export


_OHLC = {name: (name,) for name in CANDLE_VALUES[:4]}
_BINANCE = ("opentime", *CANDLE_VALUES, "closetime", "quotevolume", "count", "takerbuyvolume", "takerbuyquotevolume")

FORMATS = (
    Format(
        "Binance klines",
        known_by=("opentime", "closetime", "open", "high", "low", "close", "volume"),
        columns={TIME: ("opentime",), **_OHLC, "volume": ("volume",)},
        headerless=(*_BINANCE, "ignore"),
    ),
    Format(
        "Bitget klines",
        known_by=("timestamp", "open", "high", "low", "close", "basevolume", "usdtvolume"),
        columns={TIME: ("timestamp",), **_OHLC, "volume": ("basevolume",)},
    ),
    Format(
        "CoinGecko export",
        known_by=("snappedat", "price", "marketcap", "totalvolume"),
        columns={TIME: ("snappedat",), "y": ("price",)},
        moments=True,
    ),
    Format(
        "CryptoDataDownload",
        known_by=("date", "symbol", "open", "high", "low", "close", "volume*"),
        columns={TIME: ("unix", "date"), SERIES: ("symbol",), **_OHLC, "volume": ("volume*",)},
        pairs=True,
    ),
    Format(  # last: whatever has telling names, our own among them
        "columns by name",
        known_by=(),
        columns={
            SERIES: ("uniqueid", "symbol", "pair", "market", "ticker", "instrument", "series", "coin"),
            TIME: ("ds", "timestamp", "opentime", "time", "datetime", "unix", "unixtimestamp", "date"),
            **{name: (name, name[0]) for name in CANDLE_VALUES[:4]},
            "volume": ("volume", "basevolume", "vol", "v", "volume*"),
            "y": ("y", "value", "price"),
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Mapped:
    """What was recognised: our column names to positions in the file; the series and the volume may be missing."""

    format: Format
    positions: Mapping[str, int]
    headers: Sequence[str] = field(default_factory=tuple)

    @property
    def plain(self) -> bool:
        """One value a step instead of a candle."""
        return "y" in self.positions

    def __str__(self) -> str:
        """For people: ``Binance klines (ds = open_time)``; what has our name already is not repeated."""
        pairs = [f"{ours} = {self.headers[at]}" for ours, at in self.positions.items() if ours != self.headers[at]]
        return f"{self.format.name} ({', '.join(pairs)})" if pairs else self.format.name


def map_columns(headers: Sequence[str], width: int, *, chosen: Mapping[str, str], where: str) -> Mapped:
    """Find our columns among a file's own.

    Parameters
    ----------
    headers
        The file's header row, empty when it has none.
    width
        How many columns it has.
    chosen
        Our column name to the file's own, as set by a person; it goes before what is recognised.
    where
        The file, for the error.

    Raises
    ------
    BadRows
        When the columns are not recognised, or one of `chosen` is not there.

    Examples
    --------
    >>> str(map_columns(["date", "HUFL", "OT"], 3, chosen={"y": "OT"}, where="ETTh1.csv"))
    'columns by name (ds = date, y = OT)'
    """
    known = _by_header(headers) if headers else _by_width(width, where)
    headers = headers or known.headerless
    squashed = [_squash(header) for header in headers]
    found = {ours: at for ours, names in known.columns.items() if (at := _position(squashed, names)) is not None}
    positions = found | {ours: _chosen_position(headers, theirs, where) for ours, theirs in chosen.items()}
    kept = _one_kind(positions, chosen)
    if missing := [name for name in (TIME, *_values(kept)) if name not in kept]:
        raise _unknown_columns(headers, missing, kept, where)
    return Mapped(known, {name: kept[name] for name in OURS if name in kept}, headers)


def _by_header(headers: Sequence[str]) -> Format:
    squashed = [_squash(header) for header in headers]
    return next(form for form in FORMATS if all(_position(squashed, (name,)) is not None for name in form.known_by))


def _by_width(width: int, where: str) -> Format:
    """A file without a header row is known by how many columns it has."""
    for form in FORMATS:
        if len(form.headerless) == width:
            return form
    raise BadRows(
        f"no header row, and {width} columns of numbers are no form known without one",
        where=where,
        do="write the column names into the first line, for example unique_id,ds,y",
    )


def _squash(header: str) -> str:
    """A header without case, spaces and signs: ``Open time`` and ``open_time`` are one."""
    return re.sub(r"[^a-z0-9]", "", header.casefold())


def _position(squashed: Sequence[str], names: Sequence[str]) -> int | None:
    for name in names:
        for at, header in enumerate(squashed):
            if header == name or (name.endswith("*") and header.startswith(name[:-1])):
                return at
    return None


def _chosen_position(headers: Sequence[str], theirs: str, where: str) -> int:
    if theirs not in headers:
        raise BadRows(
            f"no column {theirs!r}",
            where=where,
            do=f"correct the source's columns; {did_you_mean(theirs, headers)}",
        )
    return list(headers).index(theirs)


def _one_kind(positions: Mapping[str, int], chosen: Mapping[str, str]) -> dict[str, int]:
    """Keep a candle's columns or the plain value; a whole candle goes first unless a person chose `y`."""
    candle = "y" not in chosen and ("y" not in positions or all(name in positions for name in CANDLE_VALUES[:4]))
    other = PLAIN_VALUES if candle else CANDLE_VALUES
    return {name: at for name, at in positions.items() if name not in other}


def _values(positions: Mapping[str, int]) -> Sequence[str]:
    """The values a row cannot do without; a missing volume becomes 0."""
    return PLAIN_VALUES if "y" in positions else CANDLE_VALUES[:4]


def _unknown_columns(headers: Sequence[str], missing: Sequence[str], found: Mapping[str, int], where: str) -> BadRows:
    free = [header for at, header in enumerate(headers) if at not in found.values()]
    time = headers[found[TIME]] if TIME in found else (free or headers)[0]
    value = next((header for header in reversed(free) if header != time), headers[-1])
    example = f'columns = {{ ds = "{time}", y = "{value}" }}'
    return BadRows(
        f"no column recognised as {', '.join(missing)}; found: {', '.join(headers[:20])}",
        where=where,
        do=f"map them in the source, our name first: {example} for one value a step, or ds, open, high, low, close",
    )
