"""A message is read only if it is as its schema says; otherwise the error names the field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.errors import BadMessage
from springtide.streams.messages import EventMessage, JobMessage, Payload, RowsMessage, decode, encode

ROWS = {
    "table": "covid",
    "region": "Kostroma",
    "batch": "2021-w03",
    "form": "csv",
    "data": {"text": "unique_id,ds,y\n"},
}


def rows(**changed: Any) -> bytes:
    return json.dumps({name: value for name, value in {**ROWS, **changed}.items() if value is not ...}).encode()


def test_rows_as_people_write_them_are_read() -> None:
    message = decode(rows(), RowsMessage)
    assert (message.lane, message.version) == ("covid", 1)
    assert message.data.text == "unique_id,ds,y\n"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "truncated"),
        (b"\xff\xfe", "JSON|utf"),
        (b"[]", "object"),
        (rows(batch=...), "batch"),
        (rows(table="../../etc"), r"\$.table"),
        (rows(region="a\nb"), r"\$.region"),
        (rows(form="xlsx"), r"\$.form"),
        (rows(version=2), r"\$.version"),
        (rows(tabel="covid"), "tabel"),
        (rows(data={}), "one of text, base64 and stored"),
        (rows(data={"text": "a", "base64": "YQ=="}), "one of text, base64 and stored"),
        (rows(data={"stored": {"name": "../secret", "size": 1, "sha256": "0" * 64}}), r"\$.data.stored.name"),
        (rows(data={"text": "a" * 262_145}), r"\$.data.text"),
    ],
)
def test_what_is_not_as_the_schema_says_is_refused_with_the_field(body: bytes, named: str) -> None:
    with pytest.raises(BadMessage, match=named):
        decode(body, RowsMessage)


def test_a_file_of_a_job_cannot_leave_its_folder() -> None:
    body = {"id": "1", "data": {"name": "../train.csv", "content": {"text": ""}}}
    with pytest.raises(BadMessage, match=r"\$.data.name"):
        decode(json.dumps(body).encode(), JobMessage)


@given(st.binary(max_size=2000))
def test_bytes_that_are_no_message_never_do_more_than_be_refused(body: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(body, RowsMessage)


@given(st.binary(max_size=500))
def test_bytes_travel_unchanged(data: bytes) -> None:
    message = RowsMessage(table="t", region="r", batch="b", form="parquet", data=Payload(base64=data))
    assert decode(encode(message), RowsMessage) == message


def test_an_event_says_its_version_and_when_it_happened() -> None:
    event = EventMessage(id="r-1", event="state", at=datetime(2026, 3, 1, tzinfo=UTC), title="t", text="")
    said = json.loads(encode(event))
    assert (said["version"], said["at"], said["links"]) == (1, "2026-03-01T00:00:00Z", {})
