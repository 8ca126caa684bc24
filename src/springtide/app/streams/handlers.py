"""What is done with rows and jobs that arrive: they go the way of those that are sent over HTTP."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from springtide.app.jobs import Sent, key_of_message, read_params, submit_job
from springtide.app.regions import hand_in, known_batch, taking, too_large
from springtide.domain.clock import utc_now
from springtide.domain.errors import BadMessage, SpringtideError, TooLarge
from springtide.streams.consuming import PASSING, Handler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from springtide.app.home import Home
    from springtide.domain.regions import Receipt
    from springtide.streams.messages import JobMessage, RowsMessage
    from springtide.streams.payloads import Payloads

__all__ = ["Handlers", "handlers"]


@dataclass(frozen=True, slots=True)
class Handlers:
    """What is done with rows and jobs that arrive; a topic without a handler is not read."""

    rows: Handler[RowsMessage] | None = None
    jobs: Handler[JobMessage] | None = None


def handlers(home: Home) -> Handlers:
    """What this house does with what arrives."""

    def rows(messages: Sequence[RowsMessage], payloads: Payloads) -> list[Exception | None]:
        """All are handed in before the first is waited for, so that one commit takes them, each after the one before it."""
        waiting: list[Future[Receipt] | Exception] = []
        for one in messages:
            try:
                before = next((earlier for earlier in reversed(waiting) if isinstance(earlier, Future)), None)
                waiting.append(_hand_in(home, one, payloads, after=before))
            except Exception as error:  # noqa: BLE001 # it is the outcome of this message, and of no other
                waiting.append(error)
                if isinstance(error, PASSING):
                    break
        outcomes = [one if isinstance(one, Exception) else _failure(one) for one in waiting]
        return outcomes + outcomes[-1:] * (len(messages) - len(outcomes))

    def jobs(messages: Sequence[JobMessage], payloads: Payloads) -> list[Exception | None]:
        outcomes: list[Exception | None] = []
        for one in messages:
            try:
                _submit(home, one, payloads)
            except Exception as error:  # noqa: BLE001 # it is the outcome of this message, and of no other
                outcomes.append(_named(error, one))
            else:
                outcomes.append(None)
        return outcomes

    return Handlers(rows=rows, jobs=jobs)


def _hand_in(home: Home, one: RowsMessage, payloads: Payloads, *, after: Future[Receipt] | None) -> Future[Receipt]:
    """Let a batch be stored; one in the store is looked for among the known ones first: its bytes go when it is taken."""
    if one.data.stored is not None:
        source = taking(home, one.table, one.region)
        if one.data.stored.size > source.max_body:
            raise too_large(source, one.table)
        name, sha256, keep = (one.region, one.batch), one.data.stored.sha256, source.keep_rejected
        known = known_batch(home, one.table, name, sha256, now=utc_now(), keep_rejected=keep)
        if known is not None:
            return known
    data, now = payloads.read(one.data), utc_now()
    return hand_in(home, one.table, region=one.region, batch=one.batch, data=data, form=one.form, now=now, after=after)


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


def _submit(home: Home, one: JobMessage, payloads: Payloads) -> None:
    """Let a job wait; where its large files are gone, it was taken before."""
    most = home.settings.jobs.max_body
    if sum(payload.size for payload in one.payloads) > most:
        raise TooLarge(
            f"the job is larger than {most:,} bytes",
            where="its files",
            do="send less, or let max_body of section [jobs] be larger",
        )
    with ExitStack() as files:
        try:
            sent = {
                role: Sent(file.name, files.enter_context(payloads.open(file.content)))
                for role, file in one.files.items()
            }
        except BadMessage:
            if home.registry.job_with_key(key_of_message(one.id)) is None:
                raise
            return
        submit_job(home, read_params(msgspec.json.encode(one.params)), sent, message=one.id)
