"""Models that jobs have made, as a server opens and asks them."""

from __future__ import annotations

import logging
import threading
import time
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from sqlalchemy import event
from tests import graph_world
from tests.graph_world import GraphWorld, make_graph_world, preprocessing, probe, summing

from springtide.app.answers import Answers
from springtide.domain.errors import BadRows, ModelRefused, NotFound, NotReady, TooLarge
from springtide.serving import graphs as module
from springtide.serving.graphs import Graphs
from springtide.serving.guarded import Guarded
from springtide.serving.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

ROWS = [{"a": 1, "b": 2}, {"a": 10, "b": 20}]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GraphWorld:
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    return make_graph_world(tmp_path)


def tensors(rows: list[list[float]]) -> dict[str, Any]:
    """A request of the Open Inference Protocol."""
    given = {"name": "features", "datatype": "FP32", "shape": [len(rows), 2], "data": rows}
    return {"id": "7", "inputs": [given]}


# what serves


def test_rows_are_answered_one_by_one(world: GraphWorld) -> None:
    world.publish("sums", summing(), probe())
    answer = Answers(world.home).predict("sums", ROWS)
    assert answer["columns"] == {"sum": [3.0, 30.0]}
    assert (answer["version"], answer["warning"]) == (1, None)


def test_the_bare_graph_of_a_job_answers_tensors_as_the_open_inference_protocol_writes_them(world: GraphWorld) -> None:
    world.publish("sums", summing(), probe())
    answers = Answers(world.home)
    assert answers.infer("sums", tensors([[1, 2], [3, 4], [5, 6]])) == {
        "id": "7",
        "model_name": "sums",
        "model_version": "1",
        "outputs": [{"name": "answer", "shape": [3, 1], "datatype": "FP32", "data": [3.0, 7.0, 11.0]}],
    }
    assert answers.metadata("sums")["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 2]}]


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (tensors([]), "no rows"),
        (tensors([[1, 2]]) | {"inputs": []}, "inputs"),
        ({"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}, "shape"),
        ({"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]}, "float64"),
        (tensors([[1, 2]]) | {"outputs": [{"name": "label"}]}, "no output 'label'"),
    ],
)
def test_tensors_that_do_not_fit_the_graph_of_a_job_are_refused(
    world: GraphWorld, request_: dict[str, Any], what: str
) -> None:
    world.publish("sums", summing(), probe())
    with pytest.raises(BadRows, match=what):
        Answers(world.home).infer("sums", request_)


def test_a_model_that_no_job_has_made_is_not_found(world: GraphWorld) -> None:
    world.publish("sums", summing(), probe())
    with pytest.raises(NotFound, match="did you mean 'sums'"):
        Graphs(world.home.registry).graph("sum")


def test_a_model_of_which_no_version_has_won_says_how_one_may_serve(world: GraphWorld) -> None:
    world.publish("sums", summing(), probe(), promote=False)
    answers = Answers(world.home)
    with pytest.raises(NotReady, match="no version of 'sums' serves") as refused:
        answers.predict("sums", ROWS)
    assert "springtide promote sums@NUMBER" in refused.value.do


def test_a_model_of_a_job_has_no_series_and_says_what_to_ask_instead(world: GraphWorld) -> None:
    world.publish("sums", summing(), probe())
    with pytest.raises(NotFound, match="has no series to forecast") as refused:
        Answers(world.home).forecast("sums")
    assert "/v1/models/sums/predict" in refused.value.do


def test_a_model_without_a_graph_says_so(world: GraphWorld) -> None:
    world.publish("sums", None, probe())
    with pytest.raises(NotReady, match="has no ONNX graph"):
        Graphs(world.home.registry).graph("sums")


def test_as_many_rows_as_a_request_may_send_take_little_memory(world: GraphWorld) -> None:
    part = {"kind": "category", "levels": [f"l{number}" for number in range(100)]}
    parts = [{"name": name, **part} for name in "abc"]
    inputs, answered = np.eye(2, 303, dtype=np.float32), np.ones((2, 1), dtype=np.float32)
    probed = probe(in_features=inputs, out_0=answered)
    world.publish("wide", summing(width=303), probed, preprocessing(parts=parts))
    answers, count = Answers(world.home), 16_000
    answers.predict("wide", {"a": ["l1"], "b": [1], "c": [None]})
    tracemalloc.start()
    try:
        found = answers.predict("wide", {"a": ["l1"] * count, "b": [1] * count, "c": [None] * count})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found["columns"]["sum"] == [3.0] * count
    assert peak < 8 << 20  # the whole matrix would have 19 MB, and three times as many while it is made


def test_more_rows_than_a_request_may_send_are_refused_with_how_many_it_may(world: GraphWorld) -> None:
    world.publish("sums", summing(), probe())
    columns = {"a": [1] * 2_500_001, "b": [2] * 2_500_001}
    with pytest.raises(TooLarge, match="2,500,001 rows, each of which is 2 numbers") as refused:
        Answers(world.home).predict("sums", columns)
    assert refused.value.do == "send at most 2,500,000 rows at once"


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ({"a": [1, 2], "b": [1]}, "columns of different lengths"),
        ([{"a": 10**400, "b": 1}], "row 1: column 'a' holds a number that is too large"),
        ([{"a": 1e300, "b": 1}], "too large for float32"),
        ([], "no rows"),
    ],
)
def test_rows_that_no_model_can_answer_are_refused_in_words(world: GraphWorld, rows: Any, what: str) -> None:
    world.publish("sums", summing(), probe())
    with pytest.raises(BadRows, match=what):
        Answers(world.home).predict("sums", rows)


# the database away


@contextmanager
def lost(world: GraphWorld) -> Iterator[None]:
    """The database is not where it was; an empty one is."""
    engine, file = world.home.registry.engine, world.folder / "var" / "springtide.db"
    engine.dispose()
    file.rename(file.with_suffix(".away"))
    yield
    engine.dispose()
    file.with_suffix(".away").rename(file)


def test_while_the_database_is_away_the_models_that_are_open_go_on_and_that_is_told_once(
    world: GraphWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.publish("sums", summing(), probe())
    answers = Answers(world.home)
    answers.predict("sums", ROWS)
    with lost(world), caplog.at_level(logging.WARNING, "springtide.serving"):
        assert [answers.predict("sums", ROWS)["version"] for _ in range(3)] == [1, 1, 1]
        with pytest.raises(NotReady, match="the database has no tables"):
            Graphs(world.home.registry).graph("sums")  # it has never known any
    assert [line for line in caplog.messages if "models that serve go on" in line] == caplog.messages
    assert len(caplog.messages) == 1
    world.publish("sums", summing(2), probe(2))
    assert answers.predict("sums", ROWS)["version"] == 2


def test_one_request_asks_the_database_and_the_others_do_not_wait_for_it(world: GraphWorld) -> None:
    world.publish("sums", summing(), probe())
    graphs, inside, end, asked = Graphs(world.home.registry), threading.Event(), threading.Event(), []
    graphs.graph("sums")

    def slowly(*_: object) -> None:
        asked.append(1)
        inside.set()
        assert end.wait(20)

    event.listen(world.home.registry.engine, "before_cursor_execute", slowly)
    asking = beside(lambda: graphs.graph("sums"))
    assert inside.wait(20)
    assert [graphs.graph("sums").version.number for _ in range(5)] == [1] * 5
    assert len(asked) == 1
    end.set()
    asking.join()


# versions that are refused


def test_a_new_version_serves_as_soon_as_it_is_the_champion(world: GraphWorld) -> None:
    answers = Answers(world.home)
    world.publish("sums", summing(), probe())
    assert answers.predict("sums", ROWS)["columns"]["sum"] == [3.0, 30.0]
    world.publish("sums", summing(2), probe(2))
    assert answers.predict("sums", ROWS)["columns"]["sum"] == [6.0, 60.0]


def test_the_last_version_goes_on_serving_when_the_new_one_fails_its_proof_and_why_is_told(
    world: GraphWorld, caplog: pytest.LogCaptureFixture
) -> None:
    answers = Answers(world.home)
    world.publish("sums", summing(), probe())
    answers.predict("sums", ROWS)
    world.publish("sums", summing(2), probe())  # its probe says something else
    with caplog.at_level(logging.ERROR, "springtide.serving"):
        found = [answers.predict("sums", ROWS) for _ in range(3)]
    assert [one["version"] for one in found] == [1, 1, 1]
    said = "sums@2 is refused and does not serve: the model does not give its own answers"
    assert found[0]["warning"].startswith(said)
    assert len([line for line in caplog.messages if line.startswith(said)]) == 1  # once, not at every request
    assert answers.infer("sums", tensors([[1, 2]]))["model_version"] == "1"
    world.publish("sums", summing(3), probe(3))
    after = answers.predict("sums", ROWS)
    assert (after["version"], after["warning"]) == (3, None)


def wrong(**keys: Any) -> tuple[bytes, bytes, str]:
    return summing(), probe(), preprocessing(**keys)


def two_outputs() -> bytes:
    made = graph_world.model(
        [helper.make_node(name, ["features"], [out]) for name, out in (("Abs", "answer"), ("Neg", "b"))]
    )
    made.graph.output.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, None))
    data: bytes = made.SerializeToString()
    return data


REFUSED: dict[str, tuple[tuple[bytes, bytes, str], str]] = {
    "a loop": ((graph_world.looping(), probe(), preprocessing()), "Loop"),
    "no graph": ((b"no graph", probe(), preprocessing()), "cannot be read as ONNX"),
    "two outputs": ((two_outputs(), probe(), preprocessing()), "one output"),
    "preprocessing that is none": ((summing(), probe(), "{"), "cannot be read as preprocessing"),
    "preprocessing without end": ((summing(), probe(), "[" * 100_000), "cannot be read as preprocessing"),
    "preprocessing of a later format": (wrong(format=2), "its format 2 is not 1"),
    "another width": (wrong(parts=[{"kind": "plain", "name": "a"}]), "makes 1"),
    "a text as number": (
        wrong(parts=[{"kind": "number", "name": "a", "fill": "x", "mean": 0, "scale": 1, "gaps": True}]),
        "'fill' of a Number is 'x'",
    ),
    "a number as text": (wrong(parts=[{"kind": "category", "name": "a", "levels": [1]}]), "'levels' of a Category"),
    "classes that are no texts": (wrong(classes=[{}, {}]), "no texts"),
    "an output that is none": (wrong(output="secrets"), "'secrets' as output"),
    "a scale of nothing": (
        wrong(parts=[{"kind": "number", "name": "a", "fill": 1, "mean": 0, "scale": 1e-300, "gaps": True}]),
        "too large for float32",
    ),
}


@pytest.mark.parametrize(("files", "what"), REFUSED.values(), ids=REFUSED)
def test_a_version_that_cannot_serve_is_refused_in_words(
    world: GraphWorld, files: tuple[bytes, bytes, str], what: str
) -> None:
    world.publish("sums", *files)
    graphs = Graphs(world.home.registry)
    for _ in range(2):
        with pytest.raises(NotReady, match=what) as refused:
            graphs.graph("sums")
    assert "sums@1" in refused.value.where


def test_answers_that_are_no_classes_are_the_fault_of_the_model(world: GraphWorld) -> None:
    world.publish("sums", summing(), probe(), preprocessing(classes=["x", "y", "z"], output="logits"))
    with pytest.raises(ModelRefused, match="not 3 classes"):
        Answers(world.home).predict("sums", ROWS)


# many of them


def test_the_graphs_that_were_asked_longest_ago_are_closed_first(world: GraphWorld) -> None:
    for name in "abc":
        world.publish(name, summing(), probe())
    graphs = Graphs(world.home.registry, most=2)
    first = {name: graphs.graph(name) for name in "ab"}
    assert graphs.graph("a") is first["a"]
    graphs.graph("c")
    assert graphs.graph("a") is first["a"]
    assert graphs.graph("b") is not first["b"]


def test_graphs_that_hold_too_much_together_are_closed(world: GraphWorld) -> None:
    for name in "ab":
        world.publish(name, summing(), probe())
    graphs = Graphs(world.home.registry, most_bytes=1)
    first = graphs.graph("a")
    assert graphs.graph("a") is first
    graphs.graph("b")
    assert graphs.graph("a") is not first


def test_a_version_is_proven_once(world: GraphWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        world.publish(name, summing(), probe())
    graphs, proven = Graphs(world.home.registry, most=1), []
    monkeypatch.setattr(module, "prove", lambda *_, where: proven.append(where) or 1)
    for name in "abab":
        graphs.graph(name)
    assert proven == ["a@1", "b@1"]


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Proofs of slow@... take until the second event; the first says that one has begun."""
    begun, end, prove = threading.Event(), threading.Event(), module.prove

    def slowly(graph: bytes, probed: bytes, *, where: str) -> int:
        if where.startswith("slow@"):
            begun.set()
            assert end.wait(20)
        return prove(graph, probed, where=where)

    monkeypatch.setattr(module, "prove", slowly)
    return begun, end


def beside(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_while_one_graph_is_proven_others_answer_and_its_last_version_does(
    world: GraphWorld, held_up: tuple[threading.Event, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, end = held_up
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    graphs = Graphs(world.home.registry)
    world.publish("quick", summing(), probe())
    world.publish("slow", summing(), probe())
    opening = beside(lambda: graphs.graph("slow"))
    assert begun.wait(20)
    assert graphs.graph("quick").version.number == 1
    with pytest.raises(NotReady, match="is being opened"):
        graphs.graph("slow")
    end.set()
    opening.join()
    assert graphs.graph("slow").version.number == 1

    begun.clear(), end.clear()
    world.publish("slow", summing(2), probe(2))
    opening = beside(lambda: graphs.graph("slow"))
    assert begun.wait(20)
    assert graphs.graph("slow").version.number == 1
    end.set()
    opening.join()
    assert graphs.graph("slow").version.number == 2


# the guard


@pytest.mark.parametrize("count", [1, 2, 16, 17, 256, 257, 700])
def test_any_number_of_rows_is_answered_with_runs_of_the_numbers_that_were_proven(count: int) -> None:
    seen: list[int] = []

    class Watched(Session):
        def run(self, feeds: Any, **how: Any) -> Any:
            seen.append(len(feeds["features"]))
            return super().run(feeds, **how)

    rows = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    (answer,) = Guarded(Watched(summing(), where="model.onnx")).run({"features": rows})
    np.testing.assert_array_equal(answer[:, 0], rows.sum(axis=1))
    assert set(seen) <= {1, 16, 256}


def test_a_request_that_takes_too_long_is_ended() -> None:
    guarded = Guarded(Session(graph_world.turning(2000, 600), where="model.onnx"), limit_s=0.3)
    began = time.monotonic()
    with pytest.raises(NotReady, match=r"no answer within 0\.3 s"):
        guarded.run({"features": graph_world.INPUTS})
    assert time.monotonic() - began < 5


def test_rows_that_take_too_long_to_be_made_into_numbers_are_given_up() -> None:
    guarded, made = Guarded(Session(summing(), where="model.onnx"), limit_s=0.1), []

    def slowly(part: slice) -> NDArray[Any]:
        made.append(part)
        time.sleep(0.06)
        return np.zeros((part.stop - part.start, 2), dtype=np.float32)

    with pytest.raises(NotReady, match=r"no answer within 0\.1 s"):
        guarded.answer(25_600, slowly)
    assert len(made) < 10


def test_requests_beyond_two_wait_a_while_and_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("springtide.serving.guarded.PATIENCE_S", 0.05)
    inside, end = threading.Semaphore(0), threading.Event()

    class Slow(Session):
        def run(self, feeds: Any, **how: Any) -> Any:
            inside.release()
            assert end.wait(20)
            return super().run(feeds, **how)

    guarded = Guarded(Slow(summing(), where="model.onnx"))
    threads = [beside(lambda: guarded.run({"features": graph_world.INPUTS})) for _ in range(2)]
    assert all(inside.acquire(timeout=20) for _ in threads)
    with pytest.raises(NotReady, match="2 requests are being answered"):
        guarded.run({"features": graph_world.INPUTS})
    end.set()
    for thread in threads:
        thread.join()
    guarded.run({"features": graph_world.INPUTS})
