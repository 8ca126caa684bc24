"""What springtide.toml may say, section by section."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from springtide.domain.units import parse_span

__all__ = [
    "ExchangeSource",
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

Span = Annotated[timedelta, BeforeValidator(lambda value: parse_span(value) if isinstance(value, str) else value)]
"""A span of time, written ``5m``, ``1h``, ``7d``, ``2y``."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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


class FilesSource(_Section):
    """A file or a watched folder of CSV, Parquet or zip files."""

    kind: Literal["files"]
    path: Annotated[str, Field(description="A file, or a folder whose files are brought in as they land.")]
    columns: Annotated[dict[str, str], Field(description="Our column name to the file's own.")] = {}
    series: Annotated[str | None, Field(description="unique_id for files that do not name their series.")] = None
    timeframe: Annotated[str | None, Field(description="Length of a step; guessed from the rows when not given.")] = (
        None
    )
    table: str | None = None


Source = Annotated[ExchangeSource | SimulatorSource | FilesSource, Field(discriminator="kind")]


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
        Literal["better", "significant"],
        Field(description="better: lower mean loss than every rival; significant: and not by chance."),
    ] = "significant"
    alpha: Annotated[float, Field(gt=0, lt=1, description="Level of the one-sided test.")] = 0.05
    judge: Annotated[Span, Field(description="The newest span of the table, on which rivals are compared.")] = (
        timedelta(days=90)
    )
    first: Annotated[
        Literal["gate", "always"],
        Field(description="The first version: judged like any other, or served at once with a visible warning."),
    ] = "gate"


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
    keep_versions: Annotated[int, Field(ge=2, description="Versions whose files are kept.")] = 20
    recipe: Any = None


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
