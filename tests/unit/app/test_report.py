"""The report of a run: honest words, nothing from elsewhere, nothing that the run does not tell."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from litestar.testing import TestClient
from tests.serving_world import make_world
from tests.synthetic import JUDGED_FROM, START, candles, windows

from springtide.api.server import create_server
from springtide.app.answers import Answers
from springtide.app.report.conclusion import Conclusion, conclude
from springtide.app.report.lookup import find_run
from springtide.app.report.page import render_report
from springtide.app.report.pictures import Line, draw_bar, draw_lines
from springtide.app.report.record import Record
from springtide.domain.errors import NotFound
from springtide.domain.model import Manifest, Version
from springtide.domain.rows import Filter, Snapshot
from springtide.domain.run import Failure, Run, Step
from springtide.domain.verdict import LET_IN, Comparison, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOW = datetime(2024, 6, 2, tzinfo=UTC)
LAST = START + timedelta(days=30, hours=-1)
HASH = "ab" * 32
EVIL = "<script>alert(1)</script>"
SNAPSHOT = Snapshot("coins", 7, Filter(), 1440, HASH, START, LAST)
SIGNATURE = {
    "kind": "candles",
    "series": ["BTC/USDT", EVIL],
    "step_s": 3600,
    "window": 24,
    "horizon": 4,
    "intervals": [90],
}
RECIPE = {"validation": "P4D", "horizon": 4, "window": 24, "train_period": None}
CHAMPION = Comparison("m@1", "champion", 1.01, 0.01, 0.2, passed=False, e_value=1.5, blocks=9)
BASELINE = Comparison("last-value", "baseline", 1.1, 0.09, 0.001, passed=True, e_value=40.0, blocks=9)
WORST = Comparison("drift", "baseline", 2.0, 0.5, 1e-9, passed=True, e_value=90.0, blocks=9)

RESULTS: dict[str, dict[str, Any]] = {
    "collect": {"binance": {"table": "coins", "version": 7, "new": 24, "gaps": 1}},
    "snapshot": {
        "table": "coins",
        "version": 7,
        "rows": 1440,
        "first": START.isoformat(),
        "last": LAST.isoformat(),
        "sha256": HASH,
    },
    "prepare": {
        "rows": 1440,
        "filled_rows": 0,
        "training_items": 804,
        "validation_items": 194,
        "judging_items": 376,
        "trained_until": JUDGED_FROM.isoformat(),
        "judged_from": JUDGED_FROM.isoformat(),
    },
    "train": {
        "steps": 1000,
        "best_step": 600,
        "stopped_by": "validation no longer improves",
        "device": "cpu",
        "start": "m@1",
    },
    "export": {"parity": 1e-7, "bytes": {"model.onnx": 9}},
    "evaluate": {
        "challenger": {"loss": 1.0, "coverage_90": 0.9},
        "last-value": {"loss": 1.1, "coverage_90": 0.9},
        "drift": {"loss": 2.0, "coverage_90": 0.9},
        "m@1": {"loss": 1.01, "coverage_90": 0.9},
        "details": {
            "loss": {
                "starts": [1_700_000_000, 1_700_090_000, 1_700_180_000],
                "challenger": [1.0, None, 0.9],
                "last-value": [1.1, None, 1.0],
                "drift": [2.0, None, 3.0],
                "m@1": [1.0, None, 1.0],
            },
            "calibration": {
                "levels": [0.05, 0.5, 0.95],
                **{name: [0.06, 0.5, 0.94] for name in ("challenger", "last-value", "drift", "m@1")},
            },
            "skill": {
                "regime": {
                    "labels": [0, 1, 2],
                    "items": [1, 2, 3],
                    "last-value": [0.1, 0.0, 0.02],
                    "m@1": [0.0, 0.1, None],
                },
                "hour": {"labels": [0, 12], "items": [3, 3], "last-value": [0.1, -0.1], "m@1": [0.0, 0.1]},
            },
        },
    },
    "judge": {},
    "explain": {
        "explanation": {
            "groups": ["volume", "prices", f"outside {EVIL}"],
            "items": 376,
            "shuffles": 3,
            "rise": [0.01, 0.2, -0.001],
            "rise_least": [0.0, 0.1, -0.002],
            "rise_most": [0.02, 0.3, 0.0],
            "doubt": {"items": 4, "loss": 2.0, "usual_loss": 1.0},
            "newest": [
                {"series": EVIL, "cutoff": LAST.isoformat(), "median": [0.0, -0.01, 0.0], "width": [0.1, 0.4, 0.0]}
            ],
        }
    },
    "publish": {"version": 2, "action": "keep", "serving": 1},
}


def run(results: dict[str, dict[str, Any]] = RESULTS, **changes: Any) -> Run:
    steps = tuple(Step(name, NOW, 1.5, result) for name, result in results.items())
    whole = Run("run-1", "m", "succeeded", ("by hand",), NOW, NOW, steps, version=2)
    return replace(whole, **changes)


def version(comparisons: Sequence[Comparison] = (CHAMPION, BASELINE, WORST), **verdict: Any) -> Version:
    said = {
        "promote": False,
        "reason": "keep",
        "rule": "significant at 0.05",
        "loss_name": "pinball loss",
        "items": 376,
        "loss": 1.0,
    }
    manifest = Manifest(
        "m", "forecast", "run-1", NOW, "0.1.0+abc", SNAPSHOT, RECIPE, SIGNATURE, {}, {"model.onnx": HASH}, JUDGED_FROM
    )
    return Version("m", 2, manifest, Verdict(**(said | {"comparisons": tuple(comparisons)} | verdict)))


def changed(step: str, **facts: Any) -> dict[str, dict[str, Any]]:
    return RESULTS | {step: RESULTS[step] | facts}


def words(results: dict[str, dict[str, Any]] = RESULTS, *comparisons: Comparison, **verdict: Any) -> Conclusion:
    return conclude(Record(run(results), version(comparisons or (CHAMPION, BASELINE, WORST), **verdict)))


class Page(HTMLParser):
    """Reads a page, and refuses one whose elements are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.said: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)
        if self.open[-1:] != ["style"]:
            self.said.append(data)


# The page


def test_names_from_the_data_are_text_and_never_markup() -> None:
    text = render_report(run(reasons=(EVIL,)), version(warning=EVIL, reason=EVIL))
    assert "<script" not in text
    page = Page(text)
    assert "script" not in page.tags
    assert sum(EVIL in one for one in page.said) >= 6


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = render_report(run(), version())
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "base"}
    assert not {name for name, _ in page.attributes} & {"src", "href", "style", "onload", "onclick"}
    assert not re.search(r"url\(|@import|https?:", text)
    assert ("http-equiv", "Content-Security-Policy") in page.attributes


def test_a_whole_run_has_every_part() -> None:
    headings = Page(render_report(run(), version())).headings
    assert headings == [
        "Who is better",
        "When it is better",
        "Whether its intervals hold what they promise",
        "Where it is better",
        "What it looks at",
        "What moved the newest forecast",
        "What was learned and what was judged",
        "The data",
        "The training",
        "The steps",
        "Where it comes from",
        "All metrics",
    ]


def test_what_an_older_run_does_not_tell_is_left_out() -> None:
    bare = {name: result for name, result in RESULTS.items() if name != "explain"}
    bare["evaluate"] = {name: result for name, result in RESULTS["evaluate"].items() if name != "details"}
    headings = Page(render_report(run(bare), version())).headings
    assert "Who is better" in headings
    assert not {"When it is better", "Where it is better", "What it looks at"} & {*headings}
    assert Page(render_report(run({}), version())).headings == ["Who is better", "Where it comes from"]


@pytest.mark.parametrize("steps", range(len(RESULTS)))
def test_a_run_that_failed_says_why_and_what_to_do_wherever_it_ended(steps: int) -> None:
    failure = Failure("the disk is full", "step train", "make room")
    results = dict(list(RESULTS.items())[:steps])
    page = Page(render_report(run(results, state="failed", failure=failure, version=None), None))
    assert page.said.count("the disk is full") == page.said.count("make room") == 1
    assert "m: the run failed" in page.said


def test_a_run_that_goes_on_is_not_called_done() -> None:
    page = Page(
        render_report(run({"snapshot": RESULTS["snapshot"]}, state="running", finished=None, version=None), None)
    )
    assert "m: the run has not ended" in page.said


def test_a_run_of_another_kind_of_task_has_a_report_too() -> None:
    manifest = replace(version().manifest, task="tabular", recipe={"target": "y"}, signature={"target": "y"})
    results = changed("explain", explanation={}) | {"prepare": {"training_items": 5, "judging_items": 4}}
    page = Page(render_report(run(results), replace(version(), manifest=manifest)))
    assert "Who is better" in page.headings
    assert "What it looks at" not in page.headings


def test_figures_that_are_not_there_are_dashes_and_are_the_best_of_nothing() -> None:
    lost = replace(BASELINE, loss=math.nan, gain=math.nan, p_value=math.nan)
    text = render_report(run(), version((lost, WORST)))
    assert not re.search(r"\bnan\b", text)
    assert "the best baseline, drift" in text


def test_the_parts_of_time_are_those_of_the_items() -> None:
    items = windows(candles())
    text = render_report(run(), version())
    for part in (items.train, items.validation, items.judging):
        seconds = items.panel.seconds[part]
        for second in (seconds.min(), seconds.max()):
            assert f"{datetime.fromtimestamp(int(second), UTC):%Y-%m-%d %H:%M}" in text


# The words


def test_the_conclusion_says_what_was_learned_beside_whom_and_how_much_better_it_is() -> None:
    said = words()
    assert said.headline == "m@2 was not promoted"
    for part in (
        "804 training items",
        "going on from the weights of m@1",
        "376 items that it had not seen",
        "the champion m@1 and 2 baselines",
        "9.00 % lower than that of the best baseline, last-value, more than chance explains (p = 0.001)",
        "1.00 % lower than that of the champion m@1, which may be chance (p = 0.2)",
        "m@1 goes on serving",
    ):
        assert part in said.paragraph


@pytest.mark.parametrize(
    ("comparison", "rule", "told"),
    [
        (replace(BASELINE, passed=False, p_value=0.06), "significant at 0.05", "which may be chance (p = 0.06)"),
        (replace(BASELINE, passed=True, p_value=0.06), "significant at 0.1", "more than chance explains (p = 0.06)"),
        (replace(BASELINE, passed=True, p_value=0.3), "better", "which may be chance (p = 0.3)"),
        (replace(BASELINE, passed=False, e_value=3.0), "anytime at 0.05", "which may be chance (e = 3 after 9 blocks)"),
        (replace(BASELINE, passed=False, gain=-0.02), "significant at 0.05", "2.00 % higher than that of"),
        (replace(BASELINE, passed=False, gain=0.0), "significant at 0.05", "the same as that of"),
        (replace(BASELINE, passed=False, gain=math.nan), "significant at 0.05", "not comparable with that of"),
    ],
)
def test_a_gain_is_called_chance_unless_the_rule_excludes_it(comparison: Comparison, rule: str, told: str) -> None:
    said = words(RESULTS, comparison, rule=rule).paragraph
    assert told in said
    assert ("more than chance" in said) is ("more than chance" in told)


@pytest.mark.parametrize(
    ("verdict", "serving", "headline", "advice"),
    [
        ({"promote": True}, 2, "m@2 was promoted", "Nothing has to be done"),
        (
            {"promote": True, "warning": f"{LET_IN}: it did not beat m@1"},
            2,
            "m@2 serves without proof",
            "carries a warning",
        ),
        ({"promote": False}, 1, "m@2 was not promoted", "Retrain when more rows have come"),
        ({"promote": False}, None, "m@2 was not promoted", "springtide promote m@2"),
    ],
)
def test_what_to_do_next_follows_from_the_verdict(
    verdict: dict[str, Any], serving: int | None, headline: str, advice: str
) -> None:
    said = words(changed("publish", serving=serving), **verdict)
    assert said.headline == headline
    assert advice in said.advice


@pytest.mark.parametrize(
    ("results", "doubt"),
    [
        (changed("train", best_step=0), "this version is what it started from"),
        (changed("train", best_step=990, stopped_by="time budget"), "a longer budget may help"),
        (
            changed("train", kept="start", best_step=990, stopped_by="time budget", validation_p_value=0.2),
            "trained weights were discarded, because their gain on the validation items may be chance (p = 0.2)",
        ),
        (changed("prepare", filled_rows=100), "6.94 % of the rows were missing"),
        (changed("prepare", judged_from=(LAST - timedelta(hours=20)).isoformat()), "only 5 horizons"),
        (changed("evaluate", challenger={"loss": 1.0, "coverage_90": 0.8}), "they are too narrow"),
        (changed("evaluate", challenger={"loss": 1.0, "coverage_90": 0.99}), "they are too wide"),
        (
            changed("evaluate", details={"skill": {"regime": {"labels": [2], "items": [9], "last-value": [-0.2]}}}),
            "In wild times its loss is 20.00 % higher than that of last-value",
        ),
        (
            changed("explain", explanation={"items": 100, "doubt": {"items": 10}}),
            "10.00 % of the judging items are unlike",
        ),
    ],
)
def test_what_is_doubtful_is_said(results: dict[str, dict[str, Any]], doubt: str) -> None:
    assert words().doubts == ()
    assert [one for one in words(results).doubts if doubt in one] != []


def test_discarded_weights_are_the_one_thing_that_is_doubtful_of_a_training() -> None:
    train = {"kept": "start", "best_step": 990, "stopped_by": "time budget", "validation_p_value": 0.2}
    assert len(words(changed("train", **train)).doubts) == 1
    assert words(changed("train", **(train | {"best_step": 300, "stopped_by": "max_steps"}))).doubts != ()


def test_a_promotion_over_a_champion_of_another_question_is_one_that_passed_and_was_not_compared() -> None:
    said = words(
        changed("publish", serving=2),
        BASELINE,
        promote=True,
        warning="m@1 was not compared: it answers another question",
    )
    assert said.headline == "m@2 was promoted"
    assert "Every bar of the gate (significant at 0.05) is passed" in said.paragraph
    assert "not compared with the champion before it" in said.paragraph
    assert "first version" not in said.paragraph
    assert said.doubts == ("m@1 was not compared: it answers another question.",)
    assert "Every answer says so" in said.advice


def test_a_warning_of_our_own_words_begins_as_a_sentence() -> None:
    said = words(RESULTS, promote=True, warning=f"{LET_IN}: it did not beat last-value, and gate.first is 'always'")
    assert said.doubts[0].startswith("Serves without proof: it did not beat last-value")
    assert "without proof that it is better" in said.paragraph


def test_a_group_without_a_width_to_measure_has_a_dash_and_the_page_says_why() -> None:
    told = RESULTS["explain"]["explanation"]
    for widths in ([0.1, None, 0.0], [None, None, None]):
        newest = [told["newest"][0] | {"width": widths}]
        page = Page(render_report(run(changed("explain", explanation=told | {"newest": newest})), version()))
        assert any(one.startswith("A dash: with inputs of training items") for one in page.said)
    assert not any(one.startswith("A dash") for one in Page(render_report(run(), version())).said)


def test_the_page_calls_doubtful_items_by_what_they_are() -> None:
    columns = {"labels": [0, 1], "items": [5, 1], "last-value": [0.1, -0.1], "m@1": [0.0, 0.1]}
    details = RESULTS["evaluate"]["details"] | {"skill": {"doubtful": columns}}
    said = Page(render_report(run(changed("evaluate", details=details)), version())).said
    assert "By likeness to the training data" in said
    assert {"usual", "doubtful"} <= {*said}


def test_a_gain_that_is_too_good_for_prices_is_a_reason_to_look_for_a_leak() -> None:
    assert any("leak" in one for one in words(RESULTS, replace(BASELINE, gain=0.2)).doubts)


def test_a_promotion_that_may_not_beat_the_best_baseline_says_so() -> None:
    unproven = replace(BASELINE, passed=False)
    assert any("last-value is no bar of this gate" in one for one in words(RESULTS, unproven, promote=True).doubts)


# The pictures


def test_a_bar_is_as_long_as_its_value() -> None:
    def length(value: float) -> float:
        found = re.search(r'width="([\d.]+)"', draw_bar(value, -1.0, 1.0).text)
        assert found is not None
        return float(found[1])

    assert length(0.5) == pytest.approx(2 * length(0.25)) == pytest.approx(length(-0.5))
    assert length(0.0) == 0.0


def test_a_line_is_broken_where_there_is_no_value() -> None:
    drawn = draw_lines(["a", "b", "c", "d"], [Line("champion", [0.1, 0.2, None, 0.1])], label="")
    found = re.search(r'<path d="([^"]+)"', drawn.text)
    assert found is not None
    assert re.findall(r"[ML]", found[1]) == ["M", "L", "M"]


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [None, None], [-0.3, -0.2], [1e-9, 5.0]])
def test_a_chart_of_any_values_stays_inside_its_frame(values: list[float | None]) -> None:
    text = draw_lines([str(place) for place in range(len(values))], [Line("challenger", values)], label="").text
    heights = [float(one) for one in re.findall(r' y1?="([\d.-]+)"', text)]
    assert np.all((np.array(heights) >= 0) & (np.array(heights) <= 260))


# Which run is meant


def test_a_report_is_found_by_run_by_version_and_by_model_and_served_as_a_page(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with pytest.raises(NotFound, match="springtide retrain btc"):
        find_run(world.home, "btc")
    made = world.publish(0.0)
    registry = world.home.registry
    first = run(id=made.manifest.run, model="btc", version=made.number)
    failed = run({}, id="later", model="btc", state="failed", version=None, started=NOW + timedelta(days=1))
    registry.save_run(first)
    registry.save_run(failed)
    assert find_run(world.home, first.id) == find_run(world.home, "btc@1") == first
    assert find_run(world.home, "btc") == failed
    with pytest.raises(NotFound, match="springtide runs"):
        find_run(world.home, "nothing")
    with TestClient(create_server(lambda: Answers(world.home))) as client:
        answer = client.get(f"/v1/runs/{first.id}/report")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "btc@1" in answer.text
        assert client.get("/v1/runs/btc/report").status_code == 404
