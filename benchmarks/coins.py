"""Five networks and every baseline on the last year of 33 hourly coins, walk-forward.

    SPRINGTIDE_DATA=... python benchmarks/coins.py [--networks mixer lstm] [--folds 4] [--stride 6] [--budget 120s]

Each network is trained from scratch before each fold on all that lies before it (one global model of all coins, horizon
24, window 168), and judged beside the baselines on the same items. Every line has the network's or baseline's mean
pinball loss as a share of the price, relative to the best baseline, coverage of the 90 % interval, QLIKE of the
realised variance, and of each network the p-value against the best baseline, pooled and by series.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.app.home import open_home, read_settings
from springtide.app.ingestion import ingest
from springtide.app.worker import backtest
from springtide.domain.clock import utc_now

if TYPE_CHECKING:
    from springtide.app.home import Home
    from springtide.pipeline.backtest import Backtest, Standing

ROWS = "candles/binance_spot_1h_33coins_2017-08_2022-10.parquet"
NETWORKS = ("nlinear", "mixer", "patch", "nhits", "lstm")
COSTLY = '["last-value", "ewma-volatility", "garch"]'
CHEAP = '["last-value", "ewma-volatility"]'
ALPHA = 0.05


def main() -> None:
    """Run and print a table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--networks", nargs="+", default=NETWORKS)
    asked.add_argument("--folds", type=int, default=4)
    asked.add_argument("--stride", type=int, default=6)
    asked.add_argument("--budget", default="120s", help="of one fit")
    asked.add_argument("--judge", default="365d")
    asked.add_argument("--recipe", default="", help="further lines of the model's section")
    asked.add_argument("--out", type=Path, help="the standings as JSON")
    options = asked.parse_args()
    found: dict[str, Standing] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = _home(Path(folder), options)
        ingest(home, "coins", now=utc_now, told=lambda _brought, _done: None)
        for number, network in enumerate(options.networks):
            began = time.perf_counter()
            result = _walk(home, network, options.folds)
            print(f"{network}: {time.perf_counter() - began:.0f} s for {options.folds} folds", flush=True)
            for one in result.standings:
                name = network if one.name == "model" else f"{network} beside {one.name}"
                found[name] = one
                if number == 0 and one.name != "model":
                    found[one.name] = one
            _print(found, options.networks[: number + 1])
    if options.out:
        options.out.write_text(json.dumps({name: _plain(one) for name, one in found.items()}, indent=1))


def _home(folder: Path, options: argparse.Namespace) -> Home:
    data = Path(os.environ["SPRINGTIDE_DATA"]) / ROWS
    sections = [f'[sources.coins]\nkind = "files"\npath = "{data}"']
    for number, network in enumerate(options.networks):
        sections.append(
            f'[models.{network}]\ntask = "forecast"\ntable = "coins"\nnetwork = "{network}"\nstride = {options.stride}\n'
            f'budget = "{options.budget}"\n{options.recipe}\n[models.{network}.gate]\njudge = "{options.judge}"\n'
            f"baselines = {CHEAP if number else COSTLY}"
        )
    path = folder / "springtide.toml"
    path.write_text("\n".join(sections))
    return open_home(read_settings(path))


def _walk(home: Home, network: str, folds: int) -> Backtest:
    for finished in backtest(home, network, folds=folds):
        if not isinstance(finished, int):
            return finished[network]
    raise AssertionError("the walk ends with its result")


def _print(found: dict[str, Standing], networks: list[str]) -> None:
    baselines = {name: one for name, one in found.items() if name not in networks and " beside " not in name}
    best = min(baselines, key=lambda name: baselines[name].loss)
    print(f"best baseline: {best}")
    print(
        f"{'':18s} {'pinball e-4':>11s} {'ratio':>7s} {'cover 90':>8s} {'qlike':>6s} {'p pooled':>9s}  coins better, p < 0.05"
    )
    for name in sorted((*baselines, *networks), key=lambda name: found[name].loss):
        one = found[name]
        line = (
            f"{name:18s} {1e4 * one.loss:11.3f} {one.loss / baselines[best].loss:7.4f} "
            f"{one.metrics['coverage_90']:8.3f} {one.metrics.get('qlike', float('nan')):6.3f}"
        )
        if name in networks and (difference := found[f"{name} beside {best}"].difference) is not None:
            coins = found[f"{name} beside {best}"].by_group.values()
            better = sum(coin.gain > 0 for coin in coins)
            sure = sum(coin.p_value < ALPHA for coin in coins)
            line += f" {difference.p_value:9.2g}  {better} of {len(coins)}, {sure}"
        print(line, flush=True)


def _plain(one: Standing) -> dict[str, object]:
    by_group = {name: [difference.gain, difference.p_value] for name, difference in one.by_group.items()}
    pooled = None if one.difference is None else [one.difference.gain, one.difference.p_value]
    return {"loss": one.loss, "metrics": dict(one.metrics), "pooled": pooled, "by_group": by_group}


if __name__ == "__main__":
    main()
