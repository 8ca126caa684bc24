"""When a schedule of five fields fires, in the time zone that it is written for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from springtide.domain.errors import SettingsError, did_you_mean

__all__ = ["Cron", "check_cron", "check_zone"]

FIELDS = {"minute": (0, 59), "hour": (0, 23), "day of the month": (1, 31), "month": (1, 12), "day of the week": (0, 7)}
NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "day of the week": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
FORM = 'write minute, hour, day of the month, month and day of the week: "5 * * * *" is five past every hour'
REFERENCE = datetime(2000, 1, 1, tzinfo=UTC)  # a leap year; whether a schedule ever fires does not depend on today


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule as crontab writes it, by the clocks of one time zone.

    A tick that the clocks jump over, when summer time begins, comes at the moment of the jump. A tick that they show
    twice, when it ends, comes the first time; but a schedule of every hour goes on through both.

    Examples
    --------
    >>> every_night = Cron("30 2 * * *", "Europe/Berlin")
    >>> every_night.after(datetime(2024, 3, 31, tzinfo=UTC)).isoformat()  # 2:30 is no time of this day
    '2024-03-31T01:00:00+00:00'
    """

    text: str
    zone: str = "UTC"

    def __str__(self) -> str:
        return self.text if self.zone == "UTC" else f"{self.text} {self.zone}"

    def after(self, moment: datetime) -> datetime:
        """The first tick after a moment, in UTC."""
        from croniter import croniter  # noqa: PLC0415 # 30 ms, only where there is a schedule

        ticks = croniter(self.text, moment.astimezone(ZoneInfo(self.zone)))
        every_hour = ticks.expanded[1] == ["*"]
        while True:
            tick: datetime = ticks.get_next(datetime)
            if every_hour or not tick.fold:
                return tick.astimezone(UTC)


def check_cron(text: str) -> str:
    """The schedule with single spaces.

    Raises
    ------
    SettingsError
        It does not have five fields, a field cannot be read, or no day is such a day.
    """
    fields = text.split()
    if len(fields) != len(FIELDS):
        raise SettingsError(f"{text!r} has {len(fields)} fields, a schedule has five", where="cron", do=FORM)
    for name, field in zip(FIELDS, fields, strict=True):
        if not _is_field(name, field):
            raise SettingsError(f"{field!r} in {text!r} is no {name}", where="cron", do=FORM)
    from croniter import CroniterBadDateError  # noqa: PLC0415 # 30 ms, only where there is a schedule

    plain = " ".join(fields)
    try:
        Cron(plain).after(REFERENCE)
    except CroniterBadDateError:
        raise SettingsError(
            f"{text!r} never fires: there is no such day", where="cron", do="correct the day or the month"
        ) from None
    return plain


def _is_field(name: str, field: str) -> bool:
    """Whether a field holds what crontab knows; the library below also takes L, #, random ticks and steps too long.

    >>> [_is_field("hour", field) for field in ("*/2", "9-17", "0,12", "24", "*/25", "r", "")]
    [True, True, True, False, False, False, False]
    """
    low, high = FIELDS[name]
    value = "|".join(("[0-9]{1,2}", *NAMES.get(name, ())))
    part = re.compile(rf"(\*|(?:{value})(?:-(?:{value}))?)(?:/([0-9]{{1,2}}))?", re.IGNORECASE)
    for text in field.split(","):
        found = part.fullmatch(text)
        if found is None or not all(low <= int(number) <= high for number in re.findall("[0-9]+", found[1])):
            return False
        if found[2] is not None and not 1 <= int(found[2]) <= high:
            return False
    return True


def check_zone(name: str) -> str:
    """The name of a time zone; raises `SettingsError` for one that is not known."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise SettingsError(
            f"{name!r} is no time zone",
            where="timezone",
            do=f"{did_you_mean(name, _likely(name))}; as in Europe/Moscow",
        ) from None
    return name


def _likely(name: str) -> list[str]:
    """The zones of the same part of the world; all six hundred would be no help."""
    area = name.partition("/")[0].lower()
    return [zone for zone in available_timezones() if zone.lower().split("/")[0] == area] or ["UTC"]
