"""Exported graphs kept by architecture: a later run of the same shape only puts its weights in."""

from __future__ import annotations

import inspect
import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import onnx
import torch

from springtide.tasks.forecast import networks, seasonal_scale, volatility

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.layout import Layout

__all__ = ["MOST_KEPT", "GraphCache"]

MOST_KEPT = 50  # graphs; those that were not used for longest go


class GraphCache:
    """A folder of graphs, one a layout and version of the code; lost ones are exported again.

    Nothing here is trusted: whoever takes a graph checks that it gives the network's answers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, layout: Layout) -> Path | None:
        """The graph of an earlier export of this layout."""
        path = self._path(layout)
        with suppress(OSError):  # not there, or not ours to touch
            os.utime(path)  # the time of its last use, for `_prune`
        try:
            return path if path.is_file() else None
        except OSError:  # a folder that may not be looked into
            return None

    def keep(self, layout: Layout, graph: Path) -> str | None:
        """Remember an exported graph; several processes may do so at once. Says why where it cannot."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(graph.read_bytes(), self._path(layout))
        except OSError as error:
            return str(error)
        with suppress(OSError):  # another process may do the same at this moment
            self._prune()
        return None

    def _write(self, graph: bytes, path: Path) -> None:
        """All or nothing."""
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=path.suffix)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(graph)
            Path(name).replace(path)
        except OSError:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def _prune(self) -> None:
        """Remove what was not used for longest, and what processes that were killed have left."""
        used = {path: path.stat().st_mtime for path in self.folder.glob("*.onnx") if path.is_file()}
        for path in sorted(used, key=lambda path: used[path], reverse=True)[MOST_KEPT:]:
            path.unlink(missing_ok=True)

    def _path(self, layout: Layout) -> Path:
        """Named by all that decides a graph but the weights, of which the decay is one."""
        shape = msgspec.json.encode(replace(layout, decay=0.0))
        made_by = f"{torch.__version__} {onnx.__version__} {_source_digest()}".encode()
        return self.folder / f"{sha256(shape + made_by).hexdigest()}.onnx"


def _source_digest() -> str:
    """Of the code of all networks, and of the modules whose constants are baked into their graphs."""
    folder = Path(os.fspath(networks.__path__[0]))
    beside = [Path(inspect.getfile(module)) for module in (volatility, seasonal_scale)]
    return sha256(b"".join(path.read_bytes() for path in [*sorted(folder.glob("*.py")), *beside])).hexdigest()
