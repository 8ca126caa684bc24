"""What a run gave then beside what it gives now, in words."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
import onnx.numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

__all__ = ["Finding", "compare_arrays", "compare_fact", "compare_file", "compare_values", "read_probe", "read_weights"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing as it was then and as it is now, in words."""

    name: str
    same: bool
    says: str


def compare_fact(name: str, then: Any, now: Any) -> Finding:
    """One value that stands for itself.

    >>> compare_fact("torch", "2.12", "2.13").says
    '2.12 then, 2.13 now'
    """
    return Finding(name, same=then == now, says=str(then) if then == now else f"{then} then, {now} now")


def compare_values(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Finding:
    """All values of what both tell of, however deep.

    >>> compare_values("training", {"steps": 7, "loss": [0.5, 0.25]}, {"steps": 7, "loss": [0.5, 0.2]}).says
    '1 of 3 values differ, the most loss.1: 0.25 then, 0.2 now'
    """
    both = then.keys() & now.keys()
    before, after = (dict(_flat(_plain({key: one[key] for key in both}))) for one in (then, now))
    every = sorted(before.keys() | after.keys())
    changed = [path for path in every if path not in before or path not in after or before[path] != after[path]]
    if not changed:
        return Finding(name, same=True, says=f"{len(every):,} values, all the same")
    worst = max(changed, key=lambda path: _change(before.get(path), after.get(path)))
    example = f"{worst}: {_short(before.get(worst))} then, {_short(after.get(worst))} now"
    return Finding(name, same=False, says=f"{len(changed):,} of {len(every):,} values differ, the most {example}")


def compare_arrays(name: str, then: Arrays, now: Arrays) -> Finding:
    """Arrays by name, bit by bit.

    >>> compare_arrays("weights", {"bias": np.array([1.0, -2.0])}, {"bias": np.array([1.0, -2.5])}).says
    '1 of 1 arrays differ, the most bias: by 0.5, where the largest value is 2'
    """
    if {key: (one.dtype, one.shape) for key, one in then.items()} != {
        key: (one.dtype, one.shape) for key, one in now.items()
    }:
        return Finding(name, same=False, says="arrays of other names, types or shapes")
    apart = {key: _apart(one, now[key]) for key, one in then.items() if one.tobytes() != now[key].tobytes()}
    if not apart:
        numbers = sum(one.size for one in then.values())
        return Finding(name, same=True, says=f"{numbers:,} numbers in {len(then)} arrays, the same bit by bit")
    worst = max(apart, key=lambda key: apart[key])
    largest = float(np.abs(then[worst]).max())
    return Finding(
        name,
        same=False,
        says=f"{len(apart)} of {len(then)} arrays differ, the most {worst}: by {apart[worst]:.2g}, "
        f"where the largest value is {largest:.2g}",
    )


def compare_file(
    name: str, then: Path | None, now: Path, *, sha256_then: str, read: Callable[[Path], Arrays]
) -> Finding:
    """The arrays of a file; where the one of then is gone, its hash alone."""
    if then is not None:
        return compare_arrays(name, read(then), read(now))
    same = sha256(now.read_bytes()).hexdigest() == sha256_then
    gone = "stored files are gone, so only the SHA-256 was compared"
    return Finding(name, same=same, says=f"{'the same' if same else 'another'} {now.name}; {gone}")


def read_weights(graph: Path) -> Arrays:
    """The tensors of an ONNX graph, by name."""
    return {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(graph).graph.initializer}


def read_probe(probe: Path) -> Arrays:
    """The questions and answers of a probe, by name."""
    with np.load(probe, allow_pickle=False) as arrays:
        return dict(arrays)


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


def _plain(value: Any) -> Any:
    """As it comes back from the database: NaN as null, tuples as lists."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value with its path."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield path, value
        return
    for name, one in value.items():
        yield from _flat(one, f"{path}.{name}" if path else str(name))


def _change(then: Any, now: Any) -> float:
    """How much a number changed, as a share of the larger one; more than any number for anything else."""
    if not isinstance(then, int | float) or not isinstance(now, int | float):
        return float("inf")
    return abs(then - now) / (max(abs(then), abs(now)) or 1.0)


def _short(value: Any) -> str:
    return repr(value)[:80]
