"""The list of commands, and how each explains itself."""

from __future__ import annotations

import importlib

import pytest

from springtide.cli.main import COMMANDS, main
from springtide.domain.errors import SpringtideError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([name, "--help"])
    text = capsys.readouterr().out
    command = importlib.import_module(f"springtide.cli.{name}").command
    assert command.name == name
    assert f"springtide {name}" in text
    assert command.help is not None
    assert command.help.split()[0] in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_says_what_it_does(name: str) -> None:
    command = importlib.import_module(f"springtide.cli.{name}").command
    silent = [option.name for option in command.params if option.param_type_name == "option" and not option.help]
    assert silent == []


def test_the_list_of_commands_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize(
    ("args", "code"), [(["retran"], 2), (["ingest", "--tabel", "x"], 2), (["runs", "--limit", "0"], 2)]
)
def test_a_wrong_word_on_the_command_line_exits_with_2(
    args: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(args)
    assert left.value.code == code
    told = capsys.readouterr()
    assert told.out == ""
    assert "Error: " in told.err


def test_an_error_a_person_can_fix_exits_with_1_and_never_with_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise SpringtideError("it broke", where="here", do="mend it")

    monkeypatch.setattr("springtide.cli.main.group.main", broken)
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 1
    assert capsys.readouterr() == ("", "SpringtideError: it broke\n  where: here\n  do: mend it\n")
