"""An exported graph as a session, and the check against its own answers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving_world import HORIZON, LEVELS, WINDOW, graph

from springtide.domain.errors import BadRows, ModelRefused
from springtide.serving.session import Probe, Session, check_answers, read_probe

if TYPE_CHECKING:
    from numpy.typing import NDArray


def feeds(batch: int = 2) -> dict[str, NDArray[Any]]:
    return {
        "candles": np.full((batch, WINDOW, 5), 100.0),
        "market": np.zeros((batch, WINDOW)),
        "cutoff": np.zeros(batch, dtype=np.int64),
    }


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(graph(0.0), where="model.onnx of btc@1")


@pytest.mark.parametrize("batch", [1, 7])
def test_a_session_answers_any_batch(session: Session, batch: int) -> None:
    [quantiles] = session.run(feeds(batch))
    assert quantiles.shape == (batch, HORIZON, len(LEVELS))
    assert quantiles[0, 0, 2] == 100.0


def test_a_session_says_what_it_takes_and_gives(session: Session) -> None:
    assert [(form.name, form.shape) for form in session.inputs] == [
        ("candles", (None, WINDOW, 5)),
        ("market", (None, WINDOW)),
        ("cutoff", (None,)),
    ]
    assert session.outputs[0].shape == (None, HORIZON, len(LEVELS))


@pytest.mark.parametrize("data", [b"", b"not a graph", graph(0.0)[:-40]], ids=["empty", "nonsense", "cut short"])
def test_bytes_that_are_no_graph_are_refused(data: bytes) -> None:
    with pytest.raises(ModelRefused, match=r"model\.onnx of btc@2"):
        Session(data, where="model.onnx of btc@2")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"candles": np.zeros((2, WINDOW + 1, 5))}, "has the shape"),
        ({"candles": np.zeros((2, WINDOW, 5), dtype=np.float32)}, "is float32"),
        ({"strange": np.zeros(2)}, "were given"),
        ({"market": np.zeros(2)}, "has the shape"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    session: Session, change: dict[str, NDArray[Any]], said: str
) -> None:
    with pytest.raises(BadRows, match=said):
        session.run(feeds() | change)


def probe_bytes(**arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **arrays)
    return file.getvalue()


def test_a_probe_comes_back_as_it_was_stored() -> None:
    probe = read_probe(probe_bytes(in_a=np.arange(3), out_0=np.ones(3), out_1=np.zeros(3)), where="probe")
    assert probe.inputs["a"].tolist() == [0, 1, 2]
    assert [answer.sum() for answer in probe.answers] == [3, 0]


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        probe_bytes(in_a=np.arange(3))[:-30],
        probe_bytes(in_a=np.arange(3)),
        probe_bytes(out_0=np.arange(3)),
        probe_bytes(in_a=np.array([{}], dtype=object), out_0=np.ones(1)),
        probe_bytes(in_a=np.arange(3), out_1=np.ones(3)),
    ],
    ids=["nonsense", "cut short", "no answers", "no inputs", "a pickle", "answers not counted from 0"],
)
def test_a_probe_that_cannot_be_trusted_is_refused(data: bytes) -> None:
    with pytest.raises(ModelRefused, match="probe"):
        read_probe(data, where="probe.npz of btc@2")


@given(
    stored=st.lists(st.floats(1e-3, 1e6) | st.floats(-1e6, -1e-3), min_size=1, max_size=5),
    off=st.floats(0, 9.99e-6) | st.floats(1.001e-5, 5e-5),
    up=st.booleans(),
)
def test_answers_pass_exactly_when_no_value_is_off_by_more_than_one_in_a_hundred_thousand(
    *, stored: list[float], off: float, up: bool
) -> None:
    answers = np.array(stored)
    given = answers * (1 + off if up else 1 - off)
    probe = Probe({}, [answers])
    if off < 1e-5:
        check_answers([given], probe, where="btc@2")
    else:
        with pytest.raises(ModelRefused, match="differ by"):
            check_answers([given], probe, where="btc@2")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.array([np.nan]), np.array([1.0])),
        (np.array([1.0]), np.array([np.nan])),
        (np.array([np.nan]), np.array([np.nan])),
        (np.array([np.inf]), np.array([np.inf])),
        (np.array([1.0, 1.0]), np.array([1.0])),
        (np.array([[1.0]]), np.array([1.0])),
    ],
)
def test_answers_that_are_not_finite_or_of_another_shape_are_refused(given: NDArray[Any], stored: NDArray[Any]) -> None:
    with pytest.raises(ModelRefused, match="own answers"):
        check_answers([given], Probe({}, [stored]), where="btc@2")
