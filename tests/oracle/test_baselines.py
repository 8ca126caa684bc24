"""The fast baselines beside slow ones that follow the books word by word, and beside the libraries they come from."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from arch import arch_model
from statsforecast.ets import forward_ets
from statsforecast.models import AutoETS, DynamicOptimizedTheta
from tests.synthetic import HOUR, START, candles, plain, windows, without

from springtide.domain.errors import SettingsError, TooFewRows
from springtide.tasks.forecast.baselines import COSTLY, fit_baselines, fit_log_har
from springtide.tasks.forecast.baselines import log_har as fast
from springtide.tasks.forecast.baselines.classical import MOST_SERIES, _history, _path
from springtide.tasks.forecast.baselines.garch import LEAST_CHANGES, Garch, fit_garch
from springtide.tasks.forecast.volatility import FLOOR

if TYPE_CHECKING:
    from springtide.tasks.forecast.items import Windows


@pytest.fixture(scope="module", params=["candles", "plain", "logarithmic"])
def tiny(request: pytest.FixtureRequest) -> Windows:
    if request.param == "candles":
        return windows(without(candles(), "ETH/USDT", range(100, 103)), stride=3)
    if request.param == "plain":
        return windows(plain(), stride=3)
    return windows(plain().with_columns(pl.col("y").sub(pl.col("y").min()).add(50)), stride=3, logarithmic=True)


def moved(items: Windows, row: int, steps: int) -> float:
    return float(items.panel.level[row + steps] - items.panel.level[row])


def medians(items: Windows, quantiles: np.ndarray) -> np.ndarray:
    """(n, horizon) medians on the scale of the level."""
    middle = quantiles[:, :, len(items.recipe.levels) // 2]
    return np.log(middle) if items.panel.logarithmic else middle


# --- log-har


def step_variance(items: Windows, row: int) -> float:
    """Of the step that ends at `row`: the mean of its squared change and of what its range stands for."""
    square = moved(items, row - 1, 1) ** 2
    if items.panel.kind == "plain":
        return square
    _, high, low, _, _ = items.panel.values[row].tolist()
    return (square + math.log(high / low) ** 2 / (4 * math.log(2))) / 2


def facts_of(items: Windows, row: int) -> tuple[list[float], float]:
    """What the window that ends at `row` shows, and its volatility."""
    terms = items.recipe.window - 1
    spans = [span for span in (1, 3, 6, 12, 24, 72) if span < terms] + [terms]
    variances = {span: [step_variance(items, row - back) for back in range(span)] for span in spans}
    unit = math.sqrt(sum(variances[terms]) / terms + FLOOR**2)
    squares = [0.5 * math.log(sum(variances[span]) / span / unit**2 + 0.01) for span in spans[:-1]]
    roots = [math.log(sum(map(math.sqrt, variances[span])) / span / unit + 0.1) for span in spans[1:]]
    returns = [math.asinh(moved(items, row - span, span) / math.sqrt(span) / unit) for span in spans]
    hour = int(items.panel.seconds[row]) / 3600
    turns = [hour * harmonic / 24 for harmonic in (1, 2, 3, 4)] + [hour * harmonic / 168 for harmonic in (1, 2, 3)]
    waves = [wave(2 * math.pi * (turn % 1)) for turn in turns for wave in (math.sin, math.cos)]
    return [math.log(unit), *squares, *roots, *returns, *(min(one, 0.0) for one in returns), *waves, 1.0], unit


def ahead_of(items: Windows, row: int, steps: int, unit: float) -> float:
    """Log of the volatility of the steps after `row`, in units of `unit`."""
    mean = sum(step_variance(items, row + step) for step in range(1, steps + 1)) / steps
    return 0.5 * math.log(min(mean / unit**2, 10_000.0) + 0.01)


def test_log_har_is_the_ridge_regression_of_coming_log_volatilities_on_the_facts_of_the_window(tiny: Windows) -> None:
    fitted = fit_log_har(tiny)
    observed = [facts_of(tiny, row) for row in tiny.train.tolist()]
    facts = np.array([one[0][:-1] for one in observed])
    spread = facts.std(axis=0)
    normal = (facts - facts.mean(axis=0)) / spread
    lines = {}
    for steps in (1, 2, 3, 4):  # the horizon; all of them are regressed
        wanted = np.array(
            [ahead_of(tiny, row, steps, unit) for row, (_, unit) in zip(tiny.train.tolist(), observed, strict=True)]
        )
        penalty = math.sqrt(30 * 4) * np.eye(facts.shape[1])  # ridge regression as least squares with further rows
        target = np.concatenate([wanted - wanted.mean(), np.zeros(facts.shape[1])])
        slopes = np.linalg.lstsq(np.concatenate([normal, penalty]), target, rcond=None)[0] / spread
        lines[steps] = np.append(slopes, wanted.mean() - facts.mean(axis=0) @ slopes)
    assert fitted.weights == pytest.approx(np.stack(list(lines.values()), axis=1), rel=1e-6, abs=1e-9)

    foretold = np.array([[unit * math.exp(np.dot(one, lines[k])) for k in (1, 2, 3, 4)] for one, unit in observed])
    scaled = np.array([[moved(tiny, row, k) for k in (1, 2, 3, 4)] for row in tiny.train.tolist()]) / foretold
    table = np.quantile(scaled, tiny.recipe.levels, axis=0).T
    spread, lean = (table - table[:, ::-1]) / 2, (table + table[:, ::-1]) / 2
    assert fitted.table == pytest.approx(spread + lean / 2, rel=1e-6)


def test_log_har_says_the_volatility_of_its_facts_times_its_table(tiny: Windows) -> None:
    fitted, asked = fit_log_har(tiny), tiny.judging[::17]
    found = fitted(tiny, asked)
    for place, row in enumerate(asked.tolist()):
        facts, unit = facts_of(tiny, row)
        volatility = unit * np.exp(np.array(facts) @ fitted.weights)
        level = tiny.panel.level[row] + volatility[:, None] * fitted.table
        assert found[place] == pytest.approx(np.exp(level) if tiny.panel.logarithmic else level, rel=1e-9)


def test_steps_between_the_regressed_ones_are_interpolated_on_their_logarithm() -> None:
    items = windows(candles(series=["BTC/USDT"]), horizon=12)
    weights = fit_log_har(items).weights
    share = math.log(10 / 8) / math.log(12 / 8)  # 1, 2, 3, 5, 8 and 12 are regressed
    assert weights[:, 9] == pytest.approx((1 - share) * weights[:, 7] + share * weights[:, 11], abs=1e-12)


def test_log_har_answers_alike_in_small_parts_and_in_one(tiny: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit_log_har(tiny)
    monkeypatch.setattr(fast, "CHUNK", 7 * tiny.recipe.window)
    parts = fit_log_har(tiny)
    assert parts.weights == pytest.approx(whole.weights, rel=1e-9, abs=1e-12)
    assert parts(tiny, tiny.judging) == pytest.approx(whole(tiny, tiny.judging), rel=1e-9)


def test_log_har_sees_nothing_before_the_window(tiny: Windows) -> None:
    fitted, row = fit_log_har(tiny), int(tiny.judging[0])
    before = fitted.volatility(tiny, np.array([row]))
    first = row - tiny.recipe.window + 1
    kept = tiny.panel.values.copy(), tiny.panel.level.copy()
    try:
        tiny.panel.values[:first], tiny.panel.level[:first] = 1.0, 0.0
        assert fitted.volatility(tiny, np.array([row])).tolist() == before.tolist()
        tiny.panel.level[first] += 1.0
        assert fitted.volatility(tiny, np.array([row])).tolist() != before.tolist()
    finally:
        tiny.panel.values[:], tiny.panel.level[:] = kept


def test_log_har_foretells_a_rhythm_of_volatility_that_the_last_hours_alone_do_not_show() -> None:
    items = windows(candles(), horizon=1)  # moves nine times as much at noon as at midnight
    foretold = fit_log_har(items).volatility(items, items.judging)[:, 0]
    hours = items.panel.seconds[items.judging] // 3600 % 24
    assert foretold[hours == 11].mean() > 4 * foretold[hours == 23].mean()


def test_a_series_that_was_flat_for_a_window_has_a_forecast() -> None:
    rows = plain(series=["a"]).with_columns(y=pl.when(pl.col("ds") < START + 200 * HOUR).then(5.0).otherwise("y"))
    items = windows(rows)
    found = fit_log_har(items)(items, np.concatenate([items.train, items.judging]))
    assert np.isfinite(found).all()


def test_log_har_of_daily_rows_has_the_rhythm_of_the_week_and_of_hours_none() -> None:
    monday = 345_600 + 7 * 86_400 * np.arange(3)
    assert fast._calendar(monday, 86_400).shape == (3, 6)  # three harmonics of the week
    assert fast._calendar(monday, 7 * 86_400).shape == (3, 0)
    assert np.ptp(fast._calendar(monday, 86_400), axis=0) == pytest.approx(np.zeros(6), abs=1e-12)


# --- garch


def garch_walk(hours: int, *, seed: int) -> pl.DataFrame:
    """A plain series whose changes are GARCH(1,1) with omega 0.05, alpha 0.15 and beta 0.8."""
    shocks, variance, changes = np.random.default_rng(seed).standard_normal(hours), 1.0, []
    for shock in shocks:
        changes.append(math.sqrt(variance) * shock)
        variance = 0.05 + 0.15 * changes[-1] ** 2 + 0.8 * variance
    times = [START + HOUR * hour for hour in range(hours)]
    return pl.DataFrame({"unique_id": ["a"] * hours, "ds": times, "y": np.cumsum(changes)})


def test_garch_finds_the_parameters_that_made_a_series() -> None:
    items = windows(garch_walk(9_000, seed=3), judged_from=START + 8_800 * HOUR)
    omega, alpha, beta = fit_garch(items).parameters[0]
    assert omega == pytest.approx(0.05, abs=0.03)
    assert alpha == pytest.approx(0.15, abs=0.03)
    assert beta == pytest.approx(0.8, abs=0.04)


def test_garch_foretells_the_variance_that_the_library_foretells() -> None:
    items = windows(garch_walk(1_200, seed=4), judged_from=START + 1_000 * HOUR)
    fitted = fit_garch(items)
    unscaled = Garch(fitted.parameters, fitted.start, np.ones((items.recipe.horizon, len(items.recipe.levels))))
    row = int(items.judging[-1])
    volatility = unscaled(items, np.array([row]))[0, :, 0] - items.panel.level[row]
    model = arch_model(np.diff(items.panel.level[: row + 1]), mean="Zero", vol="GARCH", p=1, q=1, rescale=False)
    expected = model.fix(fitted.parameters[0]).forecast(horizon=4).variance.to_numpy()[-1].cumsum()
    assert volatility**2 == pytest.approx(expected, rel=1e-6)


def test_garch_is_its_recursion_row_by_row_and_the_quantiles_of_past_changes_in_its_units(tiny: Windows) -> None:
    fitted, panel = fit_garch(tiny), tiny.panel
    foretold = {}
    for index, (omega, alpha, beta) in enumerate(fitted.parameters.tolist()):
        variance = fitted.start[index]
        for row in range(panel.bounds[index], panel.bounds[index + 1]):
            change = 0.0 if row == panel.bounds[index] else moved(tiny, row - 1, 1)
            variance = omega + alpha * change**2 + beta * variance
            steps, ahead = variance, variance
            foretold[row] = [math.sqrt(steps + FLOOR**2)]
            for _ in range(tiny.recipe.horizon - 1):
                ahead = omega + (alpha + beta) * ahead
                steps += ahead
                foretold[row].append(math.sqrt(steps + FLOOR**2))
    rows = tiny.train.tolist()
    scaled = [[moved(tiny, row, k + 1) / foretold[row][k] for k in range(tiny.recipe.horizon)] for row in rows]
    table = np.quantile(np.array(scaled), tiny.recipe.levels, axis=0).T
    spread, lean = (table - table[:, ::-1]) / 2, (table + table[:, ::-1]) / 2
    assert fitted.table == pytest.approx(spread + lean / 2, rel=1e-9)
    asked = tiny.judging[::17]
    level = np.array([panel.level[row] + np.array(foretold[row])[:, None] * fitted.table for row in asked.tolist()])
    assert fitted(tiny, asked) == pytest.approx(np.exp(level) if panel.logarithmic else level, rel=1e-9)


def test_a_series_too_young_for_garch_has_the_parameters_of_the_others() -> None:
    young = candles(series=["NEW/USDT"], seed=9).filter(pl.col("ds") >= START + 20 * 24 * HOUR)
    fitted = fit_garch(windows(pl.concat([candles(series=["BTC/USDT"]), young])))
    assert fitted.parameters[1] == pytest.approx(fitted.parameters[0])


def test_garch_asks_for_more_history_than_a_handful_of_changes() -> None:
    hours = LEAST_CHANGES + 100
    few = windows(plain(hours), judged_from=START + (hours - 20) * HOUR, validation="4d", window=8)
    with pytest.raises(TooFewRows, match="GARCH"):
        fit_garch(few)


# --- theta and ets


def step_by_step(model: AutoETS, known: np.ndarray, steps: int) -> list[float]:
    """The library's forecasts of one step, each taken for what happened before the next one is made.

    For many steps at once the library damps a slope a little less than its own states say.
    """
    path: list[float] = []
    for _ in range(steps):
        path.append(float(model.forward(np.append(known, path), h=1)["mean"][0]))
    return path


def test_ets_is_the_library_fitted_once_and_carried_forward(tiny: Windows) -> None:
    asked = tiny.judging[::19]
    found = medians(tiny, fit_baselines(tiny, ["ets"])["ets"](tiny, asked))
    for index in range(len(tiny.panel.series)):
        history = _history(tiny, index, 720)
        model = AutoETS(season_length=24, model="AZA").fit(tiny.panel.level[history])
        for place in np.flatnonzero(tiny.panel.owner[asked] == index):
            slow = step_by_step(model, tiny.panel.level[history.start : asked[place] + 1], 4)
            assert found[place].tolist() == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize("damped", [True, False])
@pytest.mark.parametrize("model", ["ANN", "AAN", "ANA", "AAA"])
def test_a_path_goes_on_from_level_slope_and_season(model: str, *, damped: bool) -> None:
    level = plain(300, series=["a"])["y"].to_numpy() + np.arange(300) / 10
    smoothing = AutoETS(season_length=12, model=model, damped=damped and model[1] != "N").fit(level)
    path = _path(smoothing.model_, forward_ets(smoothing.model_, level)["states"][-1:], 30)
    assert path[0].tolist() == pytest.approx(step_by_step(smoothing, level, 30), rel=1e-9)


def test_theta_is_the_library_on_the_window_alone(tiny: Windows) -> None:
    asked = tiny.judging[::19]
    found = medians(tiny, fit_baselines(tiny, ["theta"])["theta"](tiny, asked))
    method = DynamicOptimizedTheta(season_length=24)
    slow = [method.forecast(tiny.panel.level[row - 23 : row + 1], h=4)["mean"] for row in asked.tolist()]
    assert found == pytest.approx(np.array(slow), rel=1e-9)


def test_theta_says_what_to_do_instead_of_taking_minutes() -> None:
    items = windows(plain(24 * 600, series=["a"]), judged_from=START + 24 * 300 * HOUR)
    with pytest.raises(SettingsError, match="raise `stride`") as refused:
        fit_baselines(items, ["theta"])
    assert "7,1" in refused.value.what  # so many judging items


def test_ets_says_what_to_do_instead_of_taking_minutes() -> None:
    items = windows(plain(24 * 9, series=[f"s{n}" for n in range(MOST_SERIES + 1)]), judged_from=START + 24 * 7 * HOUR)
    with pytest.raises(SettingsError, match="at most 100 series, here are 101"):
        fit_baselines(items, ["ets"])


# --- all of them


@pytest.mark.parametrize("name", ["log-har", *COSTLY])
def test_the_quantiles_of_a_further_baseline_rise(name: str, tiny: Windows) -> None:
    assert np.all(np.diff(fit_baselines(tiny, [name])[name](tiny, tiny.judging[::5]), axis=2) >= 0)


def test_a_costly_baseline_is_worked_out_only_where_it_is_asked_for(tiny: Windows) -> None:
    cheap = {"last-value", "drift", "seasonal-naive", "ewma-volatility", "log-har"}
    assert set(fit_baselines(tiny)) == cheap
    assert set(fit_baselines(tiny, ["last-value", "garch", "no-such-name"])) == {*cheap, "garch"}


def test_the_libraries_of_costly_baselines_are_imported_only_where_they_are_asked_for() -> None:
    code = (
        "import sys, springtide.tasks.forecast.baselines; print({'arch', 'statsforecast', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(("name", "library"), [("garch", "arch"), ("ets", "statsforecast"), ("theta", "statsforecast")])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    name: str, library: str, tiny: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = [module for module in sys.modules if module.partition(".")[0] == library]
    for module in (*loaded, f"springtide.tasks.forecast.baselines.{COSTLY[name]}"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    with pytest.raises(SettingsError, match=rf"needs the library {library}(.|\n)*springtide\[baselines\]"):
        fit_baselines(tiny, [name])
