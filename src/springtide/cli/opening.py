"""From ``--config`` to an opened home, and names checked before anything heavy starts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from springtide.app.home import open_home, read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.app.home import Home

__all__ = ["open_config"]


def open_config(config: Path) -> Home:
    """Read the settings and open what they name."""
    # What is logged for a server is told here by the answer or the error; once is enough.
    logging.getLogger("springtide").addHandler(logging.NullHandler())
    return open_home(read_settings(config))
