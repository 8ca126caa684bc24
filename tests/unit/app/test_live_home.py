"""A springtide.toml that is changed takes effect while programs run; one that cannot be used changes nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.serving_world import make_world
from tests.unit.cli.world import SETTINGS, make_home

from springtide.app.answers import LiveAnswers
from springtide.app.live_home import LiveHome
from springtide.app.regions import hand_in
from springtide.domain.clock import utc_now
from springtide.domain.errors import NotFound, SettingsError, StoreFailed
from springtide.settings.words import FilesSource

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.app.home import Home

MORE = """
[sources.covid]
kind = "rows"
timeframe = "1d"
values = { deaths = "integer" }
columns = { ds = "date" }
regions = ["Tula"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config = make_home(tmp_path) / "springtide.toml"
    write(config, SETTINGS)
    return config


def write(config: Path, text: str) -> None:
    """Write the file as if that had been a while ago, and later than before."""
    before = config.stat().st_mtime_ns if config.exists() else 10**18
    config.write_text(text)
    os.utime(config, ns=(before + 10**9, before + 10**9))


def test_a_file_that_nobody_touches_gives_the_same_home(config: Path) -> None:
    live = LiveHome(config)
    assert live.look() is live.look()


def test_other_settings_of_the_same_store_leave_what_is_open_open(config: Path) -> None:
    live = LiveHome(config)
    before = live.look()
    write(config, SETTINGS + '[sources.more]\nkind = "files"\npath = "./more"\n')
    after = live.look()
    assert isinstance(after.settings.sources["more"], FilesSource)
    assert (after.registry, after.intake, after.lake) == (before.registry, before.intake, before.lake)
    assert "more" not in before.settings.sources


def test_another_store_is_another_home(config: Path, tmp_path: Path) -> None:
    live = LiveHome(config)
    before = live.look()
    write(config, SETTINGS.replace("var", "other"))
    after = live.look()
    assert after.registry is not before.registry
    assert (tmp_path / "other").is_dir()


@pytest.mark.parametrize("text", ["[models.btc\n", "[modles.btc]\n"])
def test_a_file_that_cannot_be_used_changes_nothing_and_is_spoken_of_once(
    config: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveHome(config)
    before = live.look()
    write(config, text)
    assert [live.look(), live.look()] == [before, before]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    write(config, SETTINGS + "# mended\n")
    assert live.look() is not before


def test_a_home_that_its_reader_refuses_changes_nothing(config: Path) -> None:
    def without_more(home: Home) -> None:
        if "more" in home.settings.sources:
            raise SettingsError("no more", where="here", do="less")

    live = LiveHome(config, check=without_more)
    before = live.look()
    write(config, SETTINGS + '[sources.more]\nkind = "files"\npath = "./more"\n')
    assert live.look() is before


def test_a_store_that_is_away_is_looked_at_again(config: Path, tmp_path: Path) -> None:
    live = LiveHome(config)
    before = live.look()
    (tmp_path / "away").touch()  # no folder can be made below it
    write(config, SETTINGS.replace("var", "away/var"))
    assert live.look() is before
    (tmp_path / "away").unlink()
    assert live.look() is not before


def test_a_file_that_is_gone_for_a_moment_changes_nothing(config: Path) -> None:
    live = LiveHome(config)
    before = live.look()
    config.unlink()
    assert live.look() is before


def test_a_file_that_was_touched_just_now_is_read_once_it_is_still(config: Path) -> None:
    live = LiveHome(config)
    config.write_text(SETTINGS + MORE)
    assert "covid" in live.look().settings.sources


def test_a_server_takes_rows_of_a_region_that_was_added_while_it_runs(config: Path) -> None:
    answers = LiveAnswers(LiveHome(config))
    answers.look()
    with pytest.raises(NotFound):
        send(answers)
    write(config, SETTINGS + MORE)
    answers.look()
    assert send(answers) == 1


def send(answers: LiveAnswers) -> int:
    """Send one row from Tula; how many were new."""
    data = b"date,deaths\n2020-03-01,1\n"
    receipt = hand_in(answers.now.home, "covid", region="Tula", batch="b", data=data, form="csv", now=utc_now())
    return receipt.result(10).new


def test_what_serves_goes_on_under_other_settings_also_while_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(tmp_path)
    world.promote(world.publish(0.01))
    config = tmp_path / "springtide.toml"
    answers = LiveAnswers(LiveHome(config))
    answers.look()
    before = answers.now

    def away(*_: object) -> None:
        raise StoreFailed("the store does not answer", where="a test", do="wait")

    monkeypatch.setattr(type(world.home.registry), "read", away)
    write(config, config.read_text().replace("[models.btc.expires]", '[models.btc.expires]\nmodel = "30d"'))
    answers.look()
    assert answers.now is not before
    place = answers.now.shelf.place("btc")
    assert place.live.now is not None
    assert place.live.now.model.version.number == 1
    assert place.live.now.expires_at() is not None
