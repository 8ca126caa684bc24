"""Tables, JSON and files that people and programs read."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from springtide.cli.init import template
from springtide.cli.saying import percent, print_json, print_table, short_time, writing
from springtide.domain.errors import StoreFailed
from springtide.domain.verdict import Comparison
from springtide.settings.file import read
from springtide.tasks.forecast.recipe import ForecastRecipe

if TYPE_CHECKING:
    from pathlib import Path


def test_json_holds_dataclasses_times_and_numpy_and_says_null_for_what_is_no_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rival = Comparison("last-value", "baseline", math.nan, 0.5, 0.01, passed=True)
    print_json({"rival": rival, "at": datetime(2024, 1, 2, tzinfo=UTC), "values": np.arange(3)})
    answer = json.loads(capsys.readouterr().out)
    assert answer["rival"]["loss"] is None
    assert (answer["at"], answer["values"]) == ("2024-01-02T00:00:00Z", [0, 1, 2])


def test_a_cell_is_not_broken_when_the_table_goes_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [letter * 20 for letter in "abcdefg"]  # together wider than the 80 columns of a narrow terminal
    print_table("wide", cells, [cells])
    header, row = (line for line in capsys.readouterr().out.splitlines() if cells[0] in line)
    assert all(cell in header and cell in row for cell in cells)


def test_a_cell_is_printed_as_it_is_but_for_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("runs", ["failure"], [["[/red] no \x1b]0;title\x07 such\ncolumn"]])
    assert "[/red] no  ]0;title  such column" in capsys.readouterr().out


def test_times_and_shares_are_short() -> None:
    assert short_time(None) == ""
    assert short_time(datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2024-01-02 03:04"
    assert percent(-0.5) == "-50.00 %"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "picture.png"
    with pytest.raises(StoreFailed, match="cannot be written") as failed, writing(path):
        path.write_bytes(b"")
    assert failed.value.what.startswith("picture.png ")
    assert failed.value.where == str(path)


def test_the_settings_that_init_writes_are_valid_and_say_what_the_defaults_are(tmp_path: Path) -> None:
    path = tmp_path / "springtide.toml"
    path.write_text(template())
    settings = read(path, environ={}, recipes={"forecast": ForecastRecipe})
    model = settings.models["btc"]
    assert model.recipe == ForecastRecipe(series=("BTC/USDT",))
    assert model.gate == type(model.gate)()
    assert settings.serve == type(settings.serve)()
