"""Cells by a container engine, Docker or podman, through the Docker API."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig, Ulimit
from docker.utils.socket import frames_iter_no_tty
from requests.exceptions import ConnectionError, RequestException  # noqa: A004 - the library's own name

from springtide.domain.errors import ComputeFailed, NotReady
from springtide.domain.passwords import without_password
from springtide.domain.process import is_gone, this_process
from springtide.sandbox.attending import Chunks, attend
from springtide.sandbox.environments import IMAGES, MOST_BYTES, MOST_LAYERS, TOP, pins
from springtide.sandbox.installing import LAYER
from springtide.sandbox.measuring import bytes_resident, bytes_written, tree
from springtide.sandbox.requirements import digest, read_requirements
from springtide.sandbox.users import lent_user
from springtide.sandbox.workplace import OPEN_FILES, SHARED_MEMORY, SLACK, made_ready, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from springtide.sandbox.seam import Cell, Ended, Limits, Reason

__all__ = ["Container"]

OWNER = "springtide.owner"  # a label: the process that a container must not outlive
USER = "springtide.user"  # a label: the uid that was lent to it
RECIPE = f"""FROM {{base}}
COPY requirements.txt /opt/wanted.txt
RUN PIP_INDEX_URL="$FTP_PROXY" PIP_EXTRA_INDEX_URL="$ftp_proxy" timeout {LAYER.seconds:g} /opt/env/bin/pip install \\
    --no-cache-dir --no-input --only-binary :all: --requirement /opt/wanted.txt --constraint /opt/pins.txt
"""  # how a layer is built
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # handed on to builds, and to builds only
# Docker and podman keep every argument of a build in the image's history, but for proxies: an index's address may hold a
# password, and nothing of a build speaks FTP.
INDEXES = {"FTP_PROXY": "PIP_INDEX_URL", "ftp_proxy": "PIP_EXTRA_INDEX_URL"}
LAYERS_NAME = re.compile(r"(localhost/springtide-\w+:[0-9a-f]{16})-[0-9a-f]{16}")
ENDED, LONGEST_PAUSE_S = ("exited", "dead"), 0.25  # how often it is asked whether it has ended
API_S = 60  # for one answer of the engine
FAILURES = (DockerException, RequestException)


class Container:
    """Runs cells as containers.

    Parameters
    ----------
    url : str
        Of the engine's socket: ``unix:///run/podman/podman.sock``.
    base_image : str
        What environments are built on: Debian with Python 3.11 or newer and its venv.
    build_network : str or None
        The network of builds, the engine's own when None; cells have none.
    images : Path
        A folder with ``Containerfile`` and ``requirements.txt`` of each environment.
    """

    name = "container"

    def __init__(self, url: str, *, base_image: str, build_network: str | None = None, images: Path = IMAGES) -> None:
        self._url, self._base, self._network, self._images = url, base_image, build_network, images
        self._version = "auto"

    def check(self) -> None:
        """Refuse an engine that cannot hold the limits; end containers whose process has died.

        Raises
        ------
        NotReady
            Says what is amiss.
        """
        with self._answering() as client:
            facts = client.info()
            _sweep(client)
        lacking = [name for name in ("MemoryLimit", "PidsLimit", "CpuCfsQuota") if facts.get(name) is False]
        if not any("seccomp" in option for option in facts.get("SecurityOptions") or ()):
            lacking.append("seccomp")
        if lacking:
            raise NotReady(
                f"the container engine cannot hold limits: {', '.join(lacking)}",
                where=self._url,
                do="run it as root, or with cgroups delegated to its user",
            )

    def sweep(self) -> None:
        """End containers whose process has died.

        Raises
        ------
        NotReady
            If the engine does not answer.
        """
        with self._answering() as client:
            _sweep(client)

    @contextmanager
    def _answering(self) -> Iterator[docker.APIClient]:
        """A client of an engine that may be away."""
        try:
            if self._url.startswith("unix://"):
                Path(self._url.removeprefix("unix://")).stat()
            with self._client() as client:
                yield client
        except (*FAILURES, FileNotFoundError) as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> NotReady:
        return NotReady(
            f"the container engine does not answer: {str(error)[:200]}",
            where=self._url,
            do="start it (`systemctl start docker`, `systemctl start podman.socket`), or set socket in [sandbox]",
        )

    @contextmanager
    def _client(self) -> Iterator[docker.APIClient]:
        client = docker.APIClient(base_url=self._url, version=self._version, timeout=API_S)
        try:
            self._version = client.api_version  # podman takes most of a second to tell it
            yield client
        finally:
            client.close()

    def _names(self, environment: str, requirements: str | None) -> tuple[str, ...]:
        """Images: the framework's, and one on top where a script wants more packages."""
        pinned = pins(environment, self._images)
        recipe = (self._images / environment / "Containerfile").read_text(encoding="utf-8")
        base = f"localhost/springtide-{environment}:{digest(pinned, recipe, self._base)}"
        extra = read_requirements(requirements or "")
        return (base, f"{base}-{digest(*extra)}") if extra else (base,)

    def admit_foreign(self) -> None:
        """See `Engine.admit_foreign`: always."""

    def build(self, environment: str, requirements: str | None, on_line: Callable[[str], None]) -> str:
        """See `Engine.build`."""
        base, *layers = self._names(environment, requirements)
        recipe = (self._images / environment / "Containerfile").read_text(encoding="utf-8")
        self._build(base, recipe, pins(environment, self._images), on_line)
        for layer in layers:
            packages = "\n".join(read_requirements(requirements or "")) + "\n"
            self._build(layer, RECIPE.format(base=base), packages, on_line)
        return layers[0] if layers else base

    def _build(self, image: str, recipe: str, requirements: str, on_line: Callable[[str], None]) -> None:
        """Build an image that is not there; only wheels are installed: nothing of theirs is run."""
        arguments = {name: os.environ[name] for name in PROXIES if name in os.environ}
        arguments |= {name: os.environ.get(meant, "") for name, meant in INDEXES.items()}
        with self._client() as client, tempfile.TemporaryDirectory(prefix="springtide-") as folder:
            with suppress(ImageNotFound):
                client.inspect_image(image)
                return
            (Path(folder) / "Containerfile").write_text(recipe, encoding="utf-8")
            (Path(folder) / "requirements.txt").write_text(requirements, encoding="utf-8")
            told: list[str] = []
            try:
                for part in client.build(
                    path=folder,
                    dockerfile="Containerfile",
                    tag=image,
                    buildargs={"BASE": self._base, **arguments},
                    network_mode=self._network,
                    rm=True,
                    forcerm=True,
                    decode=True,
                    timeout=None,
                ):
                    told += _lines(part)
                    for line in _lines(part):
                        on_line(line)
                client.inspect_image(image)
                if LAYERS_NAME.fullmatch(image):
                    _discard_layers(client)
            except FAILURES as error:
                raise ComputeFailed(
                    f"an image cannot be built: {'; '.join(told[-3:]) or error}",
                    where=image,
                    do="check names and versions of packages, base_image in section [sandbox], and the package index",
                ) from error

    def run(self, cell: Cell, limits: Limits, *, on_line: Callable[[str], None], stop: threading.Event) -> Ended:
        """See `Engine.run`."""
        image = self._names(cell.environment, cell.requirements)[-1]
        try:
            with self._client() as client:
                _sweep(client)
                with (
                    lent_user(taken=lambda uid: _is_there(client, uid)) as user,
                    made_ready(cell, user),
                    _started(client, cell, limits, image, user) as running,
                ):
                    return attend(running, limits, on_line=on_line, stop=stop)
        except ImageNotFound as error:
            raise NotReady(
                f"the image {image} is not there",
                where=self._url,
                do=f"run `springtide images build {cell.environment}`",
            ) from error
        except ConnectionError as error:
            raise self._away(error) from error
        except FAILURES as error:
            raise ComputeFailed(
                f"the container engine failed: {str(error)[:300]}",
                where=self._url,
                do="look into the log of the engine",
            ) from error


@contextmanager
def _started(client: docker.APIClient, cell: Cell, limits: Limits, image: str, user: int) -> Iterator[_Running]:
    """Start it, and let nothing of it outlive the block."""
    container = client.create_container(
        image,
        list(cell.command),
        entrypoint=[],
        user=f"{user}:{user}",
        hostname="cell",
        working_dir="/work",
        environment=variables(limits, path=f"{TOP}/bin:/usr/local/bin:/usr/bin:/bin"),
        labels={OWNER: this_process(), USER: str(user)},
        network_disabled=True,
        host_config=client.create_host_config(**_host_options(cell, limits)),
    )["Id"]
    try:
        with _attached(client, container) as printed:
            client.start(container)
            running = _Running(client, container, printed, cell, limits)
            try:
                yield running
            finally:
                running.close()
    finally:
        client.remove_container(container, force=True, v=True)


@contextmanager
def _attached(client: docker.APIClient, container: str) -> Iterator[Any]:
    """A socket with all that it prints; the SDK keeps the response that it belongs to, and closes neither."""
    printed = client.attach_socket(container)
    try:
        yield printed
    finally:
        printed._response.close()  # noqa: SLF001 # there is no other way to it


def _host_options(cell: Cell, limits: Limits) -> Mapping[str, Any]:
    """Walls and limits; what is printed is kept nowhere but here."""
    binds = [f"{cell.work}:/work:rw", f"{cell.work / '.tmp'}:/tmp:rw"]
    binds += [f"{source}:/in/{name}:ro" for name, source in cell.inputs.items()]
    most = {"nproc": limits.processes, "nofile": OPEN_FILES, "fsize": limits.disk + SLACK, "core": 0}
    return {
        "binds": binds,
        "network_mode": "none",
        "read_only": True,
        "mem_limit": limits.memory,
        "memswap_limit": limits.memory,
        "nano_cpus": int(limits.cpus * 1e9),
        "pids_limit": limits.processes,
        "shm_size": SHARED_MEMORY,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "ulimits": [Ulimit(name=name, soft=value, hard=value) for name, value in most.items()],
        "log_config": LogConfig(type="none"),
    }


def _sweep(client: docker.APIClient) -> None:
    """End containers of processes of this machine that died without doing so."""
    for found in client.containers(all=True, filters={"label": OWNER}):
        if is_gone(found["Labels"][OWNER]):
            with suppress(NotFound):
                client.remove_container(found["Id"], force=True, v=True)


def _discard_layers(client: docker.APIClient, most: int = MOST_LAYERS, room: int = MOST_BYTES) -> None:
    """Remove the oldest images that were made for scripts, beyond so many and so many bytes; none that a container has.

    The newest stays. No engine tells when an image was last used.
    """
    found = sorted(client.images(name="localhost/springtide-*"), key=lambda one: int(one["Created"]), reverse=True)
    sizes = {tag: int(one["Size"]) for one in found for tag in one["RepoTags"] or ()}
    layers = [(tag, named[1]) for tag in sizes if (named := LAYERS_NAME.fullmatch(tag))]
    for number, (tag, base) in enumerate(layers):
        room -= sizes[tag] - sizes.get(base, 0)
        if number and (number >= most or room < 0):
            with suppress(APIError):  # a container has it, or somebody else was quicker
                client.remove_image(tag)


def _is_there(client: docker.APIClient, uid: int) -> bool:
    """Whether a container has that user, whoever started it; one that has ended counts until it is removed."""
    return bool(client.containers(all=True, filters={"label": f"{USER}={uid}"}))


def _lines(part: Mapping[str, Any]) -> list[str]:
    said = without_password(part.get("stream") or part.get("error") or "")
    return [line for line in said.splitlines() if line.strip()]


class _Running:
    """A container that was started."""

    def __init__(self, client: docker.APIClient, container: str, printed: Any, cell: Cell, limits: Limits) -> None:
        self._client, self._container, self._cell, self._limits = client, container, cell, limits
        self._code: int | None = None
        self._failure: Exception | None = None
        self._pid = int(client.inspect_container(container)["State"]["Pid"])
        self.chunks = Chunks()
        self._reader = threading.Thread(target=self._read, args=(printed,), daemon=True)
        self._reader.start()

    def _read(self, printed: Any) -> None:
        """To the end of the output, then to that of the container."""
        try:
            for _, chunk in frames_iter_no_tty(printed):
                self.chunks.put(chunk)
            self._code = self._wait()
        except (*FAILURES, OSError) as error:
            self._failure = error
        finally:
            self.chunks.put(b"")

    def _wait(self) -> int:
        """Its code when it has ended; podman's own wait looks so seldom that it costs up to a second and a half."""
        pause_s = 0.02
        while (state := self._client.inspect_container(self._container)["State"])["Status"] not in ENDED:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return int(state["ExitCode"])

    def _pids(self) -> list[int]:
        """Its processes, where this process sees those of the engine's machine."""
        with suppress(FileNotFoundError, ProcessLookupError):
            if self._pid and self._container in Path(f"/proc/{self._pid}/cgroup").read_text(encoding="utf-8"):
                return tree(self._pid)
        return []

    def memory(self) -> int:
        """See `Running.memory`; the kernel holds the limit, this is for the record."""
        return bytes_resident(self._pids(), enough=self._limits.memory)

    def disk(self) -> float:
        """See `Running.disk`."""
        return bytes_written(self._cell.work, self._pids())

    def close(self) -> None:
        """See `Running.close`: the first process goes, and all others with it."""
        self.chunks.stop()
        if self._reader.is_alive():
            with suppress(APIError):  # it has just ended
                self._client.kill(self._container, signal.SIGKILL)
        self._reader.join()

    def end(self) -> tuple[int, Reason | None]:
        """See `Running.end`; the first process of a container can be killed from outside alone: for its memory."""
        if self._failure is not None or self._code is None:
            raise ComputeFailed(
                f"the container was lost: {self._failure}", where="the container engine", do="look into its log"
            )
        return self._code, "out of memory" if self._code == 128 + signal.SIGKILL else None
