"""What springtide.toml may say, section by section."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from springtide.domain.errors import SettingsError
from springtide.domain.units import format_span, parse_span

__all__ = [
    "Age",
    "CoinGeckoSource",
    "ExchangeSource",
    "Expires",
    "FilesSource",
    "Gate",
    "Home",
    "Model",
    "Retrain",
    "Serve",
    "Settings",
    "SimulatorSource",
    "Source",
    "Span",
]


def _as_span(value: object) -> object:
    """As people write it; ISO 8601, in which manifests keep it (``P7D``), is read by pydantic."""
    return parse_span(value) if isinstance(value, str) and not value.startswith("P") else value


Span = Annotated[timedelta, BeforeValidator(_as_span)]
"""A span of time, written ``5m``, ``1h``, ``7d``, ``2y``."""

Age = Annotated[Span, Field(gt=timedelta(0))]
"""A span of time that is not zero."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Home(_Section):
    """Where everything is kept."""

    store: Annotated[str, Field(description="Folder or URL (s3://bucket/prefix) of tables and model files.")] = "./var"
    database: Annotated[str, Field(description="SQLAlchemy URL of runs, versions and journal.")] = (
        "sqlite:///var/springtide.db"
    )


class ExchangeSource(_Section):
    """Candles of an exchange, through ccxt."""

    kind: Literal["exchange"]
    exchange: Annotated[str, Field(description="Any ccxt exchange id.")]
    symbols: Annotated[tuple[str, ...], Field(min_length=1, description="Markets, as ccxt writes them: BTC/USDT.")]
    timeframe: Annotated[str, Field(description="Length of a candle: 1m, 5m, 1h, 1d.")] = "1h"
    history: Annotated[Span, Field(description="How far back the first call goes.")] = timedelta(days=730)
    overlap: Annotated[int, Field(ge=0, description="Closed candles asked for again, to catch late corrections.")] = 3
    url: Annotated[
        str | None, Field(description="Base URL instead of the exchange's own (a proxy or the simulator).")
    ] = None
    table: Annotated[str | None, Field(description="Table to write; the source's name when not given.")] = None


class SimulatorSource(_Section):
    """Candles of the simulated exchange, started on loopback for the time of the call. Synthetic data."""

    kind: Literal["simulator"]
    symbols: Annotated[tuple[str, ...], Field(min_length=1)] = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    timeframe: str = "1h"
    history: Span = timedelta(days=730)
    overlap: Annotated[int, Field(ge=0)] = 3
    seed: int = 1
    table: str | None = None


def _name_series(value: object) -> object:
    """Coins that are only listed give their ids to their series."""
    if isinstance(value, list | tuple) and all(isinstance(coin, str) for coin in value):
        return {coin: coin for coin in value}
    return value


def _as_key(value: object) -> SecretStr:
    """A key of digits alone came as a number; what is no key is refused without repeating it."""
    if isinstance(value, SecretStr):
        return value
    text = str(value).strip() if isinstance(value, str | int) else ""
    if not re.fullmatch(r"[!-~]+", text):
        raise SettingsError(
            "an API key is one word of letters, digits and signs", where="key", do='write key = "CG-..."'
        )
    return SecretStr(text)


class CoinGeckoSource(_Section):
    """Prices or candles of coins, from CoinGecko."""

    kind: Literal["coingecko"]
    coins: Annotated[
        dict[str, str],
        BeforeValidator(_name_series),
        Field(min_length=1, description="unique_id to CoinGecko's own id; a list of ids names the series alike."),
    ]
    vs_currency: Annotated[str, Field(description="What prices are in: usd, eur, btc.")] = "usd"
    route: Annotated[
        Literal["market_chart", "ohlc"], Field(description="market_chart: prices, plain rows; ohlc: candles.")
    ] = "market_chart"
    timeframe: Annotated[str, Field(description="market_chart: 1h, 1d; ohlc: 30m, 4h, on paid plans 1h, 1d.")] = "1h"
    also: Annotated[
        tuple[Literal["market_cap", "total_volume"], ...], Field(description="Columns of market_chart beside y.")
    ] = ("market_cap", "total_volume")
    history: Annotated[Span, Field(description="How far back the first call goes.")] = timedelta(days=365)
    overlap: Annotated[int, Field(ge=0, description="Rows asked for again, to catch late corrections.")] = 3
    plan: Annotated[Literal["demo", "pro"], Field(description="demo: the free plan; pro: any paid one.")] = "demo"
    key: Annotated[
        SecretStr | None, BeforeValidator(_as_key), Field(description="API key; its place is the environment.")
    ] = None
    calls_per_month: Annotated[int, Field(ge=1, description="What the plan allows; tries that failed count.")] = 10_000
    calls_per_minute: Annotated[float, Field(gt=0, description="What the plan allows.")] = 30.0
    url: Annotated[str | None, Field(description="Base URL instead of the plan's own (a proxy).")] = None
    table: Annotated[str | None, Field(description="Table to write; the source's name when not given.")] = None


class FilesSource(_Section):
    """A file or a watched folder of CSV, Parquet or zip files."""

    kind: Literal["files"]
    path: Annotated[str, Field(description="A file, or a folder whose files are brought in as they land.")]
    columns: Annotated[dict[str, str], Field(description="Our column name to the file's own.")] = {}
    series: Annotated[str | None, Field(description="unique_id for files that do not name their series.")] = None
    timeframe: Annotated[
        str | None, Field(description="Length of a step, guessed when not given; irregular: rows at no fixed step.")
    ] = None
    table: str | None = None


Source = Annotated[ExchangeSource | CoinGeckoSource | SimulatorSource | FilesSource, Field(discriminator="kind")]


class Retrain(_Section):
    """When a run is started by itself."""

    cron: str | None = None
    new_rows: Annotated[int | None, Field(ge=1)] = None
    drift: bool = False


class Gate(_Section):
    """What a challenger must show before it serves."""

    baselines: Annotated[tuple[str, ...], Field(min_length=1, description="Trivial rivals that must be beaten.")] = (
        "last-value",
        "ewma-volatility",
    )
    rule: Annotated[
        Literal["better", "significant", "anytime"],
        Field(
            description="better: lower mean loss than every rival; significant: and not by chance, at this one look; "
            "anytime: and not by chance, however often it is retrained."
        ),
    ] = "significant"
    alpha: Annotated[
        float, Field(gt=0, lt=1, description="Level of the one-sided test; of a whole reign with anytime.")
    ] = 0.05
    judge: Annotated[Span, Field(description="The newest span of the table, on which rivals are compared.")] = (
        timedelta(days=90)
    )
    first: Annotated[
        Literal["gate", "always"],
        Field(description="The first version: judged like any other, or served at once with a visible warning."),
    ] = "gate"


class Expires(_Section):
    """From which age on nothing is answered any more; without a limit, old rows are only warned of."""

    data: Annotated[Age | None, Field(description="Since the newest row of a series closed.")] = None
    model: Annotated[Age | None, Field(description="Since the latest outcome that the version has seen.")] = None


class Model(_Section):
    """Something kept fresh: a task, a table, when to retrain, how to judge.

    `recipe` holds the task's own settings (for a forecast: horizon, window, network, ...), already checked.
    """

    task: str
    table: str
    start: Annotated[
        Literal["champion", "scratch"], Field(description="Fine-tune from the champion, or begin anew.")
    ] = "champion"
    budget: Annotated[Span, Field(description="Most time one fit may take.")] = timedelta(seconds=60)
    seed: int = 0
    retrain: Retrain = Retrain()
    gate: Gate = Gate()
    expires: Expires = Expires()
    keep_versions: Annotated[int, Field(ge=2, description="Versions whose files are kept.")] = 20
    recipe: Any = None

    @model_validator(mode="after")
    def _check_that_a_new_version_can_serve(self) -> Model:
        """Refuse an age that every version has when it is made: it has seen nothing of the span that it is judged on."""
        age, judged = self.expires.model, self.gate.judge
        if age is not None and age <= judged:
            raise SettingsError(
                f"with expires.model = {format_span(age)} every version has expired when it is made: it has seen nothing of "
                f"the newest {format_span(judged)}, on which it is judged (gate.judge)",
                where="a model",
                do="make expires.model longer than gate.judge, or gate.judge shorter",
            )
        return self


class Serve(_Section):
    """The API server."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    poll_s: Annotated[float, Field(gt=0, description="How often the server looks for a new champion and new rows.")] = (
        1.0
    )


class Settings(_Section):
    """All of springtide.toml."""

    home: Home = Home()
    serve: Serve = Serve()
    sources: dict[str, Source] = {}
    models: dict[str, Model] = {}
