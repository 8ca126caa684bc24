"""Opens what springtide.toml names: tables, versions, journal, model files."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.app.intake import Intake
from springtide.domain.errors import NotFound, NotReady, SettingsError, SpringtideError, StoreFailed, did_you_mean
from springtide.lake.tables import Lake
from springtide.pipeline.triggers.reports import ReportCounts
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database
from springtide.registry.identity import name_of
from springtide.registry.migrate import migrate
from springtide.registry.registry import Registry
from springtide.registry.run_files import RunFiles
from springtide.settings.file import read
from springtide.settings.words import FilesSource
from springtide.tasks.forecast.codec import ForecastCodec
from springtide.tasks.forecast.recipe import ForecastRecipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import BaseModel

    from springtide.settings.words import Model, Settings
    from springtide.tasks.seam import Codec

__all__ = ["Home", "LiveHome", "check_one_store", "open_home", "read_settings", "store_options"]

LOG = logging.getLogger("springtide.settings")
STILL_S = 0.5  # a file that was touched later may still be being written
RECIPES: Mapping[str, type[BaseModel]] = {"forecast": ForecastRecipe}


@dataclass(frozen=True, slots=True)
class Home:
    """Everything that outlives a process."""

    settings: Settings
    lake: Lake
    registry: Registry
    run_files: RunFiles
    codecs: Mapping[str, Codec]
    intake: Intake
    reports: ReportCounts

    def model(self, name: str) -> Model:
        """The settings of a model."""
        if name not in self.settings.models:
            raise NotFound(
                f"there is no model {name!r}", where="springtide.toml", do=did_you_mean(name, self.settings.models)
            )
        return self.settings.models[name]

    def close(self) -> None:
        """Store the batches that wait, and leave the database."""
        self.intake.close()
        self.registry.engine.dispose()


class LiveHome:
    """What a springtide.toml names, as the file stands at the time of asking; for any number of threads.

    A file that was changed and cannot be used changes nothing, and that is said once. Where it names the same store and
    database as before, what is open stays open.

    Parameters
    ----------
    config
        The file.
    check
        Raises what more is wrong with a home.

    Raises
    ------
    SpringtideError
        If the file cannot be used.
    """

    def __init__(self, config: Path, *, check: Callable[[Home], object] = lambda _: None) -> None:
        self.config, self._check = config, check
        self._looking = threading.Lock()
        self._said = ""
        self._written = _written(config)
        self._home = open_home(read_settings(config))
        check(self._home)

    def look(self) -> Home:
        """The home of the file as it stands; the same one as long as the file is not touched."""
        with self._looking:
            written = _written(self.config)
            if written != self._written and written is not None:
                self._open_again(_when_still(self.config, written))
            return self._home

    def _open_again(self, written: int) -> None:
        try:
            settings, before = read_settings(self.config), self._home
            home = (
                replace(before, settings=settings) if _same_places(settings, before.settings) else open_home(settings)
            )
            self._check(home)
        except (NotReady, StoreFailed) as error:  # looked at again: the database or the store is away
            self._say(error)
        except SpringtideError as error:
            self._written = written
            self._say(error)
        else:
            self._written, self._said, self._home = written, "", home
            LOG.info("springtide.toml was changed and read again")

    def _say(self, error: SpringtideError) -> None:
        if self._said != str(error):
            self._said = str(error)
            LOG.warning("springtide.toml was changed and cannot be used; the one before stays: %s", error)


def _written(config: Path) -> int | None:
    """When the file was written, in nanoseconds; None while it is being replaced."""
    try:
        return config.stat().st_mtime_ns
    except OSError:
        return None


def _when_still(config: Path, written: int) -> int:
    """When the file was written, once nobody has touched it for a moment: half of a file may be a good one too."""
    while (young_s := STILL_S - abs(time.time_ns() - written) / 1e9) > 0:
        time.sleep(young_s)
        written = _written(config) or written
    return written


def _same_places(settings: Settings, before: Settings) -> bool:
    return (settings.home, settings.streams.url) == (before.home, before.streams.url)


def read_settings(path: Path, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read springtide.toml, knowing the keys of every task; relative places are relative to the file's folder."""
    settings = read(path, environ=environ, recipes=RECIPES)
    folder = path.absolute().parent
    sources = {
        name: source.model_copy(update={"path": str(folder / source.path)})
        if isinstance(source, FilesSource)
        else source
        for name, source in settings.sources.items()
    }
    home = settings.home.model_copy(
        update={"store": _place(settings.home.store, folder), "database": _database(settings.home.database, folder)}
    )
    environments = str(folder / Path(settings.sandbox.environments).expanduser())
    sandbox = settings.sandbox.model_copy(update={"environments": environments})
    places = tuple(_place(one, folder) for one in settings.jobs.deliver)
    jobs = settings.jobs.model_copy(update={"deliver": places})
    return settings.model_copy(update={"home": home, "sources": sources, "sandbox": sandbox, "jobs": jobs})


def _place(store: str, folder: Path) -> str:
    return store if "://" in store else str(folder / store)


def _database(url: str, folder: Path) -> str:
    """A SQLite file is a path like any other; a server's URL stays as it is."""
    scheme, slashes, path = url.partition(":///")
    if not (scheme.startswith("sqlite") and slashes and path) or path.startswith((":memory:", "file:")):
        return url
    return f"{scheme}:///{folder / path}"


def open_home(settings: Settings) -> Home:
    """Open the store and the database, making what is not there yet."""
    store = settings.home.store.rstrip("/")
    if "://" not in store:
        _make_folder(Path(store))
    migrate(settings.home.database)
    options = store_options(os.environ)
    lake = Lake(f"{store}/tables", options)
    registry = Registry(
        open_database(settings.home.database),
        Blobs(f"{store}/models", options),
        tell_states=settings.streams.url is not None,
    )
    return Home(
        settings=settings,
        lake=lake,
        registry=registry,
        run_files=RunFiles(f"{store}/runs", options),
        codecs={"forecast": ForecastCodec()},
        intake=Intake(lake, registry),
        reports=ReportCounts(),
    )


def check_one_store(home: Home) -> None:
    """Refuse a database that belongs to another store: a run would begin in one and go on in another.

    Raises
    ------
    SettingsError
        If the database was used with another store before.
    """
    store = home.settings.home.store
    found = name_of(store, store_options(os.environ))
    if home.registry.store_name(found) != found:
        raise SettingsError(
            "the database belongs to another store than this one",
            where=f"section [home]: store {store}",
            do="name the store and the database that belong together, as they are in the springtide.toml of other workers",
        )


def store_options(environ: Mapping[str, str]) -> dict[str, str]:
    """What the libraries below do not find in the environment by themselves; ``AWS_...`` keys and endpoints they do."""
    return {"aws_allow_http": environ["AWS_ALLOW_HTTP"]} if "AWS_ALLOW_HTTP" in environ else {}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFailed(
            f"the folder of tables and model files cannot be made: {error.strerror}",
            where=str(folder.absolute()),
            do="make the folder, or name another store in section [home] of springtide.toml",
        ) from error
