"""One request at a time to CoinGecko: each counted before it is sent, tried again where that may help."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPErrorProcessor, Request, build_opener

from springtide import __version__
from springtide.domain.errors import NotFound, SettingsError, SourceUnavailable
from springtide.sources.patience import (
    LONGEST_WAIT_S,
    PASSING,
    TRIES,
    Pace,
    say_shortly,
    seconds_asked_for,
    wait_before_retry_s,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from springtide.settings import words
    from springtide.sources.budget import CallBudget

__all__ = ["Client"]

URLS = {"demo": "https://api.coingecko.com/api/v3", "pro": "https://pro-api.coingecko.com/api/v3"}
KEY_HEADERS = {"demo": "x-cg-demo-api-key", "pro": "x-cg-pro-api-key"}
TIMEOUT_S = 30.0
FIRST_WAIT_S = 5.0  # the allowance is counted by the minute, and every try costs a call
MESSAGE = 300  # letters of a message that an error repeats
OWN_CODES = range(10_000, 20_000)  # CoinGecko's own error codes: a wrong key, a plan that does not allow it


class Client:
    """Asks CoinGecko for JSON.

    Parameters
    ----------
    settings
        Plan, key, URL and calls a minute.
    budget
        Each try is counted in it before it is sent.
    where
        The section of the settings, for errors.
    now, sleep, timer, jitter
        As `CoinGeckoSource` takes them.
    """

    def __init__(
        self,
        settings: words.CoinGeckoSource,
        budget: CallBudget,
        *,
        where: str,
        now: Callable[[], datetime],
        sleep: Callable[[float], None],
        timer: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.calls = 0
        self.left = budget.limit  # known after the first call
        self._budget, self._where, self._now, self._jitter = budget, where, now, jitter
        self._pace = Pace(sleep, timer)
        self._seconds_per_call = 60 / settings.calls_per_minute
        self._base = (settings.url or URLS[settings.plan]).rstrip("/")
        self._key = settings.key.get_secret_value() if settings.key else ""
        # Without a name of our own the request is refused as a robot's.
        self._headers = {"Accept": "application/json", "User-Agent": f"springtide/{__version__}"}
        if self._key:
            self._headers[KEY_HEADERS[settings.plan]] = self._key
        self._opener = build_opener(_AsTheyCome)

    def get(self, coin: str, route: str, query: Mapping[str, Any]) -> Any:
        """The reply to ``/coins/{coin}/{route}``.

        Raises
        ------
        NotFound
            CoinGecko does not know the coin.
        SettingsError
            It refuses the key, the plan or a value.
        SourceUnavailable
            It did not answer after several tries, or asked for a long pause.
        CallsUsedUp
            No call is left in this month.
        """
        tried = 0
        while True:
            tried += 1
            self._pace.wait(self._seconds_per_call)
            self.left = self._budget.spend()
            self.calls += 1
            reply = self._send(f"/coins/{quote(coin, safe='')}/{route}?{urlencode(query)}")
            if not reply.problem:
                return reply.body
            asked_s = seconds_asked_for(reply.retry_after, self._now())
            wait_s = wait_before_retry_s(tried, asked_s=asked_s, jitter=self._jitter, first_s=FIRST_WAIT_S)
            if tried == TRIES or not reply.may_pass() or wait_s > LONGEST_WAIT_S:
                raise self._give_up(reply, coin, route, tried=tried, wait_s=wait_s)
            self._pace.pause(wait_s)

    def _send(self, path: str) -> _Reply:
        request = Request(self._base + path, headers=self._headers)  # noqa: S310 - http or https, as the source checked
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as reply:
                return _read(reply.status, reply.headers.get("Retry-After"), reply.read())
        except URLError as error:
            return _Reply(problem=f"no connection, {error.reason}")
        except (OSError, HTTPException) as error:
            return _Reply(problem=f"no answer, {say_shortly(error)}")

    def _give_up(
        self, reply: _Reply, coin: str, route: str, *, tried: int, wait_s: float
    ) -> NotFound | SettingsError | SourceUnavailable:
        """The error that a reply stands for; a message of CoinGecko's never repeats the key."""
        host = urlsplit(self._base).hostname
        said = reply.problem.replace(self._key, "***") if self._key else reply.problem
        if reply.status in (200, 400, 404) and re.search(r"\bcoin\b", said, re.IGNORECASE):
            return NotFound(
                f"CoinGecko has no coin {coin!r}",
                where=f"{self._where}, {host}",
                do="write its API id, which stands on the coin's page: bitcoin, not BTC",
            )
        if reply.status in (400, 401) or reply.code in OWN_CODES:
            return SettingsError(
                f"CoinGecko refused {route} of {coin}: {reply.status_in_words()}{said}",
                where=f"{self._where}, {host}",
                do='check key and plan (a demo key goes with plan = "demo"), vs_currency and history',
            )
        times = "1 try" if tried == 1 else f"{tried} tries"
        pause = f"it asked for a pause of {wait_s:.0f} s; " if wait_s > LONGEST_WAIT_S else ""
        return SourceUnavailable(
            f"CoinGecko did not send {route} of {coin} after {times}: {reply.status_in_words()}{said}",
            where=f"{self._where}, {host}",
            do=f"{pause}try again later, it goes on where it stopped; check the connection and url",
        )


class _AsTheyCome(HTTPErrorProcessor):
    """No exception for a status, and no redirect, which would take the key to another host."""

    def http_response(self, request: Request, response: Any) -> Any:
        return response

    https_response = http_response


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came back; status 0 is no answer at all."""

    status: int = 0
    body: Any = None
    problem: str = ""  # in words; none when the body is what was asked for
    code: int = 0  # CoinGecko's own, in the body
    retry_after: str | None = None

    def may_pass(self) -> bool:
        """Whether the same request may succeed later; a page for people stands for a busy moment."""
        busy = 429 in (self.status, self.code) or (self.status == 200 and self.body is None)
        return busy or self.status in PASSING or self.status == 0 or self.status >= 500

    def status_in_words(self) -> str:
        return f"HTTP {self.status}, " if self.status else ""


def _read(status: int, retry_after: str | None, data: bytes) -> _Reply:
    try:
        body = json.loads(data)
    except ValueError:  # not JSON, or not text
        return _Reply(status, None, "a page for people instead of data", retry_after=retry_after)
    code, problem = _complaint(body)
    if status != 200 and not problem:
        problem = "without a reason"
    return _Reply(status, body, problem, code, retry_after)


def _complaint(body: Any) -> tuple[int, str]:
    """The error that a body holds, in one of the three forms that CoinGecko writes; 0 and nothing when it holds none.

    >>> _complaint({"error": "coin not found"})
    (0, 'coin not found')
    >>> _complaint({"error": {"status": {"error_code": 10012, "error_message": "allowed time range"}}})
    (10012, 'allowed time range')
    >>> _complaint({"status": {"error_code": 429, "error_message": "Rate Limit"}}), _complaint({"prices": []})
    ((429, 'Rate Limit'), (0, ''))
    """
    if not isinstance(body, dict):
        return 0, ""
    error = body.get("error")
    if isinstance(error, str):
        return 0, " ".join(error.split())[:MESSAGE]
    status = (error if isinstance(error, dict) else body).get("status")
    if not isinstance(status, dict):
        return 0, ""
    code = status.get("error_code")
    return code if isinstance(code, int) else 0, " ".join(str(status.get("error_message")).split())[:MESSAGE]
