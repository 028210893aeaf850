"""The files of the web page: complete, of one piece, and never taken from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import whatwhere.serve.page
from served import detector, settings_for
from whatwhere.serve.assembly import assemble
from whatwhere.serve.page.routes import POLICY

FILES = Path(whatwhere.serve.page.__file__).parent / "files"
MODULES = sorted(FILES.glob("*.js"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """Not started: the page needs no model."""
    model = detector(tmp_path_factory.mktemp("models"))
    return TestClient(assemble(settings_for(model)), base_url="http://127.0.0.1")


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir()))
def test_every_file_is_served_as_it_is(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.content == (FILES / name).read_bytes()
    kinds = {
        "js": "text/javascript",
        "css": "text/css",
        "html": "text/html",
        "svg": "image/svg+xml",
    }
    assert answer.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
    assert answer.headers["content-security-policy"] == POLICY


def test_the_page_stands_at_the_root_and_is_kept_by_its_tag(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.text == (FILES / "index.html").read_text("utf-8")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "camera=(self)" in answer.headers["permissions-policy"]
    again = client.get("/", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head("/").content == b""


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2froutes.py", "%2e%2e%2f__init__.py", "", "routes.py", "x" * 9000]
)
def test_nothing_else_is_served(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404
    assert answer.json()["status"] == 404


def test_a_server_may_go_without_the_page(tmp_path: Path) -> None:
    app = assemble(settings_for(detector(tmp_path), page=False))
    client = TestClient(app, base_url="http://127.0.0.1")
    assert client.get("/").status_code == 404


def test_the_policy_lets_nothing_in_from_elsewhere() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    assert rules.pop("default-src") == "'none'"
    assert {source for rule in rules.values() for source in rule.split()} <= {
        "'self'",
        "'none'",
        "blob:",
    }
    assert rules["script-src"] == rules["style-src"] == "'self'"


def test_nothing_stands_in_the_page_that_the_policy_would_refuse() -> None:
    text = (FILES / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    everything = "".join(path.read_text("utf-8") for path in FILES.iterdir())
    # The name of SVG's elements is an address, but not one that is asked.
    assert set(re.findall(r"https?://[^\s\"'`)]+", everything)) == {"http://www.w3.org/2000/svg"}


def test_what_the_files_name_is_there() -> None:
    text = (FILES / "index.html").read_text("utf-8")
    named = set(re.findall(r"page/([a-z.]+)\"", text))
    ids = set(re.findall(r"\sid=\"([a-z-]+)\"", text))
    assert len(ids) == len(re.findall(r"\sid=", text))
    for path in MODULES:
        code = path.read_text("utf-8")
        named |= set(re.findall(r"from \"\./([a-z.]+)\"", code))
        assert set(re.findall(r"find\(\"([a-z-]+)\"\)", code)) <= ids, path.name
    assert named | {"index.html"} == {path.name for path in FILES.iterdir()}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_never_make_html_of_text(path: Path) -> None:
    code = path.read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", code)
    assert len(code.splitlines()) <= 400
