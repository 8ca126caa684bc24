"""The benchmark of the gate in a short form: what it promotes where nothing is better, and where something is."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.false_promotions import (
    DAY,
    JUDGED,
    NARROW,
    USUAL,
    Forecaster,
    Life,
    Market,
    draw_markets,
    mean_loss,
    too_wide,
)


@pytest.fixture(scope="module")
def markets() -> list[Market]:
    """Synthetic random walks, long enough for 20 daily looks."""
    return draw_markets(np.random.default_rng(3), walks=20, times=JUDGED + 20 * DAY)


def promoted(markets: list[Market], rule: str, life: Life) -> float:
    return life.shares(markets, rule, np.random.default_rng(4), within=[life.looks])[0]


def test_many_looks_break_the_rule_for_one_look_and_not_the_rule_for_many(markets: list[Market]) -> None:
    once, often = (Life(USUAL, USUAL, looks=looks, every=DAY) for looks in (1, 20))
    assert promoted(markets, "better", once) > 0.25
    assert promoted(markets, "significant", once) <= 0.1
    assert promoted(markets, "significant", often) > 0.2
    assert promoted(markets, "anytime", often) <= 0.05


def test_a_challenger_that_is_often_a_little_better_and_seldom_much_worse_is_not_promoted(
    markets: list[Market],
) -> None:
    rng = np.random.default_rng(5)
    champion = too_wide(markets, NARROW, rng)
    assert mean_loss(markets, champion, rng) == pytest.approx(mean_loss(markets, NARROW, rng), rel=1e-3)
    assert promoted(markets, "anytime", Life(champion, NARROW, looks=5, every=4 * DAY)) <= 0.05


def test_a_challenger_that_is_really_better_is_promoted_by_every_rule(markets: list[Market]) -> None:
    rng, poor = np.random.default_rng(5), Forecaster(1.0)
    assert mean_loss(markets, USUAL, rng) < 0.9 * mean_loss(markets, poor, rng)
    for rule in ("better", "significant", "anytime"):
        assert promoted(markets, rule, Life(poor, USUAL, looks=5, every=DAY)) > 0.7
