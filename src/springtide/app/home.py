"""Opens what springtide.toml names: tables, versions, journal, model files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.app.intake import Intake
from springtide.domain.errors import NotFound, SettingsError, StoreFailed, did_you_mean
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
    from collections.abc import Mapping

    from pydantic import BaseModel

    from springtide.settings.words import Model, Settings
    from springtide.tasks.seam import Codec

__all__ = ["Home", "check_one_store", "open_home", "read_settings", "store_options"]

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
