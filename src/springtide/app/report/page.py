"""The page: a conclusion, then pictures, then tables; what a run does not tell is left out."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from springtide.app.report.conclusion import conclude
from springtide.app.report.evidence import show_evidence, show_metrics
from springtide.app.report.explained import show_explanation
from springtide.app.report.making import show_making
from springtide.app.report.markup import Html, element
from springtide.app.report.record import Record
from springtide.app.report.words import when

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from springtide.domain.model import Version
    from springtide.domain.run import Run

__all__ = ["render_report"]


def render_report(run: Run, version: Version | None) -> str:
    """The report of a run as one HTML document that needs nothing else: no file, no script, no network.

    Parameters
    ----------
    run : Run
        The run, however far it came.
    version : Version, optional
        What it published.
    """
    record = Record(run, version)
    style = resources.files("springtide.app.report").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{record.name}: report"),
        element("style", Html(style)),
    )
    parts = (_opening, show_evidence, show_explanation, show_making, show_metrics)
    body = element("body", element("main", *(piece for part in parts for piece in part(record))))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en').text}\n"


def _opening(record: Record) -> Iterator[Html]:
    run, said = record.run, conclude(record)
    decided = record.verdict if run.failure is None else None
    word = run.state if decided is None else "promote" if decided.promote else "keep"
    yield element("p", f"Springtide, run {run.id}", class_="small")
    yield element("h1", said.headline)
    yield element(
        "p",
        element("span", word, class_=f"badge {said.tone}"),
        f" {when(run.started)} UTC, {', '.join(run.reasons)}",
        class_="small",
    )
    yield element("p", said.paragraph, class_="lead")
    if run.failure is not None:
        yield _box("Why", (run.failure.what, f"Where: {run.failure.where}"))
        yield _box("What to do", (run.failure.do,))
        return
    if said.doubts:
        yield _box("What is doubtful", said.doubts)
    if said.advice:
        yield _box("What to do next", (said.advice,))


def _box(title: str, lines: Sequence[str]) -> Html:
    inside = element("p", lines[0]) if len(lines) == 1 else element("ul", *(element("li", line) for line in lines))
    return element("div", element("b", title), inside, class_="box")
