"""What an exchange may do to whoever asks it: faults on request, the same for the same seed."""

from __future__ import annotations

import hashlib
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Fault", "Faults", "Misbehaviour"]

Fault: TypeAlias = Literal["too many requests", "banned", "server error", "reset", "slow", "nonsense"]


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong: shares from 0 to 1 of the requests for candles, or of the candles.

    `first` is for the first requests for candles, one each, before chance decides (None: no fault). Candles that are
    `missing` never come, `late` ones only when asked for a second time. `corrected` ones are wrong when first served,
    and as long as they closed less than `corrected_after_s` ago.
    """

    seed: int = 0
    first: tuple[Fault | None, ...] = ()
    too_many: float = 0.0
    banned: float = 0.0
    server_error: float = 0.0
    reset: float = 0.0
    slow: float = 0.0
    nonsense: float = 0.0
    retry_after_s: int = 1
    slow_s: float = 0.2
    missing: float = 0.0
    late: float = 0.0
    corrected: float = 0.0
    corrected_after_s: float = 0.0
    most_candles: int = 1000  # in one reply
    weight_limit: int = 6000  # of all requests within one window
    window_s: float = 60.0

    def shares(self) -> tuple[float, ...]:
        """Shares of the faults, in the order of `Fault`."""
        return (self.too_many, self.banned, self.server_error, self.reset, self.slow, self.nonsense)


class Misbehaviour:
    """Decides what goes wrong; remembers what was asked, and how much of the allowed weight is used."""

    def __init__(self, faults: Faults, *, timer: Callable[[], float]) -> None:
        self.faults = faults
        self._timer = timer
        self._lock = threading.Lock()
        self._requests = 0
        self._asked: set[tuple[str, int, int]] = set()
        self._window = -1
        self._used = 0

    def charge(self, weight: int) -> tuple[int, int | None]:
        """Weight used in this window, and the seconds to wait when that is too much."""
        with self._lock:
            now = self._timer()
            window = int(now // self.faults.window_s)
            if window != self._window:
                self._window, self._used = window, 0
            self._used += weight
            too_much = self._used > self.faults.weight_limit
            wait_s = math.ceil((window + 1) * self.faults.window_s - now)
            return self._used, max(1, wait_s) if too_much else None

    def next_fault(self) -> Fault | None:
        """What goes wrong with this request for candles."""
        with self._lock:
            number = self._requests
            self._requests += 1
        if number < len(self.faults.first):
            return self.faults.first[number]
        chance = self._draw("request", number)
        for fault, share in zip(get_args(Fault), self.faults.shares(), strict=True):
            if chance < share:
                return fault  # type: ignore[no-any-return] # get_args forgets the type
            chance -= share
        return None

    def hides(self, symbol: str, interval_s: int, open_ms: int) -> bool:
        """Whether a candle is left out of this reply."""
        if self._draw("missing", symbol, open_ms) < self.faults.missing:
            return True
        late = self._draw("late", symbol, open_ms) < self.faults.late
        return late and self._is_first("late " + symbol, interval_s, open_ms)

    def distorts(self, symbol: str, interval_s: int, open_ms: int, *, age_s: float) -> bool:
        """Whether a candle that closed `age_s` ago has wrong values in this reply."""
        if self._draw("corrected", symbol, open_ms) >= self.faults.corrected:
            return False
        return self._is_first(symbol, interval_s, open_ms) or age_s < self.faults.corrected_after_s

    def _is_first(self, what: str, interval_s: int, open_ms: int) -> bool:
        key = (what, interval_s, open_ms)
        with self._lock:
            first = key not in self._asked
            self._asked.add(key)
        return first

    def _draw(self, *key: object) -> float:
        """A number from 0 to 1 that depends on the seed and the key alone."""
        text = repr((self.faults.seed, *key)).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64
