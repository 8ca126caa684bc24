"""Large bytes go through the store, small ones with the message, and what comes back is what was sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from springtide.domain.errors import BadMessage
from springtide.streams.messages import INLINE
from springtide.streams.payloads import Payloads

if TYPE_CHECKING:
    from pathlib import Path

LARGE = b"a" * (INLINE + 1)


@pytest.fixture
def payloads(tmp_path: Path) -> Payloads:
    return Payloads(str(tmp_path / "streams"))


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "streams").rglob("*") if path.is_file()]


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", "Кострома".encode(), b"\xff\x00", b"a" * (INLINE - 20)])
def test_up_to_256_kib_travel_with_the_message(payloads: Payloads, tmp_path: Path, data: bytes) -> None:
    assert payloads.read(payloads.wrap(data)) == data
    assert files(tmp_path) == []


@pytest.mark.parametrize("data", [b"\x00" * (INLINE // 5), b"\xff" * (INLINE * 4 // 5), b'"' * (INLINE - 20)])
def test_what_grows_above_256_kib_in_its_message_lies_in_the_store(payloads: Payloads, data: bytes) -> None:
    payload = payloads.wrap(data)
    assert payload.stored is not None
    assert payloads.read(payload) == data


def test_one_byte_more_lies_in_the_store_until_it_is_removed(payloads: Payloads, tmp_path: Path) -> None:
    payload = payloads.wrap(LARGE)
    assert payload.text is payload.base64 is None
    assert payloads.read(payload) == LARGE
    payloads.remove([payload, payload])
    assert files(tmp_path) == []
    with pytest.raises(BadMessage, match="is gone"):
        payloads.read(payload)


def test_to_remove_one_of_two_equal_payloads_leaves_the_other(payloads: Payloads) -> None:
    first, second = payloads.wrap(LARGE), payloads.wrap(LARGE)
    payloads.remove([first])
    assert payloads.read(second) == LARGE


@pytest.mark.parametrize("changed", [LARGE[:-1], LARGE[:-1] + b"b"])
def test_bytes_that_are_not_those_that_were_put_there_are_refused(
    payloads: Payloads, tmp_path: Path, changed: bytes
) -> None:
    payload = payloads.wrap(LARGE)
    files(tmp_path)[0].write_bytes(changed)
    with pytest.raises(BadMessage, match="size or digest differs"):
        payloads.read(payload)


def test_a_payload_of_another_size_is_refused_before_it_is_read(payloads: Payloads, tmp_path: Path) -> None:
    payload = payloads.wrap(LARGE)
    with files(tmp_path)[0].open("r+b") as file:
        file.truncate(1 << 40)  # a hole: no memory holds it
    with pytest.raises(BadMessage, match="size or digest differs"):
        payloads.read(payload)


def test_only_what_is_too_old_is_swept_away(payloads: Payloads) -> None:
    payload = payloads.wrap(LARGE)
    now = datetime.now(UTC)
    assert payloads.sweep(now - timedelta(days=7)) == 0
    assert payloads.read(payload) == LARGE
    assert payloads.sweep(now + timedelta(seconds=1)) == 1
