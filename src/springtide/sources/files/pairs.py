"""Names of markets: from a file's name, and from symbols written without a slash."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["pair_in_name", "spell_pair", "step_in_name"]

# Dollars first: in "binance-btc-usdt" the quote is USDT, not BTC.
_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "GBP", "TRY", "BRL", "JPY", "BTC", "ETH", "BNB")
_LONG_BASE = ("TUSD", "BUSD")  # DOTUSD is DOT/USD, BNBUSD is BNB/USD: these need three letters before them
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def spell_pair(symbol: str) -> str:
    """Write a market as base/quote when it ends with a known quote asset; else leave it.

    >>> spell_pair("BTCUSDT"), spell_pair("eth-eur"), spell_pair("BTC/USDT"), spell_pair("GOLD"), spell_pair("DOTUSD")
    ('BTC/USDT', 'ETH/EUR', 'BTC/USDT', 'GOLD', 'DOT/USD')
    """
    if "/" in symbol:
        return symbol
    words = re.split(r"[-_]", symbol.upper())
    return _find_parted(words) or _find_glued(words) or symbol


def pair_in_name(stem: str) -> str | None:
    """The market a file is named after.

    >>> pair_in_name("BTCUSDT-1h-2024-01"), pair_in_name("btc-usd-max"), pair_in_name("Binance_ETHBTC_d")
    ('BTC/USDT', 'BTC/USD', 'ETH/BTC')
    >>> pair_in_name("sales_of_may") is None
    True
    """
    words = _words(stem)
    shouted = [word for word in words if word == word.upper()]  # glued names only in capitals: "country" is no pair
    return _find_parted([word.upper() for word in words]) or _find_glued(shouted)


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


def _find_parted(words: Sequence[str]) -> str | None:
    """BTC and USDT as neighbours."""
    for quote in _QUOTES:
        for base, other in pairwise(words):
            if other == quote and base.isalnum() and base != quote:
                return f"{base}/{quote}"
    return None


def _find_glued(words: Sequence[str]) -> str | None:
    """BTCUSDT in one word."""
    for quote in _QUOTES:
        for word in words:
            base = word.removesuffix(quote)
            shortest = 3 if quote in _LONG_BASE else 1
            if base != word and base.isalnum() and len(base) >= shortest:
                return f"{base}/{quote}"
    return None
