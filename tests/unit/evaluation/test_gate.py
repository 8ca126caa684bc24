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


ANYTIME = Rule("anytime", alpha=0.05, baselines=("naive",))


def part(one: Losses, first: int, stop: int) -> Losses:
    return Losses(one.name, one.values[first:stop], one.times[first:stop], one.groups[first:stop])


def test_evidence_of_earlier_runs_promotes_what_one_look_would_not() -> None:
    mine, naive = losses(0.96, spread=0.2), losses(1.0, noise=1, spread=0.2)
    evidence, promoted = None, []
    for stop in range(200, 1201, 100):  # each run judges the newest 200 items
        rivals = {"naive": part(naive, stop - 200, stop)}
        verdict = decide(part(mine, stop - 200, stop), champion=None, baselines=rivals, rule=ANYTIME, evidence=evidence)
        evidence = verdict.evidence
        promoted.append(verdict.promote)
    assert not promoted[0]
    assert verdict.promote
    assert verdict.rule == "anytime at 0.05"
    (one,) = verdict.comparisons
    assert f"than naive's (e = {one.e_value:.3g} after 1197 blocks): promote" in verdict.reason
    alone = decide(part(mine, 1000, 1200), champion=None, baselines={"naive": part(naive, 1000, 1200)}, rule=ANYTIME)
    assert not alone.promote


def test_too_little_evidence_keeps_and_says_how_much_the_rule_asks_for() -> None:
    mine, rival = losses(0.999, spread=0.5), losses(1.0, noise=1, spread=0.5)
    verdict = decide(mine, champion=None, baselines={"naive": rival}, rule=ANYTIME)
    assert not verdict.promote
    assert verdict.reason.endswith(": keep, the gain over naive may be chance (the rule asks for e >= 20)")


def test_evidence_of_the_challengers_before_it_promotes_no_challenger_that_is_not_better_itself() -> None:
    naive = losses(1.0, noise=1)
    before = decide(losses(0.9), champion=None, baselines={"naive": naive}, rule=ANYTIME)
    assert before.promote
    verdict = decide(losses(1.001), champion=None, baselines={"naive": naive}, rule=ANYTIME, evidence=before.evidence)
    assert verdict.comparisons[0].e_value == before.comparisons[0].e_value  # nothing new to count
    assert not verdict.promote
    assert verdict.reason.endswith(": keep, it is not better than naive")


def test_every_bar_needs_evidence_of_its_own() -> None:
    verdict = decide(
        losses(0.9), champion=("m@1", losses(0.901, noise=1)), baselines={"naive": losses(1.0, noise=2)}, rule=ANYTIME
    )
    champion, naive = verdict.comparisons
    assert (champion.passed, naive.passed) == (False, True)
    assert verdict.reason.endswith("the gain over m@1 may be chance (the rule asks for e >= 20)")


@pytest.mark.parametrize("rule", [BETTER, SIGNIFICANT, ANYTIME])
def test_evidence_is_gathered_whatever_the_rule_so_that_the_rule_may_change(rule: Rule) -> None:
    verdict = decide(losses(0.9), champion=None, baselines={"naive": losses(1.0, noise=1)}, rule=rule)
    assert verdict.evidence is not None
    assert verdict.evidence["rivals"]["naive"]["blocks"] == verdict.comparisons[0].blocks == 1197
