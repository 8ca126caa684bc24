"""Exported graphs kept by architecture: a later run of the same shape only puts its weights in."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import onnx
import torch

from springtide.tasks.forecast import networks

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.forecaster import Layout

__all__ = ["GraphCache"]


class GraphCache:
    """A folder of graphs, one a layout and version of the code; lost ones are exported again.

    Nothing here is trusted: whoever takes a graph checks that it gives the network's answers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, layout: Layout) -> Path | None:
        """The graph of an earlier export of this layout."""
        path = self._path(layout)
        return path if path.exists() else None

    def keep(self, layout: Layout, graph: Path) -> str | None:
        """Remember an exported graph; several processes may do so at once. Says why where it cannot."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
                file.write(graph.read_bytes())
            Path(file.name).replace(self._path(layout))
        except OSError as error:
            return str(error)
        return None

    def _path(self, layout: Layout) -> Path:
        """Named by all that decides a graph but the weights, of which the decay is one."""
        shape = msgspec.json.encode(replace(layout, decay=0.0))
        made_by = f"{torch.__version__} {onnx.__version__} {_source_digest()}".encode()
        return self.folder / f"{sha256(shape + made_by).hexdigest()}.onnx"


def _source_digest() -> str:
    """Of the code of all networks."""
    folder = Path(os.fspath(networks.__path__[0]))
    return sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))).hexdigest()
