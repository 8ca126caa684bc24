"""Start the server alone: ``python -m springtide.api.main --config springtide.toml``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

# Must stand before polars is imported. The server reads a few hundred rows at a time: it needs no pool of threads, and
# memory that a read has used goes back to the system at once (239 MB instead of 250 with two models of 33 series).
os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")

from springtide.api.server import serve
from springtide.app.answers import LiveAnswers
from springtide.app.live_home import LiveHome
from springtide.app.memory import keep_memory_together
from springtide.domain.errors import SpringtideError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Serve what springtide.toml names until told to stop; the exit code is 0 then, 2 when it cannot start."""
    parser = argparse.ArgumentParser(description="The Springtide API server.")
    parser.add_argument("--config", type=Path, default=Path("springtide.toml"))
    config = parser.parse_args(arguments).config
    keep_memory_together()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serve(LiveAnswers(LiveHome(config)), announce=_say)
    except SpringtideError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    return 0


def _say(url: str) -> None:
    sys.stdout.write(f"Springtide serves on {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
