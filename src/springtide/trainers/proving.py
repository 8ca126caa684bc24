"""The proof of a graph that somebody else may have made: opened and run in a process that can do no harm to this one.

Standard library only; the host uses it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from springtide.sdk import Refusal

__all__ = ["CPU_S", "GRAPH", "MEMORY", "MOST_BYTES", "PROBE", "ROWS", "SECONDS", "prove"]

GRAPH, PROBE = "model.onnx", "probe.npz"
ROWS = (1, 16, 256)  # a graph is proven, and then runs, on so many rows at once and on no other number
MOST_BYTES = 512 << 20  # of a graph
MEMORY = 1 << 30  # bytes that opening and running it may take
CPU_S = 10  # seconds of work
SECONDS = 60.0  # by the clock, on a machine that has other things to do
_KEPT = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR")  # variables that the process sees


def prove(graph: bytes, probe: bytes, *, where: str, cpu_s: int = CPU_S) -> int:
    """Have a graph looked at, opened, run on its probe, and on every number of rows that it will ever run on.

    Parameters
    ----------
    graph, probe : bytes
        Of model.onnx and probe.npz.
    where : str
        The version, for the refusal.
    cpu_s : int
        Seconds of work that it may take.

    Returns
    -------
    int
        Bytes that the open graph holds.

    Raises
    ------
    Refusal
        If its structure is refused, it gives other answers than its probe, or it takes more than `MEMORY` or `cpu_s`.
    """
    if len(graph) > MOST_BYTES:
        raise _refused(f"the graph has {len(graph) / 1e6:.0f} MB, more than {MOST_BYTES / 1e6:.0f} MB", where)
    with tempfile.TemporaryDirectory(prefix="springtide-proof-") as name:
        (Path(name) / GRAPH).write_bytes(graph)
        (Path(name) / PROBE).write_bytes(probe)
        command = [sys.executable, "-P", "-m", "springtide.trainers.proof", name, str(cpu_s)]
        environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
        try:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired as late:
            raise _refused(f"the graph does not answer its probe within {SECONDS:g} s", where) from late
    return _read(done, where, cpu_s)


def _read(done: subprocess.CompletedProcess[bytes], where: str, cpu_s: int) -> int:
    """What the process said, or how it died."""
    if done.returncode == -signal.SIGXCPU:
        raise _refused(f"the graph needs more than {cpu_s} s to answer its probe", where)
    try:
        told: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.decode(errors="replace").strip()[-200:]
        raise _refused(f"its proof ended with code {done.returncode}: {last or 'it said nothing'}", where) from error
    if "held" not in told:
        raise Refusal(told["what"], where=f"{where}: {told['where']}", do=told["do"])
    return int(told["held"])


def _refused(what: str, where: str) -> Refusal:
    return Refusal(what, where=where, do="serve the model in its own format, or send a smaller one")
