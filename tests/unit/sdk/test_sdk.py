"""What a train.py may count on."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from springtide import sdk
from springtide.sdk import Params, Refusal, report
from springtide.sdk.reporting import MARK, read_line


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = map(read_line, capsys.readouterr().out.split("\n"))
    return [line for line in lines if line is not None]


def test_a_report_is_one_line_that_can_be_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    print("training", end="")  # noqa: T201 - a script that leaves its line open
    report(epoch=3, loss=np.float32(0.5), note="a\nb", done=True, kind="done")
    assert told(capsys) == [{"epoch": 3, "loss": 0.5, "note": "a\nb", "done": True, "kind": "report"}]


@pytest.mark.parametrize("value", [math.nan, math.inf, [1, 2], object(), "x" * 10_000])
def test_what_json_has_no_word_for_is_told_as_a_short_text(capsys: pytest.CaptureFixture[str], value: object) -> None:
    report(value=value)
    (line,) = told(capsys)
    assert isinstance(line["value"], str)
    assert len(line["value"]) <= 200


def test_a_report_of_very_many_values_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    report(**{f"value{n}": n for n in range(1000)})
    assert len(told(capsys)[0]) == 33


@pytest.mark.parametrize(
    "line",
    [
        "",
        "loss 1",
        MARK,
        f"{MARK}[]",
        f"{MARK}{{",
        f'{MARK}{{"kind": 1}}',
        f"{MARK}{'[' * 10**5}",
        f'{MARK}{{"kind": "report", "x": {"[" * 500}{"]" * 500}}}',
        f'{MARK}{{"kind": "report", "loss": NaN}}',
        f'{MARK}{{"kind": "report", "loss": 1e999}}',
        f'{MARK}{{"kind": "report", "epoch": {10**30}}}',
        f'{MARK}{{"kind": "report", "note": "{"x" * 201}"}}',
        f'{MARK}{{"kind": "report", "{"x" * 201}": 1}}',
        f'{MARK}{{"kind": "report", "note": "\\ud800"}}',
        MARK + json.dumps({"kind": "report", **{str(number): number for number in range(40)}}),
    ],
)
def test_a_line_that_only_looks_like_a_report_is_log(line: str) -> None:
    assert read_line(line) is None


@pytest.mark.parametrize("value", ["fast", True, None, -1, 2, math.nan])
def test_a_number_outside_its_limits_is_refused_with_its_name(value: object) -> None:
    with pytest.raises(Refusal, match=r"params\.rate") as refused:
        Params({"rate": value}).number("rate", 0.1, low=0, high=1)
    assert refused.value.do == "give a number from 0 to 1"


@pytest.mark.parametrize("value", [1.5, True, "3", -1])
def test_a_whole_number_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(Refusal):
        Params({"epochs": value}).whole("epochs", 3)
    with pytest.raises(Refusal):
        Params({"hidden": [value]}).wholes("hidden", (3,))


def test_a_name_that_nobody_reads_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(Refusal, match="did you mean 'epochs'"):
        Params({"epoch": 3}).refuse_others(["epochs", "batch"])


def test_one_of_some_words_is_one_of_them() -> None:
    assert Params({}).choice("start", "given", ("given", "scratch")) == "given"
    with pytest.raises(Refusal, match="one of given, scratch"):
        Params({"start": "champion"}).choice("start", "given", ("given", "scratch"))


def test_the_sdk_and_what_looks_at_files_import_the_standard_library_alone() -> None:
    code = (
        "import json, sys, springtide.sdk, springtide.trainers.archives, springtide.trainers.formats;"
        "names = {name.partition('.')[0] for name in sys.modules};"
        "print(json.dumps(sorted(names - sys.stdlib_module_names - {'__main__', 'springtide'})))"
    )
    source = Path(sdk.__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(source)!r}); {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [name for name in json.loads(ended.stdout) if not name.startswith("_")] == []
