"""Which engine there is: containers where an engine answers, else bubblewrap, else what to install."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from springtide.domain.errors import NotInstalled, NotReady
from springtide.sandbox.bubblewrap import Bubblewrap
from springtide.sandbox.environments import Environments
from springtide.sandbox.leftovers import sweep_folders
from springtide.sandbox.plain import Plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.sandbox.seam import Engine

__all__ = ["Kind", "find_engine", "sweep"]

LOG = logging.getLogger("springtide.sandbox")
Kind = Literal["auto", "container", "bubblewrap"]
NO_CONTAINERS = NotReady(
    "no container engine was found",
    where="this machine",
    do="install Docker or podman and start it, or set socket in section [sandbox]",
)


def find_engine(
    kind: Kind,
    *,
    environments: Path,
    base_image: str,
    socket: str | None = None,
    build_network: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Engine:
    """The engine that cells run in; where no sandbox is to be had, and ``auto`` is asked for, plain processes.

    Parameters
    ----------
    kind : {"auto", "container", "bubblewrap"}
        ``auto``: containers where an engine answers and can hold limits, else bubblewrap.
    environments : Path
        Where bubblewrap keeps its Python environments.
    base_image, build_network
        See `Container`.
    socket : str or None
        URL of the container engine; ``DOCKER_HOST`` or the usual places when None.

    Raises
    ------
    NotReady
        If an engine does not answer, which may pass, and there is no other.
    NotInstalled
        If the one that was named is not there; says what to install.
    """
    lacking: list[NotReady] = []
    silent = False
    if kind != "bubblewrap":
        urls = _urls(socket, environ)
        if not urls:
            lacking.append(NO_CONTAINERS)
        for url in urls:
            from springtide.sandbox.container import Container  # noqa: PLC0415 # docker takes 0.3 s to import

            engine = Container(url, base_image=base_image, build_network=build_network)
            try:
                engine.check()
            except NotReady as error:
                lacking.append(error)
                silent = True
            else:
                return engine
    if kind != "container":
        try:
            Bubblewrap.check()
        except NotReady as error:
            lacking.append(error)
        else:
            return Bubblewrap(Environments(environments))
    missing = (NotReady if silent else NotInstalled)(
        "; ".join(error.what for error in lacking),
        where=", ".join(error.where for error in lacking),
        do="; or ".join(error.do for error in lacking),
    )
    if kind == "auto" and not silent:
        return Plain(Environments(environments), missing)
    raise missing


def sweep(
    kind: Kind, *, environments: Path, socket: str | None = None, environ: Mapping[str, str] = os.environ
) -> None:
    """End the containers, and delete the folders, of processes of this machine that died without doing so.

    And environments that were made for scripts, where there are too many. An engine that does not answer is told in the
    log, and asked again by the next sweep.
    """
    for url in _urls(socket, environ) if kind != "bubblewrap" else []:
        from springtide.sandbox.container import Container  # noqa: PLC0415 # docker takes 0.3 s to import

        try:
            Container(url, base_image="").sweep()
        except NotReady as error:
            LOG.warning("containers that were left behind may live on: %s", error.what)
    sweep_folders()
    Environments(environments).sweep()


def _urls(socket: str | None, environ: Mapping[str, str]) -> list[str]:
    return [socket] if socket else _sockets(environ)


def _sockets(environ: Mapping[str, str]) -> list[str]:
    """Where engines listen; only sockets that are there."""
    if "DOCKER_HOST" in environ:
        return [environ["DOCKER_HOST"]]
    usual = [Path("/var/run/docker.sock"), Path("/run/podman/podman.sock")]
    if "XDG_RUNTIME_DIR" in environ:
        usual.append(Path(environ["XDG_RUNTIME_DIR"], "podman", "podman.sock"))
    return [f"unix://{path}" for path in usual if path.is_socket()]
