from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.domain import errors
from springtide.domain.errors import SettingsError, SpringtideError, did_you_mean

TREE = [getattr(errors, name) for name in errors.__all__ if name not in ("SpringtideError", "did_you_mean")]


@pytest.mark.parametrize("kind", TREE)
def test_every_error_says_what_where_and_what_to_do(kind: type[SpringtideError]) -> None:
    error = kind("the tide is out", where="at the pier", do="wait six hours")
    assert isinstance(error, SpringtideError)
    assert (error.what, error.where, error.do) == ("the tide is out", "at the pier", "wait six hours")
    assert str(error) == "the tide is out\n  where: at the pier\n  do: wait six hours"


def test_the_tree_at_the_top_of_the_file_names_every_error_with_its_status() -> None:
    drawn = {
        line.split()[1]: int(line.split()[2]) for line in str(errors.__doc__).splitlines() if line[:1] in "├└" and line
    }
    assert drawn == {kind.__name__: kind.status for kind in TREE}


def test_a_wrong_setting_is_a_wrong_value_to_a_validator() -> None:
    assert issubclass(SettingsError, ValueError)


words = st.text("abcdefgh", min_size=3, max_size=8)


@given(st.sets(words, min_size=1, max_size=6), st.data())
def test_a_word_with_one_letter_too_many_is_recognised(known: set[str], data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(sorted(known)))
    hint = did_you_mean(f"{word}z", known)
    assert hint.startswith("did you mean")
    assert hint.endswith(f"known: {', '.join(sorted(known))}")


def test_a_word_like_none_of_the_known_ones_gets_the_list_only() -> None:
    assert did_you_mean("zzz", {"window", "horizon"}) == "known: horizon, window"


def test_where_nothing_is_known_the_hint_says_so() -> None:
    assert did_you_mean("btc", []) == "known: none yet"
