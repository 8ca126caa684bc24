"""A row of a table gives the model the same numbers, whether it was trained from or is sent with a request."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from springtide.domain.job import JobParams
from springtide.pipeline.jobs.table import read_table
from springtide.serving.asked import Asked
from springtide.trainers.preprocessing import fit
from springtide.trainers.table import arrays_of, read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from springtide.trainers.preprocessing import Preprocessing

ROWS = 60
CELLS = {  # what a column of a CSV holds, over and over
    "plain": ["1.5", " -2", "NA", "1e3", ""],
    "comma": ["1,5", "-1 234,25", "-", "7", "1\u00a0000,1"],
    "day": ["31.01.2026", "1.2.2026", "", "28.02.2026", "01.03.2024"],
    "moment": ["2026-01-31 12:30", "2026-01-31T12:30:15Z", "2026-01-31T12:00:00+03:00", "null", "2026-01-30"],
    "flag": ["True", "False", "False", "None", "True"],
    "town": [" Tver ", "Kazan", "\u00a0Tver", "?", "kazan"],
    "code": ["01", "1", "1.0", "A", "-5"],
}


def trained(data: bytes, name: str, folder: Path) -> tuple[Preprocessing, NDArray[Any]]:
    """What training makes of a table: its preprocessing, and the matrix of all rows."""
    table = read_table(data, name, JobParams("target"))
    table.frame.write_parquet(folder / "rows.parquet")
    arrays = arrays_of(read_rows(folder / "rows.parquet", ["target"]), table.columns)
    preprocessing = fit(arrays, table.columns, question="regression", target="target", classes=())
    return preprocessing, preprocessing.matrix(arrays)


def served(preprocessing: Preprocessing, rows: list[Mapping[str, Any]]) -> NDArray[Any]:
    """What a server makes of the same rows as JSON, in parts."""
    asked = Asked(json.loads(json.dumps(rows)), where="rows")
    parts = [slice(0, 7), slice(7, len(rows))]
    columns = [{name: asked.column(name, kind, part) for name, kind in preprocessing.kinds()} for part in parts]
    return np.concatenate([preprocessing.matrix(arrays) for arrays in columns])


@pytest.mark.parametrize("separator", [";", "\t"])
def test_rows_of_a_csv_sent_as_the_texts_that_they_are_give_the_matrix_that_training_saw(
    tmp_path: Path, separator: str
) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator)
    writer.writerow([*CELLS, "target"])
    writer.writerows([*(cells[n % 5] for cells in CELLS.values()), n] for n in range(ROWS))
    preprocessing, matrix = trained(file.getvalue().encode(), "rows.csv", tmp_path)
    assert dict(preprocessing.kinds()) == {
        **dict.fromkeys(("plain", "comma"), "number"),
        **dict.fromkeys(("day", "moment"), "date"),
        **dict.fromkeys(("flag", "town", "code"), "category"),
    }
    rows = list(csv.DictReader(io.StringIO(file.getvalue()), delimiter=separator))
    np.testing.assert_array_equal(served(preprocessing, rows), matrix)


def test_truths_and_nulls_of_json_are_the_words_and_gaps_of_a_csv(tmp_path: Path) -> None:
    words, truths = ["True", "FALSE", "", "true"], [True, False, None, True]
    lines = ["flag,size,target", *(f"{words[n % 4]},{n if n % 3 else 'NA'},{n}" for n in range(ROWS))]
    preprocessing, matrix = trained("\n".join(lines).encode(), "rows.csv", tmp_path)
    rows = [{"flag": truths[n % 4], "size": n if n % 3 else None} for n in range(ROWS)]
    np.testing.assert_array_equal(served(preprocessing, rows), matrix)


def test_typed_rows_of_a_parquet_file_sent_as_json_give_the_matrix_that_training_saw(tmp_path: Path) -> None:
    first = datetime(2026, 1, 31, 23, 59, 59, 500_000, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "flag": [None if n % 7 == 0 else n % 2 == 0 for n in range(ROWS)],
            "size": [None if n % 5 == 0 else n / 3 for n in range(ROWS)],
            "count": [n * 10**15 for n in range(ROWS)],
            "day": [None if n % 4 == 0 else first.date() + timedelta(days=n) for n in range(ROWS)],
            "moment": pl.Series(
                [first + timedelta(hours=n) for n in range(ROWS)], dtype=pl.Datetime("ns", "Europe/Moscow")
            ),
            "town": pl.Series([("Tver", " Kazan", "NA", None)[n % 4] for n in range(ROWS)], dtype=pl.Categorical),
            "target": [float(n) for n in range(ROWS)],
        }
    )
    file = io.BytesIO()
    frame.write_parquet(file)
    preprocessing, matrix = trained(file.getvalue(), "rows.parquet", tmp_path)
    rows = [
        {name: value if not hasattr(value, "isoformat") else value.isoformat() for name, value in row.items()}
        for row in frame.rows(named=True)
    ]
    np.testing.assert_array_equal(served(preprocessing, rows), matrix)
