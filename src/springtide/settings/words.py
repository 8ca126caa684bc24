"""What springtide.toml may say, section by section."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from springtide.domain.errors import SettingsError, did_you_mean
from springtide.domain.notice import EVENTS, Event
from springtide.domain.regions import check_region
from springtide.domain.rows import REGION, SERIES, TIME
from springtide.domain.units import format_span, parse_bytes, parse_span
from springtide.settings.cron import Cron, check_cron, check_zone

__all__ = [
    "BROKERS",
    "OFF",
    "Age",
    "CoinGeckoSource",
    "Compute",
    "Drift",
    "ExchangeSource",
    "Expires",
    "FilesSource",
    "Gate",
    "Home",
    "Interval",
    "Limits",
    "Model",
    "Notify",
    "Retrain",
    "RowsSource",
    "Sandbox",
    "Serve",
    "Settings",
    "SimulatorSource",
    "Source",
    "Span",
    "Streams",
    "Webhook",
]


def _as_span(value: object) -> object:
    """As people write it; ISO 8601, in which manifests keep it (``P7D``), is read by pydantic."""
    return parse_span(value) if isinstance(value, str) and not value.startswith("P") else value


Span = Annotated[timedelta, BeforeValidator(_as_span)]
"""A span of time, written ``5m``, ``1h``, ``7d``, ``2y``."""

Age = Annotated[Span, Field(gt=timedelta(0))]
"""A span of time that is not zero."""

OFF = timedelta(0)
BROKERS = ("kafka", "nats", "tls", "amqp", "amqps", "redis", "rediss")

Interval = Annotated[
    timedelta,
    BeforeValidator(lambda value: OFF if value == "off" else parse_span(value) if isinstance(value, str) else value),
    Field(ge=OFF),
]
"""A span of time, or `OFF`, written ``off``."""


def _check_span(text: str) -> str:
    parse_span(text)
    return text


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Home(_Section):
    """Where everything is kept."""

    store: Annotated[str, Field(description="Folder or URL (s3://bucket/prefix) of tables and model files.")] = "./var"
    database: Annotated[str, Field(description="SQLAlchemy URL of runs, versions and journal.")] = (
        "sqlite:///var/springtide.db"
    )


class _Source(_Section):
    """What every source may say."""

    every: Annotated[
        Interval | None, Field(description="How often it is asked by itself; its timeframe when not given, or off.")
    ] = None
    silent_after: Annotated[
        Interval | None, Field(description="Without a new row for so long it is told of; 3 timeframes, or off.")
    ] = None


class ExchangeSource(_Source):
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


class SimulatorSource(_Source):
    """Candles of the simulated exchange, started on loopback for the time of the call. Synthetic data."""

    kind: Literal["simulator"]
    symbols: Annotated[tuple[str, ...], Field(min_length=1)] = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    timeframe: str = "1h"
    history: Span = timedelta(days=730)
    overlap: Annotated[int, Field(ge=0)] = 3
    seed: int = 1
    table: str | None = None
    speed: (
        Annotated[float, Field(gt=1, description="Of the market's time; it then starts after its history.")] | None
    ) = None
    since: Annotated[datetime, Field(description="When the faster time began.")] | None = None

    @model_validator(mode="after")
    def _check_that_faster_time_has_a_beginning(self) -> SimulatorSource:
        if (self.speed is None) != (self.since is None):
            raise SettingsError(
                "speed and since belong together",
                where="[sources]",
                do="write speed = 360 and since = 2026-01-31T12:00:00Z, the time at which it is to begin",
            )
        if self.since is not None and self.since.tzinfo is None:
            raise SettingsError("since has no time zone", where="[sources]", do="end it with Z")
        return self


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


class CoinGeckoSource(_Source):
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


class FilesSource(_Source):
    """A file or a watched folder of CSV, Parquet or zip files."""

    kind: Literal["files"]
    path: Annotated[str, Field(description="A file, or a folder whose files are brought in as they land.")]
    columns: Annotated[dict[str, str], Field(description="Our column name to the file's own.")] = {}
    series: Annotated[str | None, Field(description="unique_id for files that do not name their series.")] = None
    timeframe: Annotated[
        str | None, Field(description="Length of a step, guessed when not given; irregular: rows at no fixed step.")
    ] = None
    table: str | None = None


_COLUMN = re.compile(r"[^\W\d]\w*")
Bytes = Annotated[int, BeforeValidator(lambda value: parse_bytes(value) if isinstance(value, str) else value)]
"""An amount of memory, written ``8MB``."""


class RowsSource(_Section):
    """Rows that many senders, each a region, send in batches into one table."""

    kind: Literal["rows"]
    values: Annotated[
        dict[str, Literal["number", "integer", "text", "boolean", "time"]],
        Field(min_length=1, description="The columns beside unique_id and ds, and what each holds."),
    ]
    columns: Annotated[dict[str, str], Field(description="Our column name to the senders' own.")] = {}
    key: Annotated[
        tuple[str, ...], Field(description="Columns that tell two rows of one series and one time apart.")
    ] = ()
    timeframe: Annotated[
        Annotated[str, AfterValidator(_check_span)] | None,
        Field(description="Length of a step; rows at no fixed step when not given."),
    ] = None
    regions: Annotated[
        tuple[Annotated[str, AfterValidator(check_region)], ...],
        Field(description="Who may send, and who is waited for; anybody when empty."),
    ] = ()
    period: Annotated[Age | None, Field(description="The span that one report of a region is about.")] = None
    full: Annotated[int, Field(ge=1, description="Rows of a region that make its report of a period full.")] = 1
    tolerance: Annotated[
        float, Field(ge=0, le=1, description="Share of bad rows up to which a batch's good ones are taken.")
    ] = 0.1
    max_body: Annotated[Bytes, Field(ge=1_000, description="The largest batch.")] = 8_000_000
    keep_rejected: Annotated[int, Field(ge=0, description="Rejected rows that are kept of a region.")] = 1_000
    table: Annotated[str | None, Field(description="Table to write; the source's name when not given.")] = None

    @model_validator(mode="after")
    def _check_the_columns(self) -> RowsSource:
        own = {SERIES, TIME, REGION}
        if wrong := [name for name in self.values if name in own or not _COLUMN.fullmatch(name)]:
            raise SettingsError(
                f"values names {wrong[0]!r}",
                where="values",
                do=f"use letters, digits and _; {', '.join(sorted(own))} are columns of every such table",
            )
        if unknown := [name for name in self.columns if name not in {SERIES, TIME, *self.values}]:
            known = (SERIES, TIME, *self.values)
            raise SettingsError(
                f"columns names {unknown[0]!r}",
                where="columns",
                do=f"our name first: {did_you_mean(unknown[0], known)}",
            )
        if wrong := [name for name in self.key if self.values.get(name) not in ("text", "integer")]:
            raise SettingsError(
                f"key names {wrong[0]!r}", where="key", do="name columns of values that hold text or integers"
            )
        sent = [self.columns.get(name, name) for name in (SERIES, TIME, *self.values)]
        if len(set(sent)) < len(sent) or len(set(self.regions)) < len(self.regions):
            raise SettingsError("one name stands for two", where="columns or regions", do="name each once")
        return self

    @property
    def named_series(self) -> bool:
        """Whether the senders name their series; else each region is one."""
        return SERIES in self.columns

    @property
    def step_s(self) -> int | None:
        """Seconds from one row of a series to the next; None where there is no grid."""
        return None if self.timeframe is None else int(parse_span(self.timeframe).total_seconds())


Source = Annotated[
    ExchangeSource | CoinGeckoSource | SimulatorSource | FilesSource | RowsSource, Field(discriminator="kind")
]


class Drift(_Section):
    """When inputs or losses count as unlike those of the champion's training."""

    every: Annotated[Age, Field(description="How often to look.")] = timedelta(hours=1)
    recent: Annotated[Age, Field(description="The newest span of inputs, which is compared with training.")] = (
        timedelta(days=7)
    )
    psi: Annotated[float, Field(gt=0, description="Population stability index from which on a shift is large.")] = 0.25
    alpha: Annotated[float, Field(gt=0, lt=1, description="Chance of a false alarm of all inputs at one look.")] = 0.01
    loss_alpha: Annotated[
        float, Field(gt=0, lt=1, description="Chance of a false alarm of the losses in a year of one champion.")
    ] = 0.1


def _as_drift(value: object) -> object:
    """``true`` is a section without keys, ``false`` is none."""
    return (Drift() if value else None) if isinstance(value, bool) else value


class Retrain(_Section):
    """When a run is started by itself."""

    cron: Annotated[
        Annotated[str, AfterValidator(check_cron)] | None, Field(description="Minute, hour, day, month, weekday.")
    ] = None
    timezone: Annotated[str, AfterValidator(check_zone), Field(description="By whose clocks cron is read.")] = "UTC"
    new_rows: Annotated[
        int | None, Field(ge=1, description="So many rows of its series more than the last run has seen.")
    ] = None
    max_age: Annotated[Age | None, Field(description="Since the champion was made; or there is none.")] = None
    drift: Annotated[
        Drift | None, BeforeValidator(_as_drift), Field(description="true, or a section of its own; none when false.")
    ] = None
    regions: Annotated[bool, Field(description="When all regions of its table have reported for a period.")] = False

    @property
    def schedule(self) -> Cron | None:
        """The cron schedule, if there is one."""
        return None if self.cron is None else Cron(self.cron, self.timezone)


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


class Limits(_Section):
    """What one run may use; one that passes a limit fails with that reason, and nothing else notices."""

    time: Annotated[Span, Field(description="From the first step to the last.")] = timedelta(hours=6)
    memory: Annotated[Bytes, Field(ge=100_000_000, description="Resident memory of the process of the run: 4GB.")] = (
        16_000_000_000
    )


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
    limits: Limits = Limits()
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


def _as_event(value: object) -> object:
    if isinstance(value, str) and value not in EVENTS:
        raise SettingsError(f"event {value!r} is not known", where="events", do=did_you_mean(value, EVENTS))
    return value


Events = Annotated[tuple[Annotated[Event, BeforeValidator(_as_event)], ...], Field(min_length=1)]
"""Which events a place wants to hear of."""


def _as_secret(value: object) -> SecretStr:
    """What signs must not be guessed; a mistaken one is refused without repeating it."""
    if isinstance(value, SecretStr):
        return value
    if not (isinstance(value, str) and re.fullmatch(r"[!-~]{16,}", value)):
        raise SettingsError(
            "a webhook's secret is one word of at least 16 letters, digits and signs",
            where="secret",
            do="write a long random one, as `openssl rand -hex 32` prints it",
        )
    return SecretStr(value)


def is_web_address(url: str) -> bool:
    """Whether a text is an address of the web, without user and password."""
    if not re.fullmatch(r"https?://[!-~]+", url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _as_web_address(value: object) -> SecretStr:
    """Often the path of a webhook is its password: a mistaken one is refused without repeating it."""
    if isinstance(value, SecretStr):
        return value
    if not (isinstance(value, str) and is_web_address(value)):
        raise SettingsError(
            "a webhook's url is an address of the web, without user and password",
            where="url",
            do='write url = "https://HOST/PATH"',
        )
    return SecretStr(value)


def _as_apprise_urls(value: object) -> object:
    """Only the form is looked at here, and nothing is repeated: such a URL is a password."""
    listed = value if isinstance(value, list | tuple) else [None]
    if not all(isinstance(url, str) and re.match(r"[A-Za-z][\w+.-]*://\S", url) for url in listed):
        raise SettingsError(
            "urls are a list of apprise URLs", where="urls", do='write urls = ["SERVICE://...", "SERVICE://..."]'
        )
    return value


class Webhook(_Section):
    """A web address that is told of events, each with a signature."""

    url: Annotated[SecretStr, BeforeValidator(_as_web_address), Field(description="Where notices are posted to.")]
    secret: Annotated[SecretStr, BeforeValidator(_as_secret), Field(description="What they are signed with.")]
    events: Annotated[Events, Field(description="What it is told of.")] = EVENTS
    allow_private: Annotated[bool, Field(description="Also to an address of this machine or a private network.")] = (
        False
    )


class Notify(_Section):
    """Who is told of what happens."""

    urls: Annotated[
        tuple[SecretStr, ...],
        BeforeValidator(_as_apprise_urls),
        Field(description="apprise URLs; their place is the environment."),
    ] = ()
    events: Annotated[Events, Field(description="What these are told of; webhooks have lists of their own.")] = EVENTS
    webhooks: tuple[Webhook, ...] = ()

    @model_validator(mode="after")
    def _check_that_no_place_is_listed_twice(self) -> Notify:
        for places in (self.urls, [hook.url for hook in self.webhooks]):
            if len(set(places)) < len(places):
                raise SettingsError("one place is listed twice", where="notify", do="list each place once")
        return self


class Compute(_Section):
    """Where backtests and searches are worked out."""

    executor: Annotated[
        Literal["local", "ray"], Field(description="local: in this process; ray: on the cores that Ray has.")
    ] = "local"
    address: Annotated[
        str | None,
        Field(description="Of a Ray cluster (host:6379, ray://host:10001); a Ray of our own when not given."),
    ] = None

    @model_validator(mode="after")
    def _check_that_the_address_is_used(self) -> Compute:
        if self.address is not None and self.executor != "ray":
            raise SettingsError("an address is for Ray", where="[compute]", do='write executor = "ray" too')
        return self


class Sandbox(_Section):
    """Where other people's code and model files are opened, and what one script may use."""

    engine: Annotated[
        Literal["auto", "container", "bubblewrap"],
        Field(description="auto: containers where an engine answers, else bubblewrap."),
    ] = "auto"
    socket: Annotated[
        str | None, Field(description="URL of the container engine; DOCKER_HOST or the usual places when not given.")
    ] = None
    base_image: Annotated[str, Field(description="What images are built on: Debian with Python and its venv.")] = (
        "docker.io/library/python:3.13-slim-bookworm"
    )
    build_network: Annotated[
        str | None, Field(description="Network of builds (host); the engine's own when not given.")
    ] = None
    environments: Annotated[str, Field(description="Folder of the environments of bubblewrap.")] = (
        "~/.cache/springtide/environments"
    )
    memory: Annotated[Bytes, Field(ge=64_000_000, description="Of all its processes together.")] = 4_000_000_000
    cpus: Annotated[float, Field(gt=0, description="Cores; with bubblewrap rounded up.")] = 2.0
    processes: Annotated[int, Field(ge=8, le=10_000, description="Threads count too.")] = 256
    disk: Annotated[Bytes, Field(ge=1_000_000, description="What it may write.")] = 4_000_000_000
    model: Annotated[
        Bytes, Field(ge=1_000_000, description="The largest file that is taken from it: a model, or its answers.")
    ] = 1_000_000_000
    time: Annotated[Age, Field(description="From start to end.")] = timedelta(hours=1)
    output: Annotated[Bytes, Field(ge=10_000, description="What it may print; a line counts as 32 bytes at least.")] = (
        16_000_000
    )


class Jobs(_Section):
    """What clients who send jobs may ask for."""

    keep: Annotated[Span, Field(description="How long a job is remembered; its model stays.")] = timedelta(days=30)
    max_body: Annotated[
        Bytes, Field(ge=100_000, description="The largest job over HTTP: data, model and script together.")
    ] = 1_000_000_000
    max_unpacked: Annotated[
        Bytes, Field(ge=1_000_000, description="The most memory that the table of a job takes once it is unpacked.")
    ] = 2_000_000_000
    deliver: Annotated[
        tuple[str, ...],
        Field(description="Folders, and beginnings of web addresses, where a client may have its model put."),
    ] = ()
    secret: Annotated[
        SecretStr | None,
        BeforeValidator(lambda value: None if value is None else _as_secret(value)),
        Field(
            description="What webhooks that clients name are signed, and addresses sealed with; without it there are none."
        ),
    ] = None
    allow_private: Annotated[bool, Field(description="Also to addresses of this machine or a private network.")] = False


def _as_broker(value: object) -> SecretStr:
    """The URL may hold a password: a mistaken one is refused without repeating it."""
    if isinstance(value, SecretStr):
        return value
    if not (isinstance(value, str) and re.fullmatch(rf"({'|'.join(BROKERS)})://[!-~]+", value)):
        raise SettingsError(
            "a broker's url begins with what it speaks",
            where="url",
            do=f"begin it with one of {', '.join(f'{scheme}://' for scheme in BROKERS)}",
        )
    return SecretStr(value)


class Streams(_Section):
    """The broker that rows and jobs come from and events go to; none where there is no url."""

    url: Annotated[
        SecretStr | None, BeforeValidator(_as_broker), Field(description="kafka://, nats://, amqp://, redis://.")
    ] = None
    group: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]+$", description="Consumers of one group share the messages.")
    ] = "springtide"
    prefix: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", description="What the topics' names begin with.")
    ] = "springtide"
    together: Annotated[int, Field(ge=1, le=10_000, description="Most messages that are handled at once.")] = 500
    patience: Annotated[
        Age, Field(description="Messages of a table that keeps failing are set aside after so long.")
    ] = timedelta(minutes=10)
    link: Annotated[
        str | None, Field(pattern=r"^https?://\S+$", description="Base of the links in events; [serve] when not given.")
    ] = None


class Settings(_Section):
    """All of springtide.toml."""

    home: Home = Home()
    compute: Compute = Compute()
    sandbox: Sandbox = Sandbox()
    jobs: Jobs = Jobs()
    serve: Serve = Serve()
    notify: Notify = Notify()
    streams: Streams = Streams()
    sources: dict[str, Source] = {}
    models: dict[str, Model] = {}

    @model_validator(mode="after")
    def _check_that_regions_are_waited_for(self) -> Settings:
        """Refuse a model that waits for regions which nobody has named, and two sources that take rows for one table."""
        tables = [source.table or name for name, source in self.sources.items() if isinstance(source, RowsSource)]
        if twice := [table for table in tables if tables.count(table) > 1]:
            raise SettingsError(
                f"two sources take rows for table {twice[0]}", where="sources", do="keep one, with the columns of both"
            )
        for name, model in self.models.items():
            source = self.rows_source(model.table)
            if model.retrain.regions and not (source is not None and source.regions and source.period):
                raise SettingsError(
                    "regions are waited for, and nothing names them",
                    where=f"models.{name}.retrain.regions",
                    do=f'give table {model.table} a source of kind = "rows" with regions and a period',
                )
        return self

    def rows_source(self, table: str) -> RowsSource | None:
        """The source that takes rows for a table, if one does."""
        return next(
            (one for name, one in self.sources.items() if isinstance(one, RowsSource) and (one.table or name) == table),
            None,
        )
