"""What a replay tells people: a timeline, everyone who would have answered, a picture."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from matplotlib.image import imread

from springtide.cli.backtest import command
from springtide.cli.life import print_life
from springtide.cli.plot import draw_life
from springtide.domain.errors import SettingsError
from springtide.domain.run import Failure
from springtide.domain.verdict import Verdict
from springtide.evaluation.significance import Difference
from springtide.pipeline.life import ALWAYS, NEVER, SERVED, Life, Rival, Span

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2024, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
WON = Difference(0.25, 3.0, 0.002, 50)
METRICS = {"coverage_90": 0.9}


def span(week: int, version: int | None, serving: int | None, *, why: str, promoted: bool = False) -> Span:
    """A week; the model that serves loses 3, the baseline 4."""
    verdict = None
    if version is not None:
        verdict = Verdict(promoted, f"its loss is 3: {why}", "significant at 0.05", "loss", 9, 3.0, ())
    failure = Failure(why, "step train", "mend it") if version is None else None
    losses = {NEVER: 3.5, ALWAYS: 3.0, "mean": 4.0} | ({SERVED: 3.0} if serving else {})
    begin = START + week * WEEK
    return Span(begin, begin + WEEK, version, verdict, failure, promoted, serving, 70, losses)


LIFE = Life(
    model="m",
    loss_name="absolute error",
    reference=SERVED,
    spans=(
        span(0, 1, None, why="keep, it is not better than mean"),
        span(1, 2, 2, why="promote, every baseline is beaten", promoted=True),
        span(2, None, 2, why="out of memory"),
    ),
    rivals=(Rival(SERVED, 140, 3.0, METRICS, None, {}), Rival("mean", 140, 4.0, METRICS, WON, {"a": WON})),
    best_baseline="mean",
    notes=("nothing served for the first week",),
    published={"m@2": "m@9"},
)


def test_the_timeline_says_of_every_retraining_what_came_of_it_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    print_life(LIFE, by_series=False)
    out = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│ 2024")]
    assert lines == [
        ["2024-01-01 00:00", "m@1", "kept", "nothing", "70", "", "", "it is not better than mean"],
        ["2024-01-08 00:00", "m@2", "promoted", "m@2", "70", "3", "+25.00 %", "every baseline is beaten"],
        ["2024-01-15 00:00", "", "failed", "m@2", "70", "3", "+25.00 %", "out of memory"],
    ]
    assert "3 retrainings: 1 promoted, 1 kept, 1 failed; in the end m@2 serves" in out
    assert "m@2 of the replay is published as m@9: `springtide promote m@9`" in out


def test_everyone_stands_in_one_table_with_the_gain_of_what_was_served(capsys: pytest.CaptureFixture[str]) -> None:
    print_life(LIFE, by_series=True)
    told = capsys.readouterr()
    rows = {line.split("│")[1].strip(): line for line in told.out.splitlines() if line.startswith("│")}
    assert "gain of served" in told.out
    assert rows["mean"].split() == [
        "│",
        "mean",
        "│",
        "140",
        "│",
        "4",
        "│",
        "+25.00",
        "%",
        "│",
        "0.002",
        "│",
        "0.9",
        "│",
    ]
    assert "+25.00 %  p 0.002" in rows["a"]
    assert "nothing served for the first week" in told.err


@pytest.mark.parametrize("life", [LIFE, replace(LIFE, reference=ALWAYS, spans=LIFE.spans[:1])])
def test_a_life_can_be_drawn_whether_something_served_or_not(life: Life, tmp_path: Path) -> None:
    draw_life(tmp_path / "life.png", life)
    picture = imread(tmp_path / "life.png")
    assert picture.shape[:2] == (550, 1320)
    assert picture[..., :3].std() > 0.05, "something is drawn"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--publish",), "belong to a replay"),
        (("--from", "2024-01-01"), "belong to a replay"),
        (("--plot", "life.png"), "belong to a replay"),
        (("--retrain-every", "7d", "--windows", "3"), "two kinds of backtest"),
        (("--retrain-every", "7d", "--plot", "life.doc"), "no kind of picture"),
        (("--retrain-every", "7d", "--plot", "nowhere/life.png"), "no folder nowhere"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_is_opened(
    options: tuple[str, ...], what: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=what):
        command.main(["m", *options], obj=tmp_path / "springtide.toml", standalone_mode=False)
