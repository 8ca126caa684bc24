"""The same function over many payloads: in this process, or on the cores of many machines with Ray."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import tempfile
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from springtide.domain.errors import ComputeFailed, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from springtide.settings.words import Compute

__all__ = ["Fanout", "InProcess", "open_fanout"]

P = TypeVar("P")
R = TypeVar("R")

RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of tasks without an accelerator
    "RAY_worker_niceness": "0",  # as the same work would have in this process, not 15
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # a task has one core, and so has torch in it
STORE_BYTES = 128 * 2**20  # of payloads and results that a local Ray holds at a time
PATIENCE_S = 5.0
TRIES_AGAIN = 1  # of a task whose worker died; an error of the task itself is not tried again


class Fanout(Protocol):
    """Does tasks that know nothing of each other."""

    @property
    def width(self) -> int:
        """How many tasks are done at a time."""

    def map(self, function: Callable[[P], R], payloads: Sequence[P]) -> Iterator[R]:
        """Results in the order of the payloads, each as soon as it and all before it are there.

        `function` stands at the top of an installed module; payloads and results are picklable. A task that fails
        raises its own error, with a note that says which payload it was (``str(payload)``).

        Raises
        ------
        ComputeFailed
            If a worker was lost, or runs other code than this process.
        """


class InProcess:
    """One task after the other, here."""

    width = 1

    def map(self, function: Callable[[P], R], payloads: Sequence[P]) -> Iterator[R]:
        """See `Fanout`."""
        for payload in payloads:
            yield _do(function, payload)


@contextmanager
def open_fanout(compute: Compute) -> Iterator[Fanout]:
    """What ``[compute]`` names; a local Ray lives as long as the block.

    Raises
    ------
    SettingsError
        If Ray is not installed.
    ComputeFailed
        If there is no Ray at the address, or none can be started here.
    """
    if compute.executor == "local":
        yield InProcess()
        return
    os.environ.update(RAY)  # read when Ray is imported, and by the processes that it starts
    try:
        import ray  # noqa: PLC0415 # half a second, and only where it is asked for
    except ImportError as missing:
        raise SettingsError(
            'executor = "ray" needs Ray, which is not installed',
            where="[compute] in springtide.toml",
            do='pip install "springtide[ray]", or write executor = "local"',
        ) from missing
    scratch = tempfile.mkdtemp(prefix="springtide-ray-")
    try:
        _start(ray, compute.address, scratch)
        yield _OnRay(ray)
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)  # its own processes may still be writing their last log line


def _start(ray: Any, address: str | None, scratch: str) -> None:
    """Join the Ray at `address`, or start one of our own that leaves nothing behind but `scratch`."""
    own: dict[str, Any] = {"object_store_memory": STORE_BYTES, "include_dashboard": False, "_temp_dir": scratch}
    try:
        _knock(address)
        ray.init(
            address=address or "local",
            logging_level="error",
            log_to_driver=False,
            runtime_env={"env_vars": ONE_THREAD},
            **({} if address else own),
        )
    except (OSError, RuntimeError, ValueError) as error:  # a ConnectionError is an OSError
        raise ComputeFailed(
            f"Ray did not answer: {str(error).splitlines()[0]}",
            where=f"address {address}" if address else "a Ray of our own",
            do='check [compute] address, and that `ray status` works there; or write executor = "local"',
        ) from error


def _knock(address: str | None) -> None:
    """Raise an `OSError` where nobody listens: Ray itself would try for ten minutes."""
    host, _, port = (address or "").rpartition("//")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()


class _OnRay:
    """Tasks of one core each, wherever Ray finds one."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._task = ray.remote(num_cpus=1, max_retries=TRIES_AGAIN)(_do_elsewhere)

    @property
    def width(self) -> int:
        """The cores that Ray knows of."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def map(self, function: Callable[[P], R], payloads: Sequence[P]) -> Iterator[R]:
        """See `Fanout`."""
        waiting = [self._task.remote(function, payload) for payload in payloads]
        try:
            for payload in payloads:
                yield self._result(waiting[0], payload)
                del waiting[0]
        finally:
            for task in waiting:  # a task failed, or nobody wants the rest
                self._ray.cancel(task, force=True)

    def _result(self, task: Any, payload: object) -> Any:
        errors = self._ray.exceptions
        try:
            made_by, result = self._ray.get(task)
        except errors.RayTaskError as failed:
            if isinstance(failed.cause, Exception):
                raise failed.cause from failed  # the task's own error; Ray's text of it has the far traceback
            raise
        except errors.RayError as lost:
            raise ComputeFailed(
                f"a worker was lost: {str(lost).splitlines()[0]}",
                where=f"{payload}",
                do="look for a machine without memory or a node that went away, and start again",
            ) from lost
        if made_by != _versions():
            raise ComputeFailed(
                f"a worker has {made_by}, this process {_versions()}: their results are not the same",
                where=f"{payload}",
                do="install the same versions on every machine of the Ray cluster",
            )
        return result


def _do_elsewhere(function: Callable[[P], R], payload: P) -> tuple[dict[str, str], R]:
    """A task in a worker of Ray, with what it was made by."""
    return _versions(), _do(function, payload)


def _do(function: Callable[[P], R], payload: P) -> R:
    try:
        return function(payload)
    except Exception as error:
        error.add_note(f"in {payload}")
        raise


def _versions() -> dict[str, str]:
    """What results depend on beside payload and seed."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("springtide", "torch", "numpy")}}
