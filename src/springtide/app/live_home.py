"""What springtide.toml names as the file stands now, for programs that run while people edit it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from springtide.app.home import open_home, read_settings
from springtide.domain.errors import NotReady, SpringtideError, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.settings.words import Settings

__all__ = ["LiveHome"]

LOG = logging.getLogger("springtide.settings")
STILL_S = 0.5  # a file that was touched later may still be being written


class LiveHome:
    """What a springtide.toml names, as the file stands at the time of asking; for any number of threads.

    A file that was changed and cannot be used changes nothing, and that is said once. Where it names the same store and
    database as before, what is open stays open.

    Parameters
    ----------
    config
        The file.
    check
        Raises what more is wrong with a home.

    Raises
    ------
    SpringtideError
        If the file cannot be used.
    """

    def __init__(self, config: Path, *, check: Callable[[Home], object] = lambda _: None) -> None:
        self.config, self._check = config, check
        self._looking = threading.Lock()
        self._said = ""
        self._written = _written(config)
        self._home = open_home(read_settings(config))
        check(self._home)

    def look(self) -> Home:
        """The home of the file as it stands; the same one as long as the file is not touched."""
        with self._looking:
            written = _written(self.config)
            if written != self._written and written is not None:
                self._open_again(_when_still(self.config, written))
            return self._home

    def _open_again(self, written: int) -> None:
        try:
            settings, before = read_settings(self.config), self._home
            home = (
                replace(before, settings=settings) if _same_places(settings, before.settings) else open_home(settings)
            )
            self._check(home)
        except (NotReady, StoreFailed) as error:  # looked at again: the database or the store is away
            self._say(error)
        except SpringtideError as error:
            self._written = written
            self._say(error)
        else:
            self._written, self._said, self._home = written, "", home
            LOG.info("springtide.toml was changed and read again")

    def _say(self, error: SpringtideError) -> None:
        if self._said != str(error):
            self._said = str(error)
            LOG.warning("springtide.toml was changed and cannot be used; the one before stays: %s", error)


def _written(config: Path) -> int | None:
    """When the file was written, in nanoseconds; None while it is being replaced."""
    try:
        return config.stat().st_mtime_ns
    except OSError:
        return None


def _when_still(config: Path, written: int) -> int:
    """When the file was written, once nobody has touched it for a moment: half of a file may be a good one too."""
    while (young_s := STILL_S - abs(time.time_ns() - written) / 1e9) > 0:
        time.sleep(young_s)
        written = _written(config) or written
    return written


def _same_places(settings: Settings, before: Settings) -> bool:
    return (settings.home, settings.streams.url) == (before.home, before.streams.url)
