"""The process that proves a graph: ``python -m springtide.trainers.proof FOLDER SECONDS``; it limits itself before it opens anything."""

from __future__ import annotations

import json
import resource
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.sdk import Refusal
from springtide.trainers.parity import TOLERANCE, relative_difference
from springtide.trainers.proving import GRAPH, MEMORY, PROBE, ROWS
from springtide.trainers.running import Running
from springtide.trainers.structure import check_structure

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["main"]

MOST_NUMBERS = 100  # of one row's answer: as many as there may be classes
OWN_TOLERANCE = TOLERANCE / 10  # nothing but the machine has changed
MOST_PROBED = 1024  # rows of a probe
_DO = "keep the version that serves; retrain, or serve the model in its own format"


def main(folder: Path, cpu_s: int) -> int:
    """Prove what is in `folder`, and print what came of it as JSON."""
    _limit(cpu_s)
    try:
        told: dict[str, Any] = {"held": _prove((folder / GRAPH).read_bytes(), folder / PROBE)}
    except Refusal as refusal:
        told = {"what": refusal.what, "where": refusal.where, "do": refusal.do}
    except MemoryError:
        told = {"what": f"it takes more than {MEMORY / 1e9:.1f} GB", "where": GRAPH, "do": _DO}
    except Exception as error:  # noqa: BLE001 - the errors of ONNX Runtime have no common base
        told = {"what": f"the graph cannot run: {error!s:.300}", "where": GRAPH, "do": _DO}
    sys.stdout.write(json.dumps(told))
    return 0 if "held" in told else 1


def _limit(cpu_s: int) -> None:
    """Memory on top of what the libraries have taken; processor time; no files."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))  # the first one says why it ended
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _prove(graph: bytes, probe: Path) -> int:
    check_structure(graph, where=GRAPH)
    before = _resident()
    running = Running(graph, GRAPH, threads=1)
    held = _resident() - before
    if running.width is None or len(running.session.get_outputs()) != 1:
        raise Refusal("it is to take rows of a fixed width, and to give one output", where=GRAPH, do="export it so")
    inputs, expected = _read_probe(probe, running)
    answers = running.answer(inputs)
    difference = relative_difference(answers, expected) if len(answers) == len(expected) else np.inf
    if not difference <= OWN_TOLERANCE:
        raise Refusal(
            f"the model does not give its own answers: they differ by {difference:.1e}, relative", where=PROBE, do=_DO
        )
    for rows in ROWS:
        answers = running.answer(np.resize(inputs, (rows, running.width)))
        if answers.ndim not in (1, 2) or len(answers) != rows or answers.size > rows * MOST_NUMBERS:
            raise Refusal(f"to {rows} rows it gives answers of the shape {answers.shape}", where=GRAPH, do=_DO)
    return max(held, len(graph))


def _read_probe(path: Path, running: Running) -> tuple[NDArray[Any], NDArray[Any]]:
    """Some inputs, and what was answered to them; never a pickle."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            inputs, answers = arrays[f"in_{running.input}"], arrays["out_0"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Refusal(f"the probe cannot be read: {error!s:.200}", where=PROBE, do=_DO) from error
    if inputs.ndim != 2 or inputs.shape[1] != running.width or not 0 < len(inputs) <= MOST_PROBED:
        raise Refusal(f"the probe has the shape {inputs.shape}", where=PROBE, do=_DO)
    return inputs, answers


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
