"""Times as files write them, turned into UTC."""

from __future__ import annotations

import polars as pl

__all__ = ["read_times"]

# A number is an epoch in the unit that puts it between 1973 and 5138: each row by itself, as some files change the
# unit on the way.
_EPOCHS = ((1e8, 1e11, 1_000_000), (1e11, 1e14, 1_000), (1e14, 1e17, 1))  # from, to, microseconds per unit
_NAIVE = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %I:%M %p")
_WITH_OFFSET = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z")
_UTC = pl.Datetime("us", "UTC")


def read_times(raw: pl.Series) -> pl.Series:
    """Read times of any kind as UTC; null where the text says no time.

    Parameters
    ----------
    raw
        Datetimes of any unit and zone, dates, epochs in seconds, milliseconds, microseconds or nanoseconds (as
        numbers or text), ISO 8601 text, or 31.01.2026 for its day. Without a zone or offset a time is UTC.

    Examples
    --------
    >>> raw = pl.Series(["1704067200", "1704067200000.0", "2024-01-01T03:00:00+03:00", "01/02/24"])
    >>> read_times(raw).dt.to_string().to_list()[:3]
    ['2024-01-01 00:00:00.000000+00:00', '2024-01-01 00:00:00.000000+00:00', '2024-01-01 00:00:00.000000+00:00']
    >>> read_times(raw).null_count()
    1
    >>> read_times(pl.Series(["31.01.2024", "1.2.2024 12:00"])).dt.day().to_list()
    [31, 1]
    """
    if raw.dtype == pl.Date:
        return raw.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if isinstance(raw.dtype, pl.Datetime):
        aware = raw.dt.convert_time_zone("UTC") if raw.dtype.time_zone else raw.dt.replace_time_zone("UTC")
        return aware.dt.cast_time_unit("us")
    if raw.dtype.is_numeric():
        return _from_epoch(raw)
    return _from_text(raw.str.strip_chars())


def _from_epoch(raw: pl.Series) -> pl.Series:
    """Epochs, each in the unit its size tells."""
    # Whole numbers stay whole: nanoseconds do not fit a float. 64 bits: seconds times a million do not fit 32.
    numbers = raw.cast(pl.Int64 if raw.dtype.is_integer() else pl.Float64, strict=False).to_frame("n").lazy()
    n = pl.col("n")
    scaled = [pl.when(n.is_between(low, high, closed="left")).then(n * factor) for low, high, factor in _EPOCHS]
    nanoseconds = pl.when(n.is_between(1e17, 9e18)).then(n // 1_000)
    micro = pl.coalesce(*(unit.cast(pl.Int64) for unit in scaled), nanoseconds.cast(pl.Int64))
    times = micro.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return numbers.select(times.alias(raw.name)).collect().to_series()


def _from_text(text: pl.Series) -> pl.Series:
    """Epochs written as text, or ISO 8601; one odd row does not change how the others are read."""
    times = _from_epoch(_numbers(text))
    rest = text.set(times.is_not_null(), None)
    if rest.null_count() == rest.len():
        return times
    iso = (
        rest.str.replace(r"^(\d{4})/(\d\d?)/", "$1-$2-")
        .str.replace(r"^(\d\d?)\.(\d\d?)\.(\d{4})", "$3-$2-$1")
        .str.replace(r"^(\d{4}-\d\d?-\d\d?)T", "$1 ")
        .str.replace(r"(\d\d)-([AP]M)$", "$1:00 $2")
        .str.replace(r" ?(?:UTC|GMT|Z)$", "+00:00")
    )
    # A year has four digits here: else 01-02-24 would be read as the year 1.
    iso = iso.set(~iso.str.contains(r"^\d{4}-").fill_null(value=False), None)
    for form in (*_NAIVE, *_WITH_OFFSET):
        left = iso.set(times.is_not_null(), None)
        if left.null_count() == left.len():
            break
        found = left.str.to_datetime(form, time_unit="us", strict=False)
        found = found if found.dtype == _UTC else found.dt.replace_time_zone("UTC")
        times = times.zip_with(times.is_not_null(), found)
    return times


def _numbers(text: pl.Series) -> pl.Series:
    """Text as whole numbers, or where one has a fraction as floats."""
    whole = text.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == text.null_count() else text.cast(pl.Float64, strict=False)
