"""What is done with rows and jobs that arrive: they go the way of those that are sent over HTTP."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from springtide.app.intake import catch_up, check_same
from springtide.app.jobs import Sent, read_params, submit_job
from springtide.app.regions import hand_in, taking, too_large
from springtide.domain.clock import utc_now
from springtide.domain.errors import BadMessage, SpringtideError, TooLarge
from springtide.domain.notice import STREAM
from springtide.domain.regions import Receipt
from springtide.streams.consuming import PASSING, Handler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from springtide.app.home import Home
    from springtide.streams.messages import JobMessage, Payload, RowsMessage

__all__ = ["Handlers", "handlers", "key_of_message", "message_of_key"]

OF_A_STREAM = f"{STREAM}/"  # begins the keys of jobs that came in messages, which are no keys of HTTP


@dataclass(frozen=True, slots=True)
class Handlers:
    """What is done with rows and jobs that arrive; a topic without a handler is not read."""

    rows: Handler[RowsMessage] | None = None
    jobs: Handler[JobMessage] | None = None


def handlers(home: Home) -> Handlers:
    """What this house does with what arrives."""

    def rows(messages: Sequence[RowsMessage], read: Callable[[Payload], bytes]) -> list[Exception | None]:
        """All are handed in before the first is waited for, so that one commit takes them."""
        waiting: list[Future[Receipt] | Exception] = []
        for one in messages:
            try:
                waiting.append(_hand_in(home, one, read))
            except Exception as error:  # noqa: BLE001 # it is the outcome of this message, and of no other
                waiting.append(error)
                if isinstance(error, PASSING):
                    break
        outcomes = [one if isinstance(one, Exception) else _failure(one) for one in waiting]
        return outcomes + outcomes[-1:] * (len(messages) - len(outcomes))

    def jobs(messages: Sequence[JobMessage], read: Callable[[Payload], bytes]) -> list[Exception | None]:
        outcomes: list[Exception | None] = []
        for one in messages:
            try:
                _submit(home, one, read)
            except Exception as error:  # noqa: BLE001 # it is the outcome of this message, and of no other
                outcomes.append(_named(error, one))
            else:
                outcomes.append(None)
        return outcomes

    return Handlers(rows=rows, jobs=jobs)


def _hand_in(home: Home, one: RowsMessage, read: Callable[[Payload], bytes]) -> Future[Receipt]:
    """Let a batch be stored; one in the store is looked for among the known ones first: its bytes go when it is taken."""
    if one.data.stored is not None:
        source = taking(home, one.table, one.region)
        if one.data.stored.size > source.max_body:
            raise too_large(source, one.table)
        known = _taken_before(home, one, one.data.stored.sha256)
        if known is not None:
            return known
    data = read(one.data)
    return hand_in(home, one.table, region=one.region, batch=one.batch, data=data, form=one.form, now=utc_now())


def _taken_before(home: Home, one: RowsMessage, sha256: str) -> Future[Receipt] | None:
    """What is said to a batch of a name that is known; None when it is not."""
    if one.table not in home.lake.names():
        return None
    table, name = home.lake.table(one.table), (one.region, one.batch)
    lake_id, version = table.identity()
    catch_up(home.registry, table, lake_id, version)
    known = home.registry.find_batches(one.table, lake_id, [name]).get(name)
    if known is None:
        return None
    outcome = check_same(known, sha256)
    answer: Future[Receipt] = Future()
    if isinstance(outcome, Receipt):
        home.registry.enter_batches(one.table, lake_id, [], again=[replace(outcome, at=utc_now())])
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)
    return answer


def _failure(receipt: Future[Receipt]) -> Exception | None:
    """Why a batch could not be stored, once that is known; None when it is."""
    error = receipt.exception()
    if error is None or isinstance(error, Exception):
        return error
    raise error


def _named(error: Exception, one: JobMessage) -> Exception:
    """The error, which says the id of the job's message too: whoever reads the dead letter has sent it under that."""
    if isinstance(error, SpringtideError):
        error.where = f"job {one.id}: {error.where}"
    return error


def key_of_message(message: str) -> str:
    """The key of the job that came in a message of that id."""
    return OF_A_STREAM + message


def message_of_key(key: str) -> str | None:
    """The id of the message that a job came in; None where it did not."""
    return key.removeprefix(OF_A_STREAM) if key.startswith(OF_A_STREAM) else None


def _submit(home: Home, one: JobMessage, read: Callable[[Payload], bytes]) -> None:
    """Let a job wait; where its large files are gone, it was taken before."""
    most, key = home.settings.jobs.max_body, key_of_message(one.id)
    if sum(payload.size for payload in one.payloads) > most:
        raise TooLarge(
            f"the job is larger than {most:,} bytes",
            where="its files",
            do="send less, or let max_body of section [jobs] be larger",
        )
    try:
        sent = {role: Sent.of(file.name, read(file.content)) for role, file in one.files.items()}
    except BadMessage:
        if home.registry.job_with_key(key) is None:
            raise
        return
    submit_job(home, read_params(msgspec.json.encode(one.params)), sent, key=key)
