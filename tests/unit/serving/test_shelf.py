"""The shelf follows the registry and the lake, and never serves what it should not."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest
from tests.serving_world import HORIZON, NOW, ROWS, STEP_S, World, candles, close, make_world, quantile

from springtide.domain.errors import ModelRefused, NotFound, NotReady
from springtide.serving.shelf import Shelf
from springtide.serving.watch import watching

if TYPE_CHECKING:
    from pathlib import Path

BTC = "BTC/USDT"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def shelf(world: World) -> Shelf:
    return new_shelf(world)


def new_shelf(world: World) -> Shelf:
    home = world.home
    return Shelf(home.settings.models, registry=home.registry, lake=home.lake, codecs=home.codecs, clock=lambda: NOW)


def serving(shelf: Shelf) -> int:
    return shelf.place("btc").now.model.version.number


def median(shelf: Shelf) -> float:
    [answer] = shelf.place("btc").now.forecast([BTC], NOW)
    first: float = answer.columns["btc"][0]
    return first


def test_nothing_serves_before_a_version_is_promoted(world: World, shelf: Shelf) -> None:
    world.publish(0.0)
    shelf.look()
    with pytest.raises(NotReady, match="no version of 'btc' serves yet"):
        _ = shelf.place("btc").now


def test_a_champion_serves_its_own_forecast(world: World, shelf: Shelf) -> None:
    world.promote(world.publish(0.01))
    shelf.look()
    assert median(shelf) == pytest.approx(quantile(close(BTC, ROWS - 1), 0.01, step=1, level=2))


def test_a_new_champion_takes_over_and_a_rollback_brings_the_old_one_back(world: World, shelf: Shelf) -> None:
    world.promote(world.publish(0.0))
    shelf.look()
    world.promote(world.publish(0.02))
    shelf.look()
    assert (serving(shelf), shelf.place("btc").live.swaps) == (2, 2)
    world.home.registry.rollback("btc", by="test", reason="test", at=NOW)
    shelf.look()
    assert serving(shelf) == 1
    assert median(shelf) == pytest.approx(quantile(close(BTC, ROWS - 1), 0.0, step=1, level=2))


def test_a_reader_that_took_the_model_before_a_swap_reads_on_from_one_version(world: World, shelf: Shelf) -> None:
    world.promote(world.publish(0.0))
    shelf.look()
    taken = shelf.place("btc").now
    world.promote(world.publish(0.02))
    shelf.look()
    assert taken.model.version.number == 1
    assert taken.forecast([BTC], NOW)[0].columns["btc"][0] == close(BTC, ROWS - 1)


@pytest.mark.parametrize("fault", ["wrong probe", "damaged graph", "missing graph", "another window"])
def test_a_version_that_fails_its_proof_never_serves_and_the_old_one_goes_on(
    world: World, shelf: Shelf, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.promote(world.publish(0.0))
    shelf.look()
    bad = world.publish(0.5, wrong_probe=fault == "wrong probe", window=5000 if fault == "another window" else 24)
    if fault == "damaged graph":
        world.blob(bad, "model.onnx").write_bytes(b"damaged")
    if fault == "missing graph":
        world.blob(bad, "model.onnx").unlink()
    world.promote(bad)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            shelf.look()
    place = shelf.place("btc")
    assert (serving(shelf), place.refusals) == (1, 1)  # tried once, not at every look
    assert place.refusal is not None
    assert place.refusal.version == 2
    assert len([record for record in caplog.records if "btc@2 is refused" in record.message]) == 1


def test_a_refusal_is_forgotten_when_the_champion_changes(world: World, shelf: Shelf) -> None:
    world.promote(world.publish(0.0))
    shelf.look()
    world.promote(world.publish(0.5, wrong_probe=True))
    shelf.look()
    world.home.registry.rollback("btc", by="test", reason="test", at=NOW)
    shelf.look()
    assert shelf.place("btc").refusal is None
    world.promote(world.publish(0.03))
    shelf.look()
    assert (serving(shelf), shelf.place("btc").refusal) == (3, None)


def test_after_a_restart_the_champion_before_a_refused_one_stands_in(world: World) -> None:
    world.promote(world.publish(0.0))
    world.promote(world.publish(0.5, wrong_probe=True))
    world.promote(world.publish(0.6, wrong_probe=True))
    shelf = new_shelf(world)
    shelf.look()
    place = shelf.place("btc")
    assert serving(shelf) == 1
    assert place.refusal is not None
    assert place.refusal.version == 3


def test_a_refused_first_champion_is_named_to_who_asks(world: World, shelf: Shelf) -> None:
    world.promote(world.publish(0.5, wrong_probe=True))
    shelf.look()
    with pytest.raises(NotReady, match="btc@1 was refused: the model does not give its own answers"):
        _ = shelf.place("btc").now


def test_new_rows_give_a_new_forecast(world: World, shelf: Shelf) -> None:
    world.promote(world.publish(0.0))
    shelf.look()
    world.home.lake.table("candles").write(candles(1, first=ROWS))
    before = shelf.place("btc").now.forecast([BTC], NOW)[0].columns
    shelf.look()
    after = shelf.place("btc").now.forecast([BTC], NOW)[0].columns
    assert (after["cutoff"][0] - before["cutoff"][0]).total_seconds() == STEP_S
    assert after["btc"][0] == close(BTC, ROWS)


def test_rows_are_read_once_per_version_of_the_table(world: World, shelf: Shelf) -> None:
    world.promote(world.publish(0.0))
    shelf.look()
    first = shelf.place("btc").now
    shelf.look()
    assert shelf.place("btc").now is first


def test_a_series_without_enough_rows_does_not_take_the_others_forecast_away(world: World, shelf: Shelf) -> None:
    table = world.home.lake.table("candles")
    world.promote(world.publish(0.0))
    shelf.look()
    hole = candles(1, first=ROWS + 100, series=("SOL/USDT",))
    table.write(hole)
    shelf.look()
    assert len(shelf.place("btc").now.forecast([BTC], NOW)[0].columns["ds"]) == HORIZON
    with pytest.raises(NotFound, match="does not forecast 'SOL/USDT'"):
        shelf.place("btc").now.forecast(["SOL/USDT"], NOW)


def test_a_lost_table_leaves_the_last_forecast_and_says_so(
    world: World, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    world.promote(world.publish(0.0))
    shelf.look()
    (world.folder / "var" / "tables" / "candles").rename(world.folder / "elsewhere")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            shelf.look()
    assert median(shelf) == close(BTC, ROWS - 1)
    assert shelf.place("btc").rows_problem is not None
    assert len(caplog.records) == 1  # a lasting failure is said once
    (world.folder / "elsewhere").rename(world.folder / "var" / "tables" / "candles")
    shelf.look()
    assert shelf.place("btc").rows_problem is None


def test_proving_a_version_does_not_serve_it(world: World, shelf: Shelf) -> None:
    world.promote(world.publish(0.0))
    shelf.look()
    shelf.prove(world.publish(0.1))
    with pytest.raises(ModelRefused):
        shelf.prove(world.publish(0.1, wrong_probe=True))
    assert serving(shelf) == 1


def test_an_unknown_model_is_answered_with_the_nearest_name(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match="did you mean 'btc'"):
        shelf.place("btcc")


def test_the_watch_looks_before_the_block_goes_on_after_a_failure_and_ends_with_it() -> None:
    looked = threading.Semaphore(0)

    def look() -> None:
        looked.release()
        raise RuntimeError("whatever it was")

    before = threading.active_count()
    with watching(look, poll_s=0.001, stop=threading.Event()):
        for _ in range(5):
            assert looked.acquire(timeout=5)
    assert threading.active_count() == before


def test_a_champion_whose_rows_cannot_be_read_waits_and_takes_over_later(world: World, shelf: Shelf) -> None:
    world.promote(world.publish(0.0))
    shelf.look()
    world.promote(world.publish(0.02, window=30))  # another window: the rows at hand are too few for it
    tables = world.folder / "var" / "tables"
    (tables / "candles").rename(world.folder / "elsewhere")
    shelf.look()
    assert (serving(shelf), shelf.place("btc").refusal) == (1, None)
    (world.folder / "elsewhere").rename(tables / "candles")
    shelf.look()
    assert serving(shelf) == 2


def test_a_database_that_does_not_answer_takes_nothing_away(
    world: World, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    world.promote(world.publish(0.0))
    shelf.look()
    world.home.registry._engine.dispose()
    for file in (world.folder / "var").glob("springtide.db*"):
        file.write_bytes(b"this is no database" * 100)
    world.home.lake.table("candles").write(candles(1, first=ROWS))
    with caplog.at_level(logging.WARNING):
        shelf.look()
        shelf.look()
    assert median(shelf) == close(BTC, ROWS)  # new rows still come
    assert len(caplog.records) == 1
