"""Real databases of a test's own."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["postgres_server"]


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """A PostgreSQL server for a while; the URL of its first database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns where there is no session folder
        import pgserver  # noqa: PLC0415 - where its warning is expected
    server = pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
