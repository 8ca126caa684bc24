"""The proof of a graph in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper
from tests import graph_world

from springtide.sdk import Refusal
from springtide.trainers import proving
from springtide.trainers.proving import prove

if TYPE_CHECKING:
    from collections.abc import Callable

node = helper.make_node


def test_a_graph_that_gives_its_own_answers_is_proven() -> None:
    assert prove(graph_world.summing(), graph_world.probe(), where="sums@1") > 0


def only_for_eight() -> bytes:
    made: bytes = graph_world.model(
        [node("Reshape", ["features", "shape"], ["same"]), node("ReduceSum", ["same", "axis"], ["answer"])],
        {"shape": np.array([2, 2]), "axis": np.array([1])},
    ).SerializeToString()
    return made


def wide() -> bytes:
    made: bytes = graph_world.model(
        [node("Expand", ["features", "shape"], ["much"]), node("Flatten", ["much"], ["answer"])],
        {"shape": np.array([1000, 1, 1])},
    ).SerializeToString()
    return made


HOSTILE: dict[str, tuple[Callable[[], bytes], bytes, str]] = {
    "rounds without end": (graph_world.looping, graph_world.probe(), "operator 'Loop'"),
    "more memory than there is": (lambda: graph_world.doubling(36), graph_world.probe(), "."),
    "work for hours": (lambda: graph_world.turning(100_000, 500), graph_world.probe(), "more than 2 s"),
    "other answers": (graph_world.summing, graph_world.probe(times=1.01), "does not give its own answers"),
    "answers that are no numbers": (
        graph_world.summing,
        graph_world.probe(out_0=np.full((2, 1), np.nan)),
        "does not give its own answers",
    ),
    "a pickle as probe": (graph_world.summing, graph_world.probe(out_0=np.array([{}])), "the probe cannot be read"),
    "no probe": (graph_world.summing, b"", "the probe cannot be read"),
    "a probe of another width": (
        graph_world.summing,
        graph_world.probe(in_features=np.ones((2, 3), np.float32)),
        "the probe has the shape",
    ),
    "two rows and no other number": (only_for_eight, graph_world.probe(), "."),
    "any width": (
        lambda: graph_world.model([node("ReduceSum", ["features"], ["answer"])], width="w").SerializeToString(),
        graph_world.probe(),
        "fixed width",
    ),
}


@pytest.mark.parametrize(("made", "probe", "what"), HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_served_is_refused_and_takes_no_more_than_its_limits(
    made: Callable[[], bytes], probe: bytes, what: str
) -> None:
    with pytest.raises(Refusal, match=what):
        prove(made(), probe, where="sums@1", cpu_s=2)


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "SECONDS", 0.01)
    with pytest.raises(Refusal, match="within"):
        prove(graph_world.summing(), graph_world.probe(), where="sums@1")


def test_the_host_imports_no_onnx_to_have_a_graph_proven() -> None:
    program = "import sys, springtide.serving.graphs; print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
