"""The hash of a snapshot: every value counts, the layout does not."""

from __future__ import annotations

import hashlib
import json
import struct
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from springtide.lake.columns import MOMENT, canonical_parts
from springtide.lake.fingerprint import fingerprint

SCHEMA = {
    "unique_id": pl.String(),
    "ds": MOMENT,
    "day": pl.Date(),
    "small": pl.Int8(),
    "count": pl.Int64(),
    "price": pl.Float64(),
    "rough": pl.Float32(),
    "open": pl.Boolean(),
}
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))  # noqa: DTZ001 # hypothesis wants naive bounds
values = st.fixed_dictionaries(
    {
        "unique_id": st.none() | st.text("aé\0", max_size=3),
        "ds": st.none() | moments,
        "day": st.none() | st.dates(date(1900, 1, 1), date(2200, 1, 1)),
        "small": st.none() | st.integers(-128, 127),
        "count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "price": st.none() | st.floats(),
        "rough": st.none() | st.floats(width=32),
        "open": st.none() | st.booleans(),
    }
)
many = st.lists(values, max_size=8)


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA)


def digest(rows: pl.DataFrame) -> str:
    return fingerprint(rows.schema, [rows])


@given(many, st.integers(0, 8), st.integers(0, 8))
def test_cutting_the_rows_elsewhere_does_not_change_the_hash(rows: list[dict[str, Any]], a: int, b: int) -> None:
    whole = frame(rows)
    first, second = sorted((a, b))
    assert fingerprint(whole.schema, [whole[:first], whole[first:second], whole[second:]]) == digest(whole)


@given(many, many)
def test_rows_that_differ_in_any_value_differ_in_the_hash(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> None:
    # bit for bit, so that 0.0 is not -0.0; every NaN is the same
    assume([canonical_parts(column) for column in frame(a)] != [canonical_parts(column) for column in frame(b)])
    assert digest(frame(a)) != digest(frame(b))


@given(many.filter(bool), st.data())
def test_one_changed_value_changes_the_hash(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(["price", "count", "unique_id", "ds"]))
    other = {"price": 0.125, "count": 7, "unique_id": "zzzz", "ds": datetime(2300, 1, 1, tzinfo=UTC)}[column]
    assume(rows[row][column] != other)
    changed = [line | {column: other} if i == row else line for i, line in enumerate(rows)]
    assert digest(frame(changed)) != digest(frame(rows))


@given(many)
def test_the_order_of_the_columns_does_not_change_the_hash(rows: list[dict[str, Any]]) -> None:
    assert digest(frame(rows).select(sorted(SCHEMA, reverse=True))) == digest(frame(rows))


def test_null_zero_and_nan_are_three_different_values() -> None:
    hashes = {digest(pl.DataFrame({"y": [value]}, schema={"y": pl.Float64()})) for value in (None, 0.0, float("nan"))}
    assert len(hashes) == 3


def test_every_nan_has_the_same_hash_whatever_its_bits() -> None:
    quiet, other = np.array([0x7FF8000000000000, 0xFFF8000000000001], dtype="<u8").view("<f8")
    assert digest(pl.DataFrame({"y": [quiet]})) == digest(pl.DataFrame({"y": [other]}))


def test_text_that_moves_from_one_row_to_the_next_changes_the_hash() -> None:
    assert digest(pl.DataFrame({"y": ["ab", "c"]})) != digest(pl.DataFrame({"y": ["a", "bc"]}))


def test_the_same_numbers_as_another_dtype_have_another_hash() -> None:
    assert digest(pl.DataFrame({"y": [1]})) != digest(pl.DataFrame({"y": [1]}, schema={"y": pl.Int32()}))


def test_the_hash_is_the_one_that_the_format_in_plain_words_gives() -> None:
    hour = timedelta(hours=1)
    rows = pl.DataFrame(
        {"unique_id": ["BTC", None, "ü"], "ds": [datetime(1970, 1, 1, tzinfo=UTC) + i * hour for i in range(3)]}
        | {"close": [1.5, None, float("nan")]},
        schema_overrides={"ds": MOMENT},
    )

    def sha(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    columns = [
        [
            "close",
            "float64",
            sha(bytes([0, 1, 0])),
            sha(struct.pack("<dd", 1.5, 0) + bytes.fromhex("000000000000f87f")),
        ],
        ["ds", "moment_us", sha(bytes(3)), sha(struct.pack("<qqq", 0, 3_600_000_000, 7_200_000_000))],
        ["unique_id", "text", sha(bytes([0, 1, 0])), sha(struct.pack("<III", 3, 0, 2)), sha("BTCü".encode())],
    ]
    assert digest(rows) == sha(json.dumps(columns).encode())


@pytest.mark.parametrize("dtype", SCHEMA.values(), ids=str)
def test_an_empty_column_can_be_hashed(dtype: pl.DataType) -> None:
    assert len(digest(pl.DataFrame(schema={"y": dtype}))) == 64
