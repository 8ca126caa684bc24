"""What travels on the topics: one JSON object a message, with a version and a schema that is checked."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # msgspec looks the fields' types up
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from springtide.domain.errors import BadMessage

__all__ = [
    "INLINE",
    "DeadMessage",
    "EventMessage",
    "File",
    "JobMessage",
    "Payload",
    "Reference",
    "RowsMessage",
    "decode",
    "encode",
]

INLINE = 256 * 1024  # bytes of a payload, as JSON, that travel inside its message; more goes to the store

Word = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
TableName = Annotated[str, Meta(max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]
M = TypeVar("M", bound=Struct)


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes that lie in the store: under which name, how many, and their digest."""

    name: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d/[0-9a-f]{32}$")]
    size: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Payload(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bytes, in one of three ways: as text (UTF-8), in base64, or lying in the store."""

    text: Annotated[str, Meta(max_length=INLINE)] | None = None
    base64: Annotated[bytes, Meta(max_length=INLINE)] | None = None
    stored: Reference | None = None

    def __post_init__(self) -> None:
        """Refuse none, and more than one."""
        if (self.text, self.base64, self.stored).count(None) != 2:
            raise ValueError("a payload is one of text, base64 and stored")

    @property
    def size(self) -> int:
        """How many bytes it is, or for text at least."""
        return self.stored.size if self.stored else len(self.base64 or self.text or "")


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a job; the ending of its name says what it is."""

    name: Annotated[str, Meta(max_length=100, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    content: Payload


class RowsMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch of rows of a region for a table; it counts once, however often it comes.

    Batches of one table are taken in the order in which they came.
    """

    table: TableName
    region: Word
    batch: Word
    form: Literal["csv", "json", "parquet"]
    data: Payload
    version: Literal[1] = 1

    @property
    def key(self) -> str:
        """Brokers keep messages of one key in their order."""
        return f"{self.table}/{self.region}"

    @property
    def lane(self) -> str:
        """Messages of one lane keep their order."""
        return self.table

    @property
    def payloads(self) -> tuple[Payload, ...]:
        """The bytes that belong to it."""
        return (self.data,)


class JobMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job of the retraining service, as ``POST /v1/jobs`` takes it; one `id` is one job."""

    id: Word
    data: File
    params: dict[str, Any] = {}
    model: File | None = None
    script: File | None = None
    requirements: File | None = None
    version: Literal[1] = 1

    @property
    def files(self) -> dict[str, File]:
        """What was sent, by its role."""
        roles = {"data": self.data, "model": self.model, "script": self.script, "requirements": self.requirements}
        return {role: file for role, file in roles.items() if file is not None}

    @property
    def lane(self) -> str:
        """Jobs wait for no other job."""
        return self.id

    @property
    def payloads(self) -> tuple[Payload, ...]:
        """The bytes that belong to it."""
        return tuple(file.content for file in self.files.values())


class EventMessage(Struct, frozen=True, kw_only=True):
    """Something that happened, to a run, a model or a source; sent at least once, always under the same `id`."""

    id: str
    event: str
    at: datetime
    title: str
    text: str
    model: str | None = None
    model_version: int | None = None
    run: str | None = None
    source: str | None = None
    facts: dict[str, Any] = {}
    links: dict[str, str] = {}
    version: Literal[1] = 1


class DeadMessage(Struct, frozen=True, kw_only=True):
    """A message that could not be handled: from which topic, why, and as it came."""

    id: str
    topic: str
    at: datetime
    what: str
    where: str
    do: str
    original: Payload
    version: Literal[1] = 1


def encode(message: Struct) -> bytes:
    """The message as it travels."""
    return msgspec.json.encode(message)


def decode(body: bytes, form: type[M]) -> M:
    """Read a message of that form.

    Raises
    ------
    BadMessage
        If it is no JSON, or not as the schema says; names the field.
    """
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadMessage(
            f"this is no {form.__name__}: {error}",
            where="a message of a stream",
            do="write it as docs/streams.md shows, and send it again",
        ) from error
