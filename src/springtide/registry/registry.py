"""The registry: what was made, what serves, why, and the files that belong to it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET
from sqlalchemy import insert, select, update

from springtide.domain.errors import (
    Conflict,
    ModelRefused,
    NotFound,
    NotReady,
    SettingsError,
    StoreFailed,
    did_you_mean,
)
from springtide.domain.model import JournalEntry
from springtide.domain.notice import STREAM, Notice
from springtide.registry import (
    batches,
    calls,
    events,
    identity,
    jobs,
    journal,
    outbox,
    queue,
    recipes,
    runs,
    triggers,
    versions,
    workers,
)
from springtide.registry.database import reading, writing
from springtide.registry.schema import RETIRED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime, timedelta

    from msgspec import UnsetType
    from sqlalchemy import Connection, Engine

    from springtide.domain.job import Job
    from springtide.domain.model import Manifest, Version
    from springtide.domain.notice import Delivery
    from springtide.domain.recipe import FoundRecipe
    from springtide.domain.regions import Receipt, RegionFacts, RejectedRow
    from springtide.domain.run import Event, Run, Worker
    from springtide.domain.trigger import TriggerState
    from springtide.domain.verdict import Verdict
    from springtide.registry.blobs import Blobs

__all__ = ["Registry"]


class Registry:
    """Versions, champions, journal and runs of all models, calls to services that allow only so many, and notices.

    `engine` is an opened and migrated database; `blobs` holds the model files. Every method is one transaction, and
    what it writes is either there as a whole or not at all. With `tell_states` every state of a run is put into the
    outbox for the stream, in the transaction that writes it.
    """

    def __init__(self, engine: Engine, blobs: Blobs, *, tell_states: bool = False) -> None:
        self._engine = engine
        self._blobs = blobs
        self._tell_states = tell_states

    @property
    def engine(self) -> Engine:
        """The database, for what must be written in one transaction with runs."""
        return self._engine

    # Versions

    def publish(self, manifest: Manifest, folder: Path, verdict: Verdict) -> Version:
        """Make the next version of a model out of the files in `folder`.

        The files that ``manifest.files`` names are stored (all in the folder when it names none), and their digests
        filled in. A run publishes once: for the same run the version that exists is returned, whatever the files.

        Raises
        ------
        ModelRefused
            If a named file is missing, or does not have the digest that the manifest gives it.
        """
        with reading(self._engine) as connection:
            published = versions.made_by(connection, manifest.run, model=manifest.model)
        if published is not None:
            return published
        paths = _files_of(manifest, folder)
        digests = {name: self._blobs.put_file(path) for name, path in paths.items()}
        _check_digests(manifest, digests)
        with writing(self._engine) as connection:
            published = versions.made_by(connection, manifest.run, model=manifest.model)
            if published is not None:
                return published
            self._put_again(paths, digests)
            return versions.add(connection, replace(manifest, files=digests), verdict)

    def _put_again(self, paths: dict[str, Path], digests: dict[str, str]) -> None:
        """Store what retention took since it was stored, because no version had it yet; it waits for us now."""
        for name, digest in digests.items():
            if not self._blobs.has(digest):
                self._blobs.put_file(paths[name])

    def version(self, model: str, number: int) -> Version:
        """One version of a model."""
        with reading(self._engine) as connection:
            return versions.find(connection, model, number)

    def resolve(self, name: str) -> Version:
        """The version that ``btc@3`` names, or the champion of ``btc``."""
        model, number = versions.parse_name(name)
        if number is not None:
            return self.version(model, number)
        champion = self.champion(model)
        if champion is None:
            raise NotReady(
                f"no version of {model!r} serves", where=f"model {model}", do=f"run `springtide retrain {model}`"
            )
        return champion

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, newest first."""
        with reading(self._engine) as connection:
            return versions.list_versions(connection, model)

    def models(self) -> list[str]:
        """The models that have a version, by name."""
        with reading(self._engine) as connection:
            return versions.list_models(connection)

    def read(self, version: Version, name: str) -> bytes:
        """The bytes of one file of a version, checked."""
        if name not in version.manifest.files:
            raise NotFound(
                f"{version.name} has no file {name!r}",
                where=version.name,
                do=did_you_mean(name, version.manifest.files),
            )
        try:
            return self._blobs.get(version.manifest.files[name], of=f"{name} of {version.name}")
        except NotFound as error:
            with reading(self._engine) as connection:
                if version.number not in versions.retired_numbers(connection, version.model):
                    raise
            raise NotFound(
                f"the files of {version.name} were removed by retention",
                where=f"keep_versions of model {version.model}",
                do="use a newer version, or repeat its run",
            ) from error

    def fetch(self, version: Version, folder: Path) -> Path:
        """Put all files of a version into `folder`, checked; those that are there and right are left alone."""
        for name, digest in version.manifest.files.items():
            path = folder / name
            if not (path.is_file() and sha256(path.read_bytes()).hexdigest() == digest):
                _write(path, self.read(version, name))
        return folder

    # Champions and journal

    def champion(self, model: str) -> Version | None:
        """The version that serves, if one does."""
        with reading(self._engine) as connection:
            number = journal.serving(connection, model)
            return None if number is None else versions.find(connection, model, number)

    def champions(self) -> dict[str, int]:
        """The number of the version that serves, model by model: one small query, to be asked every second."""
        with reading(self._engine) as connection:
            return journal.serving_all(connection)

    def promote(
        self,
        model: str,
        number: int,
        *,
        run: str | None,
        by: str,
        reason: str,
        at: datetime,
        warning: str | None = None,
        expected: int | UnsetType | None = UNSET,
    ) -> JournalEntry:
        """Let a version serve, and write it in the journal.

        `run` is the run that decided (None: a person did). A run promotes a version once: said again, also after a
        rollback, it changes nothing and the entry that exists is returned; so is it when the version already serves.

        Raises
        ------
        Conflict
            If `expected` is given and another version serves; or if retention has removed the files.
        """
        draft = _draft("promote", model, number, at=at, by=by, reason=reason, run=run, warning=warning)
        with writing(self._engine) as connection:
            return journal.record(connection, draft, expected=expected)

    def keep(
        self,
        model: str,
        number: int,
        *,
        run: str | None,
        by: str,
        reason: str,
        at: datetime,
        warning: str | None = None,
    ) -> JournalEntry:
        """Write in the journal that a version does not serve; said again by the same run, it is not written twice."""
        draft = _draft("keep", model, number, at=at, by=by, reason=reason, run=run, warning=warning)
        with writing(self._engine) as connection:
            return journal.record(connection, draft)

    def rollback(
        self,
        model: str,
        *,
        by: str,
        reason: str,
        at: datetime,
        to: int | None = None,
        expected: int | UnsetType | None = UNSET,
    ) -> JournalEntry:
        """Let the champion before this one serve again, or the earlier champion `to`.

        A second rollback goes one further back. Champions whose files retention has removed are passed over.

        Raises
        ------
        Conflict
            If there is none to go back to; or if `expected` is given and another version serves.
        """
        draft = _draft("rollback", model, 0, at=at, by=by, reason=reason, run=None, warning=None)
        with writing(self._engine) as connection:
            return journal.roll_back(connection, draft, to=to, expected=expected)

    def journal(self, model: str) -> list[JournalEntry]:
        """All that the journal says of a model, newest first."""
        with reading(self._engine) as connection:
            return journal.entries(connection, model)

    def entry_of(self, run: Run) -> JournalEntry | None:
        """What the journal says of the version that a run has made; None before it does."""
        with reading(self._engine) as connection:
            return journal.entry_of(connection, run.model, run.id)

    # Retention

    def retain(self, model: str, keep: int) -> list[Version]:
        """Keep the files of the newest `keep` versions; return the versions whose files were removed.

        The champion, the version that a rollback would go to, and every file that another version shares are kept.
        Rows stay for ever. A version is marked first and its files go then, so that a kill in between leaves a version
        that cannot be promoted, never a champion without files; the next call finishes what was left.
        """
        if keep < 1:
            raise SettingsError(f"keep = {keep}", where=f"model {model}", do="keep the files of at least one version")
        with writing(self._engine) as connection:
            _mark(connection, model, keep)
        with writing(self._engine) as connection:  # no version can be published between the look and the removal
            return self._remove_marked(connection, model)

    def _remove_marked(self, connection: Connection, model: str) -> list[Version]:
        marked = (RETIRED.c.model == model) & ~RETIRED.c.files_removed
        numbers = connection.scalars(select(RETIRED.c.number).where(marked).order_by(RETIRED.c.number.desc())).all()
        gone = [versions.find(connection, model, number) for number in numbers]
        used = {d for version in versions.having_files(connection) for d in version.manifest.files.values()}
        for digest in {d for version in gone for d in version.manifest.files.values()} - used:
            self._blobs.delete(digest)
        connection.execute(update(RETIRED).where(marked).values(files_removed=True))
        return gone

    # Runs

    def save_run(self, run: Run) -> None:
        """Store a run as it now stands."""
        with writing(self._engine) as connection:
            runs.save(connection, run)

    def run(self, run: str) -> Run:
        """The run of that id."""
        with reading(self._engine) as connection:
            return runs.find(connection, run)

    def runs(self, model: str | None = None, limit: int = 50) -> list[Run]:
        """The newest runs of one model or of all, newest first."""
        with reading(self._engine) as connection:
            return runs.list_runs(connection, model, limit)

    def snapshots(self) -> set[tuple[str, int]]:
        """Every version of a lake table that a model version or a run learned from; these must be kept."""
        with reading(self._engine) as connection:
            return runs.list_snapshots(connection)

    def change_run(self, run: str, change: Callable[[Run], Run]) -> Run:
        """Store what `change` makes of a run as it stands now, whoever else has changed it since it was read."""
        with writing(self._engine) as connection:
            changed = change(runs.find(connection, run))
            runs.save(connection, changed)
            return changed

    def end_run(self, run: str, change: Callable[[Run], Run]) -> Run:
        """Store the end of a run, and let its model have another; a run that has ended stays as it is."""
        with writing(self._engine) as connection:
            found = runs.find(connection, run)
            if not found.ended:
                found = change(found)
                runs.save(connection, found)
                self._tell(connection, run, "state", _told(found), found.finished or found.started)
                queue.release(connection, found)
            return found

    def submit_run(self, run: Run, enqueue: Callable[[Connection], None]) -> Run:
        """Let a new run wait, unless one of its model waits or runs already: then its reasons join that one.

        `enqueue` puts it into the queue of the workers, in the same transaction. Returns the run that will do it.

        Raises
        ------
        Conflict
            If the one that waits or runs learns as of another time.
        """
        with writing(self._engine) as connection:
            active = queue.active(connection, run.lane)
            if active is not None and active.until != run.until:
                raise Conflict(
                    f"a run of {run.model!r} {'waits' if active.state == 'queued' else 'is under way'} that learns "
                    f"{_as_of(active)}, not {_as_of(run)}",
                    where=f"run {active.id}",
                    do="wait for its end, or cancel it",
                )
            if active is not None:
                joined = queue.join(connection, active, run.reasons)
                if joined.reasons != active.reasons:
                    new = {"reasons": list(joined.reasons[len(active.reasons) :])}
                    events.add(connection, joined.id, "reason", new, run.started)
                return joined
            queue.claim(connection, run)
            self._tell(connection, run.id, "state", _told(run), run.started)
            enqueue(connection)
            return run

    def active_run(self, model: str) -> Run | None:
        """The run of a model that waits or runs, if there is one."""
        with reading(self._engine) as connection:
            return queue.active(connection, model)

    def waiting_runs(self) -> list[Run]:
        """The runs that wait, in the order in which workers take them."""
        with reading(self._engine) as connection:
            return queue.waiting(connection)

    def add_event(self, run: str, kind: str, body: Mapping[str, Any], at: datetime) -> int:
        """Write down what a run tells; the event's number."""
        with writing(self._engine) as connection:
            return self._tell(connection, run, kind, body, at)

    def add_events(self, run: str, told: Sequence[tuple[str, Mapping[str, Any], datetime]]) -> int:
        """Write down what a run tells, lines and reports (each a kind, a body and a time), at once; the last one's number."""
        with writing(self._engine) as connection:
            return events.add_all(connection, run, told)

    def count_events(self, run: str) -> dict[str, int]:
        """How many events of each kind a run has told."""
        with reading(self._engine) as connection:
            return events.count(connection, run)

    def _tell(self, connection: Connection, run: str, kind: str, body: Mapping[str, Any], at: datetime) -> int:
        number = events.add(connection, run, kind, body, at)
        if self._tell_states and kind == "state":
            model = runs.find(connection, run).model
            title = f"{model}: a run is {body['state']}"
            notice = Notice(f"{run}-{number}", "state", title, "", at, model=model, run=run, facts=body)
            outbox.post(connection, notice, [STREAM], due=at)
        return number

    def events(self, run: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """What a run told after the event of that number, oldest first."""
        with reading(self._engine) as connection:
            return events.after(connection, run, after, limit)

    # Jobs

    def submit_job(self, job: Job, run: Run, enqueue: Callable[[Connection], None]) -> Job:
        """Let a new job wait, unless one was sent under the same key: that one is returned then.

        Raises
        ------
        Conflict
            If the one that has the key is another question, or other data.
        """
        with writing(self._engine) as connection:
            known = None if job.key is None else jobs.with_key(connection, job.key)
            if known is not None:
                if known.digest != job.digest:
                    raise Conflict(
                        f"the key {job.key!r} was used for another job",
                        where=f"job {known.id}",
                        do="send a new key with new data",
                    )
                return known
            jobs.add(connection, job)
            queue.claim(connection, run)
            self._tell(connection, run.id, "state", _told(run), run.started)
            enqueue(connection)
            return job

    def job(self, job: str) -> Job:
        """One job; raises `NotFound`."""
        with reading(self._engine) as connection:
            return jobs.find(connection, job)

    def job_with_key(self, key: str) -> Job | None:
        """The job that was sent under a key of its sender."""
        with reading(self._engine) as connection:
            return jobs.with_key(connection, key)

    def jobs(self, limit: int = 50) -> list[Job]:
        """The newest jobs, newest first."""
        with reading(self._engine) as connection:
            return jobs.list_jobs(connection, limit)

    def forget_jobs(self, before: datetime) -> list[str]:
        """Remove jobs that were sent before a time and have ended, some at a time; their ids."""
        with writing(self._engine) as connection:
            return jobs.forget(connection, before)

    def store_name(self, found: str) -> str:
        """The name of the store that this database belongs to: from now on `found`, where it belongs to none yet."""
        with writing(self._engine) as connection:
            return identity.remembered(connection, found)

    # Workers

    def take_place(self, worker: Worker, *, host: str, free: Callable[[Worker], bool]) -> Worker:
        """Let a worker have the lowest place on its host that nobody has, or only one who is gone; its id is that place."""
        with writing(self._engine) as connection:
            return workers.take_place(connection, worker, host=host, free=free)

    def beat(self, worker: Worker, now: datetime) -> bool:
        """Say that a worker lives; False where it was taken for dead meanwhile."""
        with writing(self._engine) as connection:
            return workers.beat(connection, worker, now)

    def workers(self) -> list[Worker]:
        """All workers that have a place, dead ones too."""
        with reading(self._engine) as connection:
            return workers.everyone(connection)

    def hand_back(self, worker: Worker) -> None:
        """Say that a worker has ended, so that others take over its run at once."""
        with writing(self._engine) as connection:
            workers.hand_back(connection, worker)

    def leave_place(self, worker: Worker) -> None:
        """Give up a worker's place, if it has not been heard of since."""
        with writing(self._engine) as connection:
            workers.leave(connection, worker)

    def lease(self, name: str, holder: str, now: datetime, span: timedelta) -> bool:
        """Have a duty that only one process has at a time; to be said again before `span` is over."""
        with writing(self._engine) as connection:
            return workers.lease(connection, name, holder, now, span)

    # Triggers

    def trigger_states(self) -> list[TriggerState]:
        """What every trigger and source has seen so far."""
        with reading(self._engine) as connection:
            return triggers.states(connection)

    def save_triggers(self, states: Sequence[TriggerState], *, answered: Sequence[TriggerState] = ()) -> None:
        """Store what triggers and sources have seen, and forget the requests that were answered."""
        with writing(self._engine) as connection:
            triggers.save(connection, states)
            triggers.remove(connection, answered)

    def request_run(self, model: str, reason: str, *, at: datetime) -> None:
        """Ask for a run of a model from another process than the scheduler's."""
        with writing(self._engine) as connection:
            triggers.request(connection, model, reason, at)

    def run_requests(self) -> list[TriggerState]:
        """The requests that wait, oldest first."""
        with reading(self._engine) as connection:
            return triggers.requests(connection)

    def champions_made(self) -> dict[str, datetime]:
        """When the version that serves was made, model by model."""
        with reading(self._engine) as connection:
            return triggers.champions_made(connection)

    def newest_snapshots(self, table: str) -> dict[str, int]:
        """The version of a lake table that the newest run of each model saw."""
        with reading(self._engine) as connection:
            return triggers.newest_snapshots(connection, table)

    # Batches of regions

    def indexed_batches(self, table: str) -> tuple[str, int] | None:
        """Which lake table the index of batches is of, and until which version; None where it is empty."""
        with reading(self._engine) as connection:
            return batches.indexed(connection, table)

    def find_batches(
        self, table: str, lake_id: str, names: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Receipt]:
        """The receipts of those batches (region, name) that are in the table."""
        with reading(self._engine) as connection:
            return batches.find(connection, table, lake_id, names)

    def enter_batches(
        self, table: str, lake_id: str, receipts: Sequence[Receipt], *, again: Sequence[Receipt] = ()
    ) -> None:
        """Index batches that commits of a table hold, oldest first, and count those that have come `again`."""
        with writing(self._engine) as connection:
            batches.enter(connection, table, lake_id, receipts)
            batches.repeat(connection, table, again)

    def refuse_batch(self, table: str, row: RejectedRow, *, keep: int) -> None:
        """Count a batch that was not taken at all, and keep the reason."""
        with writing(self._engine) as connection:
            batches.refuse(connection, table, row, keep=keep)

    def reject_rows(self, table: str, rows: Sequence[RejectedRow], *, keep: int) -> None:
        """Keep rows that were not taken, in place of what was kept of their batches."""
        with writing(self._engine) as connection:
            batches.reject(connection, table, rows, keep=keep)

    def regions(self, table: str) -> list[RegionFacts]:
        """What has come from each region, by name."""
        with reading(self._engine) as connection:
            return batches.regions(connection, table)

    def rejected_rows(self, table: str, region: str | None = None, limit: int = 100) -> list[RejectedRow]:
        """The newest rows that were not taken, of one region or of all."""
        with reading(self._engine) as connection:
            return batches.rejected(connection, table, region, limit)

    # Recipes

    def save_recipe(self, recipe: FoundRecipe) -> None:
        """Keep what a search has found, in place of what an earlier one had."""
        with writing(self._engine) as connection:
            recipes.save(connection, recipe)

    def recipe(self, model: str) -> FoundRecipe | None:
        """What the newest search of a model has found, if there was one."""
        with reading(self._engine) as connection:
            return recipes.find(connection, model)

    def forget_recipe(self, model: str) -> bool:
        """Remove what was found for a model; says whether there was anything."""
        with writing(self._engine) as connection:
            return recipes.forget(connection, model)

    # Calls

    def spend_call(self, provider: str, period: str, *, limit: int) -> int | None:
        """Count one call of `limit` to a service in a period, before it is sent; the calls left, None for no call."""
        with writing(self._engine) as connection:
            return calls.spend(connection, provider, period, limit)

    # Notices

    def post_notice(self, notice: Notice, targets: Collection[str], *, due: datetime) -> None:
        """Put a notice into the outbox for each of `targets`; one that is there already, or was, is left as it is."""
        with writing(self._engine) as connection:
            outbox.post(connection, notice, targets, due=due)

    def due_notices(self, now: datetime, limit: int) -> list[Delivery]:
        """What is due for places, oldest first: of each one `limit`, and so many of all senders of jobs together."""
        with reading(self._engine) as connection:
            return outbox.due(connection, now, limit)

    def next_events(self, limit: int) -> list[Delivery]:
        """What waits for the stream, in the order in which it was written, whatever the clocks of the writers said."""
        with reading(self._engine) as connection:
            return outbox.in_turn(connection, limit)

    def notices(self, limit: int = 50) -> list[Delivery]:
        """What has not been delivered, newest first: it waits, or it was given up."""
        with reading(self._engine) as connection:
            return outbox.undelivered(connection, limit)

    def notice_delivered(self, notice: str, target: str) -> None:
        """Note that a target has it."""
        with writing(self._engine) as connection:
            outbox.close(connection, notice, target)

    def notice_failed(self, notice: str, target: str, *, due: datetime | None, failure: str) -> None:
        """Note a try that failed; it waits until `due`, or is given up when that is None."""
        with writing(self._engine) as connection:
            outbox.put_off(connection, notice, target, due=due, failure=failure)

    def postpone_notice(self, notice: str, target: str, *, due: datetime) -> None:
        """A notice was not tried, and is `due` later."""
        with writing(self._engine) as connection:
            outbox.postpone(connection, notice, target, due=due)

    def forget_notices(self, before: datetime) -> None:
        """Remove what was delivered or given up before that time."""
        with writing(self._engine) as connection:
            outbox.forget(connection, before)


def _as_of(run: Run) -> str:
    return "from all rows" if run.until is None else f"as of {run.until:%Y-%m-%d %H:%M}"


def _told(run: Run) -> dict[str, Any]:
    """What an event says of a run's state."""
    said: dict[str, Any] = {"state": run.state, "reasons": list(run.reasons)}
    if run.version is not None:
        said["version"] = run.version
    if run.failure is not None:
        said["failure"] = {"what": run.failure.what, "where": run.failure.where, "do": run.failure.do}
    return said


def _draft(
    action: Literal["promote", "keep", "rollback"],
    model: str,
    version: int,
    *,
    at: datetime,
    by: str,
    reason: str,
    run: str | None,
    warning: str | None,
) -> JournalEntry:
    """An entry as it is asked for; its number, and what serves before and after, come with the transaction."""
    return JournalEntry(
        model=model,
        number=0,
        at=at,
        action=action,
        version=version,
        previous=None,
        serving=None,
        run=run,
        by=by,
        reason=reason,
        warning=warning,
    )


def _files_of(manifest: Manifest, folder: Path) -> dict[str, Path]:
    """The files to publish, by name."""
    names = sorted(manifest.files) or sorted(path.name for path in folder.glob("*") if path.is_file())
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelRefused(
                f"run {manifest.run} lists {name!r}, which is not a file of its export",
                where=str(folder),
                do="export the model again; every file lies directly in the folder",
            )
    if not names:
        raise ModelRefused(
            f"run {manifest.run} has exported no file", where=str(folder), do="export the model before it is published"
        )
    return {name: folder / name for name in names}


def _check_digests(manifest: Manifest, digests: dict[str, str]) -> None:
    """Refuse files that are not the ones that were exported; an empty digest in the manifest asks for nothing."""
    for name, digest in manifest.files.items():
        if digest not in ("", digests[name]):
            raise ModelRefused(
                f"{name} of run {manifest.run} has changed since it was exported",
                where=f"{manifest.model}, file {name}",
                do="export the model again",
            )


def _write(path: Path, data: bytes) -> None:
    """Write a whole file under its name, or none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as scratch:
            whole = Path(scratch) / path.name
            whole.write_bytes(data)
            whole.replace(path)
    except OSError as error:
        raise StoreFailed(
            f"{path.name} cannot be written: {error.strerror}",
            where=str(path.parent),
            do="check free space and permissions",
        ) from error


def _mark(connection: Connection, model: str, keep: int) -> None:
    """Mark the versions whose files may go."""
    living = [version.number for version in versions.having_files(connection) if version.model == model]
    kept = {journal.serving(connection, model), journal.next_champion_back(connection, model), *living[:keep]}
    rows = [{"model": model, "number": number, "files_removed": False} for number in living if number not in kept]
    if rows:
        connection.execute(insert(RETIRED), rows)
