from __future__ import annotations

import numpy as np
import pytest

from springtide.evaluation.gate import Rule, decide
from springtide.evaluation.losses import Losses

NOISE = np.random.default_rng(0).standard_normal((4, 1200))
BETTER = Rule("better", baselines=("naive",))
SIGNIFICANT = Rule("significant", alpha=0.05, baselines=("naive",))


def losses(mean: float, *, noise: int = 0, spread: float = 0.01) -> Losses:
    """1,200 losses with exactly that mean; those of one `noise` differ by a constant only."""
    own = NOISE[noise] - NOISE[noise].mean()
    return Losses("pinball loss", mean + spread * own, np.arange(1200), np.full(1200, "BTC/USDT"))


def test_a_challenger_that_beats_champion_and_baseline_is_promoted() -> None:
    verdict = decide(
        losses(0.9),
        champion=("btc@3", losses(1.0, noise=1)),
        baselines={"naive": losses(1.2, noise=2)},
        rule=SIGNIFICANT,
    )
    assert verdict.promote
    assert verdict.reason.startswith("on 1,200 unseen items the mean pinball loss is 0.9, ")
    assert "10.00% lower than btc@3's (p = " in verdict.reason
    assert "25.00% lower than naive's (p = " in verdict.reason
    assert verdict.reason.endswith(": promote, champion and baselines are beaten")
    assert verdict.rule == "significant at 0.05"
    assert (verdict.items, verdict.loss_name, verdict.warning) == (1200, "pinball loss", None)
    assert verdict.loss == pytest.approx(0.9)


@pytest.mark.parametrize("rule", [BETTER, SIGNIFICANT])
def test_a_challenger_that_beats_the_champion_but_no_baseline_is_kept_out(rule: Rule) -> None:
    verdict = decide(
        losses(0.9), champion=("btc@3", losses(1.0, noise=1)), baselines={"naive": losses(0.8, noise=2)}, rule=rule
    )
    assert not verdict.promote
    assert "12.50% higher than naive's" in verdict.reason
    assert verdict.reason.endswith(": keep, it is not better than naive")


@pytest.mark.parametrize("rule", [BETTER, SIGNIFICANT])
def test_a_challenger_that_beats_the_baseline_but_not_the_champion_is_kept_out(rule: Rule) -> None:
    verdict = decide(
        losses(0.9), champion=("btc@3", losses(0.8, noise=1)), baselines={"naive": losses(1.0, noise=2)}, rule=rule
    )
    assert not verdict.promote
    assert verdict.reason.endswith(": keep, it is not better than btc@3")


def test_every_rival_that_was_not_beaten_is_named() -> None:
    verdict = decide(
        losses(0.9), champion=("btc@3", losses(0.8, noise=1)), baselines={"naive": losses(0.7, noise=2)}, rule=BETTER
    )
    assert verdict.reason.endswith(": keep, it is not better than btc@3 and naive")


def test_a_gain_that_may_be_chance_is_enough_for_better_and_not_for_significant() -> None:
    mine, rival = losses(0.999, spread=0.5), losses(1.0, noise=1, spread=0.5)
    assert decide(mine, champion=None, baselines={"naive": rival}, rule=BETTER).promote
    verdict = decide(mine, champion=None, baselines={"naive": rival}, rule=SIGNIFICANT)
    assert not verdict.promote
    assert verdict.reason.endswith(": keep, the gain over naive may be chance (the rule asks for p < 0.05)")
    assert verdict.comparisons[0].p_value > 0.05


def test_a_stricter_level_keeps_out_what_a_looser_one_lets_in() -> None:
    mine, rival = losses(0.967, spread=0.4), losses(1.0, noise=1, spread=0.4)
    p_value = decide(mine, champion=None, baselines={"naive": rival}, rule=BETTER).comparisons[0].p_value
    for alpha in (p_value / 2, p_value, p_value * 2):
        rule = Rule("significant", alpha=alpha, baselines=("naive",))
        assert decide(mine, champion=None, baselines={"naive": rival}, rule=rule).promote == (p_value < alpha)


def test_an_equal_challenger_is_not_better() -> None:
    same = losses(1.0)
    verdict = decide(same, champion=("btc@1", same), baselines={}, rule=Rule("better"))
    assert not verdict.promote
    assert verdict.rule == "better"
    assert verdict.comparisons[0].gain == 0.0


@pytest.mark.parametrize("rule", [BETTER, SIGNIFICANT])
def test_a_gain_by_rounding_is_none(rule: Rule) -> None:
    same = losses(1.0)
    rounded = Losses(same.name, same.values * (1 - 1e-14 * NOISE[1] ** 2), same.times, same.groups)
    verdict = decide(rounded, champion=None, baselines={"naive": same}, rule=rule)
    assert rounded.mean < same.mean
    assert not verdict.promote
    assert verdict.reason.endswith(": keep, it is not better than naive")


def test_a_baseline_that_the_rule_does_not_name_is_shown_and_is_no_bar() -> None:
    verdict = decide(
        losses(0.9),
        champion=None,
        baselines={"naive": losses(1.0, noise=1), "oracle": losses(0.1, noise=2)},
        rule=SIGNIFICANT,
    )
    assert verdict.promote
    assert [one.rival for one in verdict.comparisons] == ["naive", "oracle"]
    assert [one.passed for one in verdict.comparisons] == [True, False]
    assert "oracle" not in verdict.reason


def test_the_champion_stands_first_and_every_figure_beside_its_rival() -> None:
    verdict = decide(
        losses(0.9), champion=("btc@3", losses(1.0, noise=1)), baselines={"naive": losses(1.2, noise=2)}, rule=BETTER
    )
    champion, baseline = verdict.comparisons
    assert (champion.rival, champion.kind, baseline.rival, baseline.kind) == ("btc@3", "champion", "naive", "baseline")
    assert (champion.loss, baseline.loss) == (pytest.approx(1.0), pytest.approx(1.2))
    assert (champion.gain, baseline.gain) == (pytest.approx(0.1), pytest.approx(0.25))


def test_a_first_version_is_judged_like_any_other_when_the_gate_asks_so() -> None:
    verdict = decide(losses(1.1), champion=None, baselines={"naive": losses(1.0, noise=1)}, rule=SIGNIFICANT)
    assert not verdict.promote
    assert verdict.warning is None


def test_a_first_version_that_always_serves_carries_a_warning_when_it_lost() -> None:
    rule = Rule("significant", baselines=("naive",), first="always")
    verdict = decide(losses(1.1), champion=None, baselines={"naive": losses(1.0, noise=1)}, rule=rule)
    assert verdict.promote
    assert verdict.warning == "serves without proof: it did not beat naive, and gate.first is 'always'"
    assert verdict.reason.endswith(": promote as the first version although it is not better than naive")


def test_a_first_version_that_always_serves_carries_no_warning_when_it_won() -> None:
    rule = Rule("significant", baselines=("naive",), first="always")
    verdict = decide(losses(0.9), champion=None, baselines={"naive": losses(1.0, noise=1)}, rule=rule)
    assert verdict.promote
    assert verdict.warning is None
    assert verdict.reason.endswith("every baseline is beaten")


def test_always_helps_no_second_version() -> None:
    rule = Rule("significant", baselines=("naive",), first="always")
    beaten = {"naive": losses(1.2, noise=2)}
    assert not decide(losses(1.1), champion=("btc@1", losses(1.0, noise=1)), baselines=beaten, rule=rule).promote


@pytest.mark.parametrize("rule", [BETTER, SIGNIFICANT])
def test_a_challenger_whose_loss_is_no_number_is_kept_out(rule: Rule) -> None:
    broken = losses(0.5)
    broken.values[7] = np.nan
    rivals = {"naive": losses(1.0, noise=1)}
    assert not decide(broken, champion=None, baselines=rivals, rule=rule).promote


def test_a_verdict_needs_the_same_items_for_everyone() -> None:
    fewer = Losses("pinball loss", np.ones(10), np.arange(10), np.full(10, "BTC/USDT"))
    with pytest.raises(ValueError, match="different items"):
        decide(losses(0.9), champion=None, baselines={"naive": fewer}, rule=BETTER)
