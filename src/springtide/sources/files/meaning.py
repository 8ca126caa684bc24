"""What a cell of a table means as text: missing, a number, a time. Training and serving of jobs' models read it alike."""

from __future__ import annotations

from datetime import date

import polars as pl

from springtide.sources.files.times import read_times

__all__ = ["BLANKS", "MISSING", "YEARS", "is_in_reach", "numbers_of", "said", "times_of", "with_points"]

BLANKS = "".join(
    map(chr, [*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000])
)
MISSING = (
    *("", "-", "--", "?", "NA", "N/A", "n/a", "n.a.", "NaN", "nan", "NAN", "null", "NULL", "None", "k.A.", "k. A."),
    *("#N/A", "#NA", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NULL!", "#NAME?"),  # what a workbook says of a cell
)
YEARS = (1000, 9999)

_SHORT = r"^([0-9]{1,2}\.[0-9]{1,2}\.)([0-9]{2})( |$)"  # of two digits the year is near ours
_DAYS = r"^(?:[1-9][0-9]{3}-[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}\.[0-9]{1,2}\.[1-9][0-9]{3})(?:[ T]|$)"
_FIRST_DAY, _LAST_DAY = (
    day.toordinal() - date(1970, 1, 1).toordinal() for day in (date(YEARS[0], 1, 1), date(YEARS[1], 12, 31))
)
_UNITS_A_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_COMMA = r"^[+-]?(?:(?:[0-9]+|[0-9]{1,3}(?:[ \u{a0}\u{2009}\u{202f}][0-9]{3})+)(?:,[0-9]+)?|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+)$"
_NOT_OF_A_NUMBER = r"[. \u{a0}\u{2009}\u{202f}]"


def said(text: pl.Series) -> pl.Series:
    """Texts without the blanks around them; null where one says that there is nothing.

    >>> said(pl.Series([" b ", "NA", "-", "-1"])).to_list()
    ['b', None, None, '-1']
    """
    bare = text.str.strip_chars(BLANKS)
    return bare.set(bare.is_in(MISSING), None)


def numbers_of(text: pl.Series) -> pl.Series:
    """Texts as float64; null where one is no finite number.

    >>> numbers_of(pl.Series(["1.5", "1e3", "inf", "1,5"])).to_list()
    [1.5, 1000.0, None, None]
    """
    numbers = text.cast(pl.Float64, strict=False)
    return numbers.set(~numbers.is_finite(), None)


def with_points(text: pl.Series) -> pl.Series:
    """Numbers with a decimal comma as they are written with a point; other texts as they are.

    Blanks may stand between thousands, and points too where there is a comma: without one they could mean anything.

    >>> with_points(pl.Series(["1,5", "-1 234,5", "1.234,50", "1 234", "12 34", "1,2,3", "1.5", "1.234"])).to_list()
    ['1.5', '-1234.5', '1234.50', '1234', '12 34', '1,2,3', '1.5', '1.234']
    """
    points = text.str.replace_all(_NOT_OF_A_NUMBER, "").str.replace(",", ".", literal=True)
    return text.zip_with(~text.str.contains(_COMMA).fill_null(value=False), points)


def times_of(text: pl.Series) -> pl.Series:
    """Texts as times in UTC without saying so; null where one is no time of the years 1000 to 9999.

    A year of two digits is one of 1970 to 2069.

    >>> texts = pl.Series(["2026-01-31", "31.01.2026 12:00", "2026-01-31T12:00:00+03:00", "20260131", "31.01.26"])
    >>> [time and time.isoformat(" ") for time in times_of(texts).to_list()]
    ['2026-01-31 00:00:00', '2026-01-31 12:00:00', '2026-01-31 09:00:00', None, '2026-01-31 00:00:00']
    """
    text = text.str.replace(_SHORT.replace("[0-9]{2}", "[7-9][0-9]"), "${1}19${2}${3}")
    text = text.str.replace(_SHORT, "${1}20${2}${3}")
    times = read_times(text.set(~text.str.contains(_DAYS).fill_null(value=False), None)).dt.replace_time_zone(None)
    return times.set(~is_in_reach(times), None)


def is_in_reach(times: pl.Series) -> pl.Series:
    """Whether dates or times are of the years 1000 to 9999; told by the integers that they are, which no calendar has to hold."""
    whole = times.to_physical().cast(pl.Int64)
    days = whole if times.dtype == pl.Date else whole // (86_400 * _UNITS_A_SECOND[times.dtype.time_unit])  # type: ignore[attr-defined]
    return days.is_between(_FIRST_DAY, _LAST_DAY)
