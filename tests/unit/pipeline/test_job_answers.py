"""Answers as they come out of a cell: whatever it has written, they are plain numbers of the right shape or are refused."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from springtide.domain.errors import ModelRefused
from springtide.domain.job import JobParams
from springtide.pipeline.jobs.judging import read_answers, read_arrays
from springtide.pipeline.jobs.table import JobTable, read_table

CSV = b"size,sold\n" + b"".join(b"%d,%s\n" % (number, b"yes" if number % 3 else b"no") for number in range(60))


@pytest.fixture(scope="module")
def table() -> JobTable:
    return read_table(CSV, "sales.csv", JobParams(target="sold"))


def packed(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def header(shape: str, kind: str = "<f8") -> bytes:
    """An .npy that promises more than it holds."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (packed(mean=np.zeros(10_000_000)), "its answers take 80,000,128 bytes"),
        (packed(mean=np.array([{"a": 1}], dtype=object)), "no arrays"),
        (zipped("mean.npy", header("(1000000000000000,)")), "no arrays"),
        (zipped("mean.npy", header("(10,)")), "no arrays"),
        (zipped("mean.npy", b"x"), "no arrays"),
        (header("(0,)"), "no arrays"),
        (b"", "no arrays"),
    ],
    ids=["bomb", "objects", "memory", "short", "no array", "no archive", "nothing"],
)
def test_what_is_no_archive_of_plain_arrays_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(ModelRefused, match=what):
        read_arrays(data, most_bytes=1_000_000)


def test_arrays_are_read_as_they_were_written() -> None:
    read = read_arrays(packed(mean=np.arange(3.0), classes=np.array(["a", "b"])), most_bytes=10_000)
    assert read["mean"].tolist() == [0, 1, 2]
    assert read["classes"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        ({}, "gave no probabilities"),
        ({"probabilities": np.array(["a"] * 60)}, "no numbers"),
        ({"probabilities": np.zeros(60), "classes": np.array(["no", "yes"])}, "the shape"),
        ({"probabilities": np.zeros((60, 1)), "classes": np.array("no")}, "does not know the class 'yes'"),
        ({"probabilities": np.full((60, 2), np.nan), "classes": np.array(["no", "yes"])}, "no finite numbers"),
        ({"probabilities": np.zeros((59, 2)), "classes": np.array(["no", "yes"])}, "the shape"),
    ],
)
def test_answers_that_do_not_answer_are_refused(table: JobTable, answers: dict[str, Any], what: str) -> None:
    with pytest.raises(ModelRefused, match=what):
        read_answers(answers, table, 60, of="the new model")


def test_classes_may_come_in_any_order(table: JobTable) -> None:
    told = {"probabilities": np.tile([0.9, 0.1], (60, 1)), "classes": np.array(["yes", "no"])}
    assert table.classes == ("no", "yes")
    assert read_answers(told, table, 60, of="the new model")[0].tolist() == [0.1, 0.9]
