from __future__ import annotations

from datetime import UTC, datetime

import pytest

from springtide.domain.errors import SettingsError
from springtide.settings.cron import Cron, check_cron, check_zone


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("* * * * * *", "has 6 fields, a schedule has five"),
        ("@daily", "has 1 fields"),
        ("", "has 0 fields"),
        ("60 * * * *", "'60' in '60 * * * *' is no minute"),
        ("0 24 * * *", "'24' in '0 24 * * *' is no hour"),
        ("0 0 0 * *", "is no day of the month"),
        ("0 0 * foo *", "'foo' in '0 0 * foo *' is no month"),
        ("0 0 * 13 *", "is no month"),
        ("0 0 * * 8", "is no day of the week"),
        ("0 0 * * mon#2", "is no day of the week"),
        ("0 0 L * *", "'L' in '0 0 L * *' is no day of the month"),
        ("R * * * *", "'R' in 'R * * * *' is no minute"),
        ("H * * * *", "is no minute"),
        ("*/0 * * * *", "is no minute"),
        ("*/90 * * * *", "'*/90' in '*/90 * * * *' is no minute"),
        ("1,,2 * * * *", "is no minute"),
        ("5- * * * *", "is no minute"),
        ("0 0 30 2 *", "never fires: there is no such day"),
        ("0 0 31 4,6,9,11 *", "never fires: there is no such day"),
    ],
)
def test_a_schedule_that_is_none_is_refused_with_the_reason(text: str, what: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check_cron(text)
    assert what in refused.value.what


@pytest.mark.parametrize(
    "text", ["* * * * *", "*/5 9-17 * * mon-fri", "0 0 1,15 JAN,jul *", "0 0 * * 7", "59 23 31 12 0"]
)
def test_what_crontab_understands_is_taken(text: str) -> None:
    assert check_cron(text) == text


def test_spaces_and_tabs_may_stand_as_they_like() -> None:
    assert check_cron("  5\t*  * * *\n") == "5 * * * *"


def test_a_day_of_leap_years_is_a_day() -> None:
    assert check_cron("0 0 29 2 *")
    assert Cron("0 0 29 2 *").after(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(("name", "do"), [("Europe/Mosow", "'Europe/Moscow'"), ("Mars", "Europe/Moscow"), ("", "UTC")])
def test_a_zone_that_nobody_knows_is_refused_with_one_that_is(name: str, do: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check_zone(name)
    assert do in refused.value.do


def test_a_schedule_names_its_zone_unless_it_is_utc() -> None:
    assert [str(Cron("5 * * * *")), str(Cron("5 * * * *", "Europe/Moscow"))] == ["5 * * * *", "5 * * * * Europe/Moscow"]
