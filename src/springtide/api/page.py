"""The page at ``/docs``: every route and every error as plain HTML, nothing loaded from anywhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from litestar.openapi.plugins import OpenAPIRenderPlugin

from springtide.domain import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from litestar import Request

__all__ = ["Page"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1b2733 }
h1 small, td.type { color: #5b6b7a } code { background: #eef2f5; padding: .1rem .3rem; border-radius: .2rem }
section { border-top: 1px solid #d8e0e6; padding: .5rem 0 } table { border-collapse: collapse }
td { padding: .1rem 1rem .1rem 0; vertical-align: top }
"""


class Page(OpenAPIRenderPlugin):
    """Writes the OpenAPI schema down for people; Litestar's own pages load their scripts from elsewhere."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The whole page."""
        info = openapi_schema["info"]
        title = f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        body = [title, f"<p>{escape(info.get('description', ''))}</p>", *_routes(openapi_schema), *_errors()]
        head = f"<meta charset=utf-8><title>{escape(info['title'])}</title><style>{_STYLE}</style>"
        return f"<!DOCTYPE html><html lang=en><head>{head}</head><body>{''.join(body)}</body></html>".encode()


def _routes(schema: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "<h2>Routes</h2><p>The same for programs: <a href='/docs/openapi.json'>openapi.json</a>, "
        "<a href='/docs/openapi.yaml'>openapi.yaml</a>.</p>"
    )
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"<section><h3><code>{method.upper()} {escape(path)}</code></h3>"
            yield f"<p>{escape(operation.get('description', ''))}</p>"
            yield from _parameters(operation)
            yield from _body(operation, schema)
            yield "</section>"


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    if parameters := operation.get("parameters"):
        rows = [_row(f"{each['name']} ({each['in']})", each.get("schema", {}), each) for each in parameters]
        yield f"<table>{''.join(rows)}</table>"


def _body(operation: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        choices = [content["schema"], *content["schema"].get("oneOf", ())]
        names = [choice["$ref"].rpartition("/")[2] for choice in choices if "$ref" in choice]
        for name in names:
            part = schema["components"]["schemas"][name]
            rows = [_row(key, value, {}) for key, value in part.get("properties", {}).items()]
            yield f"<p>Body: {escape(part.get('description', name))}</p><table>{''.join(rows)}</table>"


def _row(name: str, schema: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    words = said.get("description", "")
    return f"<tr><td><code>{escape(name)}</code><td class=type>{escape(_type(schema))}<td>{escape(words)}</tr>"


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words.

    >>> _type({"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]})
    'array of string or null'
    """
    if "oneOf" in schema:
        return " or ".join(_type(each) for each in schema["oneOf"])
    if "enum" in schema:
        return " or ".join(str(each) for each in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = str(schema.get("type", "any"))
    return f"array of {_type(schema['items'])}" if kind == "array" and "items" in schema else kind


def _errors() -> Iterator[str]:
    yield "<h2>Errors</h2><p>All are application/problem+json: type, title (what), status, where, do.</p><table>"
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, errors.SpringtideError):
            yield f"<tr id={name}><td><code>{kind.status}</code><td>{name}<td>{escape(kind.__doc__ or '')}</tr>"
    yield "</table>"
