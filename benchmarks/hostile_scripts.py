"""Hostile scripts one by one, what each did and what happened: ``PYTHONPATH=. python benchmarks/hostile_scripts.py [--containers]``.

With ``--containers`` under podman too; it takes debootstrap and a minute for a base image.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cells import TIGHT, attempt, survivors
from tests.engines import bare_bubblewrap, bare_container
from tests.hostile import HOSTILE

from springtide.sandbox.collecting import remove

if TYPE_CHECKING:
    from springtide.sandbox.seam import Engine


def try_all(engine: Engine, folder: Path) -> None:
    print(f"\n{engine.name}: 200 MB of memory, 32 processes, 5 MB of disk, 2 s, 1 MB of output")
    print(f"{'a script that ...':57}{'ended':17}{'seconds':>8}{'peak MB':>9}  its last words")
    data = folder / "data"
    data.write_text("a,b\n")
    for what, hostile in HOSTILE.items():
        work = folder / "work"
        work.mkdir()
        tried = attempt(engine, work, hostile.script, limits=TIGHT, inputs={"data": data})
        left = survivors(work)
        remove(work)
        words = (tried.lines or [""])[-1][:60]
        print(
            f"{what:57}{tried.ended.reason:17}{tried.seconds:8.2f}{tried.ended.peak_memory / 1e6:9.0f}  {words}"
            + (f"  STILL ALIVE: {left}" if left else "")
        )


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        try_all(bare_bubblewrap(Path(name)), Path(name))
    if "--containers" in sys.argv:
        with tempfile.TemporaryDirectory() as name, bare_container(Path(name)) as engine:
            try_all(engine, Path(name))


if __name__ == "__main__":
    main()
