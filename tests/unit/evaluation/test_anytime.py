"""Evidence over a long life: every block of time counts once, and looking often does not make it false."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.evaluation.anytime import BETS, Evidence, Wealth, gather_evidence
from springtide.evaluation.losses import Losses

STEP, OVERLAP = 3600, 3
BLOCK = STEP * (OVERLAP + 1)
BEGIN = 500_000 * BLOCK
NOISE = np.random.default_rng(0).standard_normal((3, 480))


def losses(values: np.ndarray, *, first: int = 0, overlap: int = OVERLAP) -> Losses:
    """Hourly losses, of which the first is `first` hours after a block began."""
    times = BEGIN + STEP * (first + np.arange(len(values)))
    return Losses("loss", values, times, np.full(len(values), "a"), overlap, step=STEP)


CHALLENGER, RIVAL = 1.0 + 0.1 * NOISE[0], 1.05 + 0.1 * NOISE[1]


def look(first: int, stop: int, before: Evidence | None = None, *, champion: str | None = "m@1") -> Evidence:
    """A run that judges the hours from `first` until `stop`."""
    rivals = {"rival": losses(RIVAL[first:stop], first=first)}
    return gather_evidence(losses(CHALLENGER[first:stop], first=first), rivals, champion=champion, before=before)


def test_a_better_challenger_gathers_evidence_and_a_worse_one_loses_it() -> None:
    mine, rival = losses(CHALLENGER), losses(RIVAL)
    assert look(0, 480).rivals["rival"].e_value > 20
    assert gather_evidence(rival, {"rival": mine}, champion=None, before=None).rivals["rival"].e_value < 0.5


def test_a_block_counts_once_however_often_one_looks() -> None:
    first = look(0, 240)
    again = look(0, 240, first)
    assert again == first
    assert look(0, 242, first) == first  # no further block is complete


@given(st.lists(st.integers(1, 479), max_size=6))
def test_many_looks_find_what_one_look_at_the_end_finds(stops: list[int]) -> None:
    evidence = None
    for stop in [*sorted(stops), 480]:
        evidence = look(0, stop, evidence)
    whole = look(0, 480)
    assert evidence is not None
    assert evidence.counted_until == whole.counted_until
    assert evidence.rivals["rival"].blocks == whole.rivals["rival"].blocks
    assert np.allclose(evidence.rivals["rival"].logs, whole.rivals["rival"].logs)


def test_blocks_have_the_same_edges_wherever_a_run_begins_and_must_be_whole() -> None:
    assert look(0, 480).counted_until == BEGIN + 480 * STEP
    for first, stop in ((1, 479), (3, 477), (4, 476)):
        found = look(first, stop)
        assert found.counted_until == BEGIN + 476 * STEP
        assert found.rivals["rival"].blocks == look(4, 476).rivals["rival"].blocks == 118 - 4


def test_the_first_blocks_of_a_run_only_set_the_scale() -> None:
    assert look(0, 4 * 4).rivals["rival"] == Wealth(0, [[0.0] * len(BETS)] * 2)
    assert look(0, 4 * 5).rivals["rival"].blocks == 1


def test_under_another_champion_evidence_begins_anew_but_no_block_counts_again() -> None:
    before = look(0, 240)
    same = look(0, 240, before, champion="m@2")
    assert same.rivals["rival"].e_value == 0.5  # half of 1 for each of two sequences
    assert same.counted_until == before.counted_until
    later = look(0, 480, same, champion="m@2")
    assert later.rivals["rival"].blocks == 60
    assert later.rivals["rival"] == look(0, 480, replace(before, rivals={})).rivals["rival"]


def test_under_another_question_evidence_begins_anew_but_no_time_counts_again() -> None:
    before = look(0, 240)
    mine, rival = losses(CHALLENGER, overlap=6), losses(RIVAL, overlap=6)
    found = gather_evidence(mine, {"rival": rival}, champion="m@1", before=before)
    fresh = sum(block * 7 >= 500_000 * 4 + 240 for block in range((500_000 * 4 + 6) // 7, (500_000 * 4 + 480) // 7))
    assert found.block == 7 * STEP
    assert found.rivals["rival"].blocks == fresh


def test_by_another_clock_evidence_begins_anew_and_what_was_counted_says_nothing() -> None:
    before = look(0, 240)
    mine, rival = replace(losses(CHALLENGER), clock="a"), replace(losses(RIVAL), clock="a")
    found = gather_evidence(mine, {"rival": rival}, champion="m@1", before=before)
    assert found == replace(look(0, 480), clock="a")
    assert gather_evidence(mine, {"rival": rival}, champion="m@1", before=found) == found


def test_a_clock_is_in_the_evidence_only_where_it_is_one_of_its_own() -> None:
    found = look(0, 240)
    assert "clock" not in found.plain()
    of_a_column = replace(found, clock="a")
    assert [Evidence.read(one.plain()) for one in (found, of_a_column)] == [found, of_a_column]


def test_a_rival_that_comes_later_begins_at_nothing_while_the_others_go_on() -> None:
    before = look(0, 240)
    rivals = {"rival": losses(RIVAL), "newcomer": losses(RIVAL)}
    found = gather_evidence(losses(CHALLENGER), rivals, champion="m@1", before=before).rivals
    assert found["rival"] == look(0, 480, before).rivals["rival"]
    assert found["newcomer"] == look(0, 480, replace(before, rivals={})).rivals["rival"]


def test_rounding_is_no_evidence() -> None:
    rounded = CHALLENGER * (1 - 1e-14 * NOISE[1] ** 2)
    rivals = {"same": losses(CHALLENGER), "rounded": losses(rounded)}
    found = gather_evidence(losses(CHALLENGER), rivals, champion=None, before=None).rivals
    assert found["same"].e_value == 0.5
    assert found["rounded"].e_value == pytest.approx(0.5, rel=1e-3)
    assert gather_evidence(losses(rounded), {"r": losses(CHALLENGER)}, champion=None, before=None).rivals[
        "r"
    ].e_value == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_loss_that_is_no_number_counts_as_lost(wrong: float) -> None:
    broken = CHALLENGER.copy()
    broken[200] = wrong
    found = gather_evidence(losses(broken), {"rival": losses(RIVAL)}, champion=None, before=None).rivals["rival"]
    assert np.isfinite(found.logs).all()
    assert found.e_value < look(0, 480).rivals["rival"].e_value / 20


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_evidence_does_not_depend_on_the_unit_of_the_loss(unit: float) -> None:
    rivals = {"rival": losses(RIVAL * unit)}
    found = gather_evidence(losses(CHALLENGER * unit), rivals, champion="m@1", before=None).rivals["rival"]
    assert np.allclose(found.logs, look(0, 480).rivals["rival"].logs)


def test_series_that_move_as_one_are_the_evidence_of_one() -> None:
    def twice(values: np.ndarray) -> Losses:
        one = losses(values)
        both = np.repeat(one.values, 2), np.repeat(one.times, 2), np.tile(["a", "b"], len(values))
        return Losses(one.name, *both, one.overlap, step=one.step)

    found = gather_evidence(twice(CHALLENGER), {"rival": twice(RIVAL)}, champion="m@1", before=None)
    assert np.allclose(found.rivals["rival"].logs, look(0, 480).rivals["rival"].logs)


def test_items_that_share_no_outcome_make_one_sequence_with_the_whole_wealth() -> None:
    nothing = losses(CHALLENGER, overlap=0)
    found = gather_evidence(nothing, {"same": nothing}, champion=None, before=None).rivals["same"]
    assert (found.blocks, len(found.logs), found.e_value) == (480 - 3, 1, 1.0)


def test_losses_without_a_time_of_their_own_are_no_evidence_and_no_error() -> None:
    same_time = Losses("loss", CHALLENGER, np.zeros(480, dtype=np.int64), np.full(480, "a"))
    rival = replace(same_time, values=RIVAL)
    assert gather_evidence(same_time, {"rival": rival}, champion=None, before=None).rivals["rival"].blocks == 0


def test_evidence_survives_its_json() -> None:
    found = look(0, 480)
    assert Evidence.read(json.loads(json.dumps(asdict(found)))) == found
    assert Evidence.read(None) is None


def test_an_e_value_is_never_too_large_to_be_written() -> None:
    assert Wealth(9, [[5000.0] * len(BETS)]).e_value == pytest.approx(1e9)


def test_looking_after_every_block_finds_something_where_nothing_is_in_fewer_than_one_life_of_twenty() -> None:
    random = np.random.default_rng(7)
    found = 0
    for _ in range(150):
        noise = np.convolve(random.standard_normal(4 * 60 + 3), np.ones(4), "valid")  # outcomes overlap
        mine, rival, evidence = 5 + 0 * noise, 5 + noise, None
        for stop in range(20, len(noise) + 1, 8):
            evidence = gather_evidence(
                losses(mine[:stop]), {"rival": losses(rival[:stop])}, champion=None, before=evidence
            )
            if evidence.rivals["rival"].e_value >= 20:
                found += 1
                break
    assert found / 150 <= 0.05


def test_about_other_groups_or_to_another_question_evidence_begins_anew_but_no_time_counts_again() -> None:
    def ask(groups: str, question: str, before: Evidence | None = None) -> Evidence:
        mine, rival = (
            replace(losses(values), groups=np.full(480, groups), question=question) for values in (CHALLENGER, RIVAL)
        )
        return gather_evidence(mine, {"rival": rival}, champion="m@1", before=before)

    before = ask("a", "")
    assert ask("a", "", before) == before
    anew = ask("b", "", before)
    assert (anew.rivals["rival"].e_value, anew.counted_until) == (0.5, before.counted_until)
    asked = ask("a", "all series")
    assert ask("b", "all series", asked) == asked  # a series more of the same question
    assert ask("a", "one series", asked).rivals["rival"].e_value == 0.5


def test_evidence_from_before_the_question_was_kept_begins_anew() -> None:
    old = asdict(look(0, 240))
    del old["question"]
    assert look(0, 240, Evidence.read(old)).rivals["rival"].e_value == 0.5
