"""What the settings of a table that many senders fill may say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from springtide.app.home import read_settings
from springtide.domain.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = 'kind = "rows"\nvalues = { y = "number", item = "text" }\n'


def read(tmp_path: Path, section: str, more: str = "") -> None:
    file = tmp_path / "springtide.toml"
    file.write_text(f"[sources.counts]\n{section}\n{more}", encoding="utf-8")
    read_settings(file, environ={})


def test_amounts_spans_and_names_are_written_as_people_write_them(tmp_path: Path) -> None:
    more = 'regions = ["Тверская область", "Altayskiy kray"]\nperiod = "1w"\nmax_body = "32MB"\nkey = ["item"]\n'
    read(tmp_path, GOOD + more + 'timeframe = "1h"\ncolumns = { ds = "when", unique_id = "shop" }')


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('kind = "rows"', "key 'values' is missing"),
        ('kind = "rows"\nvalues = {}', "values"),
        ('kind = "rows"\nvalues = { y = "float" }', "values"),
        ('kind = "rows"\nvalues = { ds = "time" }', "values names 'ds'"),
        ('kind = "rows"\nvalues = { "a b" = "text" }', "values names 'a b'"),
        (GOOD + 'columns = { x = "y" }', "columns names 'x'"),
        (GOOD + 'columns = { y = "item" }', "one name stands for two"),
        (GOOD + 'key = ["y"]', "key names 'y'"),
        (GOOD + 'regions = ["a", "a"]', "one name stands for two"),
        (GOOD + 'regions = ["a/b"]', "'a/b' is not a name of a region"),
        (GOOD + "full = 0", "full"),
        (GOOD + "tolerance = 2", "tolerance"),
        (GOOD + "every = '1h'", "key 'every' is not known"),
        (GOOD + 'timeframe = "month"', "'month' is not a span of time"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(tmp_path: Path, section: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read(tmp_path, section)


def test_two_sources_for_one_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="two sources take rows for table counts"):
        read(tmp_path, GOOD, f'[sources.other]\n{GOOD}table = "counts"')
