"""The lake: all tables of one folder or object store."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from springtide.domain.errors import NotFound, SettingsError, did_you_mean
from springtide.domain.rows import KEY, SERIES, TIME
from springtide.lake.form import Form, check_same_form
from springtide.lake.place import Place
from springtide.lake.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Lake"]


class Lake:
    """All tables of one folder or object store.

    Parameters
    ----------
    url : str
        A local folder or ``s3://bucket/prefix``.
    options : mapping of str to str, optional
        How to open it, as object_store names the settings: ``aws_endpoint_url``, ``aws_access_key_id``, ...
    draw, sleep : callable, optional
        How a writer that lost a race waits: `draw` gives a number in [0, 1), `sleep` waits that many seconds.
    """

    def __init__(
        self,
        url: str,
        options: Mapping[str, str] | None = None,
        *,
        draw: Callable[[], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.place = Place.of(url, options)
        self._draw = draw or random.Random().random  # noqa: S311 # jitter, not a secret
        self._sleep = sleep

    def names(self) -> list[str]:
        """The tables there are, in alphabetical order."""
        return self.place.names()

    def table(self, name: str) -> Table:
        """A table that exists."""
        delta = self.place.load(name)
        if delta is None:
            raise NotFound(
                f"there is no table {name!r}", where=f"lake {self.place.url}", do=did_you_mean(name, self.names())
            )
        return self._table(name, Form.of(delta))

    def open(self, name: str, *, key: tuple[str, ...] = KEY, step_s: int | None = None) -> Table:
        """A table that exists, or one that its first write will create; `step_s` is None where there is no grid."""
        if not {SERIES, TIME} <= set(key):
            raise SettingsError(
                f"a key of {', '.join(key) or 'nothing'} does not place a row in its series and in time",
                where=f"table {name}",
                do=f"let the key have {SERIES} and {TIME}, and what else tells two rows apart",
            )
        delta = self.place.load(name)
        wanted = Form(key, step_s)
        if delta is None:
            return self._table(name, wanted)
        stored = Form.of(delta)
        check_same_form(stored, Form(key, stored.step_s) if step_s is None else wanted, where=f"table {name}")
        return self._table(name, stored)

    def _table(self, name: str, form: Form) -> Table:
        return Table(name, form, self.place, self._draw, self._sleep)
