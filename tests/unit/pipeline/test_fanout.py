"""Tasks here or on Ray: the same results in the same order, and their own errors."""

from __future__ import annotations

import math
import os
import pickle
import sys
from socket import socket
from typing import TYPE_CHECKING

import psutil
import pytest
import torch
from tests.unit.cli.world import SETTINGS, csv, opened

from springtide.app import worker
from springtide.app.ingestion import ingest
from springtide.domain.clock import utc_now
from springtide.domain.errors import CallsUsedUp, ComputeFailed, Expired, SettingsError
from springtide.domain.units import parse_span
from springtide.pipeline.fanout import InProcess, open_fanout
from springtide.settings.words import Compute

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.pipeline.fanout import Fanout

RAY = Compute(executor="ray")


@pytest.fixture(scope="module")
def on_ray() -> Iterator[Fanout]:
    """A Ray of our own; when it is left, so is every process that it had started."""
    pytest.importorskip("ray")
    before = set(psutil.Process().children(recursive=True))
    with open_fanout(RAY) as fanout:
        assert set(psutil.Process().children(recursive=True)) > before
        yield fanout
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture(params=["in process", "ray"])
def fanout(request: pytest.FixtureRequest) -> Fanout:
    found: Fanout = InProcess() if request.param == "in process" else request.getfixturevalue("on_ray")
    return found


def test_results_come_in_the_order_of_the_payloads(fanout: Fanout) -> None:
    spans = ["3s", "1s", "2h", "1d"]
    assert list(fanout.map(parse_span, spans)) == [parse_span(span) for span in spans]
    assert list(fanout.map(parse_span, [])) == []


def test_a_task_that_fails_raises_its_own_error_and_says_which_it_was(fanout: Fanout) -> None:
    results = fanout.map(parse_span, ["1s", "soon", "2s"])
    assert next(results) == parse_span("1s")
    with pytest.raises(SettingsError, match="'soon' is not a span") as failed:
        next(results)
    assert "30s, 5m" in failed.value.do
    assert failed.value.__notes__ == ["in soon"]


def test_an_error_that_nobody_foresaw_keeps_its_class(fanout: Fanout) -> None:
    with pytest.raises(ValueError, match="math domain"):
        list(fanout.map(math.sqrt, [-1.0]))


def test_a_worker_that_dies_is_told_from_a_task_that_fails(on_ray: Fanout) -> None:
    with pytest.raises(ComputeFailed, match="a worker was lost"):
        list(on_ray.map(os._exit, [1]))


def test_a_backtest_on_ray_gives_the_numbers_of_one_in_process(on_ray: Fanout, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a task of Ray: sums of other parts differ in the last bit
    try:
        (tmp_path / "rows").mkdir()
        (tmp_path / "rows" / "first.csv").write_text(csv(0, 900))
        (tmp_path / "springtide.toml").write_text(SETTINGS)
        home = opened(tmp_path)
        ingest(home, "candles", now=utc_now, told=lambda _brought, _done: None)
        jobs = worker.walk.plan_folds(
            "btc",
            home.model("btc"),
            task=worker.TASKS["forecast"],
            tables=home.lake.table,
            champion=None,
            folds=2,
        )
        asked = [worker._InHome(home.settings.home, job) for job in jobs]
        here, there = (
            worker.walk.sum_up(jobs, list(fanout.map(worker._judge_fold, asked))) for fanout in (InProcess(), on_ray)
        )
    finally:
        torch.set_num_threads(threads)
    assert here == there
    assert here.standings[0].items == 232


def test_without_ray_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match="not installed") as missing, open_fanout(RAY):
        pass
    assert "springtide[ray]" in missing.value.do


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_at_which_nobody_listens_is_refused_at_once(scheme: str) -> None:
    pytest.importorskip("ray")
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{probe.getsockname()[1]}"
        compute = Compute(executor="ray", address=address)
        with pytest.raises(ComputeFailed, match="did not answer") as refused, open_fanout(compute):
            pass
    assert refused.value.where == f"address {address}"


def test_an_address_without_ray_is_refused() -> None:
    with pytest.raises(ValueError, match="an address is for Ray"):
        Compute(address="10.0.0.1:6379")


@pytest.mark.parametrize(
    "error",
    [
        SettingsError("what", where="where", do="do"),
        Expired("what", where="where", do="do", since=utc_now()),
        CallsUsedUp("what", where="where", do="do"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_back_from_another_process_whole(error: SettingsError) -> None:
    error.add_note("in window 3")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))
