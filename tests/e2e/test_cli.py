"""The story of a model through the real command: settings, rows, a run, a forecast, a promotion by hand, a way back."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.unit.cli.world import (
    COMMAND,
    HEADER,
    ROWS,
    candle,
    csv,
    environment,
    make_home,
    refused,
    said,
    springtide,
    trained_home,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STEPS = ["collect", "snapshot", "prepare", "train", "export", "evaluate", "judge", "explain", "publish"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version serves; tests only look."""
    return trained_home(tmp_path_factory)


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A second run after new rows came, told to people; its champion goes on serving."""
    folder = trained_home(tmp_path_factory)
    (folder / "rows" / "second.csv").write_text(csv(ROWS, ROWS + 30))
    stays = {"SPRINGTIDE_MODELS__BTC__MAX_STEPS": "0"}  # a challenger that is its champion cannot be better
    return folder, springtide(folder, "retrain", "btc", settings=stays)


def table(folder: Path, name: str) -> Mapping[str, Any]:
    found = {one["table"]: one for one in said(folder, "tables")}
    facts: Mapping[str, Any] = found[name]
    return facts


# Starting


def test_help_is_there_in_less_than_a_third_of_a_second(tmp_path: Path) -> None:
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([COMMAND, "--help"], cwd=tmp_path, env=environment(), check=True, capture_output=True)
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.3, seconds


def test_a_mistyped_command_gets_a_hint_and_exit_code_2(tmp_path: Path) -> None:
    done = springtide(tmp_path, "retran", "btc", code=2)
    assert done.stdout == ""
    assert "did you mean 'retrain'?" in done.stderr


def test_without_settings_the_command_says_how_to_get_some(tmp_path: Path) -> None:
    assert "springtide init" in refused(tmp_path, "tables")
    assert list(tmp_path.iterdir()) == []


def test_the_settings_that_init_writes_bring_in_rows_and_a_second_time_nothing_new(tmp_path: Path) -> None:
    springtide(tmp_path, "init")
    written = (tmp_path / "springtide.toml").read_text()
    assert "use --force" in refused(tmp_path, "init")
    assert (tmp_path / "springtide.toml").read_text() == written
    short = {"SPRINGTIDE_SOURCES__CANDLES__HISTORY": "20d"}
    (first,) = said(tmp_path, "ingest", settings=short)
    assert first["new"] >= 3 * 20 * 24 - 3
    (second,) = said(tmp_path, "ingest", settings=short)
    assert second["new"] <= 3  # a candle of each series may have closed in between
    assert second["corrected"] == 0
    facts = table(tmp_path, "candles")
    assert facts["rows"] == first["new"] + second["new"]
    assert (facts["series_count"], facts["gaps"], facts["duplicates"]) == (3, 0, 0)
    (model,) = said(tmp_path, "models")
    assert (model["model"], model["champion"]) == ("btc", None)
    assert "retrain btc" in refused(tmp_path, "forecast", "btc")


# Rows


def test_a_file_with_other_column_names_is_brought_in_through_a_mapping(tmp_path: Path) -> None:
    make_home(tmp_path)
    (tmp_path / "oil.csv").write_text("day,heat\n2024-01-01,1.5\n2024-01-02,2.5\n2024-01-03,2.0\n")
    words = ("--file", "oil.csv", "--table", "oil", "--series", "OIL", "--map", "ds=day", "--map", "y=heat")
    (brought,) = said(tmp_path, "ingest", *words)
    assert (brought["table"], brought["new"]) == ("oil", 3)
    assert table(tmp_path, "oil")["timeframe_s"] == 86_400
    assert "--table" in refused(tmp_path, "ingest", "--file", "oil.csv")
    assert "--map ds=date" in refused(tmp_path, "ingest", "--file", "oil.csv", "--table", "oil", "--map", "ds")


def test_a_late_correction_makes_a_version_and_changes_no_other_row(tmp_path: Path) -> None:
    make_home(tmp_path, rows=100)
    springtide(tmp_path, "ingest")
    before = table(tmp_path, "candles")
    (tmp_path / "rows" / "late.csv").write_text(f"{HEADER}\n{candle(50, close=123.0)}\n{candle(51)}\n")
    (brought,) = said(tmp_path, "ingest")
    assert [brought[name] for name in ("new", "corrected", "unchanged")] == [0, 1, 1]
    after = table(tmp_path, "candles")
    assert after == {**before, "version": before["version"] + 1}
    shown = springtide(tmp_path, "tables").stdout
    assert f"│ {after['version']} │" in " ".join(shown.split())


def test_a_table_says_which_steps_are_missing(tmp_path: Path) -> None:
    make_home(tmp_path, rows=50)
    (tmp_path / "rows" / "later.csv").write_text(csv(60, 100))
    springtide(tmp_path, "ingest")
    (facts,) = said(tmp_path, "tables", "candles")
    assert (facts["gaps"], facts["missing_steps"]) == (1, 10)
    (gap,) = facts["series"][0]["gaps"]
    assert (gap["first"], gap["last"]) == ("2024-01-03T02:00:00Z", "2024-01-03T11:00:00Z")
    assert "2024-01-03 02:00" in springtide(tmp_path, "tables", "candles").stdout
    assert "did you mean 'candles'" in refused(tmp_path, "tables", "candels")


# A run


def test_a_run_says_as_json_what_it_made_why_and_how_long_each_step_took(home: Path) -> None:
    answer = json.loads((home / "retrain.json").read_text())
    assert (answer["model"], answer["version"], answer["serving"]) == ("btc", 1, 1)
    verdict = answer["verdict"]
    assert verdict["promote"] is True
    assert verdict["items"] == answer["steps"]["prepare"]["judging_items"]
    assert verdict["loss"] == answer["metrics"]["challenger"]["loss"]
    assert f"{verdict['items']:,} unseen items" in verdict["reason"]
    rivals = {one["rival"]: one for one in verdict["comparisons"]}
    assert {"last-value", "ewma-volatility"} <= rivals.keys()
    assert rivals["last-value"].keys() >= {"kind", "loss", "gain", "p_value", "passed"}
    assert list(answer["seconds"]) == STEPS
    assert all(seconds >= 0 for seconds in answer["seconds"].values())
    told = [line.split()[0] for line in (home / "retrain.err").read_text().splitlines()]
    assert told == STEPS


def test_a_run_is_told_to_people_with_its_rivals_and_one_sentence(
    later: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    text = later[1].stdout
    assert "champion btc@1" in text
    assert "baseline last-value" in text
    assert "KEEP btc@2: on " in text
    assert "it is not better than btc@1" in text


def test_a_second_run_brings_in_the_new_rows_first_and_starts_from_the_champion(
    later: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    newest = said(later[0], "runs")[0]
    steps = {step["name"]: step["result"] for step in newest["steps"]}
    assert steps["collect"]["candles"]["new"] == 30
    assert steps["train"]["start"] == "btc@1"
    assert steps["publish"] == {"version": 2, "action": "keep", "serving": 1}


def test_a_mistyped_model_is_refused_with_a_hint_by_every_command_that_takes_one(home: Path) -> None:
    for command in ("retrain", "forecast", "journal"):
        assert "did you mean 'btc'" in refused(home, command, "btcc")


# A forecast


def test_a_forecast_is_the_same_as_table_as_json_and_in_files(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = springtide(home, "forecast", "btc", "--json", "--out", out)
    answer = json.loads(done.stdout)
    columns = pl.DataFrame(answer["columns"]).with_columns(
        pl.col("ds", "cutoff").str.to_datetime("%+", time_zone="UTC")
    )
    (parquet,), (plain,) = out.glob("*.parquet"), out.glob("*.csv")
    assert parquet.stem == plain.stem == f"btc_{datetime.fromisoformat(answer['cutoff']):%Y-%m-%dT%H%M%SZ}"
    assert f"wrote {plain}" in done.stderr
    from_parquet = pl.read_parquet(parquet)
    from_csv = pl.read_csv(plain).with_columns(pl.col("ds", "cutoff").str.to_datetime("%+", time_zone="UTC"))
    assert_frame_equal(from_parquet, columns, check_dtypes=False)
    assert_frame_equal(from_csv, columns, check_dtypes=False)
    shown = springtide(home, "forecast", "btc", "--series", "BTC/USDT").stdout
    assert all(f"{value:.6g}" in shown for value in answer["columns"]["btc"])
    assert answer["verdict"] in shown


def test_a_forecast_says_whence_it_comes_and_warns_of_what_was_not_proven(home: Path) -> None:
    answer = said(home, "forecast", "btc")
    run = json.loads((home / "retrain.json").read_text())
    assert (answer["version"], answer["run"]) == (1, run["run"])
    assert answer["snapshot"]["sha256"] == run["steps"]["snapshot"]["sha256"]
    assert answer["cutoff"] == "2024-03-03T11:00:00Z"
    assert answer["columns"]["ds"] == [f"2024-03-03T{hour}:00:00Z" for hour in (12, 13, 14, 15)]
    low, middle, high = (answer["columns"][name] for name in ("btc-lo-90", "btc", "btc-hi-90"))
    assert all(a < b < c for a, b, c in zip(low, middle, high, strict=True))
    assert "warning: " in springtide(home, "forecast", "btc").stderr  # the rows are of 2024


def test_a_forecast_can_be_drawn(home: Path, tmp_path: Path) -> None:
    picture = tmp_path / "btc.png"
    springtide(home, "forecast", "btc", "--plot", picture)
    assert picture.read_bytes().startswith(PNG)
    assert picture.stat().st_size > 10_000


def test_a_forecast_of_an_unknown_series_or_into_a_wrong_place_is_refused(home: Path, tmp_path: Path) -> None:
    assert "did you mean 'BTC/USDT'" in refused(home, "forecast", "btc", "--series", "BTC/USD")
    (tmp_path / "file").touch()
    assert "--plot" in refused(home, "forecast", "btc", "--plot", tmp_path / "btc.doc")
    assert "free space" in refused(home, "forecast", "btc", "--plot", tmp_path / "nowhere" / "btc.png")
    assert "free space" in refused(home, "forecast", "btc", "--out", tmp_path / "file" / "out")


def test_a_backtest_puts_model_champion_and_baselines_side_by_side(home: Path) -> None:
    answer = said(home, "backtest", "btc", "--windows", "2")
    assert len(answer["folds"]) == 2
    assert answer["folds"][0][1] == answer["folds"][1][0]
    standings = {one["name"]: one for one in answer["standings"]}
    assert {"model", "btc@1", "last-value", "ewma-volatility"} <= standings.keys()
    assert standings["model"]["difference"] is None
    assert all(one["loss"] > 0 for one in standings.values())
    assert standings["last-value"]["items"] == standings["model"]["items"]


def test_a_life_is_replayed_drawn_and_published_and_its_version_serves_once_it_is_promoted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = trained_home(tmp_path_factory)
    times = ("--retrain-every", "10d", "--from", "2024-02-12", "--until", "2024-02-22")
    life = said(folder, "backtest", "btc", *times, "--publish", "--plot", "life.png")
    (span,) = life["spans"]
    assert (span["start"], span["stop"]) == ("2024-02-12T00:00:00Z", "2024-02-22T00:00:00Z")
    assert (span["version"], span["serving"], span["promoted"]) == (1, 1, True)
    assert span["items"] == 237, "of 240 hours; the outcomes of the last three come after the end"
    rivals = {one["name"]: one for one in life["rivals"]}
    assert {"served", "never retrained", "always promoted", "last-value", "ewma-volatility"} <= rivals.keys()
    assert {one["items"] for one in rivals.values()} == {237}
    assert (folder / "life.png").read_bytes().startswith(PNG)
    assert life["published"] == {"btc@1": "btc@2"}
    entry = said(folder, "promote", "btc@2")
    assert (entry["previous"], entry["serving"]) == (1, 2)
    assert said(folder, "forecast", "btc")["version"] == 2
    traced = said(folder, "show", "btc@2")["manifest"]
    assert traced["snapshot"]["last"] == "2024-02-11T23:00:00Z", "the last candle that was closed then"


# Looking back, and changing who serves


def test_models_runs_show_and_journal_tell_one_story(home: Path) -> None:
    answer = json.loads((home / "retrain.json").read_text())
    (model,) = said(home, "models")
    assert (model["champion"], model["versions"], model["verdict"]) == (1, 1, answer["verdict"]["reason"])
    (run,) = said(home, "runs")
    assert run == said(home, "show", answer["run"])
    assert (run["state"], run["version"], run["model"]) == ("succeeded", 1, "btc")
    assert [step["name"] for step in run["steps"]] == STEPS
    version = said(home, "show", "btc@1")
    assert version["manifest"]["run"] == answer["run"]
    assert version["verdict"] == answer["verdict"]
    assert set(version["manifest"]["files"]) == {
        "manifest.json",
        "model.onnx",
        "probe.npz",
        "signature.json",
        "weights.safetensors",
    }
    (line,) = said(home, "journal", "btc")
    assert (line["action"], line["serving"], line["run"], line["by"]) == ("promote", 1, answer["run"], "gate")
    assert line["warning"] == answer["verdict"]["warning"]  # none when the version proved itself


def test_what_is_said_as_json_is_also_told_to_people(home: Path) -> None:
    run = json.loads((home / "retrain.json").read_text())["run"]
    for words in (("models",), ("runs",), ("show", "btc@1"), ("show", run)):
        assert "btc" in springtide(home, *words).stdout
    assert run in springtide(home, "runs").stdout
    assert "promote" in springtide(home, "journal", "btc").stdout
    assert "btc@1" in refused(home, "show", "btc@7")
    assert "no-such-run" in refused(home, "show", "no-such-run")


def test_a_run_is_told_on_a_page_whether_it_or_its_version_or_its_model_is_named(home: Path, tmp_path: Path) -> None:
    run = json.loads((home / "retrain.json").read_text())["run"]
    pages = []
    for number, what in enumerate((run, "btc@1", "btc")):
        springtide(home, "report", what, "--out", tmp_path / f"{number}.html")
        pages.append((tmp_path / f"{number}.html").read_text())
    assert pages[0] == pages[1] == pages[2]
    assert "<h1>btc@1 " in pages[0]
    assert "did you mean" in refused(home, "report", "btcc@1")
    assert "springtide runs" in refused(home, "report", "no-such-run")
    assert "free space" in refused(home, "report", "btc", "--out", tmp_path / "nowhere" / "btc.html")


def test_a_promotion_against_the_verdict_warns_and_can_be_rolled_back(
    later: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = later
    assert "btc@3" in refused(folder, "promote", "btc")  # shows how a version is named
    assert "there is no version btc@9" in refused(folder, "promote", "btc@9")
    done = springtide(folder, "promote", "btc@2")
    assert "btc@2 serves (before: btc@1)" in done.stdout
    assert "against the verdict" in done.stderr
    answer = said(folder, "forecast", "btc")
    assert answer["version"] == 2
    assert "against the verdict" in answer["warning"]
    assert said(folder, "rollback", "btc")["serving"] == 1
    assert said(folder, "forecast", "btc")["version"] == 1
    assert "no champion before it" in refused(folder, "rollback", "btc")
    actions = [(line["number"], line["action"], line["serving"]) for line in said(folder, "journal", "btc")]
    assert actions == [(4, "rollback", 1), (3, "promote", 2), (2, "keep", 1), (1, "promote", 1)]


def test_compacting_a_table_keeps_every_row(tmp_path: Path) -> None:
    make_home(tmp_path, rows=50)
    for first in range(50, 100, 10):
        (tmp_path / "rows" / f"{first}.csv").write_text(csv(first, first + 10))
    springtide(tmp_path, "ingest")
    before = table(tmp_path, "candles")
    springtide(tmp_path, "tables", "--compact")
    after = table(tmp_path, "candles")
    assert {**before, "version": after["version"]} == after
    assert after["rows"] == 100


def test_serve_answers_over_http_until_it_is_stopped(home: Path) -> None:
    with subprocess.Popen(
        [COMMAND, "serve"],
        cwd=home,
        env=environment({"SPRINGTIDE_SERVE__PORT": "0"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        while httpx.get(f"{url}/readyz").status_code == 503:
            time.sleep(0.02)
        answer = httpx.get(f"{url}/v1/models/btc/forecast").json()
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    same = ("version", "run", "cutoff", "verdict", "snapshot")
    told = said(home, "forecast", "btc")
    assert [answer[name] for name in same] == [told[name] for name in same]
