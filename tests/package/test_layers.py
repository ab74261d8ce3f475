"""The official layers in a running gateway: severities, layer states, what a missing worker does to the ACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from fixtures import build
from gateway import cli
from gateway import layers as layers_module
from gateway.errors import ConfigurationFault
from gateway.layers import open_layers
from gateway.rules import load_rulebook
from gateway.schematron import pool as pools
from tests.exchange.harness import Running, cda, delete, running, settings, submit
from tests.package import mini

pytest.importorskip("saxonche")

REJECT = {"CDA-SCH-STRUCMIN": "reject"}
ALL_OFF = dict.fromkeys((f"CDA-SCH-{f}" for f in ("STRUCMIN", "VOLET", "IHE", "MODELS", "ANS")), "off")


@pytest.fixture
def official_layers(tmp_path: Path) -> dict[str, Any]:
    """Settings for the small package: its StrucMin refuses one title."""
    wants = mini.schema(
        '<pattern id="p"><rule context="cda:ClinicalDocument">'
        "<assert test=\"cda:title != 'Refusé'\">title is <value-of select='cda:title'/></assert></rule></pattern>"
    )
    folder = mini.make(tmp_path / "package", {mini.STRUCMIN: wants})
    return {"package": str(folder), "schematron": ["strucmin"], "schematron_timeout": 8}


def refused_title(control_id: str, number: int = 1) -> bytes:
    return build.mdm("T02", cda(number, title="Refusé"), control_id=control_id)


def warned(r: Running, rule: str) -> float | None:
    """How many times `rule` was tolerated."""
    labels = {"rule": rule, "severity": "warn"}
    return r.gateway.telemetry.registry.get_sample_value("segur_findings_total", labels)


async def test_warn_accepts_and_reject_refuses(tmp_path: Path, official_layers: dict[str, Any]) -> None:
    async with running(tmp_path, cda=official_layers) as r:
        assert (await r.send(submit("M1"))).code == "AA"
        assert (await r.send(refused_title("M2", 2))).code == "AA"
        assert warned(r, "CDA-SCH-STRUCMIN") == 1
    async with running(tmp_path / "b", cda=official_layers, severity=REJECT) as r:
        assert (await r.send(submit("M1"))).code == "AA"
        ack = await r.send(refused_title("M2", 2))
        assert ack.code == "AE"
        (error,) = ack.errors
        assert (error.diagnostic, error.err3, error.err5, error.location) == (
            "CDA-SCH-STRUCMIN",
            "207",
            "906",
            "OBX^1^5",
        )
        assert "title is …" in error.text
        assert "Refusé" not in error.text


async def test_every_layer_is_in_the_one_ack(tmp_path: Path, official_layers: dict[str, Any]) -> None:
    """The package's XSD wants digits in effectiveTime; own rule, XSD and schematron answer together."""
    document = cda(title="Refusé", effective_time="99999999999999999999")
    async with running(tmp_path, cda=official_layers, severity=REJECT) as r:
        ack = await r.send(build.mdm("T02", document, control_id="M1"))
        rules = {e.diagnostic for e in ack.errors}
        assert ack.code == "AE"
        assert {"CDA-H11", "CDA-XSD", "CDA-SCH-STRUCMIN"} <= rules


async def test_a_deletion_is_judged_by_neither_layer(tmp_path: Path, official_layers: dict[str, Any]) -> None:
    async with running(tmp_path, cda=official_layers) as r:
        assert (await r.send(refused_title("M1"))).code == "AA"
    strict = {**REJECT, "CDA-XSD": "reject"}
    async with running(tmp_path, cda=official_layers, severity=strict) as r:
        ack = await r.send(delete("M2", 1, 1))
        assert (ack.code, ack.errors) == ("AA", ())


async def test_a_worker_that_cannot_answer_warn(tmp_path: Path, official_layers: dict[str, Any]) -> None:
    """warn: the ACK goes on, with a named warning that is counted."""
    slow = {**official_layers, "schematron_timeout": 0.001}
    async with running(tmp_path, cda=slow) as r:
        assert (await r.send(submit("M1"))).code == "AA"
        assert warned(r, "CDA-SCH-NOT-RUN") == 1


async def test_a_worker_that_cannot_answer_reject(tmp_path: Path, official_layers: dict[str, Any]) -> None:
    """reject: AR, nothing is transmitted, the message may be sent again and is then accepted."""
    slow = {**official_layers, "schematron_timeout": 0.001}
    async with running(tmp_path, cda=slow, severity=REJECT) as r:
        ack = await r.send(submit("M1"))
        assert (ack.code, [e.diagnostic for e in ack.errors]) == ("AR", ["CDA-SCH-UNAVAILABLE"])
        assert (await r.state("M1"))["deliveries"] == []
    async with running(tmp_path, cda=official_layers, severity=REJECT) as r:
        assert (await r.send(submit("M1"))).code == "AA"


async def test_readiness_is_red_when_a_rejecting_layer_is_down(
    tmp_path: Path, official_layers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, cda=official_layers, severity=REJECT) as r:
        assert await r.gateway.readiness() == {}
        pool = r.gateway.layers.pool
        assert pool is not None

        async def cannot(*_: Any) -> None:
            raise ConfigurationFault("gone")

        monkeypatch.setattr(pools.Worker, "start", cannot)
        (worker,) = pool._all
        worker.process.kill()
        await r.until(lambda: pool.state == "down")
        assert list(await r.gateway.readiness()) == ["schematron"]
        assert (await r.send(submit("M1"))).code == "AR"


async def test_level_1_needs_no_volet(tmp_path: Path, official_layers: dict[str, Any]) -> None:
    """Families that do not apply to a level are neither not run nor unavailable."""
    asked = {**official_layers, "schematron": ["volet"], "schematron_timeout": 0.001}
    async with running(tmp_path, cda=asked, severity={"CDA-SCH-VOLET": "reject"}) as r:
        assert (await r.send(submit("M1"))).code == "AA"
        assert warned(r, "CDA-SCH-NOT-RUN") is None


async def test_what_is_refused_anyway_is_not_ar(tmp_path: Path, official_layers: dict[str, Any]) -> None:
    slow = {**official_layers, "schematron_timeout": 0.001}
    async with running(tmp_path, cda=slow, severity=REJECT) as r:
        ack = await r.send(build.mdm("T02", cda(confidentiality="X"), control_id="M1"))
        assert ack.code == "AE"


async def test_a_schematron_that_cannot_run_never_reads_as_passed(
    tmp_path: Path, official_layers: dict[str, Any]
) -> None:
    """A fault of the package is a named warning, also when its family rejects: not passed, not failed."""
    Path(official_layers["package"], mini.STRUCMIN).write_text("<broken")
    async with running(tmp_path, cda=official_layers, severity=REJECT) as r:
        assert (await r.send(submit("M1"))).code == "AA"
        assert warned(r, "CDA-SCH-NOT-RUN") == 1


async def test_all_families_off_starts_no_worker(
    tmp_path: Path, official_layers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "available", lambda: False)  # it would be a fault of configuration
    async with running(tmp_path, cda=official_layers, severity=ALL_OFF) as r:
        assert r.gateway.layers.pool is None
        assert r.gateway.checks()["schematron"] == "off"


async def test_readyz_tells_the_layers_and_the_manifest(
    tmp_path: Path, official_layers: dict[str, Any]
) -> None:
    async with running(tmp_path, cda=official_layers, web={"enabled": True, "port": 0}) as r:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{r.gateway.web_port}") as client:
            checks = (await client.get("/readyz")).json()["checks"]
        package = r.gateway.layers.package
        assert package is not None
        assert checks == {"package": f"sha256:{package.digest}", "xsd": "on", "schematron": "on"}


async def test_faults_of_configuration(
    tmp_path: Path, official_layers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    book = load_rulebook()

    async def start(**cda_table: Any) -> None:
        async with open_layers(settings(cda=cda_table), tmp_path, book):
            pass

    with pytest.raises(ConfigurationFault, match="not a folder"):
        await start(package="nowhere")
    with pytest.raises(ConfigurationFault, match=r"CDA_extended\.xsd"):
        await start(package=str(tmp_path))
    monkeypatch.setattr(pools, "available", lambda: False)
    with pytest.raises(ConfigurationFault, match="saxonche is not installed"):
        await start(**official_layers)
    await start(package=official_layers["package"])
    Path(official_layers["package"], "infrastructure/cda/CDA_extended.xsd").write_text("<broken")
    with pytest.raises(ConfigurationFault, match="cannot be used"):
        await start(package=official_layers["package"])


def test_check_config_says_what_is_wrong_with_the_package(
    tmp_path: Path, official_layers: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything starts, and without a worker."""
    config = tmp_path / "gateway.toml"
    config.write_text(f'[cda]\npackage = "{official_layers["package"]}"\nschematron = ["strucmin"]\n')
    assert cli.main(["check-config", "--config", str(config)]) == 0
    config.write_text('[cda]\npackage = "nowhere"\n')
    assert cli.main(["check-config", "--config", str(config)]) == 2
    assert "cda.package" in capsys.readouterr().err


def test_settings_that_cannot_hold() -> None:
    for tables in (
        {"cda": {"schematron": ["strucmin"]}},
        {"cda": {"package": "x", "schematron": ["strucmin"], "schematron_timeout": 20}},
        {"cda": {"package": "x", "schematron": ["nothing"]}},
    ):
        with pytest.raises(ValueError, match="schematron"):
            settings(**tables)


def test_the_families_of_the_settings_are_all_known() -> None:
    book = load_rulebook()
    names = ["strucmin", "volet", "ihe", "models", "ans"]
    all_of_them = settings(cda={"package": "x", "schematron": names})
    assert [f.value for f in layers_module.wanted_families(all_of_them, book)] == names
