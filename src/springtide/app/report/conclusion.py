"""What a run found, in sentences that follow from its numbers by plain rules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from springtide.app.report.record import CHALLENGER, moment
from springtide.app.report.words import chance, count, figure, listed, percent, when
from springtide.domain.verdict import LET_IN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from springtide.app.report.record import Record
    from springtide.domain.verdict import Comparison, Verdict

__all__ = ["Conclusion", "conclude"]

CHANCE = 0.05  # a gain with a larger p-value is called chance where the gate asks for no p-value
EQUAL = 1e-9  # a smaller gain is rounding
MISSED = 0.03  # by which an interval may miss its share before it is said to be wrong
SUSPECT = 0.10  # a gain over the best baseline of candles that is more likely a leak than skill
WORSE = 0.01  # by which a slice of the items has to be worse than the best baseline to be named
FILLED = 0.01  # share of rows that may be filled in without a word
FEW_HORIZONS = 30  # in the judging time: with fewer, p-values are rough
FAR = 0.05  # share of doubtful items that is worth a word
STILL_GAINING = 0.9  # share of the steps after which the best weights came, if more time may have helped
REGIMES = {0: "calm", 1: "usual", 2: "wild"}


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The run in words."""

    headline: str
    tone: str  # good, even or bad
    paragraph: str
    doubts: tuple[str, ...]
    advice: str


def conclude(record: Record) -> Conclusion:
    """What was learned, how much better it is and how sure that is, what is doubtful, and what to do."""
    run, verdict = record.run, record.verdict
    if verdict is None:
        return _without_version(record)
    said = LET_IN if verdict.let_in else "was promoted" if verdict.promote else "was not promoted"
    paragraph = " ".join((_learned(record, verdict), _compared(record, verdict), _decided(record, verdict)))
    if run.failure is not None:
        return Conclusion(f"{record.name}: the run failed", "bad", paragraph, (run.failure.what,), run.failure.do)
    tone = "good" if verdict.promote and verdict.warning is None else "even"
    return Conclusion(
        f"{record.name} {said}", tone, paragraph, tuple(_doubts(record, verdict)), _advice(record, verdict)
    )


def _without_version(record: Record) -> Conclusion:
    run = record.run
    last = f"step {run.steps[-1].name}" if run.steps else "its first step"
    if run.failure is None:
        return Conclusion(f"{run.model}: the run has not ended", "even", f"It is at {last}.", (), "Look again later.")
    happened = {"failed": "failed", "cancelled": "was stopped"}.get(run.state, f"is {run.state}")
    paragraph = f"The run ended in {last} and made no version; whoever served before goes on."
    return Conclusion(f"{run.model}: the run {happened}", "bad", paragraph, (), "")


def _learned(record: Record, verdict: Verdict) -> str:
    items, started = record.result("prepare").get("training_items"), record.result("train").get("start")
    of = f" of {listed(record.series)}" if record.series else ""
    learned = f"{record.name} learned from {count(items)} training items{of}" if items else f"{record.name} learned{of}"
    if started and started != "scratch":
        learned += f", going on from the weights of {started}"
    if seen := record.version and record.version.manifest.trained_until:
        learned += f", and has seen no outcome after {when(seen)} UTC"
    beside = [f"the champion {record.champion.rival}"] if record.champion else []
    if baselines := [one for one in verdict.comparisons if one.kind == "baseline"]:
        beside.append(f"{len(baselines)} baseline{'s' if len(baselines) > 1 else ''}")
    return f"{learned}. It was judged on {count(verdict.items)} items that it had not seen, beside {listed(beside)}."


def _compared(record: Record, verdict: Verdict) -> str:
    parts = []
    if (best := record.best_baseline) is not None:
        parts.append(_against(best, f"the best baseline, {best.rival}", verdict))
    if (champion := record.champion) is not None:
        parts.append(_against(champion, f"the champion {champion.rival}", verdict))
    return f"Its mean {verdict.loss_name} is {figure(verdict.loss)}: {', and '.join(parts)}."


def _against(one: Comparison, whom: str, verdict: Verdict) -> str:
    if math.isnan(one.gain):
        return f"not comparable with that of {whom}"
    if abs(one.gain) <= EQUAL:
        return f"the same as that of {whom}"
    if one.gain < 0:
        return f"{percent(-one.gain, sign=False)} higher than that of {whom}"
    asked_e = verdict.rule.startswith("anytime") and one.e_value is not None
    shown = f"e = {one.e_value:.3g} after {one.blocks} blocks" if asked_e else f"p {chance(one.p_value)}"
    sure = one.p_value < CHANCE if verdict.rule == "better" else one.passed
    judged = "more than chance explains" if sure else "which may be chance"
    return f"{percent(one.gain, sign=False)} lower than that of {whom}, {judged} ({shown})"


def _decided(record: Record, verdict: Verdict) -> str:
    if verdict.let_in:
        return "The gate let it serve as the first version, without proof that it is better."
    if verdict.promote:
        beside = "" if verdict.warning is None else ", but it was not compared with the champion before it"
        return f"Every bar of the gate ({verdict.rule}) is passed, so it serves{beside}."
    serving = record.result("publish").get("serving")
    goes_on = f"{record.run.model}@{serving} goes on serving" if serving else "nothing serves yet"
    return f"That does not pass the gate ({verdict.rule}), so {goes_on}."


def _doubts(record: Record, verdict: Verdict) -> Iterator[str]:
    """What a reader should know before trusting the figures."""
    if verdict.warning:
        yield f"{verdict.warning[0].upper()}{verdict.warning[1:]}." if verdict.let_in else f"{verdict.warning}."
    yield from _doubts_of_training(record)
    yield from _doubts_of_data(record)
    yield from _doubts_of_intervals(record)
    best = record.best_baseline
    if best is not None and verdict.promote and not verdict.let_in and not best.passed:
        yield f"{best.rival} is no bar of this gate, and the gain over it may be chance."
    if best is not None and best.gain > SUSPECT and record.signature.get("kind") == "candles":
        yield f"A gain of {percent(best.gain, sign=False)} over the best baseline is more than prices usually allow: look for a leak first."
    if best is not None:
        regimes = record.details.get("skill", {}).get("regime", {})
        for label, skill in zip(regimes.get("labels", ()), regimes.get(best.rival, ()), strict=False):
            if skill is not None and skill < -WORSE:
                yield f"In {REGIMES.get(label, label)} times its loss is {percent(-skill, sign=False)} higher than that of {best.rival}."


def _doubts_of_training(record: Record) -> Iterator[str]:
    train = record.result("train")
    steps, best_step = train.get("steps", 0), train.get("best_step")
    if steps and best_step == 0:
        yield "Training found nothing that the validation items confirmed: this version is what it started from."
    elif steps and train.get("kept") == "start":
        yield (
            f"The trained weights were discarded, because their gain on the validation items may be chance "
            f"(p {chance(train.get('validation_p_value', math.nan))}): this version is what it started from."
        )
    elif steps and best_step and train.get("stopped_by") == "time budget" and best_step >= STILL_GAINING * steps:
        yield "The time budget ended the training while it was still getting better: a longer budget may help."


def _doubts_of_data(record: Record) -> Iterator[str]:
    prepared = record.result("prepare")
    rows, filled = prepared.get("rows", 0), prepared.get("filled_rows", 0)
    if rows and filled > FILLED * rows:
        yield f"{percent(filled / rows, sign=False)} of the rows were missing and had to be filled."
    first, last = moment(prepared.get("judged_from")), moment(record.result("snapshot").get("last"))
    if first and last and record.horizon and (horizons := (last - first) / record.horizon) < FEW_HORIZONS:
        yield f"The judging time holds only {horizons:.0f} horizons that do not overlap, so p-values are rough."
    explanation = record.explanation
    doubtful, items = explanation.get("doubt", {}).get("items", 0), explanation.get("items", 0)
    if doubtful > FAR * items:
        yield f"{percent(doubtful / items, sign=False)} of the judging items are unlike anything in the training part."


def _doubts_of_intervals(record: Record) -> Iterator[str]:
    metrics = record.metrics.get(CHALLENGER, {})
    for share in record.signature.get("intervals", ())[-1:]:
        held = metrics.get(f"coverage_{share}")
        if held is not None and abs(held - share / 100) > MISSED:
            wrong = "too narrow" if held < share / 100 else "too wide"
            yield f"Its {share} % intervals held {percent(held, sign=False)} of the outcomes: they are {wrong}."


def _advice(record: Record, verdict: Verdict) -> str:
    if verdict.promote and not verdict.let_in:
        told = "" if verdict.warning is None else " Every answer says so until the next version is promoted."
        return f"Nothing has to be done: servers take it up by themselves.{told} Retrain as new rows come."
    if verdict.promote:
        return "Every answer carries a warning until a version that passed replaces it. More history or a longer budget may give one."
    if not record.result("publish").get("serving"):
        return (
            "Bring in more history or give the training more time. To let this version serve all the same: "
            f"springtide promote {record.name}"
        )
    if all(one.gain > EQUAL for one in (record.best_baseline, record.champion) if one is not None):
        return "Retrain when more rows have come: a gain as small as this takes more items to tell from chance."
    return "Nothing has to be done: the champion goes on. Retrain as new rows come."
