"""The entry of the sandbox: ``python -m springtide.trainers.main TASK.json ...``; each task in its order, one process."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.sdk import Refusal
from springtide.sdk.reporting import tell
from springtide.trainers.task import Task, read_task

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

RESULT, ERROR = "result.json", "error.json"
_OUT = Path("/work/out")  # where errors go before a task could be read


def main(arguments: Sequence[str]) -> int:
    """Do the tasks until one fails; its error.json says what, where and what to do.

    Returns
    -------
    int
        0, or 1 where a task failed.
    """
    for argument in arguments:
        out = _OUT
        try:
            task = read_task(Path(argument))
            out = task.out
            _do(task)
        except Refusal as refusal:
            _fail(out, "refused", refusal)
            return 1
        except Exception as error:  # noqa: BLE001 - the last door: whatever it was, the host reads one file
            traceback.print_exc()
            _fail(out, "failed", _unforeseen(error))
            return 1
    return 0


def _do(task: Task) -> None:
    """Do one task, with a folder for scratch inside its own."""
    began = time.monotonic()
    task.out.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=task.out))
    tempfile.tempdir = str(scratch)
    try:
        result = _mode(task)
    finally:
        tempfile.tempdir = None
        shutil.rmtree(scratch)
    result["seconds_in_all"] = round(time.monotonic() - began, 3)
    (task.out / RESULT).write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    tell("done", mode=task.mode)


def _mode(task: Task) -> dict[str, Any]:
    """Import what the mode needs, and no more: each second before the first epoch is somebody's."""
    module, name = {
        "train": ("training", "train") if task.script is None else ("script_training", "train_by_script"),
        "predict": ("prediction", "predict"),
        "convert": ("conversion", "convert"),
    }[task.mode]
    function = getattr(importlib.import_module(f"springtide.trainers.{module}"), name)
    result: dict[str, Any] = function(task)
    return result


def _fail(out: Path, kind: str, refusal: Refusal) -> None:
    """Write error.json: ``kind`` is "refused" where the client can mend it, "failed" where something broke."""
    said = {"kind": kind, "what": refusal.what, "where": refusal.where, "do": refusal.do}
    out.mkdir(parents=True, exist_ok=True)
    (out / ERROR).write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    sys.stderr.write(f"{refusal}\n")


def _unforeseen(error: Exception) -> Refusal:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return Refusal(
        f"{type(error).__name__}: {error!s:.500}",
        where=f"{Path(last.filename).name}, line {last.lineno}, in {last.name}",
        do="read the log; if data and model are sound, report it",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
