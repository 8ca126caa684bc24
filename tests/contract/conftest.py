"""Real servers that more than one contract needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import stores

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of a real S3 server on loopback with the bucket ``models``."""
    with stores.s3_server() as url:
        stores.make_bucket(url, "models")
        yield url
