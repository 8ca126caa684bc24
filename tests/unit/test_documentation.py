"""What is documented is what there is: commands, settings, and the tests that hold the invariants."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from springtide.cli.init import template
from springtide.cli.main import COMMANDS
from springtide.settings import words
from springtide.tasks.forecast.recipe import ForecastRecipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS: tuple[type[BaseModel], ...] = (
    words.Home,
    words.Compute,
    words.Jobs,
    words.Sandbox,
    words.Serve,
    words.Notify,
    words.Webhook,
    words.Streams,
    words.ExchangeSource,
    words.CoinGeckoSource,
    words.SimulatorSource,
    words.FilesSource,
    words.RowsSource,
    words.Model,
    words.Gate,
    words.Expires,
    words.Retrain,
    words.Drift,
    words.Limits,
    ForecastRecipe,
)
INNER = {"recipe", "gate", "retrain", "expires"}  # sections of their own, or spelled out key by key
NAMED_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


def keys() -> Iterator[str]:
    for section in SECTIONS:
        yield from (f"{section.__name__}.{name}" for name in section.model_fields if name not in INNER)


def in_code(text: str) -> set[str]:
    """Words that stand in backquotes."""
    return {word for quoted in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", quoted)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme_or_on_a_page(name: str) -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert re.search(rf"springtide {name}\b|`{name}\b[^`]*`", pages)


@pytest.mark.parametrize("key", list(keys()))
def test_every_setting_is_explained(key: str) -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert key.split(".")[1] in in_code(page)


def test_every_command_that_a_page_shows_exists() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = set(re.findall(r"(?:^\s*\$?\s*|bin/|`)springtide ([a-z]+)\b", pages, flags=re.MULTILINE))
    assert shown
    assert shown <= COMMANDS.keys()


def test_every_section_of_the_first_settings_is_on_the_page_of_settings() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    sections = re.findall(r"^\[([\w.]+)\]", template(), flags=re.MULTILINE)
    general = {re.sub(r"^(sources|models)\.\w+", r"\1.NAME", section) for section in sections}
    assert {f"[{section}]" for section in general} <= set(re.findall(r"\[[\w.]+\]", page))


def test_every_test_that_the_architecture_names_exists() -> None:
    page = ROOT / "ARCHITECTURE.md"
    if not page.exists():
        pytest.skip("there is no ARCHITECTURE.md yet")
    named = NAMED_TEST.findall(page.read_text(encoding="utf-8"))
    assert named, "the table of invariants names no test"
    missing = [f"{path}::{name}" for path, name in named if name not in functions_of(ROOT / path)]
    assert missing == []


def functions_of(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
