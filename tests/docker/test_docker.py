"""What ships to run the gateway: image, compose files, balancer, dashboard, alert rules, unit; against the project."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.exchange.telemetry import Telemetry
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = ("compose.yaml", "compose.cluster.yaml")


def loaded(path: str) -> Any:
    return yaml.safe_load((DOCKER / path).read_text(encoding="utf-8"))


def metric_names() -> dict[str, set[str]]:
    """Names as Prometheus sees them, with their labels."""
    found: dict[str, set[str]] = {}
    for metric in Telemetry().registry._names_to_collectors.values():
        base = metric._name
        labels = set(metric._labelnames)
        kind = metric._type
        names = {
            "counter": [f"{base}_total"],
            "histogram": [f"{base}_bucket", f"{base}_sum", f"{base}_count"],
        }.get(kind, [base])
        for name in names:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def expressions() -> list[tuple[str, str]]:
    dashboard = json.loads((DOCKER / "grafana/dashboards/segur.json").read_text(encoding="utf-8"))
    found = [(p["title"], t["expr"]) for p in dashboard["panels"] for t in p["targets"]]
    for group in loaded("prometheus/alerts.yml")["groups"]:
        found += [(rule["alert"], rule["expr"]) for rule in group["rules"]]
    return found


@pytest.mark.parametrize(("title", "expr"), expressions())
def test_every_expression_names_metrics_and_labels_that_exist(title: str, expr: str) -> None:
    known = metric_names()
    named = set(re.findall(r"\bsegur_\w+", expr))
    assert named <= set(known), title
    assert named or "up{" in expr, title
    labels = set().union(*(known[n] for n in named)) | {"instance", "job"}
    for by in re.findall(r"by \(([^)]*)\)", expr):
        assert {label.strip() for label in by.split(",")} <= labels, title
    for selector in re.findall(r"\{([^}]*)\}", expr):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= labels, title
    assert expr.count("(") == expr.count(")")


def test_alert_rules_say_what_in_french_with_labels_that_they_have() -> None:
    known = metric_names()
    names = []
    for group in loaded("prometheus/alerts.yml")["groups"]:
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in ("warning", "critical")
            names.append(rule["alert"])
            kept = {x.strip() for by in re.findall(r"by \(([^)]*)\)", rule["expr"]) for x in by.split(",")}
            if "up{" in rule["expr"]:
                kept |= {"instance"}
            used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
            assert used <= kept, rule["alert"]
    assert len(names) == len(set(names)) and known


def test_the_dashboard_is_one_that_grafana_can_provision() -> None:
    dashboard = json.loads((DOCKER / "grafana/dashboards/segur.json").read_text(encoding="utf-8"))
    ids = [p["id"] for p in dashboard["panels"]]
    assert (
        dashboard["uid"] and dashboard["title"] and dashboard["schemaVersion"] and len(ids) == len(set(ids))
    )
    (source,) = loaded("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
        where = panel["gridPos"]
        assert where["x"] >= 0 and where["x"] + where["w"] <= 24
    (provider,) = loaded("grafana/provisioning/dashboards/segur.yml")["providers"]
    mounts = loaded("compose.cluster.yaml")["services"]["grafana"]["volumes"]
    assert any(m.split(":")[1] == provider["options"]["path"] for m in mounts)


SERVICE_KEYS = {
    "build", "image", "environment", "depends_on", "read_only", "cap_drop", "security_opt", "stop_grace_period",
    "restart", "secrets", "ports", "volumes", "tmpfs", "healthcheck",
}  # fmt: skip


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_files(name: str) -> None:
    file = loaded(name)
    assert {k for k in file if not k.startswith("x-")} <= {"services", "volumes", "secrets"}
    for service, table in file["services"].items():
        assert set(table) <= SERVICE_KEYS, service
        assert ("image" in table) != ("build" in table), service
        if "image" in table:
            # a public short name with a version, no host
            assert re.fullmatch(r"[a-z0-9]+(/[a-z0-9-]+)?:v?\d[\w.]*", table["image"]), service
        else:
            assert (DOCKER / table["build"]["context"] / table["build"]["dockerfile"]).is_file()
            assert table["read_only"] and table["cap_drop"] == ["ALL"]
            seconds = int(table["stop_grace_period"].removesuffix("s"))
            assert seconds > 2 * Settings().listener.drain_timeout
            extras = set(table["build"]["args"]["EXTRAS"].split(","))
            assert extras <= {"pdf", "postgres", "schematron"}
            check_variables(table.get("environment", {}))
        for port in table.get("ports", []):
            assert port.startswith("127.0.0.1:"), "who publishes wider does it on purpose"
        for volume in table.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert source == "./etc" or (DOCKER / source).exists(), volume
            else:
                assert source in file["volumes"], volume
        for secret in table.get("secrets", []):
            assert secret in file["secrets"]
        depends = table.get("depends_on", [])
        for other in depends:
            assert other in file["services"]


def check_variables(environment: dict[str, str]) -> None:
    """Each names a setting."""
    for name in environment:
        if name.startswith("SEGUR_"):
            table, _, key = name.removeprefix("SEGUR_").lower().partition("__")
            assert key in type(getattr(Settings(), table)).model_fields, name


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_takes_them(name: str) -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no docker compose here")
    done = subprocess.run(
        [docker, "compose", "-f", str(DOCKER / name), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_image_copies_what_there_is_and_runs_as_nobody_special() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", text).splitlines()
    known = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "ENV", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL",
             "ENTRYPOINT", "CMD"}  # fmt: skip
    instructions = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    assert {i for i, _ in instructions} <= known
    for instruction, rest in instructions:
        if instruction == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
        if instruction == "FROM":
            assert re.match(r"python:\$\{PYTHON\}-slim", rest)
        if instruction == "ENV":
            check_variables(dict(pair.split("=", 1) for pair in rest.split()))
    users = [rest for instruction, rest in instructions if instruction == "USER"]
    assert users == ["5678"]
    order = [i for i, _ in instructions]
    assert order.index("USER") < order.index("ENTRYPOINT")
    copied = {
        s for i, rest in instructions if i == "COPY" and "--from" not in rest for s in rest.split()[:-1]
    }
    packages = {line.split(".")[0].rstrip("*") for line in ("gateway*", "connectors*", "indicators*")}
    assert packages <= copied


def test_the_lock_of_the_image_has_the_extras_and_names_no_host() -> None:
    text = (ROOT / "requirements-image.lock").read_text(encoding="utf-8")
    for name in ("psycopg", "weasyprint", "saxonche", "fastapi"):
        assert re.search(rf"^{name}(\[\w+\])?==", text, re.M), name
    assert "://" not in text and "--hash=sha256:" in text
    pins = dict(re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+)", text, re.M))
    runtime = dict(
        re.findall(
            r"^([\w.-]+)(?:\[\w+\])?==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.M
        )
    )
    assert runtime.items() <= pins.items(), "make lock"


def test_the_balancer_sends_only_to_nodes_that_are_ready() -> None:
    text = (DOCKER / "cluster/haproxy.cfg").read_text(encoding="utf-8")
    nodes = set(re.findall(r"server (\w+) \1:2575", text))
    assert nodes == {"node1", "node2"} <= set(loaded("compose.cluster.yaml")["services"])
    assert "option httpchk GET /readyz" in text and "check port 8080" in text
    held = int(re.search(r"timeout client (\d+)s", text)[1])  # type: ignore[index]
    assert held > Settings().listener.idle_timeout
    targets = loaded("prometheus/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert {t.split(":")[0] for t in targets} == nodes


def test_the_unit(tmp_path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DOCKER / "systemd/segur-gateway.service")
    service = unit["Service"]
    assert (
        service["User"] != "root"
        and service["NoNewPrivileges"] == "true"
        and service["KillSignal"] == "SIGTERM"
    )
    assert int(service["TimeoutStopSec"]) > 2 * Settings().listener.drain_timeout
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd here")
    text = (DOCKER / "systemd/segur-gateway.service").read_text(encoding="utf-8")
    text = re.sub(r"/opt/segur-gateway/bin/segur-gateway", "/bin/true", text)
    text = re.sub(r"^(User|Group)=.*$", "", text, flags=re.M)
    copy = tmp_path / "segur-gateway.service"
    copy.write_text(text)
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
    wrong = [line for line in done.stderr.splitlines() if "segur-gateway" in line]
    assert not wrong, done.stderr
