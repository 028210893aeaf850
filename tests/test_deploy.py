"""The files of `deploy/`: what they name exists, what they promise holds, and the image's entry
point runs."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command_line import Run, sentence
from whatwhere import __version__
from whatwhere.cli import main
from whatwhere.exporting import servers
from whatwhere.serve.app import create_app
from whatwhere.serve.monitoring.metrics import Metrics
from whatwhere.serve.settings import ServeSettings, model_sources, serve_settings

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
_SECONDS = 120.0


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, as name and arguments, with lines joined and comments left out."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in parts]


def last(name: str) -> str:
    return [rest for given, rest in instructions() if given == name][-1]


def entry_point() -> list[str]:
    given: list[str] = json.loads(last("ENTRYPOINT"))
    return given


def environment() -> dict[str, str]:
    found = [rest for name, rest in instructions() if name == "ENV"][-1]
    return dict(pair.split("=", 1) for pair in found.split())


def settings_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> ServeSettings:
    """What a server would run with; nothing is loaded."""
    seen: list[ServeSettings] = []

    def took(settings: ServeSettings, begun: object) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr("whatwhere.serve.run.run", took)
    assert main(["serve", *arguments]) == 0
    return seen[0]


# The image


def test_stages_and_user() -> None:
    found = instructions()
    bases = [rest for name, rest in found if name == "FROM"]
    assert all(re.match(r"python:\$\{PYTHON\}-slim-\w+( AS \w+)?$", base) for base in bases)
    assert re.search(r"ARG PYTHON=3\.1[1-9]\n", (DEPLOY / "Dockerfile").read_text())
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER"))
    assert not {"ADD", "MAINTAINER", "VOLUME"} & {name for name, _ in found}
    # The user comes after the last thing that needs root.
    names = [name for name, _ in found]
    after = names[len(names) - names[::-1].index("USER") :]
    assert "RUN" not in after
    assert "COPY" not in after


def test_pip_is_renewed_before_it_is_asked_for_what_is_new() -> None:
    """Images of Python bring a pip that does not know constraints of builds."""
    steps = [rest.split("&&") for name, rest in instructions() if name == "RUN"]
    for step in steps:
        needs = [place for place, one in enumerate(step) if "--build-constraint" in one]
        renewed = [place for place, one in enumerate(step) if "--upgrade pip" in one]
        assert not needs or (renewed and min(renewed) < min(needs))
    assert any("--build-constraint" in one for step in steps for one in step)


def test_image_is_free_of_torch() -> None:
    (given,) = [rest for name, rest in instructions() if rest.startswith("EXTRAS=")]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    chosen = given.partition("=")[2].split(",")
    assert set(chosen) <= set(extras)
    needed = [one for extra in chosen for one in extras[extra]]
    assert not [one for one in needed if re.match(r"torch|timm|polars|whatwhere\[", one)]


def test_copied_files_are_in_the_context() -> None:
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert "*" in rules
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY"]
    names = {one for parts in copied for one in parts if not one.startswith(("--", "/"))}
    assert names == kept
    assert all((ROOT / name).exists() for name in names)


def test_versions_are_this_one() -> None:
    compose = documents(DEPLOY / "compose.yaml")[0]
    assert compose["services"]["whatwhere"]["image"] == f"whatwhere:{__version__}"
    kustomization = documents(DEPLOY / "kubernetes" / "kustomization.yaml")[0]
    assert kustomization["images"] == [{"name": "whatwhere", "newTag": __version__}]


def test_without_keys_it_does_not_start(run: Run) -> None:
    sentence(run(*entry_point()[1:]), "no API keys")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_entry_point_runs(tmp_path: Path) -> None:
    """The very command and environment of the image, on another port."""
    name, *arguments = entry_point()
    assert name == "whatwhere"
    env = os.environ | {
        key: value for key, value in environment().items() if key not in ("PATH", "HOME")
    }
    env |= {"HOME": str(tmp_path), "WHATWHERE_CACHE": str(tmp_path / "cache")}
    code = "from whatwhere.cli import entry; entry()"
    log = tmp_path / "log"
    extra = ["objects-lite", "--insecure", "--port", "0", "--threads", "1"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments, *extra, "--backend", "onnxruntime"],
            stderr=file,
            env=env,
            cwd=tmp_path,
        )
    try:
        until = time.monotonic() + _SECONDS
        while " at http" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        port = int(log.read_text().rpartition(" at ")[2].split()[0].rpartition(":")[2])
        # The image's own health check, which asks the port of its entry point.
        check = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
        assert check[0] == "python"
        assert "'127.0.0.1', 8000" in check[2]
        script = check[2].replace("8000", str(port))
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        connection.request("POST", "/predict", (ROOT / "samples/chelsea.jpg").read_bytes())
        answer = json.load(connection.getresponse())
        connection.close()
        assert answer["objects"][0]["name"] == "animal"
        process.send_signal(signal.Signals[last("STOPSIGNAL")])
        assert process.wait(_SECONDS) == 0
        gone = subprocess.run(
            [sys.executable, "-c", script], check=False, stderr=subprocess.DEVNULL
        )
        assert gone.returncode != 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


# What is started with it


def test_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    services = documents(DEPLOY / "compose.yaml")[0]["services"]
    for service in services.values():
        # Nothing is published beyond this machine, and nothing runs with more rights than it needs.
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "mem_limit" in service
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    ours = services["whatwhere"]
    assert ours["read_only"] is True
    settings = settings_of([*entry_point()[2:], *ours["command"]], monkeypatch)
    assert settings.insecure
    # The server's health check and Prometheus are answered, pages of other sites are not.
    assert {"127.0.0.1", "localhost", "whatwhere"} == set(settings.hosts)
    (target,) = documents(DEPLOY / "prometheus/prometheus.yml")[0]["scrape_configs"][0][
        "static_configs"
    ][0]["targets"]
    assert target == f"whatwhere:{settings.port}"
    grace = int(ours["stop_grace_period"].removesuffix("s"))
    assert grace > settings.drain_seconds + 10
    mounted = [one.partition(":")[0] for one in services["grafana"]["volumes"]]
    assert all((DEPLOY / one).is_dir() for one in mounted if one.startswith("."))


def kubernetes() -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        yield from documents(path)


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [one for one in kubernetes() if one.get("kind") == kind]
    return found


def test_kustomization_lists_all() -> None:
    listed = set(of_kind("Kustomization")["resources"])
    there = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    # Both need something installed in the cluster first.
    assert there - listed == {"kustomization.yaml", "prometheus-adapter.yaml", "podmonitor.yaml"}


def test_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = of_kind("Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    user = int(last("USER").partition(":")[0])
    assert spec["securityContext"]["runAsUser"] == user
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    inner = container["securityContext"]
    assert inner["readOnlyRootFilesystem"] is True
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["capabilities"] == {"drop": ["ALL"]}
    settings = settings_of([*entry_point()[2:], *container["args"]], monkeypatch)
    assert not settings.insecure
    assert settings.keys_file == Path("/keys/keys.json")
    assert container["ports"][0]["containerPort"] == settings.port
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] > pause + settings.drain_seconds + 10
    paths = {route.path for route in create_app(settings).routes}  # type: ignore[attr-defined]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in paths
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert set(mounts) == {one["name"] for one in spec["volumes"]}
    assert Path(environment()["WHATWHERE_CACHE"]).is_relative_to(mounts["tmp"])


def test_labels_of_kubernetes_agree() -> None:
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert of_kind("Service")["spec"]["selector"] == labels
    for kind in ("PodDisruptionBudget", "PodMonitor", "Deployment"):
        assert of_kind(kind)["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    target = of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == of_kind("Deployment")["metadata"]["name"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize() -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "kubernetes")],
        capture_output=True,
        text=True,
        check=True,
    )
    made = list(yaml.safe_load_all(done.stdout))
    assert len(made) == len(of_kind("Kustomization")["resources"])
    (deployment,) = [one for one in made if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"whatwhere:{__version__}"
    validate = pytest.importorskip("kubernetes_validate")
    for one in made:
        validate.validate(one, "1.30", strict=True)


def test_kserve_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    text = servers._MANIFEST.format(name="street", storage='"s3://a/b"', version=__version__)
    runtime = next(iter(yaml.safe_load_all(text)))
    (container,) = runtime["spec"]["containers"]
    given = [one.replace("{{.Name}}", "street") for one in container["args"]]
    settings = settings_of([*entry_point()[2:], *given], monkeypatch)
    assert settings.port == container["ports"][0]["containerPort"]
    assert settings.models == model_sources(["street=/mnt/models"])
    paths = {
        route.path  # type: ignore[attr-defined]
        for route in create_app(serve_settings(models=model_sources([]))).routes
    }
    assert container["readinessProbe"]["httpGet"]["path"] in paths


# What is watched


def expressions() -> Iterator[str]:
    for group in documents(DEPLOY / "prometheus/alerts.yml")[0]["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    board = json.loads((DEPLOY / "grafana/dashboards/whatwhere.json").read_text("utf-8"))
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (one["expr"] for one in board["annotations"]["list"])
    yield from (one["query"]["query"] for one in board["templating"]["list"])
    for rule in documents(DEPLOY / "kubernetes/prometheus-adapter.yaml")[0]["rules"]["custom"]:
        yield rule["metricsQuery"]
        yield rule["seriesQuery"]


def test_every_figure_exists() -> None:
    known: set[str] = set()
    for family in Metrics().registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        known |= {family.name + end for end in suffixes.get(family.type, [""])}
    asked = {name for text in expressions() for name in re.findall(r"\bwhatwhere_\w+", text)}
    assert len(asked) > 15
    assert asked <= known


def test_every_expression_is_promql() -> None:
    promql = pytest.importorskip("promql_parser")
    marks = {"$__rate_interval": "5m", "<<.GroupBy>>": "pod", "<<.LabelMatchers>>": 'pod="a"'}
    for text in expressions():
        if text.startswith("label_values("):
            continue
        for mark, value in marks.items():
            text = text.replace(mark, value)
        promql.parse(text)


def test_autoscaling_follows_a_figure_that_the_adapter_gives() -> None:
    rules = documents(DEPLOY / "kubernetes/prometheus-adapter.yaml")[0]["rules"]["custom"]
    given = {rule["name"]["as"] for rule in rules}
    metrics = of_kind("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert {one["pods"]["metric"]["name"] for one in metrics} <= given


def test_dashboard() -> None:
    board = json.loads((DEPLOY / "grafana/dashboards/whatwhere.json").read_text("utf-8"))
    source = documents(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")[0]
    uid = source["datasources"][0]["uid"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    places = set()
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == uid
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & places
        places |= cells
    provider = documents(DEPLOY / "grafana/provisioning/dashboards/whatwhere.yaml")[0]
    mounted = documents(DEPLOY / "compose.yaml")[0]["services"]["grafana"]["volumes"]
    folder = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{folder}:ro" in mounted
