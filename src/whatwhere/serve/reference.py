"""`/docs`: the OpenAPI document as a page for people, without a script and without strangers."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from whatwhere.serve.openapi import document

# A style sheet of its own and nothing else may be loaded.
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; }
section { border-top: 1px solid; margin-top: 2rem; }
code, pre { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
h2 code { font-weight: bold; }
.table { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: 0.2rem 1rem 0.2rem 0; text-align: left; vertical-align: top; }
"""


async def page(request: Request) -> Response:
    """The page."""
    return Response(_page(), media_type="text/html", headers={"Content-Security-Policy": _POLICY})


async def style(request: Request) -> Response:
    """Its style sheet."""
    return Response(_STYLE, media_type="text/css")


def routes() -> list[Route]:
    """The addresses of this module."""
    return [Route("/docs", page), Route("/docs/style.css", style)]


@cache
def _page() -> str:
    about = document()
    parts = [
        _operation(method, path, one)
        for path, methods in about["paths"].items()
        for method, one in methods.items()
    ]
    parts.append("<section><h2>Forms</h2>")
    parts += [_form(name, one) for name, one in about["components"]["schemas"].items()]
    parts.append("</section>")
    info = about["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}: addresses</title>"
        '<link rel="stylesheet" href="docs/style.css"></head><body><main>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}: addresses</h1>"
        f"<p>{escape(info['description'])}</p>"
        '<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).</p>'
        f"{''.join(parts)}</main></body></html>"
    )


def _operation(method: str, path: str, one: dict[str, Any]) -> str:
    rows = [
        (f"<code>{escape(given['name'])}</code>", given["in"], _words(given))
        for given in one["parameters"]
    ]
    bodies = one.get("requestBody", {}).get("content", {})
    rows += [(escape(kind), "body", _kind(body["schema"])) for kind, body in bodies.items()]
    answers = [
        (
            status,
            escape(answer["description"]),
            "<br>".join(
                f"{escape(kind)} {_kind(body['schema'])}"
                for kind, body in answer["content"].items()
            ),
        )
        for status, answer in one["responses"].items()
    ]
    return (
        f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"
        f"<p>{escape(one['summary'])} {escape(one.get('description', ''))}</p>"
        + (_table(("Given", "In", "What"), rows) if rows else "")
        + _table(("Status", "When", "Answer"), answers)
        + "</section>"
    )


def _form(name: str, one: dict[str, Any]) -> str:
    rows = [
        (f"<code>{escape(key)}</code>", _kind(value), escape(value.get("description", "")))
        for key, value in one.get("properties", {}).items()
    ]
    return (
        f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{escape(one.get("description", ""))}</p>'
        + _table(("Field", "Kind", "What"), rows)
    )


def _words(given: dict[str, Any]) -> str:
    return f"{_kind(given['schema'])}. {escape(given.get('description', ''))}"


def _kind(schema: dict[str, Any]) -> str:
    """What a value is, in a word; forms as links."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    kind = str(schema.get("type", "any"))
    if kind == "array" and "items" in schema:
        return f"list of {_kind(schema['items'])}"
    ends = [
        f"{word} {schema[key]}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("exclusiveMinimum", "over"))
        if key in schema
    ]
    return escape(" ".join([kind, *ends]))


def _table(heads: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{one}</td>" for one in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="table">{table}</div>'
