"""What springtide.toml names is opened, made where it is missing, and refused by name where it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.world import SETTINGS, make_home, opened

from springtide.app.code import code_version
from springtide.app.home import open_home, read_settings
from springtide.app.ingestion import ingest, sources_of
from springtide.domain.errors import NotFound, SettingsError, StoreFailed
from springtide.settings import words

if TYPE_CHECKING:
    from pathlib import Path


def test_an_opened_home_is_empty_and_can_be_opened_again(tmp_path: Path) -> None:
    (tmp_path / "springtide.toml").write_text(SETTINGS)
    for _ in range(2):
        home = opened(tmp_path)
        assert (home.lake.names(), home.registry.models(), home.registry.runs()) == ([], [], [])
        assert home.codecs.keys() == {"forecast"}


def test_a_mistyped_model_or_source_gets_a_hint(tmp_path: Path) -> None:
    home = opened(make_home(tmp_path))
    assert home.model("btc").table == "candles"
    with pytest.raises(NotFound, match="did you mean 'btc'"):
        home.model("btd")
    with pytest.raises(NotFound, match="did you mean 'candles'"):
        ingest(home, "candels", now=lambda: pytest.fail("nothing is asked"), told=lambda *_: None)


def test_the_environment_overrides_the_file_and_is_checked_like_it(tmp_path: Path) -> None:
    path = make_home(tmp_path) / "springtide.toml"
    settings = read_settings(path, environ={"SPRINGTIDE_MODELS__BTC__HORIZON": "7", "SPRINGTIDE_HOME__STORE": "./x"})
    assert (settings.models["btc"].recipe.horizon, settings.home.store) == (7, str(path.parent / "x"))
    with pytest.raises(SettingsError, match="horizon"):
        read_settings(path, environ={"SPRINGTIDE_MODELS__BTC__HORIZON": "0"})


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = words.Home(store=str(tmp_path / "file" / "var"), database=f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(StoreFailed, match="cannot be made") as failed:
        open_home(words.Settings(home=places))
    assert failed.value.where == str(tmp_path / "file" / "var")


def test_a_table_knows_which_sources_feed_it(tmp_path: Path) -> None:
    text = SETTINGS + '[sources.more]\nkind = "files"\npath = "./more"\ntable = "candles"\n'
    text += '[sources.other]\nkind = "files"\npath = "./other"\n'
    home = opened(make_home(tmp_path, text))
    assert sources_of(home, "candles") == ["candles", "more"]
    assert sources_of(home, "nowhere") == []


def test_the_code_has_a_name_that_stays_the_same() -> None:
    assert code_version() == code_version()
    version, _, digest = code_version().partition("+")
    assert version
    assert len(digest) == 12


def test_relative_places_are_those_beside_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "springtide.toml").write_text(
        '[home]\nstore = "var"\ndatabase = "sqlite:///var/x.db"\n[sources.rows]\nkind = "files"\npath = "incoming"\n'
    )
    settings = read_settings(tmp_path / "springtide.toml", environ={})
    assert settings.home.store == str(tmp_path / "var")
    assert settings.home.database == f"sqlite:///{tmp_path}/var/x.db"
    assert settings.sources["rows"].path == str(tmp_path / "incoming")  # type: ignore[union-attr] # it is of files


def test_places_elsewhere_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "springtide.toml").write_text('[home]\nstore = "s3://b/p"\ndatabase = "postgresql://u@h/n"\n')
    home = read_settings(tmp_path / "springtide.toml", environ={}).home
    assert (home.store, home.database) == ("s3://b/p", "postgresql://u@h/n")
