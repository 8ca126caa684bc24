"""Who serves, and the journal of how it came to that: both change in one transaction, or neither."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING

from msgspec import UNSET
from sqlalchemy import delete, func, insert, select

from springtide.domain.errors import Conflict
from springtide.domain.model import JournalEntry
from springtide.registry import lineage, versions
from springtide.registry.schema import CHAMPIONS, JOURNAL

if TYPE_CHECKING:
    from msgspec import UnsetType
    from sqlalchemy import ColumnElement, Connection

__all__ = ["entries", "entry_of", "next_champion_back", "record", "roll_back", "serving", "serving_all"]

COLUMNS = [JOURNAL.c[field.name] for field in fields(JournalEntry)]


def serving(connection: Connection, model: str) -> int | None:
    """The number of the version that serves."""
    return connection.scalar(select(CHAMPIONS.c.number).where(CHAMPIONS.c.model == model))


def serving_all(connection: Connection) -> dict[str, int]:
    """The number of the version that serves, model by model."""
    return {row.model: row.number for row in connection.execute(select(CHAMPIONS.c.model, CHAMPIONS.c.number))}


def entries(connection: Connection, model: str) -> list[JournalEntry]:
    """The journal of a model, newest first."""
    return _find(connection, JOURNAL.c.model == model)


def entry_of(connection: Connection, model: str, run: str) -> JournalEntry | None:
    """What the journal says of the version that a run has made; None before it does."""
    return next(iter(_find(connection, JOURNAL.c.model == model, JOURNAL.c.run == run)), None)


def record(connection: Connection, draft: JournalEntry, *, expected: int | UnsetType | None = UNSET) -> JournalEntry:
    """Append `draft`, a promotion or a keep, numbered and with what served before and serves after.

    What the journal says already is not said twice: the entry that exists is returned instead.
    """
    versions.find(connection, draft.model, draft.version)
    if (said := _said_before(connection, draft)) is not None:
        return said
    before = serving(connection, draft.model)
    _expect(draft.model, before, expected)
    if draft.action == "keep":
        return _append(connection, draft, previous=before, after=before)
    if draft.version in versions.retired_numbers(connection, draft.model):
        raise Conflict(
            f"{draft.model}@{draft.version} cannot serve: retention has removed its files",
            where=f"model {draft.model}",
            do="promote a version that still has its files, or retrain",
        )
    return _append(connection, draft, previous=before, after=draft.version)


def roll_back(
    connection: Connection, draft: JournalEntry, *, to: int | None, expected: int | UnsetType | None = UNSET
) -> JournalEntry:
    """Append `draft` as a rollback to the champion before, or to the earlier champion `to`."""
    before = serving(connection, draft.model)
    _expect(draft.model, before, expected)
    earlier = _earlier_champions(connection, draft.model)
    if to is not None:
        versions.find(connection, draft.model, to)
    target = to if to is not None else next(iter(earlier), None)
    if target is None or target not in earlier:
        raise _nothing_to_go_to(draft.model, before, to=to, earlier=earlier)
    return _append(connection, replace(draft, version=target), previous=before, after=target)


def next_champion_back(connection: Connection, model: str) -> int | None:
    """The version that a rollback would go to now."""
    return next(iter(_earlier_champions(connection, model)), None)


def _earlier_champions(connection: Connection, model: str) -> list[int]:
    """The champions before this one that still have their files, nearest first."""
    changes = _find(connection, JOURNAL.c.model == model, JOURNAL.c.action != "keep")
    pile = lineage.champions(reversed(changes))
    gone = versions.retired_numbers(connection, model) | set(pile[-1:])
    return [number for number in reversed(pile) if number not in gone]


def _said_before(connection: Connection, draft: JournalEntry) -> JournalEntry | None:
    """An entry by the same run about the same version; or, for a promotion, the one that made this version serve."""
    same = (JOURNAL.c.model == draft.model) & (JOURNAL.c.version == draft.version)
    by_run = same & (JOURNAL.c.run == draft.run) & (JOURNAL.c.action == draft.action)
    if draft.run is not None and (said := _find(connection, by_run)):
        return said[0]
    if draft.action == "promote" and serving(connection, draft.model) == draft.version:
        return _find(connection, same, JOURNAL.c.action != "keep")[0]
    return None


def _find(connection: Connection, *which: ColumnElement[bool]) -> list[JournalEntry]:
    """The entries that fit, newest first."""
    rows = connection.execute(select(*COLUMNS).where(*which).order_by(JOURNAL.c.number.desc())).mappings()
    return [JournalEntry(**row) for row in rows]


def _append(connection: Connection, draft: JournalEntry, *, previous: int | None, after: int | None) -> JournalEntry:
    newest = connection.scalar(select(func.max(JOURNAL.c.number)).where(JOURNAL.c.model == draft.model))
    entry = replace(draft, number=(newest or 0) + 1, previous=previous, serving=after)
    connection.execute(insert(JOURNAL).values(asdict(entry)))
    if after != previous:
        connection.execute(delete(CHAMPIONS).where(CHAMPIONS.c.model == draft.model))
        connection.execute(insert(CHAMPIONS).values(model=draft.model, number=after))
    return _find(connection, JOURNAL.c.model == entry.model, JOURNAL.c.number == entry.number)[0]


def _expect(model: str, champion: int | None, expected: int | UnsetType | None) -> None:
    """Refuse when somebody else has changed the champion since the caller looked."""
    if expected is not UNSET and expected != champion:
        now, then = ("nothing" if n is None else f"{model}@{n}" for n in (champion, expected))
        raise Conflict(
            f"{now} serves, not {then}: the champion has changed meanwhile",
            where=f"model {model}",
            do=f"look at `springtide journal {model}`, and judge again against the champion of now",
        )


def _nothing_to_go_to(model: str, champion: int | None, *, to: int | None, earlier: list[int]) -> Conflict:
    now = "nothing serves" if champion is None else f"{model}@{champion} serves"
    known = ", ".join(f"{model}@{number}" for number in dict.fromkeys(earlier))
    if to is None or not earlier:
        what, do = f"{now}, and no champion before it has its files", f"promote a version of {model}, or retrain"
    else:
        what, do = f"{now}, and {model}@{to} did not serve before it", f"roll back to {known}; or promote {model}@{to}"
    return Conflict(what, where=f"model {model}", do=do)
