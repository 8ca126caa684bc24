"""The gate: only a challenger that beats champion and trivial rivals on the same unseen items may serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from springtide.domain.verdict import LET_IN, Comparison, Verdict
from springtide.evaluation.anytime import Evidence, Wealth, gather_evidence
from springtide.evaluation.significance import compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from springtide.evaluation.losses import Losses

__all__ = ["Rule", "decide"]

ROUNDING = 1e-9  # a smaller gain is the order of a sum, not skill: an untrained network equals the volatility baseline


@dataclass(frozen=True, slots=True)
class Rule:
    """What is asked of a challenger.

    ``better``: a lower mean loss than every rival. ``significant``: and a one-sided p-value below `alpha` against
    every one of them, which holds for one look. ``anytime``: and evidence of all runs since the champion serves that
    reaches 1 / `alpha` against every one of them, which holds for any number of looks. All rivals must be beaten, so
    the level needs no correction for their number (an intersection-union test: Berger 1982,
    doi:10.1080/00401706.1982.10487790).
    """

    name: Literal["better", "significant", "anytime"] = "significant"
    alpha: float = 0.05
    baselines: tuple[str, ...] = ()
    first: Literal["gate", "always"] = "gate"


def decide(
    challenger: Losses,
    *,
    champion: tuple[str, Losses] | None,
    baselines: Mapping[str, Losses],
    rule: Rule,
    evidence: Mapping[str, Any] | None = None,
) -> Verdict:
    """Compare the challenger with every rival and say promote or keep, and why in one sentence.

    Parameters
    ----------
    challenger : Losses
        The new model's losses.
    champion : (str, Losses), optional
        Name and losses of the version that serves; None when there is none.
    baselines : mapping
        Losses of the trivial rivals; those that `rule` names are bars, the others are only shown.
    rule : Rule
        What is asked.
    evidence : mapping, optional
        That of the newest verdict before this one.
    """
    serving = {} if champion is None else {champion[0]: champion[1]}
    rivals = {**serving, **baselines}
    found = gather_evidence(challenger, rivals, champion=next(iter(serving), None), before=Evidence.read(evidence))
    comparisons = [
        _beside(challenger, rival, "champion" if rival in serving else "baseline", losses, found.rivals[rival], rule)
        for rival, losses in rivals.items()
    ]
    bars = [one for one in comparisons if one.kind == "champion" or one.rival in rule.baselines]
    lost = [one for one in bars if not one.passed]
    let_in = bool(lost) and champion is None and rule.first == "always"
    promote = not lost or let_in
    warning = None
    if let_in:
        warning = f"{LET_IN}: it did not beat {_names(lost)}, and gate.first is 'always'"
    return Verdict(
        promote=promote,
        reason=_reason(challenger, bars, lost, rule, promote=promote),
        rule=rule.name if rule.name == "better" else f"{rule.name} at {rule.alpha:g}",
        loss_name=challenger.name,
        items=len(challenger.values),
        loss=challenger.mean,
        comparisons=tuple(comparisons),
        warning=warning,
        evidence=found.plain(),
    )


def _beside(challenger: Losses, name: str, kind: str, losses: Losses, wealth: Wealth, rule: Rule) -> Comparison:
    difference = compare(challenger, losses)
    proven = {
        "better": True,
        "significant": difference.p_value < rule.alpha,
        "anytime": wealth.e_value >= 1 / rule.alpha,
    }
    passed = difference.gain > ROUNDING and proven[rule.name]
    return Comparison(
        rival=name,
        kind=kind,
        loss=losses.mean,
        gain=difference.gain,
        p_value=difference.p_value,
        passed=passed,
        e_value=wealth.e_value,
        blocks=wealth.blocks,
    )


def _reason(
    challenger: Losses, bars: Sequence[Comparison], lost: Sequence[Comparison], rule: Rule, *, promote: bool
) -> str:
    compared = "; ".join(
        f"{abs(one.gain):.2%} {'lower' if one.gain > 0 else 'higher'} than {one.rival}'s ({_figure(one, rule)})"
        for one in bars
    )
    said = f"on {len(challenger.values):,} unseen items the mean {challenger.name} is {challenger.mean:.4g}, {compared}"
    if not lost:
        beaten = (
            "champion and baselines are beaten"
            if any(one.kind == "champion" for one in bars)
            else "every baseline is beaten"
        )
        return f"{said}: promote, {beaten}"
    worse = [one for one in lost if not one.gain > ROUNDING]
    asked = f"e >= {1 / rule.alpha:.4g}" if rule.name == "anytime" else f"p < {rule.alpha:g}"
    why = (
        f"it is not better than {_names(worse)}"
        if worse
        else f"the gain over {_names(lost)} may be chance (the rule asks for {asked})"
    )
    return f"{said}: promote as the first version although {why}" if promote else f"{said}: keep, {why}"


def _figure(comparison: Comparison, rule: Rule) -> str:
    if rule.name == "anytime":
        return f"e = {comparison.e_value:.3g} after {comparison.blocks} blocks"
    return f"p = {comparison.p_value:.2g}"


def _names(comparisons: Sequence[Comparison]) -> str:
    return " and ".join(one.rival for one in comparisons)
