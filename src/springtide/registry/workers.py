"""Who works: each worker has a place of its own and says every few seconds that it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from springtide.domain.run import Worker
from springtide.registry.schema import LEASES, WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from sqlalchemy import Connection

__all__ = ["beat", "everyone", "hand_back", "lease", "leave", "take_place"]


def take_place(connection: Connection, worker: Worker, *, host: str, free: Callable[[Worker], bool]) -> Worker:
    """Take the lowest of the places ``host/1``, ``host/2``, ... that nobody has or one who is `free` of it.

    A worker that is started again so gets the place it had, and with it the runs that it had begun.
    """
    taken_ids = {one.id for one in everyone(connection) if not free(one)}
    number = next(number for number in range(1, len(taken_ids) + 2) if f"{host}/{number}" not in taken_ids)
    taken = Worker(f"{host}/{number}", worker.process, worker.code, worker.started, worker.beat)
    connection.execute(delete(WORKERS).where(WORKERS.c.id == taken.id))
    connection.execute(
        insert(WORKERS).values(
            id=taken.id, process=taken.process, code=taken.code, started=taken.started, beat=taken.beat
        )
    )
    return taken


def beat(connection: Connection, worker: Worker, now: datetime) -> bool:
    """Say that a worker lives; False where it was taken for dead, and its place may be another's."""
    mine = (WORKERS.c.id == worker.id) & (WORKERS.c.process == worker.process) & (WORKERS.c.started == worker.started)
    return connection.execute(update(WORKERS).where(mine).values(beat=now)).rowcount == 1


def everyone(connection: Connection) -> list[Worker]:
    """All workers that have a place, dead ones too."""
    columns = (WORKERS.c.id, WORKERS.c.process, WORKERS.c.code, WORKERS.c.started, WORKERS.c.beat)
    return [Worker(*row) for row in connection.execute(select(*columns).order_by(WORKERS.c.id))]


def hand_back(connection: Connection, worker: Worker) -> None:
    """Say that nobody works in this place any more, so that others take over at once."""
    mine = (WORKERS.c.id == worker.id) & (WORKERS.c.process == worker.process) & (WORKERS.c.started == worker.started)
    connection.execute(update(WORKERS).where(mine).values(process=""))


def leave(connection: Connection, worker: Worker) -> None:
    """Give a place up, if it is still this worker's, and its duties, until whenever its clock said that it had them."""
    mine = (WORKERS.c.id == worker.id) & (WORKERS.c.process == worker.process) & (WORKERS.c.beat == worker.beat)
    if connection.execute(delete(WORKERS).where(mine)).rowcount:
        connection.execute(delete(LEASES).where(LEASES.c.holder == worker.id))


def lease(connection: Connection, name: str, holder: str, now: datetime, span: timedelta) -> bool:
    """Have a duty for a while, if nobody else has it; said again in time, it is kept."""
    row = connection.execute(select(LEASES.c.holder, LEASES.c.until).where(LEASES.c.name == name)).one_or_none()
    if row is not None and row.holder != holder and row.until > now:
        return False
    connection.execute(delete(LEASES).where(LEASES.c.name == name))
    connection.execute(insert(LEASES).values(name=name, holder=holder, until=now + span))
    return True
