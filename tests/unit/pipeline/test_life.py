"""A life replayed: every retraining knows only what was known at its time, and everyone is asked for the same items."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from tests.contract.tabular_task import TabularRecipe, TabularTask

from springtide.domain.errors import NotReady, SettingsError, TooFewRows
from springtide.lake.tables import Lake
from springtide.pipeline.life import ALWAYS, NEVER, SERVED, Life, Plan, Span, live_through
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database
from springtide.registry.migrate import migrate
from springtide.registry.registry import Registry
from springtide.settings.words import Gate, Model

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from tests.contract.tabular_task import Line, Split

    from springtide.lake.table import Table

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURS, CHANGE = 1000, 400  # rows, and the first one from which there is something to learn
RECIPE = TabularRecipe()
GATE = Gate(baselines=("mean",), judge=100 * HOUR)
SETTINGS = Model(task="tabular", table="t", gate=GATE, keep_versions=2, recipe=RECIPE)
PLAN = Plan("m", SETTINGS, every=100 * HOUR, code="test", mark="ab", since=START + 300 * HOUR)


def rows(*, noise_from: int = HOURS) -> pl.DataFrame:
    """Hours in which the target is noise until `CHANGE`, then ``2 * x1``; other noise from `noise_from` on."""
    random = np.random.default_rng(1)
    x1, x2, noise, other = random.normal(size=(4, HOURS))
    hours = np.arange(HOURS)
    noise = np.where(hours < noise_from, noise, 50 * other)
    return pl.DataFrame(
        {
            "unique_id": ["a"] * HOURS,
            "ds": [START + hour * HOUR for hour in range(HOURS)],
            "x1": x1,
            "x2": x2,
            "target": np.where(hours < CHANGE, 0.0, 2.0) * x1 + 0.1 * noise,
        },
        schema_overrides={"ds": pl.Datetime("us", "UTC")},
    )


def table_of(folder: Path, frame: pl.DataFrame) -> Table:
    table = Lake(str(folder)).open("t", step_s=3600)
    table.write(frame)
    return table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return table_of(tmp_path_factory.mktemp("lake"), rows())


@pytest.fixture(scope="module")
def lived(table: Table) -> Life:
    return live(table)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders come to be."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def live(table: Table, plan: Plan = PLAN, *, task: Any = None, registry: Registry | None = None) -> Life:
    count, *spans, life = live_through(plan, task=task or TabularTask(), tables=lambda _name: table, registry=registry)
    assert isinstance(life, Life)
    assert life.spans == tuple(spans)
    assert count == len(spans)
    return life


def served(life: Life) -> list[int | None]:
    return [span.serving for span in life.spans]


def plain(span: Span) -> tuple[Any, ...]:
    """All that is decided at the start of a span."""
    return span.start, span.version, span.verdict, span.promoted, span.serving


def test_spans_follow_each_other_from_the_first_retraining_until_the_newest_row_is_known(table: Table) -> None:
    life = live(table, replace(PLAN, since=START + 750 * HOUR))
    assert [span.start for span in life.spans] == [START + hour * HOUR for hour in (750, 850, 950)]
    assert [span.stop for span in life.spans] == [*(span.start for span in life.spans[1:]), START + HOURS * HOUR]


def test_without_a_beginning_the_judging_span_is_replayed(table: Table) -> None:
    life = live(table, replace(PLAN, since=None, every=50 * HOUR))
    assert [span.start for span in life.spans] == [START + 900 * HOUR, START + 950 * HOUR]


def test_a_version_serves_from_its_promotion_until_the_next_one(lived: Life) -> None:
    assert [span.version for span in lived.spans] == [1, 2, 3, 4, 5, 6, 7]
    assert served(lived)[:4] == [None, None, None, 4], "nothing could be learned before"
    assert served(lived)[4:] == [5, 6, 7], "every later one knows more hours after the change"
    assert [span.promoted for span in lived.spans] == [False, False, False, True, True, True, True]
    assert all(span.verdict is not None and span.verdict.promote == span.promoted for span in lived.spans)


def test_everyone_is_asked_for_the_same_items_and_none_of_them_lies_before_the_first_promotion(lived: Life) -> None:
    items = [span.items for span in lived.spans if span.serving is not None]
    assert {rival.items for rival in lived.rivals} == {sum(items)}
    assert {rival.name for rival in lived.rivals} == {SERVED, NEVER, ALWAYS, "mean"}
    assert [SERVED in span.losses for span in lived.spans] == [number is not None for number in served(lived)]
    assert lived.notes[0].startswith("nothing served for the first 12.5 days, until 2024-01-26 00:00")


def test_the_loss_of_what_was_served_is_the_mean_over_its_spans(lived: Life) -> None:
    mine = [span for span in lived.spans if span.serving is not None]
    for rival in lived.rivals:
        mean = np.average([span.losses[rival.name] for span in mine], weights=[span.items for span in mine])
        assert rival.loss == pytest.approx(mean)
    first, newest = mine[0], mine[-1]
    assert first.losses[SERVED] == first.losses[NEVER] == first.losses[ALWAYS]
    assert newest.losses[SERVED] == newest.losses[ALWAYS] < newest.losses[NEVER]


def test_gains_are_of_what_was_served_against_each_rival(lived: Life) -> None:
    rivals = {rival.name: rival for rival in lived.rivals}
    assert rivals[SERVED].difference is None
    for name in (NEVER, "mean"):
        difference = rivals[name].difference
        assert difference is not None
        assert difference.gain == pytest.approx(1 - rivals[SERVED].loss / rivals[name].loss)
        assert difference.p_value < 0.01
        assert set(rivals[name].by_group) == {"rows"}
    assert rivals[ALWAYS].difference is not None
    assert rivals[ALWAYS].difference.gain == 0.0
    assert lived.best_baseline == "mean"


def test_versions_that_served_before_any_outcome_is_known_outlive_retention_and_are_published(
    table: Table, tmp_path: Path
) -> None:
    class Late(TabularTask):
        def prepare(self, rows: pl.LazyFrame, recipe: TabularRecipe, **how: Any) -> Split:
            if how.get("judged_until") and how["judged_from"] > START + 600 * HOUR:
                raise TooFewRows("no outcome is known", where="the table", do="wait")
            return super().prepare(rows, recipe, **how)

    url = f"sqlite:///{tmp_path}/springtide.db"
    migrate(url)
    registry = Registry(open_database(url), Blobs(str(tmp_path / "models")))
    life = live(table, task=Late(), registry=registry)
    assert served(life) == [None, None, None, 4, 5, 6, 7]
    assert len({4, 5, 6, 7}) > SETTINGS.keep_versions
    assert [span.items > 0 for span in life.spans] == [True] * 4 + [False] * 3
    assert life.published == {"m@4": "m@1", "m@5": "m@2", "m@6": "m@3", "m@7": "m@4"}
    assert registry.champions() == {}
    assert "3 of 7 spans have no item whose outcome is known (first: 2024-01-30 04:00)" in life.notes


def test_rows_that_come_later_change_no_version_no_verdict_and_no_loss_of_earlier_spans(
    lived: Life, tmp_path: Path
) -> None:
    later = 700
    one, other = lived, live(table_of(tmp_path / "other", rows(noise_from=later)))
    before = [span.start <= START + later * HOUR for span in one.spans]
    assert sum(before) == 5
    for mine, theirs in zip(one.spans[:5], other.spans[:5], strict=True):
        assert plain(mine) == plain(theirs)
    assert [span.losses for span in one.spans[:4]] == [span.losses for span in other.spans[:4]]
    assert one.spans[4].losses != other.spans[4].losses, "the rows do differ"


def test_a_candle_that_is_open_at_the_retraining_is_neither_learned_from_nor_judged(table: Table) -> None:
    seen: list[float] = []

    class Watched(TabularTask):
        def fit(self, prepared: Split, **how: Any) -> Line:
            seen.append(prepared.seconds.max())
            return super().fit(prepared, **how)

    sharp, half_past = START + 900 * HOUR, START + 900 * HOUR + HOUR / 2
    live(table, replace(PLAN, since=sharp), task=Watched())
    live(table, replace(PLAN, since=half_past), task=Watched())
    closed = (START + 899 * HOUR).timestamp()  # the candle that is named 899 ends at 900
    assert seen == [closed, closed]


def test_what_is_fitted_for_the_baselines_was_known_at_the_retraining(table: Table) -> None:
    prepared: list[Split] = []

    class Watched(TabularTask):
        def baselines(self, split: Split, also: Collection[str] = ()) -> Any:
            prepared.append(split)
            return super().baselines(split, also)

    life = live(table, replace(PLAN, since=START + 800 * HOUR), task=Watched())
    for span, split in zip(life.spans, prepared[1::2], strict=True):  # each run has asked for its own before
        known = (span.start - HOUR).timestamp()
        assert split.seconds[~split.judged].max() == known
        assert split.seconds[split.judged].min() > known
        assert split.seconds[split.judged].max() < (span.stop - HOUR).timestamp()


def test_a_retraining_that_fails_is_a_line_with_its_reason_and_the_champion_goes_on(table: Table) -> None:
    class Fragile(TabularTask):
        def fit(self, prepared: Split, **how: Any) -> Line:
            if prepared.seconds.max() == (START + 799 * HOUR).timestamp():
                raise RuntimeError("out of memory")
            return super().fit(prepared, **how)

    life = live(table, task=Fragile())
    assert served(life) == [None, None, None, 4, 5, 5, 6]
    failed = life.spans[5]
    assert (failed.version, failed.verdict) == (None, None)
    assert failed.failure is not None
    assert failed.failure.what == "RuntimeError: out of memory"
    assert failed.failure.where == "step train"
    assert failed.losses[SERVED] == failed.losses[ALWAYS]
    assert "1 of 7 retrainings failed; who served before went on" in life.notes


def test_history_that_is_too_short_at_first_is_no_end(table: Table) -> None:
    life = live(table, replace(PLAN, since=START + 50 * HOUR, until=START + 250 * HOUR))
    assert [span.failure is not None for span in life.spans] == [True, False]
    assert [span.version for span in life.spans] == [None, 1]


def test_when_no_retraining_works_the_last_reason_is_told(table: Table) -> None:
    mistyped = replace(
        PLAN, settings=SETTINGS.model_copy(update={"gate": GATE.model_copy(update={"baselines": ("no",)})})
    )
    with pytest.raises(
        NotReady, match="none of 7 retrainings worked; the last one: baseline 'no' is not known"
    ) as told:
        live(table, mistyped)
    assert "known: mean" in told.value.do


def test_when_nothing_is_ever_promoted_the_newest_challenger_is_told_of_instead(table: Table) -> None:
    life = live(table, replace(PLAN, until=START + 500 * HOUR))
    assert served(life) == [None, None]
    rivals = {rival.name: rival for rival in life.rivals}
    assert life.reference == ALWAYS
    assert set(rivals) == {NEVER, ALWAYS, "mean"}
    assert rivals[ALWAYS].difference is None
    assert rivals["mean"].difference is not None
    assert life.notes[0].startswith("nothing was ever promoted, so nothing would have served")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"since": START + HOURS * HOUR}, "nothing can be replayed"),
        ({"since": START - HOUR}, "nothing can be replayed"),
        ({"since": START + 500 * HOUR, "until": START + 400 * HOUR}, "nothing can be replayed"),
        ({"every": HOUR / 2}, "shorter than one step"),
    ],
)
def test_times_outside_the_rows_are_refused(table: Table, change: dict[str, Any], what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        live(table, replace(PLAN, **change))


def test_a_replay_leaves_no_folder_behind_when_it_ends_when_it_is_stopped_and_when_nobody_listens(
    table: Table, scratch: Path
) -> None:
    live(table)
    assert list(scratch.iterdir()) == []

    class Hand(TabularTask):
        def fit(self, prepared: Split, **how: Any) -> Line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        live(table, task=Hand())
    assert list(scratch.iterdir()) == []

    listened = live_through(PLAN, task=TabularTask(), tables=lambda _name: table)
    next(listened)
    next(listened)
    assert list(scratch.iterdir()) != []
    listened.close()  # type: ignore[attr-defined] # a generator
    assert list(scratch.iterdir()) == []
