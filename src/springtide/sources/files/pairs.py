"""Names of markets: from a file's name, and from symbols written without a slash."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["pair_in_name", "spell_pair", "step_in_name"]

# Dollars first: in "binance-btc-usdt" the quote is USDT, not BTC.
QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "GBP", "TRY", "BRL", "JPY", "BTC", "ETH", "BNB")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def spell_pair(symbol: str) -> str:
    """Write a market as base/quote when it ends with a known quote asset; else leave it.

    >>> spell_pair("BTCUSDT"), spell_pair("eth-eur"), spell_pair("BTC/USDT"), spell_pair("GOLD")
    ('BTC/USDT', 'ETH/EUR', 'BTC/USDT', 'GOLD')
    """
    if "/" in symbol:
        return symbol
    return _find_pair(re.split(r"[-_]", symbol.upper())) or symbol


def pair_in_name(stem: str) -> str | None:
    """The market a file is named after.

    >>> pair_in_name("BTCUSDT-1h-2024-01"), pair_in_name("btc-usd-max"), pair_in_name("Binance_ETHBTC_d")
    ('BTC/USDT', 'BTC/USD', 'ETH/BTC')
    >>> pair_in_name("sales_of_may") is None
    True
    """
    words = _words(stem)
    return _find_pair([word if word == word.upper() else f"-{word}" for word in words]) or _find_parted(words)


def step_in_name(stem: str) -> int | None:
    """The seconds of the timeframe a file is named after.

    >>> step_in_name("BTCUSDT-1d-2024-01-01"), step_in_name("BTCUSDT_UMCBL_15min"), step_in_name("BTCUSDT")
    (86400, 900, None)
    """
    for word in _words(stem):
        if (match := re.fullmatch(r"(\d+)(s|min|m|h|d|w)", word)) and int(match[1]):
            return int(match[1]) * _UNITS[match[2]]
    return None


def _words(stem: str) -> list[str]:
    return re.split(r"[-_. ]+", stem)


def _find_pair(words: Iterable[str]) -> str | None:
    """BTCUSDT in one word, or BTC and USDT as neighbours."""
    words = list(words)
    for quote in QUOTES:
        for word in words:
            base = word.removesuffix(quote)
            if base not in ("", word) and base.isalnum():
                return f"{base}/{quote}"
    return _find_parted(words)


def _find_parted(words: Iterable[str]) -> str | None:
    """BTC and USDT as neighbours, in any case."""
    upper = [word.upper() for word in words]
    for quote in QUOTES:
        for base, other in zip(upper, upper[1:], strict=False):
            if other == quote and base.isalnum() and base != quote:
                return f"{base}/{quote}"
    return None
