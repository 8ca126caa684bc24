"""Features are the same when training and when serving, through the exported file and all."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from tests.serving_world import verdict
from tests.synthetic import HOUR, JUDGED_FROM, START, candles, recipe, silent

from springtide.app.answers import Answers
from springtide.app.home import open_home
from springtide.domain.errors import BadRows, Conflict, TooFewRows
from springtide.domain.model import Manifest
from springtide.domain.rows import Filter
from springtide.serving.rows import columns_of
from springtide.settings import words
from springtide.tasks.forecast.codec import ForecastCodec
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.tasks.forecast.items import Windows

TASK, CODEC = ForecastTask(), ForecastCodec()
FEATURES: dict[str, Any] = {
    "indicators": ["rsi", "macd", "atr", "obv"],
    "timeframes": ["4h"],
    "drivers": ["SOL/USDT"],
    "calendar": True,
    "outside": {"flows": {"table": "flows", "columns": ["y"], "delay": "30m", "max_age": "1d", "series": "chain"}},
}
SERIES = ("BTC/USDT", "ETH/USDT")


def flows(hours: int = 24 * 30) -> pl.DataFrame:
    """Another table, whose rows come at odd minutes and sometimes not at all."""
    rng = np.random.default_rng(8)
    times = [START + HOUR * hour + timedelta(minutes=int(rng.integers(0, 60))) for hour in range(0, hours, 3)]
    return pl.DataFrame({"unique_id": "chain", "ds": times, "y": rng.normal(0, 1e6, len(times))})


def prepared(rows: pl.DataFrame, **changes: Any) -> Windows:
    wanted = recipe(**{"series": SERIES, "max_steps": 30, "features": FEATURES} | changes)
    tables = {"flows": flows().lazy()} if TASK.outside(wanted) else {}
    return TASK.prepare(rows.lazy(), wanted, judged_from=JUDGED_FROM, outside=tables)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    every = candles(series=(*SERIES, "SOL/USDT"))
    return every.filter(~((pl.col("unique_id") == "ETH/USDT") & (pl.col("ds") == START + HOUR * 690)))


@pytest.fixture(scope="module")
def items(rows: pl.DataFrame) -> Windows:
    return prepared(rows)


@pytest.fixture(scope="module")
def folder(items: Windows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    fitted = TASK.fit(items, start=None, budget=Budget(60, device="cpu"), progress=silent)
    TASK.export(fitted, items, folder)
    return folder


@pytest.mark.parametrize("hour", [660, 691, 700])
def test_the_server_gives_the_graph_the_features_that_training_had(
    rows: pl.DataFrame, items: Windows, folder: Path, hour: int
) -> None:
    signature = TASK.load(folder).signature | {"model": "m"}  # type: ignore[attr-defined] # an exported forecaster
    which, steps = CODEC.rows(signature)
    assert set(which.series) == {*SERIES, "SOL/USDT"}
    cutoff = START + HOUR * hour
    known = rows.filter(pl.col("ds") <= cutoff)
    newest = known.sort("ds").group_by("unique_id").tail(steps)
    (table, (_, span_s)) = next(iter(CODEC.outside(signature).items()))
    assert table == "flows"
    others = flows().filter(pl.col("ds") > cutoff - timedelta(seconds=span_s))
    encoded = CODEC.encode(signature, columns_of(newest), outside={table: columns_of(others)})
    assert encoded.context["series"] == list(SERIES)
    trained = [
        items.features.values[(items.panel.seconds == int(cutoff.timestamp())) & (items.panel.owner == owner)][0]
        for owner in range(2)
    ]
    assert not np.isnan(trained).any()
    assert encoded.inputs["features"] == pytest.approx(np.stack(trained), rel=1e-6, abs=1e-6)


def test_a_table_that_is_not_there_is_not_known_and_the_model_still_answers(rows: pl.DataFrame, folder: Path) -> None:
    signature = TASK.load(folder).signature | {"model": "m"}  # type: ignore[attr-defined]
    encoded = CODEC.encode(signature, columns_of(rows))
    places = [place for place, name in enumerate(signature["layout"]["features"]) if name.startswith("flows")]
    assert np.isnan(encoded.inputs["features"][:, places]).all()
    quantiles = TASK.load(folder).session.run(None, dict(encoded.inputs))[0]  # type: ignore[attr-defined]
    assert np.isfinite(quantiles).all()


def test_a_champion_without_features_is_compared_with_a_challenger_that_has_them(
    rows: pl.DataFrame, items: Windows, tmp_path: Path
) -> None:
    bare = prepared(rows, features={})
    fitted = TASK.fit(bare, start=None, budget=Budget(60, device="cpu"), progress=silent)
    TASK.export(fitted, bare, tmp_path)
    assert TASK.load(tmp_path)(items, items.judging) == pytest.approx(fitted(bare, bare.judging), rel=1e-5)


def test_a_champion_whose_table_is_no_longer_read_answers_another_question(rows: pl.DataFrame, folder: Path) -> None:
    bare = prepared(rows, features={"drivers": ["SOL/USDT"]})
    with pytest.raises(Conflict, match="flows"):
        TASK.load(folder)(bare, bare.judging)


def test_a_champion_that_looks_at_rows_which_the_run_does_not_read_answers_another_question(
    rows: pl.DataFrame, folder: Path
) -> None:
    elsewhere = {**FEATURES, "outside": {"flows": {**FEATURES["outside"]["flows"], "series": "other"}}}
    wanted = recipe(series=SERIES, features=elsewhere)
    other = flows().with_columns(unique_id=pl.lit("other"))
    run = TASK.prepare(rows.lazy(), wanted, judged_from=JUDGED_FROM, outside={"flows": other.lazy()})
    with pytest.raises(Conflict, match="need chain of table flows, of which this run reads other"):
        TASK.load(folder)(run, run.judging)


def test_rows_that_were_asked_for_and_are_not_there_are_no_other_question(rows: pl.DataFrame, folder: Path) -> None:
    wanted = recipe(series=SERIES, features={**FEATURES, "calendar": False})
    run = TASK.prepare(rows.lazy(), wanted, judged_from=JUDGED_FROM, outside={"flows": flows().clear().lazy()})
    assert np.isfinite(TASK.load(folder)(run, run.judging)).all()


# --- what is not known when served


def test_groups_of_features_that_are_not_known_are_named_series_by_series(rows: pl.DataFrame, folder: Path) -> None:
    signature = TASK.load(folder).signature | {"model": "m"}  # type: ignore[attr-defined]
    tables = {"flows": columns_of(flows())}
    assert CODEC.encode(signature, columns_of(rows), outside=tables).context["unknown_features"] == [(), ()]
    driverless = rows.filter(pl.col("unique_id") != "SOL/USDT")
    encoded = CODEC.encode(signature, columns_of(driverless), outside={})
    assert encoded.context["unknown_features"] == [("driver SOL/USDT", "outside flows")] * 2
    short = rows.filter((pl.col("unique_id") != "ETH/USDT") | (pl.col("ds") > START + HOUR * 690))
    encoded = CODEC.encode(signature, columns_of(short), outside=tables)
    assert encoded.context["unknown_features"] == [(), ("indicators", "driver SOL/USDT")]


def test_what_was_seldom_known_in_training_is_not_missed(rows: pl.DataFrame, folder: Path) -> None:
    signature = TASK.load(folder).signature | {"model": "m"}  # type: ignore[attr-defined]
    seldom = signature | {"usually_known": [name for name in signature["usually_known"] if "flows" not in name]}
    assert CODEC.encode(seldom, columns_of(rows)).context["unknown_features"] == [(), ()]


def test_rows_of_drivers_alone_are_too_few(rows: pl.DataFrame, folder: Path) -> None:
    signature = TASK.load(folder).signature | {"model": "m"}  # type: ignore[attr-defined]
    with pytest.raises(TooFewRows, match=r"only rows of drivers \(SOL/USDT\)") as refused:
        CODEC.encode(signature, columns_of(rows.filter(unique_id="SOL/USDT")))
    assert "BTC/USDT, ETH/USDT" in refused.value.do


@pytest.fixture
def answers(rows: pl.DataFrame, folder: Path, tmp_path: Path) -> Answers:
    """A server of the model in `folder`, with all its rows in the lake."""
    model = words.Model(task="forecast", table="t", recipe=recipe(series=SERIES, features=FEATURES))
    places = words.Home(store=str(tmp_path / "var"), database=f"sqlite:///{tmp_path}/var/springtide.db")
    home = open_home(words.Settings(home=places, models={"m": model}))
    home.lake.open("t", step_s=3600).write(rows.with_columns(pl.col("ds").cast(pl.Datetime("us", "UTC"))))
    home.lake.open("flows").write(flows().with_columns(pl.col("ds").cast(pl.Datetime("us", "UTC"))))
    snapshot, at = home.lake.table("t").snapshot(Filter()), START + HOUR * 720
    signature = TASK.load(folder).signature  # type: ignore[attr-defined]
    version = home.registry.publish(
        Manifest("m", "forecast", "run", at, "code", snapshot, {}, signature, {}), folder, verdict()
    )
    home.registry.promote("m", version.number, run="run", by="run", reason="", at=at)
    answers = Answers(home, clock=lambda: at)
    answers.shelf.look()
    return answers


def sent(rows: pl.DataFrame) -> dict[str, list[Any]]:
    """Rows as a request brings them."""
    return rows.with_columns(pl.col("ds").dt.epoch("s")).to_dict(as_series=False)


@pytest.mark.parametrize("days", [3, 7, 12])
def test_old_rows_in_a_request_meet_the_outside_rows_of_their_own_time(
    rows: pl.DataFrame, items: Windows, folder: Path, answers: Answers, days: int
) -> None:
    cutoff = START + HOUR * 719 - timedelta(days=days)
    answer = answers.predict("m", sent(rows.filter(pl.col("ds") <= cutoff)))
    item = np.flatnonzero((items.panel.seconds == int(cutoff.timestamp())) & (items.panel.owner == 0))
    assert answer["columns"]["m"][:4] == pytest.approx(TASK.load(folder)(items, item)[0, :, 3], rel=1e-9)  # type: ignore[operator]
    assert "not all features are known" not in answer["warning"]


def test_newer_rows_in_a_request_read_nothing(rows: pl.DataFrame, answers: Answers) -> None:
    now = answers.shelf.place("m").now
    assert now.rows is not None
    assert answers.shelf.outside(now, columns_of(rows)) is now.rows.outside


def test_a_forecast_without_a_driver_is_warned_of(rows: pl.DataFrame, answers: Answers) -> None:
    said = "not all features are known that the model has learned from (driver SOL/USDT)"
    assert answers.forecast("m")["warning"] is None
    assert f"BTC/USDT: {said}" in answers.predict("m", sent(rows.filter(pl.col("unique_id").is_in(SERIES))))["warning"]


def test_a_change_of_one_in_a_billion_is_one_and_a_mean_has_the_digits_of_a_float32(rows: pl.DataFrame) -> None:
    counted = flows().with_columns(y=1e9 + pl.int_range(pl.len()))  # a float32 holds every 64th of these numbers
    wanted = recipe(series=SERIES, features={"outside": FEATURES["outside"]})
    run = TASK.prepare(rows.lazy(), wanted, judged_from=JUDGED_FROM, outside={"flows": counted.lazy()})
    values = dict(zip(run.features.names, run.features.values[48:720].T, strict=True))
    assert set(values["flows.y.change"]) == {1.0}
    assert values["flows.y.mean_1d"] == pytest.approx(1e9, abs=500)


# --- drivers whose rows are further apart, or closer


def every_second_hour(rows: pl.DataFrame, *, of: str) -> pl.DataFrame:
    return rows.filter((pl.col("unique_id") != of) | (pl.col("ds").dt.hour() % 2 == 0))


def test_a_driver_with_a_row_every_other_step_is_known_at_those_steps_in_training_and_serving(
    rows: pl.DataFrame, tmp_path: Path
) -> None:
    sparse = every_second_hour(rows, of="SOL/USDT")
    run = prepared(sparse, features={"drivers": ["SOL/USDT"]}, max_steps=1)
    TASK.export(TASK.fit(run, start=None, budget=Budget(60, device="cpu"), progress=silent), run, tmp_path)
    signature = TASK.load(tmp_path).signature | {"model": "m"}  # type: ignore[attr-defined]
    for hour, known in ((700, True), (701, False)):
        cutoff = START + HOUR * hour
        encoded = CODEC.encode(signature, columns_of(sparse.filter(pl.col("ds") <= cutoff)))
        here = (run.panel.seconds == int(cutoff.timestamp())) & (run.panel.owner == 0)
        assert encoded.inputs["features"][0] == pytest.approx(run.features.values[here][0], rel=1e-6, nan_ok=True)
        assert np.isfinite(encoded.inputs["features"][0]).all() == known


def test_a_driver_with_rows_between_the_steps_is_refused_before_training(rows: pl.DataFrame) -> None:
    coarse = every_second_hour(every_second_hour(rows, of="BTC/USDT"), of="ETH/USDT")
    with pytest.raises(BadRows, match="off the grid of 7200 s") as refused:
        prepared(coarse, features={"drivers": ["SOL/USDT"]})
    assert refused.value.where == "series SOL/USDT"
