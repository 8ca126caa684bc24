from __future__ import annotations

import traceback
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from springtide.cli.init import template
from springtide.domain.errors import SettingsError
from springtide.domain.notice import EVENTS
from springtide.settings.file import read
from springtide.settings.words import (
    OFF,
    CoinGeckoSource,
    Drift,
    ExchangeSource,
    FilesSource,
    Settings,
    SimulatorSource,
)
from springtide.tasks.forecast.recipe import ForecastRecipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FULL = """\
[home]
store = "s3://bucket/prefix"
database = "postgresql://user@host/name"

[serve]
host = "0.0.0.0"
port = 8123
poll_s = 0.5

[notify]
urls = ["json://user:hunter2@host/path"]
events = ["promoted", "failed"]

[[notify.webhooks]]
url = "https://hooks.example/first?x=1"
secret = "a-secret-of-the-first"

[[notify.webhooks]]
url = "http://10.0.0.1:8080"
secret = "a-secret-of-the-second"
events = ["drift"]
allow_private = true

[sources.binance]
kind = "exchange"
exchange = "binance"
symbols = ["BTC/USDT", "ETH/USDT"]
timeframe = "5m"
history = "1y"
overlap = 5
url = "http://127.0.0.1:9"
table = "candles"
every = "1m"
silent_after = "off"

[sources.invented]
kind = "simulator"
seed = 7

[sources.folder]
kind = "files"
path = "./incoming"
columns = { ds = "date", y = "OT" }

[models.btc]
task = "forecast"
table = "candles"
series = ["BTC/USDT"]
horizon = 12
window = 96
network = "lstm"
start = "scratch"
budget = "90s"
train_period = "1y"
seed = 3

[models.btc.retrain]
cron = "5 * * * *"
timezone = "Europe/Moscow"
new_rows = 24
max_age = "7d"
drift = true

[models.btc.gate]
baselines = ["last-value"]
rule = "better"
judge = "30d"
first = "always"

[models.btc.expires]
data = "6h"
model = "60d"
"""
MODEL = '[models.btc]\ntask = "forecast"\ntable = "candles"\n'  # three lines
COINGECKO = '[sources.x]\nkind = "coingecko"\ncoins = ["bitcoin"]\n'  # three lines
WEBHOOK = '[[notify.webhooks]]\nurl = "https://hooks.example/a"\nsecret = "a-secret-of-the-first"\n'  # three lines
EXCHANGE = '[sources.x]\nkind = "exchange"\nexchange = "binance"\nsymbols = ["BTC/USDT"]\n'  # four lines


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "springtide.toml"


def reading(file: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    file.write_text(text, encoding="utf-8")
    return read(file, environ=environ or {}, recipes={"forecast": ForecastRecipe})


def refusal(file: Path, text: str, environ: Mapping[str, str] | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as refused:
        reading(file, text, environ)
    return refused.value


def test_a_full_file_is_read_into_every_section(file: Path) -> None:
    settings = reading(file, FULL)
    assert settings.home.store == "s3://bucket/prefix"
    assert (settings.serve.host, settings.serve.port, settings.serve.poll_s) == ("0.0.0.0", 8123, 0.5)
    assert [url.get_secret_value() for url in settings.notify.urls] == ["json://user:hunter2@host/path"]
    assert settings.notify.events == ("promoted", "failed")
    first, second = settings.notify.webhooks
    assert (first.url.get_secret_value(), first.events) == ("https://hooks.example/first?x=1", EVENTS)
    assert (second.secret.get_secret_value(), second.events) == ("a-secret-of-the-second", ("drift",))
    assert (first.allow_private, second.allow_private) == (False, True)
    exchange, folder = settings.sources["binance"], settings.sources["folder"]
    assert isinstance(exchange, ExchangeSource)
    assert exchange.symbols == ("BTC/USDT", "ETH/USDT")
    assert exchange.history == timedelta(days=365)
    assert (exchange.every, exchange.silent_after, folder.every) == (timedelta(minutes=1), OFF, None)
    assert isinstance(settings.sources["invented"], SimulatorSource)
    assert isinstance(folder, FilesSource)
    assert folder.columns == {"ds": "date", "y": "OT"}
    model = settings.models["btc"]
    assert (model.start, model.budget, model.seed) == ("scratch", timedelta(seconds=90), 3)
    assert (model.retrain.cron, model.retrain.new_rows, model.retrain.drift) == ("5 * * * *", 24, Drift())
    assert (str(model.retrain.schedule), model.retrain.max_age) == ("5 * * * * Europe/Moscow", timedelta(days=7))
    assert (model.gate.rule, model.gate.judge, model.gate.first) == ("better", timedelta(days=30), "always")
    assert (model.expires.data, model.expires.model) == (timedelta(hours=6), timedelta(days=60))
    assert isinstance(model.recipe, ForecastRecipe)
    assert (model.recipe.horizon, model.recipe.window, model.recipe.network) == (12, 96, "lstm")
    assert model.recipe.train_period == timedelta(days=365)


def test_drift_is_looked_for_as_usual_or_as_a_section_of_its_own_says(file: Path) -> None:
    section = (
        reading(file, MODEL + '[models.btc.retrain.drift]\nrecent = "14d"\npsi = 0.1\n').models["btc"].retrain.drift
    )
    assert section == Drift(recent=timedelta(days=14), psi=0.1)
    assert reading(file, MODEL).models["btc"].retrain.drift is None


def test_an_empty_file_gives_the_defaults(file: Path) -> None:
    assert reading(file, "") == Settings()


def test_the_file_that_init_writes_is_read_without_an_error(file: Path) -> None:
    settings = reading(file, template())
    assert settings.models["btc"].table in settings.sources
    assert settings.models["btc"].recipe == ForecastRecipe(series=("BTC/USDT",))


def test_the_file_that_init_writes_says_the_defaults(file: Path) -> None:
    settings = reading(file, template())
    assert (settings.home, settings.serve) == (Settings().home, Settings().serve)
    assert settings.models["btc"].gate == reading(file, MODEL).models["btc"].gate


def test_settings_cannot_be_changed_after_reading(file: Path) -> None:
    settings = reading(file, FULL)
    with pytest.raises(ValidationError, match="frozen"):
        settings.home.store = "elsewhere"
    with pytest.raises(ValidationError, match="frozen"):
        settings.models["btc"].gate.alpha = 0.5
    with pytest.raises(ValidationError, match="frozen"):
        settings.models["btc"].recipe.horizon = 1


MISTAKES = {
    # name: (text, line, what holds, do holds)
    "an unknown section": ('[serve]\nport = 1\n[hom]\nstore = "x"\n', 3, "'hom' is not known", "did you mean 'home'?"),
    "a key outside of all sections": ('stor = "x"\n', 1, "'stor' is not known", "known: compute, home"),
    "an unknown key of home": ('[home]\nstor = "x"\n', 2, "'stor' is not known", "did you mean 'store'?"),
    "an unknown key of a source": (EXCHANGE + 'tabel = "x"\n', 5, "'tabel' is not known", "did you mean 'table'?"),
    "faster time without its beginning": (
        '[sources.a]\nkind = "simulator"\nspeed = 360\n',
        1,
        "speed and since belong together",
        "write speed = 360 and since =",
    ),
    "an unknown key of a model": (MODEL + "seeed = 3\n", 4, "'seeed' is not known", "did you mean 'seed'?"),
    "an unknown key of a recipe": (MODEL + "horizn = 3\n", 4, "'horizn' is not known", "did you mean 'horizon'?"),
    "an unknown key of a gate": (
        MODEL + "[models.btc.gate]\nalpa = 0.1\n",
        5,
        "'alpa' is not known",
        "did you mean 'alpha'?",
    ),
    "an unknown key of retrain": (
        MODEL + '[models.btc.retrain]\ncorn = "5 * * * *"\n',
        5,
        "'corn' is not known",
        "did you mean 'cron'?",
    ),
    "an unknown key of notify": ('[notify]\nurl = ["x://y"]\n', 2, "'url' is not known", "did you mean 'urls'?"),
    "an unknown key of the second webhook": (
        WEBHOOK + WEBHOOK.replace("example/a", "example/b") + 'secrets = "x"\n',
        7,
        "'secrets' is not known",
        "did you mean 'secret'?",
    ),
    "a missing key of a webhook": (
        '[[notify.webhooks]]\nurl = "https://hooks.example/a"\n',
        1,
        "'secret' is missing",
        "[notify.webhooks.0]",
    ),
    "an unknown event": (
        '[notify]\nevents = ["promoted", "promotted"]\n',
        2,
        "'promotted' is not known",
        "did you mean 'promoted'?",
    ),
    "an unknown event of a webhook": (
        WEBHOOK + 'events = ["source-silent"]\n',
        4,
        "'source-silent' is not known",
        "did you mean 'source_silent'?",
    ),
    "no event at all": ("[notify]\nevents = []\n", 2, "notify.events", "docs/settings.md"),
    "a place that is listed twice": ('[notify]\nurls = ["x://y", "x://y"]\n', 1, "listed twice", "once"),
    "a word for a number": ('[serve]\nhost = "h"\nport = "x"\n', 3, "serve.port", "'x'"),
    "a number for a text": ("[home]\nstore = 3\n", 2, "home.store", "3"),
    "a number out of range": ("[serve]\nport = 70000\n", 2, "serve.port", "70000"),
    "a gate's level out of range": (MODEL + "[models.btc.gate]\nalpha = 2\n", 5, "models.btc.gate.alpha", "2"),
    "a word that is no choice": (MODEL + 'network = "transformer"\n', 4, "models.btc.network", "'transformer'"),
    "a recipe's number out of range": (MODEL + "window = 3\n", 4, "models.btc.window", "3"),
    "a list that makes no sense": (MODEL + "intervals = [90, 50]\n", 4, "intervals are rising", "[90, 50]"),
    "a list inside a source": (EXCHANGE.replace('["BTC/USDT"]', "[]"), 4, "sources.x.symbols", "[]"),
    "a value inside a table": (
        '[sources.x]\nkind = "files"\npath = "p"\ncolumns = { ds = 3 }\n',
        4,
        "sources.x.columns.ds",
        "3",
    ),
    "a missing key of a model": ('[models.btc]\ntask = "forecast"\n', 1, "'table' is missing", "[models.btc]"),
    "a missing key of a source": (
        '[sources.x]\nkind = "exchange"\nexchange = "b"\n',
        1,
        "'symbols' is missing",
        "[sources.x]",
    ),
    "a bad span of a model": (MODEL + 'budget = "soon"\n', 4, "'soon' is not a span", "30s, 5m, 1h"),
    "a bad span of a recipe": (MODEL + 'train_period = "1 year"\n', 4, "'1 year' is not a span", "30s, 5m, 1h"),
    "a limit of age that no row could keep": (
        MODEL + "[models.btc.expires]\ndata = -1\n",
        5,
        "should be greater than",
        "-1",
    ),
    "an age that every new version has": (
        MODEL + '[models.btc.expires]\nmodel = "90d"\n',
        1,
        "every version has expired when it is made",
        "longer than gate.judge",
    ),
    "a schedule of six fields": (
        MODEL + '[models.btc.retrain]\ncron = "0 5 * * * *"\n',
        5,
        "has 6 fields, a schedule has five",
        "minute, hour, day of the month, month and day of the week",
    ),
    "a schedule that never fires": (
        MODEL + '[models.btc.retrain]\nnew_rows = 5\ncron = "0 0 30 2 *"\n',
        6,
        "never fires: there is no such day",
        "correct the day or the month",
    ),
    "a time zone that nobody knows": (
        MODEL + '[models.btc.retrain]\ncron = "5 * * * *"\ntimezone = "Europe/Mosow"\n',
        6,
        "'Europe/Mosow' is no time zone",
        "did you mean 'Europe/Moscow'?",
    ),
    "a bad age of a champion": (
        MODEL + '[models.btc.retrain]\nmax_age = "old"\n',
        5,
        "'old' is not a span",
        "30s, 5m, 1h",
    ),
    "a bad pace of a source": (EXCHANGE + 'every = "often"\n', 5, "'often' is not a span", "30s, 5m, 1h"),
    "a pace below zero": (EXCHANGE + "silent_after = -1\n", 5, "greater than or equal to", "-1"),
    "an unknown limit of age": (
        MODEL + '[models.btc.expires]\nrows = "6h"\n',
        5,
        "key 'rows' is not known",
        "data, model",
    ),
    "a bad span of a gate": (MODEL + '[models.btc.gate]\njudge = "90"\n', 5, "'90' is not a span", "30s, 5m, 1h"),
    "a bad span of a source": (EXCHANGE + 'history = "2 y"\n', 5, "'2 y' is not a span", "30s, 5m, 1h"),
    "an unknown key of drift": (
        MODEL + "[models.btc.retrain.drift]\nalfa = 0.1\n",
        5,
        "'alfa' is not known",
        "did you mean 'alpha'?",
    ),
    "drift that is no section": (MODEL + "[models.btc.retrain]\ndrift = 3\n", 5, "retrain.drift", "change the value 3"),
    "a look at drift every no time": (
        MODEL + '[models.btc.retrain.drift]\nevery = "0s"\n',
        5,
        "'0s' is not a span of time",
        "7d",
    ),
    "an unknown task": ('[models.btc]\ntable = "c"\ntask = "forcast"\n', 3, "'forcast'", "did you mean 'forecast'?"),
    "no task": ('[models.btc]\ntable = "c"\n', 1, "a model needs a task", "known: forecast"),
    "an unknown kind of source": ('[sources.x]\nkind = "exchang"\n', 1, "'exchang'", "did you mean 'exchange'?"),
    "no kind of source": ('[home]\n[sources.x]\nsymbols = ["A"]\n', 2, "'kind'", "known: coingecko, exchange"),
    "coins that are no coins": (COINGECKO.replace('["bitcoin"]', "[1]"), 3, "sources.x.coins", "[1]"),
    "no coins": (COINGECKO.replace('["bitcoin"]', "{}"), 3, "sources.x.coins", "correct its keys"),
    "an unknown column beside the price": (COINGECKO + 'also = ["cap"]\n', 4, "sources.x.also.0", "'cap'"),
    "an unknown key of CoinGecko": (COINGECKO + 'plann = "pro"\n', 4, "'plann' is not known", "did you mean 'plan'?"),
    "a value where sections go": ("[home]\n[sources]\nx = 3\n", 3, "sources.x", "3"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_its_file_its_line_and_what_to_write(mistake: str, file: Path) -> None:
    text, line, what, do = MISTAKES[mistake]
    refused = refusal(file, text)
    assert what in refused.what
    assert f"{file}, line {line} (" in refused.where
    assert do in refused.do


def test_a_file_that_is_not_toml_is_refused_with_the_line_that_is_not(file: Path) -> None:
    refused = refusal(file, '[home]\nstore = "x"\nport = = 3\n')
    assert "not valid TOML" in refused.what
    assert "line 3" in refused.what
    assert refused.where == str(file)


def test_a_missing_file_says_how_to_write_one(file: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        read(file, environ={}, recipes={})
    assert refused.value.where == str(file)
    assert "springtide init" in refused.value.do


@pytest.mark.parametrize("text", ["models = 3\n", "[models]\nbtc = 3\n"])
def test_a_model_that_is_no_section_is_refused_with_how_to_write_one(text: str, file: Path) -> None:
    assert "[models.NAME]" in refusal(file, text).do


def test_the_environment_overrides_the_file_with_the_type_of_the_key(file: Path) -> None:
    environ = {
        "SPRINGTIDE_HOME__STORE": "s3://other/place",
        "SPRINGTIDE_SERVE__PORT": "9000",
        "SPRINGTIDE_SERVE__POLL_S": "2.5",
        "SPRINGTIDE_SOURCES__BINANCE__SYMBOLS": '["SOL/USDT"]',
        "SPRINGTIDE_MODELS__BTC__HORIZON": "6",
        "SPRINGTIDE_MODELS__BTC__BUDGET": "5m",
        "SPRINGTIDE_MODELS__BTC__RETRAIN__DRIFT": "false",
        "SPRINGTIDE_MODELS__BTC__GATE__ALPHA": "0.01",
    }
    settings, unchanged = reading(file, FULL, environ), reading(file, FULL)
    exchange, model = settings.sources["binance"], settings.models["btc"]
    assert settings.home.store == "s3://other/place"
    assert settings.home.database == unchanged.home.database
    assert (settings.serve.port, settings.serve.poll_s) == (9000, 2.5)
    assert isinstance(exchange, ExchangeSource)
    assert exchange.symbols == ("SOL/USDT",)
    assert (model.recipe.horizon, model.budget) == (6, timedelta(minutes=5))
    assert (model.retrain.drift, model.gate.alpha) == (None, 0.01)
    assert model.recipe.window == unchanged.models["btc"].recipe.window


def test_the_environment_can_write_a_section_that_the_file_lacks(file: Path) -> None:
    environ = {"SPRINGTIDE_MODELS__ETH__TASK": "forecast", "SPRINGTIDE_MODELS__ETH__TABLE": "candles"}
    assert reading(file, MODEL, environ).models.keys() == {"btc", "eth"}


@pytest.mark.parametrize("key", ["CG-hunter2", "2718281828", " CG-hunter2\n"])
def test_a_key_from_the_environment_is_kept_and_never_shown(file: Path, key: str) -> None:
    settings = reading(file, COINGECKO, {"SPRINGTIDE_SOURCES__X__KEY": key})
    source = settings.sources["x"]
    assert isinstance(source, CoinGeckoSource)
    assert source.key is not None
    assert source.key.get_secret_value() == key.strip()
    assert key.strip() not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


SECRET = "CG-hunter2"
LEAKS = {
    # name: (text, variables)
    "a key of two words": (COINGECKO, {"SPRINGTIDE_SOURCES__X__KEY": f"{SECRET} and more"}),
    "a list for a key": (f'{COINGECKO}key = ["{SECRET}"]\n', {}),
    "a section for a key": (f'{COINGECKO}key = {{ demo = "{SECRET}" }}\n', {}),
    "a key without its source": ("", {"SPRINGTIDE_SOURCES__X__KEY": SECRET}),
    "a key of an unknown kind of source": ('[sources.x]\nkind = "coingeko"\n', {"SPRINGTIDE_SOURCES__X__KEY": SECRET}),
    "a mistyped key": (f'{COINGECKO}keyy = "{SECRET}"\n', {}),
    "a mistake beside a key": (f'{COINGECKO}key = "{SECRET}"\nplan = "free"\n', {}),
    "a missing key beside a key": (f'[sources.x]\nkind = "coingecko"\nkey = "{SECRET}"\n', {}),
    "a list of sources": (f'[[sources.x]]\nkind = "coingecko"\nkey = "{SECRET}"\n', {}),
}


TOLD = '[[notify.webhooks]]\nurl = "https://hooks.example/{url}"\nsecret = "{secret}"\n'.format
NOTIFY_LEAKS = {
    # name: (text, variables)
    "a text for urls": (f'[notify]\nurls = "tgram://{SECRET}"\n', {}),
    "a URL without its service": (f'[notify]\nurls = ["{SECRET}"]\n', {}),
    "a URL alone in the environment": ("", {"SPRINGTIDE_NOTIFY__URLS": f"tgram://{SECRET}"}),
    "a URL that is listed twice": (f'[notify]\nurls = ["tgram://{SECRET}", "tgram://{SECRET}"]\n', {}),
    "a mistake beside a URL": (f'[notify]\nurls = ["tgram://{SECRET}"]\nevents = ["x"]\n', {}),
    "a text for the section": (f'notify = "tgram://{SECRET}"\n', {}),
    "a text for the webhooks": (f'[notify]\nwebhooks = "https://{SECRET}"\n', {}),
    "a list of addresses for webhooks": (f'[notify]\nwebhooks = ["https://{SECRET}"]\n', {}),
    "a short secret": (TOLD(url="a", secret=SECRET), {}),
    "a secret of two words": (TOLD(url="a", secret=f"{SECRET} and {SECRET}"), {}),
    "a number for a secret": (TOLD(url="a", secret="x"), {"SPRINGTIDE_NOTIFY__WEBHOOKS__0__SECRET": f'["{SECRET}"]'}),
    "a password in an address": (f'[[notify.webhooks]]\nurl = "https://u:{SECRET}@host/"\nsecret = "{"s" * 16}"\n', {}),
    "an address without http": (f'[[notify.webhooks]]\nurl = "ftp://{SECRET}"\nsecret = "{"s" * 16}"\n', {}),
    "a port that is none": (f'[[notify.webhooks]]\nurl = "http://h:99999/{SECRET}"\nsecret = "{"s" * 16}"\n', {}),
    "an address of two words": (TOLD(url=f"{SECRET} x", secret="s" * 16), {}),
    "a mistyped secret": (TOLD(url=SECRET, secret=SECRET * 2).replace("secret =", "secrte ="), {}),
    "a mistake beside a secret": (TOLD(url=SECRET, secret=SECRET * 2) + "allow_private = 3\n", {}),
}


@pytest.mark.parametrize("leak", NOTIFY_LEAKS)
def test_a_mistake_never_repeats_the_place_of_a_notice(leak: str, file: Path) -> None:
    text, environ = NOTIFY_LEAKS[leak]
    refused = refusal(file, text, environ)
    assert "notify" in refused.where
    assert SECRET not in "".join(traceback.format_exception(refused))


def test_a_webhook_that_is_listed_twice_is_refused(file: Path) -> None:
    assert "listed twice" in refusal(file, WEBHOOK + WEBHOOK).what


def test_secrets_of_notify_come_from_the_environment_and_are_never_shown(file: Path) -> None:
    environ = {
        "SPRINGTIDE_NOTIFY__URLS": f'["tgram://{SECRET}"]',
        "SPRINGTIDE_NOTIFY__WEBHOOKS__0__SECRET": "0123456789" + SECRET,
    }
    text = '[[notify.webhooks]]\nurl = "https://hooks.example/a"\n'
    settings = reading(file, text, environ)
    assert settings.notify.urls[0].get_secret_value() == f"tgram://{SECRET}"
    assert settings.notify.webhooks[0].secret.get_secret_value() == "0123456789" + SECRET
    assert SECRET not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize("number", ["1", "x", "-1"])
def test_a_variable_for_a_webhook_that_is_not_there_is_refused_by_its_name(file: Path, number: str) -> None:
    variable = f"SPRINGTIDE_NOTIFY__WEBHOOKS__{number.upper()}__SECRET"
    assert refusal(file, WEBHOOK, {variable: "s" * 16}).where == variable
    assert refusal(file, WEBHOOK, {"SPRINGTIDE_NOTIFY__WEBHOOKS__SECRET": "s" * 16}).where.endswith("WEBHOOKS__SECRET")


@pytest.mark.parametrize("leak", LEAKS)
def test_a_mistake_never_repeats_a_key(leak: str, file: Path) -> None:
    text, environ = LEAKS[leak]
    refused = refusal(file, text, environ)
    assert "sources.x" in refused.where
    assert SECRET not in "".join(traceback.format_exception(refused))


def test_coins_that_are_listed_give_their_ids_to_their_series(file: Path) -> None:
    named = reading(file, '[sources.x]\nkind = "coingecko"\ncoins = { "BTC/USD" = "bitcoin" }\n').sources["x"]
    listed = reading(file, COINGECKO).sources["x"]
    assert isinstance(named, CoinGeckoSource)
    assert isinstance(listed, CoinGeckoSource)
    assert (named.coins, listed.coins) == ({"BTC/USD": "bitcoin"}, {"bitcoin": "bitcoin"})


def test_variables_of_other_programs_and_without_a_section_change_nothing(file: Path) -> None:
    environ = {"HOME__STORE": "x", "SPRINGTIDE_DATA": "/data", "PATH": "/bin", "springtide_home__store": "x"}
    assert reading(file, FULL, environ) == reading(file, FULL)


def test_an_unknown_key_in_the_environment_is_refused_without_a_line(file: Path) -> None:
    refused = refusal(file, '[home]\nstore = "x"\n', {"SPRINGTIDE_HOME__STOR": "y"})
    assert "did you mean 'store'?" in refused.do
    assert "line" not in refused.where
    assert "home.stor" in refused.where


def test_a_variable_that_goes_below_a_value_is_refused_by_its_name(file: Path) -> None:
    refused = refusal(file, "[serve]\nport = 8000\n", {"SPRINGTIDE_SERVE__PORT__X": "1"})
    assert "'port' is not a section" in refused.what
    assert refused.where == "SPRINGTIDE_SERVE__PORT__X"


@pytest.mark.parametrize("url", ["kafka://a:9092,b:9092", "nats://a", "amqps://u:p@h/", "redis://h:6379"])
def test_a_broker_is_named_by_a_url_that_is_not_shown(url: str, file: Path) -> None:
    streams = reading(file, f'[streams]\nurl = "{url}"\n').streams
    assert streams.url is not None
    assert streams.url.get_secret_value() == url
    assert url not in f"{streams} {streams.model_dump_json()}"


@pytest.mark.parametrize("url", [f'"http://u:{SECRET}@host"', f'"kafka:// {SECRET}"', f'["kafka://{SECRET}"]'])
def test_a_wrong_url_of_a_broker_is_refused_without_repeating_it(url: str, file: Path) -> None:
    refused = refusal(file, f"[streams]\nurl = {url}\n", {})
    assert "line 2 (streams.url)" in refused.where
    assert "kafka://" in refused.do
    assert SECRET not in "".join(traceback.format_exception(refused))


@pytest.mark.parametrize("line", ['prefix = "a b"', 'group = ""', "together = 0", 'patience = "0s"', 'link = "x"'])
def test_a_stream_that_cannot_be_is_refused_with_its_line(line: str, file: Path) -> None:
    assert f"line 2 (streams.{line.split(maxsplit=1)[0]})" in refusal(file, f"[streams]\n{line}\n", {}).where


def test_a_byte_order_mark_is_no_part_of_the_settings(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf[home]\nstore = "./here"\n')
    assert read(file, environ={}, recipes={}).home.store == "./here"


def test_a_file_that_is_no_text_or_cannot_be_read_is_refused_in_words(file: Path) -> None:
    file.write_bytes(b'[home]\nstore = "v\xffr"\n')
    with pytest.raises(SettingsError, match="not UTF-8: invalid start byte at byte 17"):
        read(file, environ={}, recipes={})
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        read(file.parent, environ={}, recipes={})


def test_what_is_wrong_between_two_sections_is_told_with_its_line(file: Path) -> None:
    refused = refusal(file, MODEL + "[models.btc.retrain]\nregions = true\n")
    assert refused.what == "regions are waited for, and nothing names them"
    assert refused.where == f"{file}, line 5 (models.btc.retrain.regions)"
