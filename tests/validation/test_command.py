"""`segur-gateway validate` as people and CI jobs run it: a process, real files, exit status, JSON, French text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from connectors.dmp import simulator as dmp_simulator
from fixtures import build
from gateway.rules import read_rules
from gateway.settings import Settings
from gateway.validation import command
from tests.exchange.harness import cda, submit
from tests.official import official
from tests.validation.test_report import SCHEMA

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).with_name("segur-gateway")
GOOD = submit("M1")
BAD = build.mdm("T02", b"pas un CDA", document_id="1.2.250.1.99.1", control_id="M2")


def run(
    *args: str | Path, stdin: bytes = b"", cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEGUR_")} | environment
    return subprocess.run(
        [COMMAND, "validate", *map(str, args)], input=stdin, capture_output=True, env=env, cwd=cwd, timeout=60
    )


def report(*args: str | Path, status: int = 0, **kwargs: Any) -> dict[str, Any]:
    done = run(*args, "--format", "json", **kwargs)
    assert done.returncode == status, done.stderr.decode()
    assert done.stderr == b""
    body: dict[str, Any] = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(body)
    return body


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.er7"
    path.write_bytes(GOOD.replace(b"\r", b"\n"))
    return path


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "document.xml"
    path.write_bytes(cda())
    return path


def test_an_accepted_message(good: Path) -> None:
    body = report(good)
    assert (body["verdict"], body["ack"], body["errors"]) == ("accept", "AA", [])
    assert body["file"] == str(good)
    assert body["checks"] == {
        "profile": "passed",
        "rules": "passed",
        "xsd": "not configured",
        "schematron": "not configured",
        "versions": "not run",
        "dmp": "not configured",
        "mss": "not configured",
    }


def test_a_refused_message(tmp_path: Path) -> None:
    path = tmp_path / "bad.er7"
    path.write_bytes(BAD)
    body = report(path, status=1)
    assert (body["verdict"], body["ack"]) == ("reject", "AE")
    (error,) = body["errors"]
    assert list(error) == ["rule", "severity", "err2", "err3", "err5", "text"]
    assert (error["rule"], error["err2"], error["err3"], error["err5"]) == (
        "CDA-NOT-XML",
        "OBX^1^5",
        "102",
        None,
    )


def test_text_is_the_default_and_in_french(tmp_path: Path, good: Path) -> None:
    path = tmp_path / "bad.er7"
    path.write_bytes(BAD)
    refused, accepted = run(path), run(good, "--format", "text")
    assert (refused.returncode, accepted.returncode) == (1, 0)
    assert "REFUSÉ — la passerelle répondrait AE" in refused.stdout.decode()
    assert "ACCEPTÉ — la passerelle répondrait AA" in accepted.stdout.decode()


def test_standard_input() -> None:
    body = report("-", stdin=GOOD)
    assert (body["verdict"], body["file"]) == ("accept", None)


def test_output_is_utf8_whatever_the_locale(good: Path) -> None:
    done = run(good, LC_ALL="C", LANG="C", PYTHONIOENCODING="", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0
    assert "ACCEPTÉ" in done.stdout.decode()


def test_options_on_a_document(document: Path) -> None:
    assert report(document)["verdict"] == "accept"
    assert report(document, "--processing", "P", status=1)["errors"][0]["rule"] == "CDA-I01-DOMAIN"
    body = report(document, "--destinations", "mss,dmp", "--processing", "T", "--action", "delete")
    assert (body["action"], body["destinations"], body["processing"]) == ("delete", ["dmp", "mss"], "T")
    assert report(document, "--action", "replace", status=1)["errors"][0]["rule"] == "CDA-V03-RPLC"


def test_options_on_a_message(good: Path) -> None:
    assert report(good, "--destinations", "dmp")["destinations"] == ["dmp"]
    assert report(good, "--processing", "P", status=1)["processing"] == "P"
    assert report(good, "--action", "delete")["action"] == "delete"


def test_the_preset_by_option_and_by_environment(document: Path) -> None:
    args = (document, "--processing", "P")
    assert report(*args, "--conformance", "interop")["verdict"] == "warn"
    assert report(*args, SEGUR_CONFORMANCE="interop")["conformance"] == "interop"
    body = report(*args, "--conformance", "production", status=1, SEGUR_CONFORMANCE="interop")
    assert body["conformance"] == "production"


def test_the_severity_of_a_connectors_rule_may_be_set_without_that_connector(
    tmp_path: Path, good: Path
) -> None:
    config = tmp_path / "gateway.toml"
    rules = read_rules(Path(__file__).parents[2] / "connectors" / "mss" / "rules.toml")
    rule = next(r.id for r in rules if not r.invariant)
    config.write_text(f'[severity]\n{rule} = "warn"\n')
    assert report(good, "--config", config)["verdict"] == "accept"


def test_configured_connectors_are_asked_offline(tmp_path: Path, good: Path) -> None:
    """The DMP's simulator is never started: a preparation touches no network."""
    simulator = dmp_simulator.create(tmp_path / "dmp")
    table = "\n".join(f"{k} = {json.dumps(v)}" for k, v in simulator.connector_settings().items())
    config = tmp_path / "gateway.toml"
    config.write_text(f"[connectors.dmp]\n{table}\n")
    body = report(good, "--config", config, "--destinations", "dmp")
    assert body["checks"]["dmp"] in ("passed", "warned")
    assert body["checks"]["mss"] == "not configured"
    # a destination that these settings do not have: what the gateway would answer
    body = report(good, "--config", config, status=1)
    assert [e["rule"] for e in body["errors"]] == ["EXC-NO-CONNECTOR"]
    assert body["checks"]["dmp"] == "not run"


@pytest.mark.official
def test_a_package_without_schematrons_in_the_settings_runs_them_all(document: Path) -> None:
    body = report(document, "--package", official("ans-cda-package"))
    assert (body["checks"]["xsd"], body["checks"]["schematron"]) == ("passed", "passed")
    assert [(f["family"], f["ran"], f["failed"]) for f in body["schematron"][0]] == [("strucmin", True, 0)]
    text = run(document, "--package", official("ans-cda-package")).stdout.decode()
    assert "Structuration minimale : aucun écart" in text


def test_several_files_in_one_run(tmp_path: Path, good: Path, document: Path) -> None:
    bad = tmp_path / "bad.er7"
    bad.write_bytes(BAD)
    done = run(good, bad, document, "--format", "json")
    body = json.loads(done.stdout)
    assert (done.returncode, list(body), body["verdict"]) == (1, ["verdict", "files"], "reject")
    assert [(f["file"], f["verdict"]) for f in body["files"]] == [
        (str(good), "accept"),
        (str(bad), "reject"),
        (str(document), "accept"),
    ]
    jsonschema.Draft202012Validator(SCHEMA["$defs"]["files"] | {"$defs": SCHEMA["$defs"]}).validate(body)
    for one in body["files"]:
        jsonschema.Draft202012Validator(SCHEMA).validate(one)
    done = run(good, document)
    text = done.stdout.decode()
    assert done.returncode == 0
    assert text.index("good.er7 : ACCEPTÉ") < text.index("document.xml : ACCEPTÉ")


@pytest.mark.parametrize("wrong", [("none.er7",), ("-", "-")])
def test_of_several_files_one_that_cannot_be_read_is_said_before_any_is_judged(
    good: Path, wrong: tuple[str, ...]
) -> None:
    done = run(good, *wrong)
    assert (done.returncode, done.stdout) == (2, b"")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("bad, status", [(False, 0), (True, 1)])
def test_the_loop_of_the_docs_works_as_it_is_written(
    tmp_path: Path, good: Path, document: Path, bad: bool, status: int
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "validate.md").read_text(encoding="utf-8")
    (loop,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    samples = tmp_path / "samples"
    samples.mkdir()
    good.rename(samples / "good.hl7")
    document.rename(samples / "document.xml")
    if bad:
        (samples / "bad.er7").write_bytes(BAD)
    path = f"{COMMAND.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu"], input=loop.encode(), cwd=tmp_path, env=os.environ | {"PATH": path}, timeout=60
    )
    assert done.returncode == status
    names = ["bad.er7.json"] * bad + ["document.xml.json", "good.hl7.json"]
    assert sorted(p.name for p in (tmp_path / "reports").iterdir()) == names
    assert all(json.loads(p.read_bytes())["verdict"] for p in (tmp_path / "reports").iterdir())


def test_a_package_without_saxonche_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "available", lambda: False)
    _, (note,) = command._with_package(Settings(), Path("package"))
    assert 'pip install "segur-gateway[schematron]"' in note


@pytest.mark.parametrize(
    "args",
    [
        ["none.er7"],
        ["."],
        ["good.er7", "--config", "none.toml"],
        ["good.er7", "--package", "none"],
        ["good.er7", "--destinations", "fax"],
        ["good.er7", "--action", "send"],
        ["good.er7", "--processing", "X"],
        ["good.er7", "--format", "xml"],
        [],
    ],
)
def test_wrong_use_is_said_on_standard_error(tmp_path: Path, good: Path, args: list[str]) -> None:
    done = run(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.decode().strip().splitlines()[-1].startswith("segur-gateway")
    assert b"Traceback" not in done.stderr


def test_an_output_that_nobody_reads_is_no_traceback(good: Path) -> None:
    process = subprocess.Popen([COMMAND, "validate", good], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.wait(60)
    process.stderr.close()
    assert b"Traceback" not in said
