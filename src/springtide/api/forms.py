"""Forms with files: what comes as a file goes to the disk, and what does not is held in memory, so it must be small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Request
from litestar.exceptions import ClientException
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from springtide.app.jobs import FILES
from springtide.domain.errors import BadRows, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["FormRequest"]

MOST_FIELD = 1_000_000  # bytes


class FormRequest(Request[Any, Any, Any]):
    """A request whose form has the files of a job, of any size, and fields of a megabyte at most.

    Litestar holds every field that has no file name in memory, however large it is.
    """

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes.

        Raises
        ------
        BadRows
            As soon as one of the files comes as a mere field.
        TooLarge
            As soon as a field is larger than a megabyte.
        ClientException
            If it is no form.
        """
        boundary = self.content_type[1].get("boundary", "")
        field: MultipartSegment | None = None
        try:
            with PushMultipartParser(boundary) as parser:
                async for chunk in super().stream():
                    for part in parser.parse(chunk):
                        if isinstance(part, MultipartSegment):
                            field = part
                            if not field.filename and field.name in FILES:
                                raise _no_file(field)
                        if field is not None and not field.filename and field.bytes_received > MOST_FIELD:
                            raise _too_large(field)
                    yield chunk
        except MultipartError as error:
            raise ClientException(f"the body is no form with files: {error}") from error


def _too_large(field: MultipartSegment) -> TooLarge:
    return TooLarge(
        f"field {field.name!r} is larger than {MOST_FIELD:,} bytes",
        where="the form",
        do="send less of it",
    )


def _no_file(field: MultipartSegment) -> BadRows:
    return BadRows(
        f"field {field.name!r} is no file",
        where="the form",
        do=f"send it as one, with a name: curl -F {field.name}=@FILE",
    )
