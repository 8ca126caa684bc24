"""A schedule against the slow way: every minute of some days, asked one by one whether it is a tick."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.settings.cron import Cron, check_cron

MINUTE = timedelta(minutes=1)
NAMES = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
NAMES |= {"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "oct": 10, "nov": 11, "dec": 12}
# Days around which clocks were moved: by an hour, half an hour, two hours, a whole day, or for good; and one quiet zone.
CHANGES = [
    ("Europe/Berlin", datetime(2024, 3, 31, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2024, 10, 27, tzinfo=UTC)),
    ("America/New_York", datetime(2024, 3, 10, tzinfo=UTC)),
    ("America/New_York", datetime(2024, 11, 3, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2024, 4, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2024, 10, 5, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 2, 18, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2024, 3, 31, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2024, 10, 27, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),
    ("Europe/Moscow", datetime(2014, 10, 25, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2024, 5, 5, tzinfo=UTC)),
    ("UTC", datetime(2024, 2, 28, tzinfo=UTC)),
]

minutes = st.sampled_from(["*", "*/30", "0", "5", "59", "*/7", "0,15,45", "10-20/5", "3-7,30"])
hours = st.sampled_from(["*", "2", "1-3", "*/2", "0", "23", "2,14", "0-23", "*/5"])
days = st.sampled_from(["*", "*", "31", "1-10", "5,27"])
months = st.sampled_from(["*", "*", "3,10,11", "oct-dec,jan-may"])
weekdays = st.sampled_from(["*", "*", "0", "1-5", "sat,sun", "7"])
schedules = st.tuples(minutes, hours, days, months, weekdays).map(" ".join)


@cache
def values(field: str, low: int, high: int) -> frozenset[int]:
    """What a field of crontab stands for."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        start = low if first == "*" else NAMES.get(first) or (0 if first == "sun" else int(first))
        end = high if first == "*" else start if not last else NAMES.get(last) or int(last)
        found |= set(range(start, end + 1, int(step or 1)))
    return frozenset(found)


def is_on(schedule: str, wall: datetime) -> bool:
    """Whether the clock on the wall shows a tick."""
    minute, hour, day, month, weekday = schedule.split()
    of_month = wall.day in values(day, 1, 31)
    of_week = wall.isoweekday() % 7 in {number % 7 for number in values(weekday, 0, 7)}
    return (
        wall.minute in values(minute, 0, 59)
        and wall.hour in values(hour, 0, 23)
        and wall.month in values(month, 1, 12)
        and (of_month and of_week if "*" in (day, weekday) else of_month or of_week)
    )


def plain_ticks(schedule: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """Every minute after `start` that is a tick, by the rule that the class states in words."""
    clock, ticks = ZoneInfo(zone), []
    every_hour = values(schedule.split()[1], 0, 23) == set(range(24))
    moment = start.replace(second=0, microsecond=0)
    wall = moment.astimezone(clock)
    while moment < end:
        before, moment = wall.replace(tzinfo=None), moment + MINUTE
        wall = moment.astimezone(clock)
        shown = wall.replace(tzinfo=None)
        if every_hour:
            on = is_on(schedule, shown)
        else:
            jumped = max(0, int((shown - before) / MINUTE) - 1)
            skipped = [before + MINUTE * step for step in range(1, jumped + 1)]
            on = any(is_on(schedule, one) for one in skipped) or (is_on(schedule, shown) and not wall.fold)
        if on and moment > start:
            ticks.append(moment)
    return ticks


@settings(max_examples=50, deadline=None)
@given(schedules, st.sampled_from(CHANGES), st.integers(-24 * 3600, 24 * 3600))
def test_ticks_are_the_minutes_that_the_rule_names_also_where_clocks_are_moved(
    schedule: str, change: tuple[str, datetime], offset_s: int
) -> None:
    zone, day = change
    start = day + timedelta(seconds=offset_s)
    end = start + timedelta(hours=30)
    cron, ticks = Cron(check_cron(schedule), zone), []
    moment = cron.after(start)
    while moment <= end:
        ticks.append(moment)
        moment = cron.after(moment)
    assert ticks == [tick for tick in plain_ticks(schedule, zone, start, end) if tick <= end]


@pytest.mark.parametrize(
    ("schedule", "zone", "day", "ticks"),
    [
        ("30 2 * * *", "Europe/Berlin", datetime(2024, 3, 31, tzinfo=UTC), ["01:00"]),  # 2:30 is jumped over: at 3:00
        ("30 2 * * *", "Europe/Berlin", datetime(2024, 10, 27, tzinfo=UTC), ["00:30"]),  # 2:30 is shown twice: once
        ("0 1-3 * * *", "Europe/Berlin", datetime(2024, 3, 31, tzinfo=UTC), ["00:00", "01:00", "23:00"]),  # 2, 3: once
        ("30 * * * *", "Europe/Berlin", datetime(2024, 10, 27, tzinfo=UTC), [f"{h:02}:30" for h in range(24)]),
        ("0 12 * * *", "Europe/Moscow", datetime(2024, 7, 1, tzinfo=UTC), ["09:00"]),
    ],
)
def test_a_day_of_ticks_in_utc(schedule: str, zone: str, day: datetime, ticks: list[str]) -> None:
    found, moment = [], Cron(schedule, zone).after(day - MINUTE)
    while moment < day + timedelta(days=1):
        found.append(f"{moment:%H:%M}")
        moment = Cron(schedule, zone).after(moment)
    assert found == ticks
