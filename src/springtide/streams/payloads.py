"""The claim check: large bytes lie in the store while only their name, size and digest travel."""

from __future__ import annotations

import hashlib
import io
import tempfile
import uuid
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

import obstore

from springtide.domain.clock import utc_now
from springtide.domain.errors import BadMessage
from springtide.registry.store import failing, flush, open_store
from springtide.streams.messages import INLINE, Payload, Reference, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

__all__ = ["Payloads"]

PIECE = 1 << 20  # bytes that are read at a time
IN_MEMORY = 32 << 20  # bytes of one payload


class Payloads:
    """Bytes of messages under `url`: a folder, ``file://...`` or ``s3://bucket/prefix``.

    Every payload has a name of its own, also where bytes are equal, so that to remove one takes away no other's.
    """

    def __init__(
        self, url: str, options: Mapping[str, str] | None = None, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = open_store(url, options or {})
        self._place = f"payloads of messages in {url}"
        self._now = now

    def wrap(self, data: bytes) -> Payload:
        """The payload of these bytes; where JSON takes more than 256 KiB for them, they are in the store when this returns."""
        if len(data) <= INLINE:
            inline = _inline(data)
            if len(encode(inline)) <= INLINE:
                return inline
        return self.store(data)

    def store(self, data: bytes) -> Payload:
        """The payload of these bytes, however few; they are in the store when this returns."""
        return Payload(stored=self._put(data))

    def read(self, payload: Payload) -> bytes:
        """The bytes of a payload, checked; see `open`."""
        with self.open(payload) as file:
            return file.read()

    def open(self, payload: Payload) -> IO[bytes]:
        """The bytes of a payload, checked, as a file at its beginning: whatever their size, few of them are in memory.

        Raises
        ------
        BadMessage
            If the store has them no more, or they are not the ones that were put there.
        """
        if payload.stored is None:
            return io.BytesIO((payload.text or "").encode() if payload.base64 is None else payload.base64)
        with ExitStack() as closing:
            whole = closing.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY))
            digest, size = hashlib.sha256(), 0
            for piece in self._pieces(payload.stored):
                digest.update(piece)
                size += len(piece)
                if size > payload.stored.size:
                    break
                whole.write(piece)
            if (size, digest.hexdigest()) != (payload.stored.size, payload.stored.sha256):
                raise BadMessage(
                    f"the payload {payload.stored.name} is not the one that was put there: its size or digest differs",
                    where=self._place,
                    do="send it again",
                )
            whole.seek(0)
            closing.pop_all()  # whoever asked for it closes it
            return whole

    def remove(self, payloads: Iterable[Payload]) -> None:
        """Take away what of these lies in the store."""
        for payload in payloads:
            if payload.stored is not None:
                self._delete(payload.stored.name)

    def sweep(self, before: datetime) -> int:
        """Take away what was put there before that time; how many payloads these were."""
        with failing("listed", place=self._place):
            old = [one["path"] for page in obstore.list(self._store) for one in page if one["last_modified"] < before]
        for name in old:
            self._delete(name)
        return len(old)

    def _put(self, data: bytes) -> Reference:
        name = f"{self._now():%Y-%m-%d}/{uuid.uuid4().hex}"
        with failing("written", place=self._place):
            obstore.put(self._store, name, data, mode="create")
            flush(self._store, name)
        return Reference(name, len(data), hashlib.sha256(data).hexdigest())

    def _pieces(self, reference: Reference) -> Iterator[bytes]:
        with failing("read", place=self._place):
            try:
                for piece in obstore.get(self._store, reference.name).stream(min_chunk_size=PIECE):
                    yield bytes(piece)
            except FileNotFoundError as error:
                raise BadMessage(
                    f"the payload {reference.name} is gone: it was handled, or it was too old",
                    where=self._place,
                    do="send it again, if it has not been handled",
                ) from error

    def _delete(self, name: str) -> None:
        with failing("removed", place=self._place):
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError:
                return  # S3 says nothing in this case; a folder should not differ


def _inline(data: bytes) -> Payload:
    try:
        return Payload(text=data.decode())
    except UnicodeDecodeError:
        return Payload(base64=data)
