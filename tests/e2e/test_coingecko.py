"""The story of a source with a budget: it is used up in the middle, and the next month finishes the history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
from tests.simulated_coingecko import KEY, simulated_coingecko
from tests.unit.cli.world import opened, refused

from springtide.app.ingestion import ingest, ingest_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulated_coingecko import CoinGecko

SETTINGS = """\
[sources.gecko]
kind = "coingecko"
coins = { "BTC/USD" = "bitcoin" }
calls_per_month = 3
calls_per_minute = 60000
"""
HOUR = timedelta(hours=1)


def make_home(folder: Path, gecko: CoinGecko, more: str = "") -> Path:
    (folder / "springtide.toml").write_text(f'{SETTINGS}url = "{gecko.url}"\n{more}')
    return folder


def test_a_budget_used_up_in_the_middle_is_said_and_the_next_month_goes_on(tmp_path: Path) -> None:
    key = {"SPRINGTIDE_SOURCES__GECKO__KEY": KEY}
    today = datetime.now(UTC)
    with simulated_coingecko(lambda: today, key=KEY) as gecko:
        folder = make_home(tmp_path, gecko)
        error = refused(folder, "ingest", "gecko", settings=key)
        assert f"no call to CoinGecko demo is left of the 3 of {today:%Y-%m}" in error
        (series,) = opened(folder).lake.table("gecko").facts()
        assert (series.rows, series.gaps, series.duplicates) == (3 * 89 * 24, (), 0)

        refused(folder, "ingest", "gecko", settings=key)  # another process: it knows that none is left
        assert len(gecko.asked) == 3

        later = (today.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=30)
        gecko.clock, gecko.key = lambda: later, None
        brought = ingest(opened(folder), "gecko", now=lambda: later, told=lambda _brought, _done: None)
        assert "2 calls, 1 of 3 left in this month" in brought.notes
    assert KEY not in error
    rows = opened(folder).lake.table("gecko").scan().sort("ds").collect()
    assert rows["ds"].diff().drop_nulls().unique().to_list() == [HOUR]
    assert rows["ds"][-1] == later.replace(minute=0, second=0, microsecond=0)
    assert rows.columns == ["unique_id", "ds", "y", "market_cap", "total_volume"]


def test_the_api_goes_on_where_coingeckos_own_export_ends(tmp_path: Path, real_data: Path) -> None:
    export = real_data / "api_samples/coingecko/btc-usd-max.csv.gz"
    now = datetime(2026, 3, 20, 10, tzinfo=UTC)
    with simulated_coingecko(now) as gecko:
        home = opened(make_home(tmp_path, gecko, 'timeframe = "1d"\nalso = []\nhistory = "10d"\n'))
        filed = ingest_file(
            home, export, table="gecko", columns={}, series=None, timeframe=None, now=lambda: now, told=lambda *_: None
        )
        brought = ingest(home, "gecko", now=lambda: now, told=lambda *_: None)
    rows = home.lake.table("gecko").scan().filter(pl.col("unique_id") == "BTC/USD").sort("ds").collect()
    assert (filed.new, brought.new) == (rows.height - 5, 5)  # the export ends on the 15th
    assert rows["ds"][-1] == datetime(2026, 3, 20, tzinfo=UTC)
