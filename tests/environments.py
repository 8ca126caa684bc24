"""The environments of the sandbox, for tests that run trainers in them without a sandbox around."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from springtide.domain.errors import ComputeFailed
from springtide.sandbox.environments import Environments

ROOT = Path(__file__).parent.parent
FOLDER = Path(os.environ.get("SPRINGTIDE_ENVIRONMENTS", Path.home() / ".cache" / "springtide" / "environments"))

# Does each task by itself, also after one that failed, in one process: importing a framework takes seconds.
DRIVER = """
import sys
from springtide.trainers.main import main
for path in sys.argv[1:]:
    main([path])
"""


@dataclass(frozen=True)
class Environment:
    """A Python with one framework, and a folder for its tasks."""

    python: Path
    folder: Path

    def task(self, name: str, **keys: Any) -> Path:
        """Write a task.json; its results go to the folder `name`."""
        path = self.folder / f"{name}.task.json"
        path.write_text(json.dumps({"out": str(self.folder / name), "seed": 1, "budget_s": 60, **keys}, default=str))
        return path

    def run(self, tasks: list[Path], *, before: str = "", timeout_s: float = 240) -> str:
        """Do tasks after some lines of Python; return what was printed."""
        command = [str(self.python), "-W", "ignore", "-c", before + DRIVER, *map(str, tasks)]
        return self.call(command, timeout_s=timeout_s).stdout

    def call(self, command: list[str], *, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command that sees sdk and trainers, and nothing else of the project."""
        library = self.folder / "lib" / "springtide"
        library.mkdir(parents=True, exist_ok=True)
        for part in ("sdk", "trainers"):
            link = library / part
            if not link.is_symlink():
                link.symlink_to(ROOT / "src" / "springtide" / part)
        seen = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(library.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            command, cwd=self.folder, env=seen, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def result(self, name: str) -> dict[str, Any]:
        """What a task says of itself; its error where it failed."""
        folder = self.folder / name
        assert (folder / "result.json").exists(), (folder / "error.json").read_text()
        read: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return read

    def error(self, name: str) -> dict[str, str]:
        """Why a task was refused."""
        assert not (self.folder / name / "result.json").exists()
        read: dict[str, str] = json.loads((self.folder / name / "error.json").read_text())
        return read


def find_environment(name: str, folder: Path) -> Environment:
    """An environment of the sandbox; skips by name where it is not there."""
    named = sorted(FOLDER.glob(f"{name}*/bin/python"), key=lambda path: len(path.parts[-3]))
    found = named[:1]  # the shortest name: those on top of it, for the packages of a script, have longer ones
    if not found and name == "boosting":
        found = [_build(name)]
    if not found:
        pytest.skip(f"the environment {name} is not in {FOLDER} (make it from images/{name}/requirements.txt)")
    return Environment(found[0], folder)


def _build(name: str) -> Path:
    """Make a small one as `springtide images build` does; a minute, once."""
    try:
        made = Environments(FOLDER).build(name, None, lambda _line: None)
    except ComputeFailed as failed:
        pytest.skip(f"the environment {name} cannot be made in {FOLDER}: {failed.what[:200]}")
    return FOLDER / made / "bin" / "python"
