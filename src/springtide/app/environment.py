"""What a run's numbers depend on besides its rows, settings and code: libraries, machine, threads."""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from threadpoolctl import threadpool_info, threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LIBRARIES", "environment", "threads_of"]

LIBRARIES = ("torch", "numpy", "scipy", "polars", "onnx", "onnxruntime")
CPU_INFO = Path("/proc/cpuinfo")


def environment() -> Mapping[str, str | int]:
    """Versions of Python and of the libraries that compute; the machine; the threads of torch and numpy now."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "blas_threads": max((one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"), default=1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


@contextmanager
def threads_of(recorded: Mapping[str, Any]) -> Iterator[None]:
    """As many threads as an environment had: a sum that is cut into other pieces has other last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(recorded.get("threads", before))
    try:
        with threadpool_limits(recorded.get("blas_threads"), user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def _cpu() -> str:
    """The processor's own name where the system tells it, else its kind."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    names = (
        value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == "model name"
    )
    return next(names, platform.processor() or platform.machine())
