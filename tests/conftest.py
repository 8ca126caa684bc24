"""What every suite may need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as springtide.app.worker sets it, before anyone imports torch

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets beside the project; skips by name when it is not there."""
    folder = Path(os.environ.get("SPRINGTIDE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not at {folder} (set SPRINGTIDE_DATA)")
    return folder
