from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.synthetic import HOUR, START, START_S, candles, plain, recipe, windows, without

from springtide.domain.errors import TooFewRows
from springtide.evaluation.scores import pinball
from springtide.tasks.forecast.baselines import fit_baselines, fit_scaled_quantiles
from springtide.tasks.forecast.grid import market_of, on_grid
from springtide.tasks.forecast.items import MOST_FILLED, split
from springtide.tasks.forecast.panel import build_panel
from springtide.tasks.forecast.scoring import score
from springtide.tasks.forecast.volatility import DECAYS, FLOOR, decay_weights, ewma_volatility

if TYPE_CHECKING:
    from springtide.tasks.forecast.baselines import Predictor
    from springtide.tasks.forecast.items import Windows

HOUR_S = 3600
SERIES = ("a", "b", "c")
numbers = st.integers(1, 1000).map(lambda n: n / 10)


@st.composite
def gappy(draw: st.DrawFn, *, rarely: bool = False) -> dict[str, dict[int, float]]:
    """For each of one to three series: hour to value, with missing hours; `rarely`: so few that the step is clear."""
    found = {}
    for name in SERIES[: draw(st.integers(1, 3))]:
        if rarely:
            hours = set(range(draw(st.integers(0, 9)), 40)) - draw(st.sets(st.integers(10, 38), max_size=9))
        else:
            hours = draw(st.sets(st.integers(0, 40), min_size=2))
        found[name] = {hour: draw(numbers) for hour in sorted(hours)}
    return found


def as_rows(series: dict[str, dict[int, float]]) -> pl.DataFrame:
    """Candles whose close is the value; the other columns tell themselves apart."""
    lines = [
        (name, START + HOUR * hour, close + 1, close + 2, close - 0.05, close, 7.0)
        for name, closes in series.items()
        for hour, close in closes.items()
    ]
    names = ("unique_id", "ds", "open", "high", "low", "close", "volume")
    return pl.DataFrame(lines, schema=names, orient="row")


# --- panel and grid


@given(gappy())
def test_a_missing_candle_is_flat_at_the_last_close_with_no_volume(series: dict[str, dict[int, float]]) -> None:
    closes = series["a"]
    hours = np.array(sorted(closes))
    values = np.array([[closes[h] + 1, closes[h] + 2, closes[h] - 0.05, closes[h], 7.0] for h in hours])
    seconds, full, filled = on_grid(START_S + hours * HOUR_S, values, step_s=HOUR_S)

    expected = []
    for hour in range(hours[0], hours[-1] + 1):
        last = closes[max(h for h in closes if h <= hour)]
        row = [last + 1, last + 2, last - 0.05, last, 7.0] if hour in closes else [last, last, last, last, 0.0]
        expected.append(row)
    assert full.tolist() == expected
    assert seconds.tolist() == [START_S + hour * HOUR_S for hour in range(hours[0], hours[-1] + 1)]
    assert filled.tolist() == [hour not in closes for hour in range(hours[0], hours[-1] + 1)]


@given(gappy())
def test_a_missing_plain_value_repeats_the_last_one(series: dict[str, dict[int, float]]) -> None:
    values = series["a"]
    hours = np.array(sorted(values))
    column = np.array([[values[hour]] for hour in hours])
    _, full, filled = on_grid(START_S + hours * HOUR_S, column, step_s=HOUR_S)
    spanned = range(hours[0], hours[-1] + 1)
    assert full[:, 0].tolist() == [values[max(h for h in values if h <= hour)] for hour in spanned]
    assert filled.tolist() == [hour not in values for hour in spanned]


@given(gappy())
def test_the_market_is_the_mean_move_of_the_series_that_have_one(series: dict[str, dict[int, float]]) -> None:
    full = {
        name: {hour: closes[max(h for h in closes if h <= hour)] for hour in range(min(closes), max(closes) + 1)}
        for name, closes in series.items()
    }

    def move(hour: int) -> float:
        moves = [
            abs(math.log(full[name][hour] / full[name][hour - 1]))
            for name, closes in series.items()  # a filled hour is no move
            if hour in closes and hour - 1 in full[name]
        ]
        return sum(moves) / len(moves) if moves else 0.0

    hours = [hour for closes in full.values() for hour in closes]
    close = [value for closes in full.values() for value in closes.values()]
    bounds = np.cumsum([0, *(len(closes) for closes in full.values())])
    filled = np.array([hour not in series[name] for name, closes in full.items() for hour in closes])
    found = market_of(np.array(hours) * HOUR_S, np.array(close), filled, bounds)
    assert found.tolist() == pytest.approx([move(hour) for hour in hours], abs=1e-12)


@given(gappy(rarely=True), st.randoms())
def test_a_panel_holds_every_row_once_in_its_own_series_whatever_the_order(
    series: dict[str, dict[int, float]], random: object
) -> None:
    rows = as_rows(series)
    order = list(range(rows.height))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    panel = build_panel(rows[order].lazy())
    assert panel.step_s == HOUR_S
    assert panel.series == tuple(series)
    real = {
        (panel.series[owner], int(second - START_S) // HOUR_S): close
        for owner, second, close, filled in zip(panel.owner, panel.seconds, panel.target, panel.filled, strict=True)
        if not filled
    }
    assert real == {(name, hour): close for name, closes in series.items() for hour, close in closes.items()}
    for name, first, stop in zip(panel.series, panel.bounds, panel.bounds[1:], strict=False):
        assert stop - first == max(series[name]) - min(series[name]) + 1
        assert np.all(np.diff(panel.seconds[first:stop]) == HOUR_S)


# --- items


@st.composite
def question(draw: st.DrawFn) -> tuple[pl.DataFrame, dict[str, int], int]:
    """Rows of one to three series of unequal span with gaps, spans in hours, and the hour from which is judged."""
    closes = {}
    for place in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, 30))
        last = draw(st.integers(90, 130))
        missing = draw(st.sets(st.integers(first + 1, last - 1), max_size=8))
        closes[SERIES[place]] = {hour: 1.0 + hour % 7 for hour in range(first, last + 1) if hour not in missing}
    spans = {
        "window": draw(st.integers(8, 24)),
        "horizon": draw(st.integers(1, 6)),
        "validation": draw(st.integers(1, 20)),
        "train_period": draw(st.integers(0, 40)),  # 0: all history
        "stride": draw(st.integers(1, 5)),
    }
    return as_rows(closes), spans, draw(st.integers(60, 110))


def ask(case: tuple[pl.DataFrame, dict[str, int], int]) -> Windows:
    rows, spans, judged = case
    asked = recipe(
        window=spans["window"],
        horizon=spans["horizon"],
        stride=spans["stride"],
        validation=HOUR * spans["validation"],
        train_period=HOUR * spans["train_period"] if spans["train_period"] else None,
    )
    return split(rows.lazy(), asked, judged_from=START + HOUR * judged)


def slow_split(case: tuple[pl.DataFrame, dict[str, int], int]) -> dict[str, list[tuple[str, int]]]:
    """Series and hour of every item of every part, by asking the question of each hour of each series."""
    rows, spans, judged = case
    window, horizon = spans["window"], spans["horizon"]
    validated = judged - horizon - spans["validation"]
    trained = validated - horizon - spans["train_period"] if spans["train_period"] else -math.inf
    parts: dict[str, list[tuple[str, int]]] = {"train": [], "validation": [], "judging": []}
    for (name,), part in rows.group_by("unique_id", maintain_order=True):
        have = {int((moment - START) / HOUR) for moment in part["ds"]}
        for hour in range(min(have), max(have) + 1):
            seen = range(hour - window + 1, hour + 1)
            ahead = range(hour + 1, hour + horizon + 1)
            missing = sum(h not in have for h in seen)
            if seen[0] < min(have) or any(h not in have for h in ahead) or missing > MOST_FILLED * window:
                continue
            if trained <= hour <= validated - horizon:
                parts["train"].append((str(name), hour))
            if validated <= hour <= judged - horizon:
                parts["validation"].append((str(name), hour))
            if hour >= judged and (START_S // HOUR_S + hour) % spans["stride"] == 0:
                parts["judging"].append((str(name), hour))
    return parts


@settings(deadline=None)
@given(question())
def test_items_are_those_that_a_slow_look_at_every_hour_finds(case: tuple[pl.DataFrame, dict[str, int], int]) -> None:
    expected = slow_split(case)
    if not all(expected.values()):
        with pytest.raises(TooFewRows):
            ask(case)
        return
    found = ask(case)
    for part, items in (("train", found.train), ("validation", found.validation), ("judging", found.judging)):
        names = np.array(found.panel.series)[found.panel.owner[items]]
        hours = (found.panel.seconds[items] - START_S) // HOUR_S
        assert list(zip(names.tolist(), hours.tolist(), strict=True)) == expected[part]


@settings(deadline=None)
@given(question())
def test_no_part_sees_an_outcome_of_a_later_part(case: tuple[pl.DataFrame, dict[str, int], int]) -> None:
    try:
        found = ask(case)
    except TooFewRows:
        return
    panel, reach = found.panel, found.recipe.horizon
    judged = int(found.judged_from.timestamp())
    last = {part: panel.seconds[getattr(found, part) + reach].max() for part in ("train", "validation")}
    assert last["train"] <= panel.seconds[found.validation].min()
    assert last["train"] <= last["validation"] <= judged <= panel.seconds[found.judging].min()
    assert int(found.trained_until.timestamp()) == last["validation"]

    def outcomes(items: np.ndarray) -> set[int]:
        return set((items[:, None] + np.arange(1, reach + 1)).ravel().tolist())

    parts = [outcomes(found.train), outcomes(found.validation), outcomes(found.judging)]
    assert len(set.union(*parts)) == sum(map(len, parts))


@settings(deadline=None)
@given(question())
def test_an_item_stays_inside_of_its_series_and_none_is_asked_for_a_filled_row(
    case: tuple[pl.DataFrame, dict[str, int], int],
) -> None:
    try:
        found = ask(case)
    except TooFewRows:
        return
    panel, items = found.panel, np.concatenate([found.train, found.validation, found.judging])
    assert np.array_equal(panel.owner[items - found.recipe.window + 1], panel.owner[items])
    assert np.array_equal(panel.owner[items + found.recipe.horizon], panel.owner[items])
    assert not panel.filled[items[:, None] + np.arange(1, found.recipe.horizon + 1)].any()
    assert np.array_equal(found.outcomes(items)[:, 0], panel.target[items + 1])


# --- volatility and baselines


@given(st.lists(numbers, min_size=2, max_size=40), st.integers(8, 20), st.sampled_from(DECAYS))
def test_volatility_is_a_weighted_mean_of_the_squared_changes_inside_the_window(
    closes: list[float], window: int, decay: float
) -> None:
    logs = [math.log(close) for close in closes]

    def slow(row: int) -> float:
        weights = [decay**age for age in range(window - 1)]
        squares = [(logs[row - age] - logs[row - age - 1]) ** 2 if row - age >= 1 else 0.0 for age in range(window - 1)]
        mean = sum(w * s for w, s in zip(weights, squares, strict=True)) / sum(weights)
        return math.sqrt(mean + FLOOR**2)

    # a series before it must not leak into its first rows
    before = {"a": dict(enumerate([50.0, 10.0, 90.0])), "b": dict(enumerate(closes))}
    panel = build_panel(as_rows(before).lazy())
    found = ewma_volatility(panel, window=window, decay=decay)[3:]
    assert found.tolist() == pytest.approx([slow(row) for row in range(len(closes))], rel=1e-6, abs=1e-9)


@given(st.integers(2, 60), st.sampled_from(DECAYS))
def test_the_weights_of_a_window_sum_to_one_and_the_newest_weighs_most(window: int, decay: float) -> None:
    weights = decay_weights(window, decay)
    assert len(weights) == window - 1
    assert weights.sum() == pytest.approx(1)
    assert np.allclose(weights[:-1], weights[1:] * decay)


@pytest.fixture(scope="module")
def gapped() -> Windows:
    return windows(without(candles(), "ETH/USDT", range(100, 103)), stride=3)


@pytest.fixture(scope="module")
def plain_items() -> Windows:
    return windows(plain(), stride=3)


@pytest.fixture(scope="module", params=["candles", "plain"])
def tiny(request: pytest.FixtureRequest, gapped: Windows, plain_items: Windows) -> Windows:
    return gapped if request.param == "candles" else plain_items


def level(items: Windows, row: int) -> float:
    value = float(items.panel.target[row])
    return math.log(value) if items.panel.kind == "candles" else value


def value(items: Windows, level: float) -> float:
    return math.exp(level) if items.panel.kind == "candles" else level


def quantile(values: list[float], share: float) -> float:
    """The quantile that interpolates between order statistics."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def shift(items: Windows, name: str, row: int, step: int) -> float:
    """The change that a point baseline expects `step` steps after `row`, in its own words."""
    if name == "last-value":
        return 0.0
    owner = items.panel.owner
    first = int(items.panel.bounds[owner[row]])
    if name == "drift":
        last = max(int(p) for p in items.train if owner[p] == owner[row])
        return step * (level(items, last) - level(items, first)) / (last - first)
    past = row + step
    while past > row:
        past -= items.season
    return level(items, max(past, first)) - level(items, row)


@pytest.mark.parametrize("name", ["last-value", "drift", "seasonal-naive"])
def test_a_point_baseline_adds_the_spread_of_its_own_past_errors(name: str, tiny: Windows) -> None:
    owner, levels = tiny.panel.owner, tiny.recipe.levels
    asked = tiny.judging[:: len(tiny.judging) // 5]
    found = fit_baselines(tiny)[name](tiny, asked)
    for place, row in enumerate(asked.tolist()):
        mine = [int(p) for p in tiny.train if owner[p] == owner[row]]
        for step in range(1, tiny.recipe.horizon + 1):
            errors = [level(tiny, p + step) - level(tiny, p) - shift(tiny, name, p, step) for p in mine]
            point = level(tiny, row) + shift(tiny, name, row, step)
            slow = [value(tiny, point + quantile(errors, q) - quantile(errors, 0.5)) for q in levels]
            assert found[place, step - 1].tolist() == pytest.approx(slow, rel=1e-9)


def test_the_median_of_the_last_value_is_the_last_value(tiny: Windows) -> None:
    median = fit_baselines(tiny)["last-value"](tiny, tiny.judging)[:, :, len(tiny.recipe.levels) // 2]
    now = np.repeat(tiny.panel.target[tiny.judging][:, None], tiny.recipe.horizon, axis=1)
    assert median == pytest.approx(now, rel=1e-12)


def test_the_seasonal_naive_repeats_a_season_that_repeats() -> None:
    hours = 24 * 30
    season = np.random.default_rng(0).normal(size=24)
    rows = plain(hours, series=["a"]).with_columns(y=pl.Series(np.tile(season, 30)))
    items = windows(rows, horizon=30)  # longer than one season
    found = fit_baselines(items)["seasonal-naive"](items, items.judging)
    assert found[:, :, 3] == pytest.approx(items.outcomes(items.judging), abs=1e-12)


def test_the_volatility_baseline_has_the_decay_and_the_quantiles_that_fitted_the_training_part_best(
    tiny: Windows,
) -> None:
    fitted = fit_scaled_quantiles(tiny)
    levels = np.array(tiny.recipe.levels)
    changes = np.array(
        [
            [level(tiny, p + step) - level(tiny, p) for step in range(1, tiny.recipe.horizon + 1)]
            for p in tiny.train.tolist()
        ]
    )
    losses, tables = {}, {}
    for decay in DECAYS:
        volatility = ewma_volatility(tiny.panel, window=tiny.recipe.window, decay=decay)[tiny.train]
        units = changes / volatility[:, None]
        tables[decay] = [[quantile(column.tolist(), q) for q in levels] for column in units.T]
        losses[decay] = pinball(changes, volatility[:, None, None] * np.array(tables[decay]), levels).mean()
    assert fitted.decay == min(losses, key=losses.__getitem__)
    assert fitted.table.tolist() == pytest.approx(np.array(tables[fitted.decay]), rel=1e-9)
    asked = tiny.judging[::7]
    volatility = ewma_volatility(tiny.panel, window=tiny.recipe.window, decay=fitted.decay)
    slow = [
        [[value(tiny, level(tiny, row) + volatility[row] * cell) for cell in line] for line in fitted.table]
        for row in asked.tolist()
    ]
    assert fitted(tiny, asked) == pytest.approx(np.array(slow), rel=1e-12)


@pytest.mark.parametrize("name", ["last-value", "drift", "seasonal-naive", "ewma-volatility"])
def test_the_quantiles_of_a_baseline_rise(name: str, tiny: Windows) -> None:
    assert np.all(np.diff(fit_baselines(tiny)[name](tiny, tiny.judging), axis=2) >= 0)


# --- scoring


def skewed(items: Windows, asked: np.ndarray) -> np.ndarray:
    """A predictor that is wrong in a known way: (n, horizon, levels)."""
    spread = (np.array(items.recipe.levels) - 0.4) * (1 + np.arange(items.recipe.horizon))[:, None]
    return items.panel.target[asked][:, None, None] * (1 + 0.01 * spread)


def naive_error(items: Windows, row: int) -> float:
    """The mean change over a season in the training part of the item's series."""
    owner, season = items.panel.owner, items.season
    last = max(int(p) for p in items.train if owner[p] == owner[row])
    past = items.panel.target[int(items.panel.bounds[owner[row]]) : last].tolist()
    return sum(abs(b - a) for a, b in zip(past, past[season:], strict=False)) / (len(past) - season)


@pytest.mark.parametrize("which", ["skewed", "drift", "ewma-volatility"])
def test_a_loss_is_the_pinball_loss_in_units_of_the_item(which: str, tiny: Windows) -> None:
    predictor: Predictor = skewed if which == "skewed" else fit_baselines(tiny)[which]
    found = score(predictor, tiny)
    quantiles = predictor(tiny, tiny.judging)
    candle = tiny.panel.kind == "candles"
    slow: dict[str, list[float]] = {name: [] for name in ("loss", "mae", "squared", "mase", "in_80", "hits")}
    for place, row in enumerate(tiny.judging.tolist()):
        now = float(tiny.panel.target[row])
        scale = now if candle else naive_error(tiny, row)
        for step in range(tiny.recipe.horizon):
            outcome, line = float(tiny.panel.target[row + step + 1]), quantiles[place, step].tolist()
            losses = [
                max(q * (outcome - y), (q - 1) * (outcome - y)) for q, y in zip(tiny.recipe.levels, line, strict=True)
            ]
            error = outcome - line[3]
            slow["loss"].append(sum(losses) / len(losses) / scale)
            slow["mae"].append(abs(error) / scale)
            slow["squared"].append(error**2 / scale**2)
            slow["mase"].append(abs(error) / naive_error(tiny, row))
            slow["in_80"].append(line[1] <= outcome <= line[5])
            slow["hits"].append(0.5 if line[3] == now else (line[3] > now) == (outcome > now) and outcome != now)
    mean = {name: sum(column) / len(column) for name, column in slow.items()}
    expected = {
        "mae": mean["mae"],
        "rmse": math.sqrt(mean["squared"]),
        "mase": mean["mase"],
        "crps": 2 * mean["loss"],
        "coverage_80": mean["in_80"],
        "direction": mean["hits"],
    }
    by_item = np.reshape(slow["loss"], (-1, tiny.recipe.horizon)).mean(axis=1)
    assert found.values == pytest.approx(by_item, rel=1e-9)
    assert {name: found.metrics[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert {"coverage_50", "coverage_90"} <= found.metrics.keys()
    assert found.overlap == (tiny.recipe.horizon - 1) // tiny.recipe.stride
    assert found.times.tolist() == tiny.panel.seconds[tiny.judging].tolist()
    assert set(found.groups.tolist()) == set(tiny.panel.series)


def test_the_season_of_a_plain_hourly_series_is_a_day(plain_items: Windows) -> None:
    assert plain_items.season == timedelta(days=1) // HOUR
