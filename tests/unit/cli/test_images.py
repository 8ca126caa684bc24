"""``springtide images``: it builds what the sandbox runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.engines import need_bubblewrap

from springtide.cli.main import main
from springtide.sandbox.environments import Environments

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "springtide.toml"
    path.write_text('[sandbox]\nengine = "bubblewrap"\nenvironments = "kept"\n')
    return path


def test_what_is_there_is_named_and_not_built_again(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_bubblewrap()
    (name,) = Environments(config.parent / "kept").names("boosting", None)
    (config.parent / "kept" / name).mkdir(parents=True)
    main(["--config", str(config), "images", "build", "boosting"])
    said = capsys.readouterr()
    assert name in said.out
    assert said.err == ""


def test_an_environment_that_is_not_known_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--config", str(config), "images", "build", "boostin"])
    assert "boosting" in capsys.readouterr().err


def test_where_there_is_no_engine_it_says_what_to_do(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text('[sandbox]\nengine = "container"\nsocket = "unix:///nowhere.sock"\n')
    with pytest.raises(SystemExit):
        main(["--config", str(config), "images", "build"])
    assert "does not answer" in capsys.readouterr().err
