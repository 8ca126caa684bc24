"""Real brokers on loopback, on ports of their own: each starts empty, keeps its data in the folder given, and is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["BROKERS", "broker", "nats_server"]

BROKERS = ("kafka", "nats", "rabbit", "redis")
RABBIT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
PATIENCE_S = 60.0


@contextmanager
def broker(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a broker that runs for a while; skips by name where it is not installed."""
    started = {"kafka": kafka_cluster, "nats": nats_server, "rabbit": rabbit_server, "redis": redis_server}
    with started[kind](folder) as url:
        yield url


@contextmanager
def kafka_cluster(_folder: Path) -> Iterator[str]:
    """Three brokers within this process, which librdkafka has for tests: they speak the protocol, and keep all in memory."""
    from confluent_kafka import Producer  # noqa: PLC0415 # only where it is tested

    cluster = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "none", "log_level": 0})
    brokers = cluster.list_topics(timeout=10).brokers.values()
    yield "kafka://" + ",".join(f"{one.host}:{one.port}" for one in brokers)
    del cluster


@contextmanager
def nats_server(folder: Path, *, keeps: bool = True) -> Iterator[str]:
    """A NATS server with JetStream on the disk, or one that keeps nothing."""
    port = free_port()
    words = [program("nats-server"), "-a", "127.0.0.1", "-p", str(port)]
    words += ["-js", "-sd", str(folder / "nats")] if keeps else []
    with running(words, port):
        yield f"nats://127.0.0.1:{port}"


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis server that writes every command to its log."""
    port = free_port()
    (folder / "redis").mkdir()
    words = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder / "redis")]
    with running([*words, "--appendonly", "yes", "--save", ""], port):
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def rabbit_server(folder: Path) -> Iterator[str]:
    """A RabbitMQ server with a port mapper of its own."""
    if not RABBIT.exists():
        pytest.skip("rabbitmq-server is not installed")
    port, mapper, home = free_port(), free_port(), folder / "rabbit"
    home.mkdir()
    (home / "plugins").write_text("[].")
    settings = {
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper),
        "RABBITMQ_NODENAME": f"springtide{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(home / "none"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
    }
    # The mapper is started by us: the one that the server would start goes on when the server has ended.
    own_mapper = [program("epmd"), "-address", "127.0.0.1", "-port", str(mapper)]
    with running(own_mapper, mapper), running([str(RABBIT)], port, settings):
        yield f"amqp://guest:guest@127.0.0.1:{port}/"


@contextmanager
def running(words: Sequence[str], port: int, settings: Mapping[str, str] | None = None) -> Iterator[None]:
    """A server from when it listens until it is killed."""
    environment = {**os.environ, **(settings or {})}
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            wait_for(port, process)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"{process.args} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"{process.args} does not listen after {PATIENCE_S:g} s")


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
