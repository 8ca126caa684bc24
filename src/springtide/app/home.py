"""Opens what springtide.toml names: tables, versions, journal, model files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.domain.errors import NotFound, StoreFailed, did_you_mean
from springtide.lake.tables import Lake
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database
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

__all__ = ["Home", "open_home", "read_settings"]

RECIPES: Mapping[str, type[BaseModel]] = {"forecast": ForecastRecipe}


@dataclass(frozen=True, slots=True)
class Home:
    """Everything that outlives a process."""

    settings: Settings
    lake: Lake
    registry: Registry
    run_files: RunFiles
    codecs: Mapping[str, Codec]

    def model(self, name: str) -> Model:
        """The settings of a model."""
        if name not in self.settings.models:
            raise NotFound(
                f"there is no model {name!r}", where="springtide.toml", do=did_you_mean(name, self.settings.models)
            )
        return self.settings.models[name]


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
    return settings.model_copy(update={"home": home, "sources": sources})


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
    return Home(
        settings=settings,
        lake=Lake(f"{store}/tables"),
        registry=Registry(
            open_database(settings.home.database),
            Blobs(f"{store}/models"),
            tell_states=settings.streams.url is not None,
        ),
        run_files=RunFiles(f"{store}/runs"),
        codecs={"forecast": ForecastCodec()},
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFailed(
            f"the folder of tables and model files cannot be made: {error.strerror}",
            where=str(folder.absolute()),
            do="make the folder, or name another store in section [home] of springtide.toml",
        ) from error
