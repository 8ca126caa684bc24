"""Which store belongs to which database: the store has a name of its own, and the database remembers it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError
from sqlalchemy import insert, select

from springtide.registry.schema import STORES
from springtide.registry.store import failing, flush, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

__all__ = ["name_of", "remembered"]

FILE = "store.txt"


def name_of(url: str, options: Mapping[str, str]) -> str:
    """The name of the store under `url`, made up where it has none yet; the same by whatever path it is reached."""
    store = open_store(url, options)
    with failing("read", place=url):
        try:
            obstore.put(store, FILE, secrets.token_hex(8).encode(), mode="create")
            flush(store, FILE)
        except AlreadyExistsError:
            pass  # it has a name
        return obstore.get(store, FILE).bytes().to_bytes().decode()


def remembered(connection: Connection, name: str) -> str:
    """The name of the store that the database belongs to: `name`, where it belongs to none yet."""
    known = connection.execute(select(STORES.c.name)).scalar_one_or_none()
    if known is None:
        connection.execute(insert(STORES).values(name=name))
    return known or name
