"""Which code a run was made with."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

import springtide

__all__ = ["code_version"]


@cache
def code_version() -> str:
    """The package's version and a hash over all its source files, so that an edited checkout is told apart."""
    root = Path(springtide.__file__).parent
    digest = sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return f"{springtide.__version__}+{digest.hexdigest()[:12]}"
