"""The SHA-256 of all rows, the same on every machine, in every file layout and for every library version."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import polars as pl

from springtide.lake.columns import canonical_parts, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["fingerprint"]


def fingerprint(schema: pl.Schema, chunks: Iterable[pl.DataFrame]) -> str:
    """SHA-256 over every value of every row; how the rows are cut into chunks does not matter.

    Each part of each column (see `canonical_parts`) is fed to a hash of its own, so that memory is bounded by one
    chunk. The result is the hash of the column names, their kinds and those hashes, as JSON.

    Parameters
    ----------
    schema : polars.Schema
        Names and dtypes of the columns; their order does not matter.
    chunks : iterable of DataFrame
        The rows in the order of their key, cut anywhere.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> rows = pl.DataFrame({"ds": [1, 2], "y": [0.5, None]})
    >>> whole, cut = fingerprint(rows.schema, [rows]), fingerprint(rows.schema, [rows[:1], rows[1:]])
    >>> whole == cut, whole[:12]
    (True, 'e54062752135')
    """
    names = sorted(schema)
    hashes = {name: [hashlib.sha256() for _ in canonical_parts(pl.Series(dtype=schema[name]))] for name in names}
    for chunk in chunks:
        for name in names:
            for running, part in zip(hashes[name], canonical_parts(chunk[name]), strict=True):
                running.update(part)
    columns = [[name, kind_of(schema[name]), *(running.hexdigest() for running in hashes[name])] for name in names]
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()
