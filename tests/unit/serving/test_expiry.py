"""What has grown too old is a state and never a number, whenever it is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.testing import TestClient
from tests.serving_world import HORIZON, LAST, NOW, ROWS, SERIES, WINDOW, World, candles, make_world

from springtide.api.metrics import Metrics
from springtide.api.server import create_server
from springtide.app.answers import Answers
from springtide.domain.errors import Expired, NotReady
from springtide.serving.live import Answering, Live
from springtide.settings.words import Expires

if TYPE_CHECKING:
    from pathlib import Path

BTC, ETH = SERIES
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
TRAINED_UNTIL = LAST - timedelta(days=2)


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def serving(folder: Path, clock: Clock, expires: str) -> tuple[Answers, World]:
    """A model that has seen nothing of the last two days of rows, served under these limits of age."""
    world = make_world(folder, expires=expires)
    world.promote(world.publish(0.01, trained_until=TRAINED_UNTIL))
    answers = Answers(world.home, clock=clock)
    answers.shelf.look()
    return answers, world


def old_rows() -> list[dict[str, Any]]:
    return [{**row, "ds": row["ds"].isoformat()} for row in candles(WINDOW, series=(BTC,)).to_dicts()]


def tensors() -> dict[str, Any]:
    shapes = {"candles": ("FP64", [1, WINDOW, 5]), "market": ("FP64", [1, WINDOW]), "cutoff": ("INT64", [1])}
    sizes = {"candles": WINDOW * 5, "market": WINDOW, "cutoff": 1}
    return {
        "inputs": [
            {"name": name, "datatype": kind, "shape": shape, "data": [1] * sizes[name]}
            for name, (kind, shape) in shapes.items()
        ]
    }


# The limits


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return serving(tmp_path_factory.mktemp("aged"), Clock(), "")[0]


hours = st.integers(0, 5).map(lambda count: count * HOUR)
limits = st.none() | st.integers(1, 5).map(lambda count: count * HOUR)
offsets = st.sampled_from([timedelta(0), SECOND, timedelta(0) - SECOND])


def numbers(answers: Answers, verb: str) -> bool:
    """Whether a question is answered by numbers; the only other answer is that something has expired."""
    asked: dict[str, Any] = {
        "forecast of all": lambda: answers.forecast("btc")["columns"]["btc"],
        "forecast of one": lambda: answers.forecast("btc", [ETH])["columns"]["btc"],
        "predict": lambda: answers.predict("btc", old_rows())["columns"]["btc"],
        "infer": lambda: answers.infer("btc", tensors())["outputs"],
    }
    try:
        return len(asked[verb]()) > 0
    except Expired:
        return False


@given(model_age=hours, data_age=hours, model_limit=limits, data_limit=limits, offset=offsets)
def test_there_are_numbers_exactly_while_model_and_rows_are_younger_than_their_limits(
    aged: Answers,
    model_age: timedelta,
    data_age: timedelta,
    model_limit: timedelta | None,
    data_limit: timedelta | None,
    offset: timedelta,
) -> None:
    model_age, data_age = (max(timedelta(0), age + offset) for age in (model_age, data_age))
    at = NOW + data_age  # the newest rows of both series closed at NOW
    place = aged.shelf.place("btc")
    model, rows = place.now.model, place.now.rows
    assert rows is not None
    manifest = replace(model.version.manifest, trained_until=at - model_age)
    place.live = Live(Expires(data=data_limit, model=model_limit))
    place.live.now = Answering(replace(model, version=replace(model.version, manifest=manifest)))
    place.live.refresh(rows)
    aged.clock = lambda: at
    model_serves = model_limit is None or model_age < model_limit
    serves = model_serves and (data_limit is None or data_age < data_limit)
    assert {verb: numbers(aged, verb) for verb in ("forecast of all", "forecast of one", "predict", "infer")} == {
        "forecast of all": serves,
        "forecast of one": serves,
        "predict": model_serves,
        "infer": model_serves,
    }
    [card] = aged.models()
    assert card["state"] == ("serving" if serves else "expired")
    assert serves == (card["expires_at"] is None or at < card["expires_at"])


def test_a_stored_forecast_is_not_looked_up_once_the_clock_has_passed_its_limit(tmp_path: Path, clock: Clock) -> None:
    answers, _ = serving(tmp_path, clock, 'data = "6h"')
    clock.now = NOW + 6 * HOUR - SECOND
    assert len(answers.forecast("btc", [BTC])["columns"]["btc"]) == HORIZON
    clock.now = NOW + 6 * HOUR
    for series in ([BTC], []):
        with pytest.raises(Expired, match=r"expired since 2024-01-05 10:00 UTC: the newest row of BTC/USDT") as error:
            answers.forecast("btc", series)
        assert error.value.since == NOW + 6 * HOUR
        assert "springtide ingest" in error.value.do
    answers.shelf.look()  # there is nothing new
    with pytest.raises(Expired):
        answers.forecast("btc")


def test_without_limits_old_rows_are_answered_with_a_warning_for_ever(tmp_path: Path, clock: Clock) -> None:
    answers, _ = serving(tmp_path, clock, "")
    clock.now = NOW + timedelta(days=3650)
    answer = answers.forecast("btc")
    assert len(answer["columns"]["btc"]) == 2 * HORIZON
    assert "BTC/USDT: the newest row is of 2024-01-05" in answer["warning"]
    assert answer["states"][BTC] == {"state": "serving", "expires_at": None}
    assert (answers.models()[0]["state"], answers.models()[0]["expires_at"]) == ("serving", None)


def test_new_rows_bring_an_expired_model_back(tmp_path: Path, clock: Clock) -> None:
    answers, world = serving(tmp_path, clock, 'data = "6h"')
    clock.now = NOW + 8 * HOUR
    assert answers.models()[0]["state"] == "expired"
    world.home.lake.table("candles").write(candles(8, first=ROWS))
    answers.shelf.look()
    assert answers.forecast("btc")["cutoff"] == LAST + 8 * HOUR
    assert answers.models()[0]["expires_at"] == NOW + 14 * HOUR


# Model and series


def test_a_model_that_is_too_old_answers_nothing_and_asks_to_be_retrained(tmp_path: Path, clock: Clock) -> None:
    answers, world = serving(tmp_path, clock, 'model = "4d"')
    assert len(answers.predict("btc", old_rows())["columns"]["btc"]) == HORIZON
    clock.now = TRAINED_UNTIL + timedelta(days=4)
    for ask in (
        lambda: answers.forecast("btc"),
        lambda: answers.predict("btc", old_rows()),
        lambda: answers.infer("btc", tensors()),
    ):
        with pytest.raises(Expired, match="btc@1 has seen nothing after 2024-01-03 03:00 UTC") as error:
            ask()
        assert "springtide retrain btc" in error.value.do
    world.promote(world.publish(0.0, trained_until=LAST))
    answers.shelf.look()
    assert len(answers.predict("btc", old_rows())["columns"]["btc"]) == HORIZON


def test_a_version_that_does_not_say_what_it_has_seen_ages_from_when_it_was_made(tmp_path: Path, clock: Clock) -> None:
    answers, world = serving(tmp_path, clock, 'model = "4d"')
    world.promote(world.publish(0.0, trained_until=None))
    answers.shelf.look()
    assert answers.models()[0]["expires_at"] == NOW + timedelta(days=4)


def test_rows_that_a_caller_brings_may_be_of_any_age(tmp_path: Path, clock: Clock) -> None:
    answers, _ = serving(tmp_path, clock, 'data = "6h"')
    clock.now = NOW + timedelta(days=365)
    answer = answers.predict("btc", old_rows())
    assert len(answer["columns"]["btc"]) == HORIZON
    assert "BTC/USDT: the newest row is of 2024-01-01 23:00 UTC" in answer["warning"]


@pytest.mark.parametrize("behind", [10, 30])  # by 30 steps the model cannot even forecast it beside the other
def test_one_series_expires_while_the_other_is_answered(tmp_path: Path, clock: Clock, behind: int) -> None:
    answers, world = serving(tmp_path, clock, 'data = "6h"')
    world.home.lake.table("candles").write(candles(behind, first=ROWS, series=(BTC,)))
    answers.shelf.look()
    clock.now = NOW + behind * HOUR
    ends = {BTC: clock.now + 6 * HOUR, ETH: NOW + 6 * HOUR}
    answer = answers.forecast("btc")
    assert answer["series"] == [BTC]
    assert answer["columns"]["unique_id"] == [BTC] * HORIZON
    assert "ETH/USDT is left out: expired since 2024-01-05 10:00 UTC" in answer["warning"]
    assert answer["states"] == {
        BTC: {"state": "serving", "expires_at": ends[BTC]},
        ETH: {"state": "expired", "expires_at": ends[ETH]},
    }
    with pytest.raises(Expired, match="the newest row of ETH/USDT closed at 2024-01-05 04:00 UTC"):
        answers.forecast("btc", [ETH])
    model = answers.model("btc")
    assert (model["state"], model["expires_at"], model["states"]) == ("serving", ends[BTC], answer["states"])
    assert 'springtide_model_expired_series{model="btc"} 1\n' in Metrics().render(answers.shelf, at=clock.now)


def test_a_series_from_whose_rows_nothing_follows_is_faulty_and_has_not_expired(tmp_path: Path, clock: Clock) -> None:
    answers, world = serving(tmp_path, clock, 'data = "60h"')
    world.home.lake.table("candles").write(candles(30, first=ROWS, series=(BTC,)))
    answers.shelf.look()
    assert {name: one["state"] for name, one in answers.model("btc")["states"].items()} == {
        BTC: "serving",
        ETH: "faulty",
    }


def test_a_model_of_which_every_series_is_faulty_expires_with_its_rows(tmp_path: Path, clock: Clock) -> None:
    answers, world = serving(tmp_path, clock, 'data = "6h"')
    world.home.lake.table("candles").write(candles(1, first=ROWS).with_columns(close=pl.lit(-1.0)))
    answers.shelf.look()
    model = answers.model("btc")
    assert {one["state"] for one in model["states"].values()} == {"faulty"}
    assert (model["state"], model["expires_at"]) == ("serving", NOW + 7 * HOUR)
    clock.now = NOW + 7 * HOUR
    assert answers.model("btc")["state"] == "expired"
    with pytest.raises(Expired):
        answers.forecast("btc")


def test_what_is_too_old_twice_says_both_and_since_the_first(tmp_path: Path, clock: Clock) -> None:
    answers, _ = serving(tmp_path, clock, 'data = "6h"\nmodel = "7d"')
    clock.now = NOW + timedelta(days=10)
    assert answers.model("btc")["states"][BTC] == {"state": "expired", "expires_at": NOW + 6 * HOUR}
    [expiry, other] = answers.shelf.place("btc").now.series_expiries[BTC]
    assert (expiry.at, other.at) == (TRAINED_UNTIL + timedelta(days=7), NOW + 6 * HOUR)
    error = answers.shelf.place("btc").now.faults(clock.now)[BTC]
    assert error.startswith("expired since 2024-01-05 10:00 UTC: btc@1 has seen nothing after")
    assert "; the newest row of BTC/USDT closed at" in error


# What is said of it


def test_every_model_is_in_one_of_four_states(tmp_path: Path, clock: Clock) -> None:
    world = make_world(tmp_path, expires='data = "6h"')
    answers = Answers(world.home, clock=clock)

    def state() -> str:
        answers.shelf.look()
        [card] = answers.models()
        said: str = card["state"]
        return said

    assert state() == "empty"
    world.promote(world.publish(0.0, wrong_probe=True))
    assert state() == "refused"
    world.promote(world.publish(0.0))
    assert state() == "serving"
    clock.now = NOW + 6 * HOUR
    assert state() == "expired"


def test_a_model_whose_rows_were_never_read_expires_by_its_own_age_alone(tmp_path: Path, clock: Clock) -> None:
    world = make_world(tmp_path, expires='data = "6h"\nmodel = "4d"')
    world.promote(world.publish(0.0))
    (tmp_path / "var" / "tables" / "candles").rename(tmp_path / "elsewhere")
    answers = Answers(world.home, clock=clock)
    answers.shelf.look()
    assert answers.models()[0]["expires_at"] == NOW + timedelta(days=4)
    with pytest.raises(NotReady):
        answers.forecast("btc")
    clock.now = NOW + timedelta(days=4)
    with pytest.raises(Expired):
        answers.forecast("btc")


def test_a_server_whose_models_have_all_expired_is_ready_and_says_so_over_http(tmp_path: Path, clock: Clock) -> None:
    answers, _ = serving(tmp_path, clock, 'data = "6h"')
    clock.now = NOW + 6 * HOUR
    with TestClient(create_server(lambda: answers)) as client:
        ready, forecast = client.get("/readyz"), client.get("/v1/models/btc/forecast")
        metrics = client.get("/metrics").text
    assert (ready.status_code, ready.json()["expired"], ready.json()["serving"]) == (200, ["btc"], [])
    assert (forecast.status_code, forecast.headers["content-type"]) == (503, "application/problem+json")
    problem = forecast.json()
    assert problem["type"] == "/docs#Expired"
    assert (problem["state"], problem["since"]) == ("expired", "2024-01-05T10:00:00Z")
    assert "forecast" not in problem
    assert f'springtide_model_expires_timestamp_seconds{{model="btc"}} {clock.now.timestamp():.0f}\n' in metrics
    assert 'springtide_model_expired_series{model="btc"} 2\n' in metrics


def test_without_limits_no_moment_of_expiry_is_counted(tmp_path: Path, clock: Clock) -> None:
    answers, _ = serving(tmp_path, clock, "")
    text = Metrics().render(answers.shelf, at=clock.now)
    assert "springtide_model_expires_timestamp_seconds{" not in text
    assert 'springtide_model_expired_series{model="btc"} 0\n' in text
