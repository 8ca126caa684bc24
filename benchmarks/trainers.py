"""Every framework on the COVID counts of 85 Russian regions: trained from scratch, then fine-tuned with later rows.

    python benchmarks/trainers.py --data ../shared/data --environments ~/.cache/springtide/environments

The question: how many new cases a region reports tomorrow, from what it reported until today. Rows until 22 April 2020 train the
first model; those of the five days after it fine-tune it; both are asked about the days that follow, beside yesterday's count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SOURCE = Path(__file__).parents[1] / "src" / "springtide"
FRAMEWORKS = {
    "tensorflow": ("tensorflow", "model.keras"),
    "pytorch": ("pytorch", "model.pt2"),
    "lightgbm": ("boosting", "model.txt"),
    "xgboost": ("boosting", "model.json"),
    "scikit-learn": ("boosting", "model.skops"),
}
COLUMNS = [{"name": "region", "kind": "category"}, {"name": "day", "kind": "date"}] + [
    {"name": name, "kind": "number"} for name in ("confirmed", "yesterday", "week_ago", "mean_of_week")
]


def read_table(data: Path) -> pd.DataFrame:
    """One row a region and day; all features were known the day before."""
    wide = pd.read_csv(data / "tabular" / "regions_covid19_confirmed_RU.csv.gz").set_index("Province_State")
    counts = wide[[name for name in wide.columns if name[0].isdigit()]].T
    counts.index = pd.to_datetime(counts.index, format="%m/%d/%y")
    new = counts.diff()
    parts = {
        "confirmed": counts.shift(1),
        "yesterday": new.shift(1),
        "week_ago": new.shift(7),
        "mean_of_week": new.shift(1).rolling(7).mean(),
        "new": new,
    }
    long = pd.concat({name: part.stack() for name, part in parts.items()}, axis=1)
    long.index.names = ["day", "region"]
    table = long.dropna(subset=["new"]).reset_index()
    return table[table["day"] >= "2020-03-15"].sort_values(["day", "region"], ignore_index=True)


def run(python: Path, folder: Path, tasks: list[dict[str, Any]]) -> float:
    """Do tasks in one process; return its seconds."""
    paths = []
    for task in tasks:
        path = folder / f"{task['out'].name}.task.json"
        path.write_text(json.dumps(task, default=str))
        paths.append(str(path))
    began = time.perf_counter()
    seen = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder / "lib"), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [str(python), "-W", "ignore", "-m", "springtide.trainers.main", *paths],
        env=seen,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - began


def story(name: str, python: Path, folder: Path) -> dict[str, Any]:
    """Train, fine-tune, ask both, convert."""
    file = FRAMEWORKS[name][1]
    common = {"task": "regression", "columns": COLUMNS, "target": "new", "time": "day", "seed": 1, "budget_s": 60}
    out = {step: folder / f"{name}-{step}" for step in ("first", "second", "old", "new", "graph")}
    given = {
        step: {"model": out[step] / file, "preprocessing": out[step] / "preprocessing.json"}
        for step in ("first", "second")
    }
    seconds = run(
        python,
        folder,
        [
            {**common, "mode": "train", "data": folder / "a.parquet", "framework": name, "out": out["first"]},
            {**common, "mode": "train", "data": folder / "b.parquet", "out": out["second"], **given["first"]},
            {**common, "mode": "predict", "data": folder / "c.parquet", "out": out["old"], **given["first"]},
            {**common, "mode": "predict", "data": folder / "c.parquet", "out": out["new"], **given["second"]},
            {**common, "mode": "convert", "data": folder / "c.parquet", "out": out["graph"], **given["second"]},
        ],
    )
    results = {step: json.loads((path / "result.json").read_text()) for step, path in out.items()}
    return {"seconds": seconds, "out": out, **results}


def mean_absolute_error(path: Path, truth: np.ndarray) -> float:
    """Of predictions.npz."""
    with np.load(path / "predictions.npz", allow_pickle=False) as says:
        return float(np.mean(np.abs(says["mean"] - truth)))


def main() -> None:
    """Print the table of docs/trainers.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache/springtide/environments")
    parser.add_argument("frameworks", nargs="*", default=list(FRAMEWORKS))
    chosen = parser.parse_args()
    table = read_table(chosen.data)
    parts = {
        "a": table[table["day"] <= "2020-04-22"],
        "b": table[(table["day"] > "2020-04-22") & (table["day"] <= "2020-04-27")],
        "c": table[table["day"] > "2020-04-27"],
    }
    truth, yesterday = (parts["c"][name].to_numpy() for name in ("new", "yesterday"))
    print(" / ".join(str(len(part)) for part in parts.values()), "rows")
    print(
        f"{truth.mean():.1f} new cases a region and day; yesterday's count misses by {np.abs(truth - yesterday).mean():.1f}"
    )
    print(
        "| framework | misses, from scratch | fine-tuned | epochs | seconds of both | ONNX differs by | whole process |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "lib" / "springtide").mkdir(parents=True)
        for part in ("sdk", "trainers"):
            (folder / "lib" / "springtide" / part).symlink_to(SOURCE / part)
        for name, part in parts.items():
            part.drop(columns=["new"] if name == "c" else []).to_parquet(folder / f"{name}.parquet")
        for name in chosen.frameworks:
            environment = FRAMEWORKS[name][0]
            python = next(iter(sorted(chosen.environments.glob(f"{environment}*/bin/python"))))
            told = story(name, python, folder)
            old, new = (mean_absolute_error(told["out"][step], truth) for step in ("old", "new"))
            first, second = told["first"], told["second"]
            print(
                f"| {name} | {old:.1f} | {new:.1f} | {first['epochs']}, {second['epochs']} "
                f"| {first['seconds']:.1f}, {second['seconds']:.1f} | {told['graph']['parity']:.0e} | {told['seconds']:.1f} s |"
            )


if __name__ == "__main__":
    main()
