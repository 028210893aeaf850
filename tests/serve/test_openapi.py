"""The description of the addresses, beside the addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.routing import Route
from starlette.testclient import TestClient

from served import PNG, detector, settings_for
from whatwhere.serve.assembly import assemble
from whatwhere.serve.openapi import document, operations

# Pages and their files, and the descriptions themselves.
UNDESCRIBED = re.compile(r"/|/page/.*|/docs.*|/openapi\.json|/favicon.*|/static/.*")


@pytest.fixture
def client(tmp_path: Path) -> Any:
    with TestClient(
        assemble(settings_for(f"cells@7={detector(tmp_path)}")), base_url="http://localhost"
    ) as made:
        yield made


def test_every_address_is_described(client: TestClient) -> None:
    there = set()
    for route in client.app.routes:  # type: ignore[attr-defined]
        if isinstance(route, Route) and not UNDESCRIBED.fullmatch(route.path):
            there |= {
                (method.lower(), route.path) for method in route.methods or () if method != "HEAD"
            }
    assert there == {(one.method, one.path) for one in operations()}


def test_references_lead_somewhere() -> None:
    about = document()
    found = set(re.findall(r"'#/components/schemas/(\w+)'", str(about)))
    assert found
    assert found <= set(about["components"]["schemas"])
    assert about["openapi"] == "3.1.0"
    for methods in about["paths"].values():
        for one in methods.values():
            assert one["responses"]["200"]["content"]
            for given in one["parameters"]:
                assert given["schema"]


def test_answers_are_of_the_described_form(client: TestClient) -> None:
    values = {"model": "cells", "version": "7", "entry": "1"}
    checked = 0
    for one in operations():
        if one.method != "get":
            continue
        answer = client.get(one.path.format(**values))
        described = document()["paths"][one.path]["get"]["responses"]
        assert str(answer.status_code) in described, one.path
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in described[str(answer.status_code)]["content"], one.path
        if answer.status_code == 200 and not isinstance(one.answer, str):
            TypeAdapter(one.answer).validate_python(answer.json())
            checked += 1
    assert checked == 11


def test_the_document_and_its_page_are_served(client: TestClient) -> None:
    assert client.get("/openapi.json").json() == document()
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "script" not in page.headers["Content-Security-Policy"]
    for one in operations():
        assert f"{one.method.upper()} {one.path}" in page.text
    assert "<script" not in page.text
    assert "style=" not in page.text
    links = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
    assert set(links) == {"docs/style.css", "openapi.json"}
    for link in links:
        assert client.get(f"/{link}").status_code == 200
    anchors = set(re.findall(r'href="#(\w+)"', page.text))
    assert anchors <= set(re.findall(r' id="(\w+)"', page.text))
    assert client.post("/predict", content=PNG).status_code == 200
