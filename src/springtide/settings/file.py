"""From springtide.toml, the environment and flags to one frozen `Settings`."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from springtide.domain.errors import SettingsError, did_you_mean
from springtide.settings.words import (
    CoinGeckoSource,
    ExchangeSource,
    FilesSource,
    Model,
    RowsSource,
    Settings,
    SimulatorSource,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["read"]

PREFIX = "SPRINGTIDE_"
_SOURCES: dict[str, type[BaseModel]] = {
    "exchange": ExchangeSource,
    "coingecko": CoinGeckoSource,
    "simulator": SimulatorSource,
    "files": FilesSource,
    "rows": RowsSource,
}


def read(path: Path, *, environ: Mapping[str, str], recipes: Mapping[str, type[BaseModel]]) -> Settings:
    """Read and check `path`; variables named ``SPRINGTIDE_<SECTION>__<KEY>`` override it.

    Parameters
    ----------
    path : Path
        springtide.toml.
    environ : mapping
        The environment.
    recipes : mapping
        For each task, the class that checks the task's own keys of a ``[models.NAME]`` section.

    Raises
    ------
    SettingsError
        Names the key, its line and what to write instead.
    """
    if not path.exists():
        raise SettingsError(
            f"there is no {path.name}",
            where=str(path.absolute()),
            do="run `springtide init`, or name one with --config",
        )
    text = _text(path)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"not valid TOML: {error}", where=str(path), do="correct that line") from error
    _override(raw, environ)
    models = {
        name: _split_recipe(name, section, recipes, path=path, text=text)
        for name, section in _tables(raw, "models", path).items()
    }
    try:
        return Settings.model_validate({**raw, "models": models})
    except ValidationError as error:
        raise _explain(error, path=path, text=text) from error


def _text(path: Path) -> str:
    """The file's text; some editors begin it with a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"not UTF-8: {error.reason} at byte {error.start}", where=str(path), do="save it as UTF-8"
        ) from error
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", where=str(path), do="see to its rights") from error


def _tables(raw: dict[str, Any], section: str, path: Path) -> dict[str, dict[str, Any]]:
    found = raw.get(section, {})
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise SettingsError(
            f"[{section}] holds one section per name",
            where=str(path),
            do=f"write [{section}.NAME] and its keys below it",
        )
    return found


def _override(raw: dict[str, Any], environ: Mapping[str, str]) -> None:
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX) or "__" not in variable:
            continue
        *sections, key = variable.removeprefix(PREFIX).lower().split("__")
        place: Any = raw
        for section in sections:
            place = _below(place, section)
            if not isinstance(place, dict | list):
                raise SettingsError(f"{section!r} is not a section", where=variable, do="correct the variable's name")
        if isinstance(place, list):
            raise SettingsError(f"{sections[-1]!r} has no {key!r}", where=variable, do="correct the variable's name")
        place[key] = _toml_value(value)


def _below(place: Any, section: str) -> Any:
    """A section of a section, made where it is not there; of a list of sections the one with that number, from 0."""
    if isinstance(place, dict):
        return place.setdefault(section, {})
    return place[int(section)] if section.isdecimal() and int(section) < len(place) else None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _split_recipe(
    name: str, section: dict[str, Any], recipes: Mapping[str, type[BaseModel]], *, path: Path, text: str
) -> dict[str, Any]:
    """Part a model's section into what every model has and what its task alone knows."""
    task = str(section.get("task", ""))
    if task not in recipes:
        raise SettingsError(
            f"task {task!r} is not known" if task else "a model needs a task",
            where=_where(path, text, ("models", name, "task")),
            do=did_you_mean(task, recipes),
        )
    common = {key: value for key, value in section.items() if key in Model.model_fields and key != "recipe"}
    own = {key: value for key, value in section.items() if key not in common}
    known = {*recipes[task].model_fields, *Model.model_fields} - {"recipe"}
    if strangers := sorted(own.keys() - recipes[task].model_fields.keys()):
        raise _unknown(strangers[0], known, where=_where(path, text, ("models", name, strangers[0])))
    try:
        common["recipe"] = recipes[task].model_validate(own)
    except ValidationError as error:
        raise _explain(error, path=path, text=text, above=("models", name)) from error
    return common


def _unknown(key: str, known: set[str], *, where: str) -> SettingsError:
    return SettingsError(f"key {key!r} is not known", where=where, do=did_you_mean(key, known))


def _explain(error: ValidationError, *, path: Path, text: str, above: tuple[str, ...] = ()) -> SettingsError:
    first = error.errors(include_url=False)[0]
    place = above + tuple(str(part) for part in first["loc"])
    # pydantic names the chosen member of a union in the location: sources.binance.exchange.symbols
    if place[:1] == ("sources",) and len(place) > 2 and place[2] in _SOURCES:
        place = (*place[:2], *place[3:])
    where = _where(path, text, place)
    if first["type"] == "extra_forbidden":
        return _unknown(place[-1], _siblings(place, first), where=where)
    if first["type"] == "missing":
        return SettingsError(f"key {place[-1]!r} is missing", where=where, do=f"add it to [{'.'.join(place[:-1])}]")
    if isinstance(cause := first.get("ctx", {}).get("error"), SettingsError):
        if not place:  # what is wrong between two sections: the one that it names
            where = _where(path, text, tuple(cause.where.split(".")))
        return SettingsError(cause.what, where=where, do=cause.do)
    message = first["msg"].removeprefix("Value error, ")
    return SettingsError(f"{'.'.join(place)}: {message}", where=where, do=_change(first["input"], place))


def _change(found: Any, place: tuple[str, ...]) -> str:
    """What to change; a whole section is never repeated, it may hold a secret, as do the places of notices."""
    if place[:1] == ("notify",) or place == ("streams", "url"):
        return "write it as docs/settings.md shows"
    if isinstance(found, dict) and place[:1] == ("sources",) and len(place) == 2:
        return f"set kind; {did_you_mean(str(found.get('kind', '')), _SOURCES)}"
    if isinstance(found, dict) or (isinstance(found, list) and any(isinstance(one, dict) for one in found)):
        return "correct its keys"
    return f"change the value {found!r}"


def _siblings(place: tuple[str, ...], first: Any) -> set[str]:
    """The keys that would have been understood where a stranger stood."""
    fields: Any = Settings
    for part in place[:-1]:
        if fields is Settings and part in Settings.model_fields:
            fields = Settings.model_fields[part].annotation
        elif isinstance(fields, type) and issubclass(fields, BaseModel):
            fields = _section(fields.model_fields[part].annotation) if part in fields.model_fields else None
        elif get_origin(fields) is tuple:  # this part is a number in a list
            fields = get_args(fields)[0]
        elif place[0] == "models":
            fields = Model
    if place[0] == "sources" and len(place) > 2:
        fields = _SOURCES.get(str(first["loc"][2]))
    return set(fields.model_fields) if isinstance(fields, type) and issubclass(fields, BaseModel) else set()


def _section(annotation: Any) -> Any:
    """The section of ``Section | None``; anything else as it is."""
    if get_origin(annotation) is tuple:
        return annotation
    return next(
        (one for one in get_args(annotation) if isinstance(one, type) and issubclass(one, BaseModel)), annotation
    )


def _where(path: Path, text: str, place: tuple[str, ...]) -> str:
    """``springtide.toml, line 12 (models.btc.horizon)``; without a line when the key is not in the file."""
    line = _line(text, place)
    return f"{path}, {f'line {line} ' if line else ''}({'.'.join(place)})"


def _line(text: str, place: tuple[str, ...]) -> int | None:
    """The line of a key: the nearest thing above it that the file spells out."""
    section: tuple[str, ...] = ()
    counts: Counter[tuple[str, ...]] = Counter()  # of the sections of a list
    found, depth = None, 0
    for number, line in enumerate(text.splitlines(), start=1):
        spelled: tuple[str, ...] | None = None
        if header := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line):
            section = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                counts[section] += 1
                section = (*section, str(counts[section] - 1))
            spelled = section
        elif key := re.match(r"\s*[\"']?([\w./-]+?)[\"']?\s*=", line):
            spelled = (*section, key[1])
        if (
            spelled is not None
            and (len(spelled) > 1 or spelled == place)
            and spelled == place[: len(spelled)]
            and len(spelled) >= depth
        ):
            found, depth = number, len(spelled)
    return found
