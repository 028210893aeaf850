"""Settings are checked before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from whatwhere.errors import UsageError
from whatwhere.serve.settings import is_public, model_source, model_sources, serve_settings

MODEL = model_sources(["default"])


@pytest.mark.parametrize(
    ("given", "name", "version", "path"),
    [
        ("default", "default", None, "default"),
        ("runs/street", "street", None, "runs/street"),
        ("runs/street/", "street", None, "runs/street/"),
        ("a/street.onnx", "street", None, "a/street.onnx"),
        ("runs/street/model.onnx", "street", None, "runs/street/model.onnx"),
        ("cars=a b/c.onnx", "cars", None, "a b/c.onnx"),
        ("cars@3=c.onnx", "cars", "3", "c.onnx"),
        ("a/b=c.onnx", "b-c", None, "a/b=c.onnx"),
        ("../.odd name!.onnx", "odd-name-", None, "../.odd name!.onnx"),
    ],
)
def test_models_on_the_command_line(given: str, name: str, version: str | None, path: str) -> None:
    source = model_source(given)
    assert (source.name, source.version, source.path) == (name, version, path)


def test_without_models_the_default_one_is_served() -> None:
    assert [source.name for source in model_sources([])] == ["default"]


@pytest.mark.parametrize("given", ["@1=a", "a@=b", "..@1=c", "a b=c"])
def test_names_that_mean_something_elsewhere_are_refused(given: str) -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        model_source(given)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"port": 70000}, "port"),
        ({"colour": "red"}, "colour"),
        ({"models": ()}, "models"),
        ({"models": (*MODEL, *MODEL)}, "two models are called default"),
        ({"aliases": {"a": "b"}}, "which is not served"),
        ({"aliases": {"default": "default"}}, "also a model"),
        ({"aliases": {"a/b": "default"}}, "cannot be a name"),
        ({"host": "0.0.0.0"}, "--insecure"),
        ({"host": "::"}, "--insecure"),
        ({"host": "server.example"}, "--insecure"),
        ({"queue": 3}, "raise the queue"),
        ({"upload_bytes": 10**12}, "upload_bytes_together"),
    ],
)
def test_settings_that_do_not_fit_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        serve_settings(**{"models": MODEL} | values)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_public_address_needs_keys_or_the_word() -> None:
    assert serve_settings(models=MODEL, host="0.0.0.0", insecure=True).insecure
    assert serve_settings(models=MODEL, host="0.0.0.0", keys_file="keys.json").host == "0.0.0.0"
    assert not any(is_public(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "[::1]"))
    assert not is_public("localhost")
    assert all(is_public(host) for host in ("", "0.0.0.0", "10.0.0.1", "::ffff:10.0.0.1"))
