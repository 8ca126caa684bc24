"""HTML put together from elements; text is escaped unless it is markup already."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Html", "Inside", "element", "join", "note", "table"]

_EMPTY = frozenset({"meta", "br"})


@dataclass(frozen=True, slots=True)
class Html:
    """Text that is markup; `element` escapes every other text."""

    text: str


Inside = Html | str


def element(name: str, /, *inside: Inside, **attributes: str | float) -> Html:
    """An element of HTML or SVG; ``class_`` is written ``class``, other underscores become hyphens.

    >>> element("p", "1 < 2", class_="note").text
    '<p class="note">1 &lt; 2</p>'
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"' for key, value in attributes.items()
    )
    close = "" if name in _EMPTY else f"</{name}>"
    return Html(f"<{name}{said}>{join(inside).text}{close}")


def join(parts: Iterable[Inside]) -> Html:
    """Parts one after another, without anything between them."""
    return Html("".join(part.text if isinstance(part, Html) else escape(part) for part in parts))


def note(text: str) -> Html:
    """A paragraph in small print."""
    return element("p", text, class_="small")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Inside]], *, numbers: Sequence[str] = (), kind: str = ""
) -> Html:
    """A table that scrolls where it is too wide; the columns named in `numbers` are aligned to the right."""
    align = ["number" if name in numbers else "text" for name in columns]
    heads = [element("th", name, class_=kind, scope="col") for name, kind in zip(columns, align, strict=True)]
    lines = [
        element("tr", *(element("td", cell, class_=kind) for cell, kind in zip(row, align, strict=True)))
        for row in rows
    ]
    head = element("thead", element("tr", *heads)) if any(columns) else Html("")
    return element("div", element("table", head, element("tbody", *lines)), class_=f"wide {kind}".rstrip())


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
