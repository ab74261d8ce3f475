"""The report says what the ACK says: the same errors in the same order, from a running gateway over MLLP."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from connectors.port import Accepted, PlannedDelivery, Preparation, Refused, Unavailable, Verdict
from fixtures import build
from gateway.cda.package.reports import Assertion, DocumentReport, Family, FamilyReport, SchematronInput
from gateway.errors import Place, Severity
from gateway.exchange.checking import Checker, Layer
from gateway.hl7.framing import encode
from gateway.hl7.transmission import Action
from gateway.rules import Findings, Preset, RuleBook, load_rulebook
from gateway.validation.overrides import Options
from gateway.validation.report import Report
from gateway.validation.source import MAX_MESSAGES
from gateway.validation.validator import Validator
from gateway.validation.words import STATES, as_text
from tests.exchange.harness import Running, cda, delete, running, submit
from tests.exchange.harness import replace as replacement
from tests.hl7.test_adt import adt
from tests.official import OFFICIAL, official

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "validate.schema.json").read_text(encoding="utf-8")
)
LAYERS = ["profile", "rules", "xsd", "schematron", "versions", "dmp", "mss"]
PATIENT_WORDS = ("TEST-DURAND", "CAMILLE", "AUTRE-NOM", build.PATIENT.ins, "19841203", build.PATIENT.ipp)


def book(preset: Preset = "production", **severity: Severity) -> RuleBook:
    return load_rulebook((), preset, severity)


def validator(preset: Preset = "production", **severity: Severity) -> Validator:
    return Validator(Checker(book(preset, **severity)), 100_000_000)


async def report_of(
    content: bytes, options: Options | None = None, preset: Preset = "production"
) -> dict[str, Any]:
    report = await validator(preset).validate(content, options or Options())
    return checked(report)


def checked(report: Report) -> dict[str, Any]:
    """The JSON, valid against the shipped schema, its named keys first."""
    body = json.loads(json.dumps(report.as_json()))
    jsonschema.Draft202012Validator(SCHEMA).validate(body)
    assert list(body)[:4] == ["verdict", "ack", "errors", "checks"]
    assert list(body["checks"]) == LAYERS
    assert body["verdict"] == ("reject" if body["ack"] != "AA" else "warn" if body["errors"] else "accept")
    return body


def rules(body: dict[str, Any], severity: str = "reject") -> list[str]:
    return [e["rule"] for e in body["errors"] if e["severity"] == severity]


# --- the same as the ACK --------------------------------------------------------------------------------------------


def edit(*pairs: tuple[bytes, bytes]) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        for old, new in pairs:
            assert old in raw, old
            raw = raw.replace(old, new, 1)
        return raw

    return change


GOOD = submit("M1")
MESSAGES = {
    "accepted": GOOD,
    "replacement": replacement("M1", 1, 2, 1),
    "deletion": delete("M1", 1, 1),
    "ORU pair": build.oru(
        "submit",
        [
            cda(1),
            build.cda_n3(
                uid="1.2.250.1.71.4.2.2.990000010.77.2.1", set_id="1.2.250.1.71.4.2.2.990000010.77.2"
            ),
        ],
        control_id="M1",
    ),
    "LF on the wire": GOOD.replace(b"\r", b"\n"),
    "type": edit((b"MDM^T02^MDM_T02", b"SIU^S12^SIU_S12"))(GOOD),
    "ADT in name alone": edit((b"MDM^T02^MDM_T02", b"ADT^A01^ADT_A01"))(GOOD),
    "ADT": adt(control_id="M1"),
    "ADT that names nothing": adt(control_id="M1", PID="PID|1", PV1="PV1|1|I", ZBE=None),
    "event": edit((b"MDM^T02^MDM_T02", b"MDM^T06^MDM_T02"))(GOOD),
    "version": edit((b"|T|2.6|", b"|T|2.3|"))(GOOD),
    "processing": edit((b"|T|2.6|", b"|X|2.6|"))(GOOD),
    "production": edit((b"|T|2.6|", b"|P|2.6|"))(GOOD),
    "charset": edit((b"UNICODE UTF-8", b"KLINGON"))(GOOD),
    "no PV1": b"\r".join(line for line in GOOD.split(b"\r") if not line.startswith(b"PV1")),
    "Z segment": GOOD + b"ZZZ|1\r",
    "stray line": edit((b"\rPV1", b"\r??\rPV1"))(GOOD),
    "two MSH in a frame": GOOD + GOOD,
    "other name": edit((b"TEST-DURAND", b"AUTRE-NOM"))(GOOD),
    "several": edit((b"|FRA|", b"||"), (b"TEST-DURAND", b"AUTRE-NOM"), (b"|T|2.6|", b"|X|2.6|"))(GOOD),
    "not a CDA": build.mdm("T02", b"pas un CDA", document_id="1.2.250.1.99.1", control_id="M1"),
    "DOCTYPE": build.mdm("T02", b"<!DOCTYPE a><a/>", document_id="1.2.250.1.99.1", control_id="M1"),
    "empty document": build.mdm("T02", b"", document_id="1.2.250.1.99.1", control_id="M1"),
    "no destination": submit("M1", flags={"DESTDMP": "N", "DESTMSSANTEPS": "N"}),
    "masked to professionals": submit("M1", flags={"MASQUE_PS": "Y"}),
    "replacement without parent": build.mdm("T10", cda(), replaced_id="1.2.3", control_id="M1"),
    "MSH-10 missing": edit((b"|M1|", b"||"))(GOOD),
    "control character in MSH": edit((b"|M1|", b"|M\x021|"))(GOOD),
    "8859/15": submit("M1", charset="8859/15"),
}


@pytest.mark.parametrize("conformance", ["production", "interop"])
@pytest.mark.parametrize("name", MESSAGES)
async def test_the_report_is_the_ack(tmp_path: Path, name: str, conformance: Preset) -> None:
    """What the DPI would be told: ERR-2, ERR-3, ERR-5 and ERR-7 of each ERR, in the same order."""
    raw = MESSAGES[name]
    async with running(tmp_path, conformance=conformance) as r:
        body = checked(await r.gateway.validators[conformance].validate(encode(raw), Options()))
        ack = await r.send(raw)
    assert body["ack"] == ack.code
    told = [(e.location, e.err3, e.err5, e.diagnostic) for e in ack.errors]
    found = [
        (e["err2"] or "", e["err3"], e["err5"] or "", e["rule"])
        for e in body["errors"]
        if e["severity"] == "reject"
    ]
    if body["ack"] == "AA":
        assert found == []
    else:
        assert found == told != []


async def test_validating_leaves_nothing_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with running(tmp_path) as r:
        before = caplog.text
        for raw in MESSAGES.values():
            await r.gateway.validators["production"].validate(raw, Options())
        assert caplog.text == before
        assert r.dmp.jobs == [] and r.mss.jobs == []
        assert await r.send(GOOD)
        assert (await r.state("M1"))["ack"] == "AA"


def refuse(rule: str) -> Callable[[Preparation], Verdict]:
    def verdict(_: Preparation) -> Verdict:
        findings = Findings(book())
        findings.add(rule, Place("OBX", 1, 5), limit=1)
        return Refused(tuple(findings))

    return verdict


async def both(r: Running, raw: bytes) -> tuple[dict[str, Any], list[str], str]:
    body = checked(await r.gateway.validators["production"].validate(raw, Options()))
    ack = await r.send(raw)
    return body, [e.diagnostic for e in ack.errors], ack.code


async def test_a_connectors_refusal_is_in_the_report(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.verdict = refuse("CDA-SIZE")
        body, told, code = await both(r, GOOD)
    assert (body["ack"], rules(body)) == (code, told) == ("AE", ["CDA-SIZE"])
    assert (body["checks"]["dmp"], body["checks"]["mss"]) == ("failed", "passed")


async def test_an_unavailable_connector_is_an_ar_and_a_layer_not_run(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.mss.verdict = lambda _: Unavailable("certificat expiré.")
        body, told, code = await both(r, GOOD)
    assert (body["ack"], rules(body)) == (code, told) == ("AR", ["EXC-UNAVAILABLE"])
    assert (body["checks"]["dmp"], body["checks"]["mss"]) == ("passed", "not run")


async def test_a_connector_that_fails_by_a_bug_is_not_run(tmp_path: Path) -> None:
    def bug(_: Preparation) -> Verdict:
        raise RuntimeError("bug")

    async with running(tmp_path) as r:
        r.dmp.verdict = bug
        body, told, _ = await both(r, GOOD)
    assert rules(body) == told == ["EXC-INTERNAL"]
    assert body["checks"]["dmp"] == "not run"


async def test_a_connectors_tolerance_makes_it_warned(tmp_path: Path) -> None:
    warning = book().finding("CDA-B64-PADDING", Place("OBX", 1, 5))
    assert warning is not None
    async with running(tmp_path) as r:
        r.dmp.verdict = lambda _: Accepted((PlannedDelivery("", (), b"{}"),), (warning,))
        body = checked(await r.gateway.validators["production"].validate(GOOD, Options()))
    assert (body["verdict"], body["ack"], body["checks"]["dmp"]) == ("warn", "AA", "warned")


async def test_version_rules_are_judged_from_the_register(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        await r.send(submit("M1", 1, 2))
        body, told, _ = await both(r, submit("M2", 1, 1))
    assert rules(body) == told == ["CDA-V-OBSOLETE"]
    assert body["checks"]["versions"] == "failed"
    assert (body["checks"]["dmp"], body["checks"]["mss"]) == ("not run", "not run")


async def test_a_destination_that_is_not_configured(tmp_path: Path) -> None:
    from tests.exchange.scripted import Scripted

    async with running(tmp_path) as r:
        validator = Validator(Checker(book()), 10**8, {"dmp": Scripted("dmp")})
        body = checked(await validator.validate(GOOD, Options()))
        assert rules(body) == ["EXC-NO-CONNECTOR"]
        assert (body["checks"]["dmp"], body["checks"]["mss"]) == ("not run", "not configured")
        assert r.gateway.preset == "production"


async def test_a_message_that_is_too_long() -> None:
    body = checked(await Validator(Checker(book()), 1000).validate(GOOD, Options()))
    assert rules(body) == ["EXC-TOO-LONG"]
    assert body["errors"][0]["err2"] is None


@pytest.mark.parametrize("content", [b"PID|1\r", b"MSH", b"MSH|\r", GOOD.decode().encode("utf-16")])
async def test_a_message_without_a_readable_msh(content: bytes) -> None:
    body = await report_of(content)
    assert (body["ack"], rules(body)) == ("AE", ["EXC-UNREADABLE"])
    assert body["checks"] == {
        "profile": "failed",
        "rules": "not run",
        "xsd": "not run",
        "schematron": "not run",
        "versions": "not run",
        "dmp": "not run",
        "mss": "not run",
    }
    assert any("aucun ACK" in note for note in body["notes"])


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_line_ends_of_a_file_are_no_tolerance(end: bytes) -> None:
    body = await report_of(GOOD.replace(b"\r", end))
    assert body["verdict"] == "accept"
    assert any("LF" in note for note in body["notes"])


async def test_line_ends_of_the_wire_are_one() -> None:
    body = await report_of(b"\x0b" + GOOD.replace(b"\r", b"\n") + b"\x1c\r")
    assert rules(body, "warn") == ["MSG-LINE-ENDS"]


async def test_several_messages_have_a_report_each_and_the_worst_verdict() -> None:
    body = await report_of(GOOD + MESSAGES["not a CDA"] + MESSAGES["type"])
    assert [m["verdict"] for m in body["messages"]] == ["accept", "reject", "reject"]
    assert (body["verdict"], body["ack"]) == ("reject", "AE")
    assert {e["message"] for e in body["errors"]} == {2, 3}
    assert body["checks"]["profile"] == "failed"
    assert body["counts"]["reject"] == len(rules(body))


async def test_a_layer_that_did_not_run_for_one_message_does_not_read_as_passed() -> None:
    body = await report_of(GOOD + MESSAGES["type"])
    assert [m["checks"]["rules"] for m in body["messages"]] == ["passed", "not run"]
    assert body["checks"]["rules"] == "not run"


async def test_options_replace_what_a_message_says() -> None:
    assert rules(await report_of(GOOD, Options(processing="P"))) != []
    body = await report_of(GOOD, Options(destinations=frozenset({"dmp"})))
    assert body["destinations"] == ["dmp"]
    assert any("DESTDMP" in note for note in body["notes"])
    assert (await report_of(GOOD, Options(Action.DELETE)))["action"] == "delete"


# --- documents ------------------------------------------------------------------------------------------------------


async def test_a_bare_document() -> None:
    body = await report_of(cda())
    assert (body["verdict"], body["ack"], body["kind"], body["action"]) == ("accept", "AA", "cda", "submit")
    assert body["checks"]["profile"] == "not applicable"
    assert body["checks"]["rules"] == "passed"
    assert body["checks"]["xsd"] == body["checks"]["schematron"] == "not configured"
    assert (body["destinations"], body["processing"]) == (None, None)
    assert len(body["notes"]) == 2


async def test_findings_of_a_bare_document_have_no_place_in_a_message() -> None:
    body = await report_of(
        cda().replace(b"<realmCode", b"<!-- --><realmCodeX", 1).replace(b"typeId", b"typeIdX")
    )
    assert rules(body)
    assert {e["err2"] for e in body["errors"]} == {None}


@pytest.mark.parametrize(
    "content, rule",
    [
        (b"", "CDA-EMPTY"),
        (b"%PDF-1.7", "CDA-NOT-XML"),
        (b"<a/>", "CDA-H01"),
        (b"<!DOCTYPE a><a/>", "CDA-DOCTYPE"),
    ],
)
async def test_what_is_no_document_is_refused_with_its_reason(content: bytes, rule: str) -> None:
    body = await report_of(content)
    assert (body["verdict"], body["ack"]) == ("reject", "AE")
    assert rule in rules(body)
    assert body["checks"]["rules"] == "failed"


async def test_the_test_domain_is_judged_only_for_a_known_environment() -> None:
    assert (await report_of(cda()))["verdict"] == "accept"
    assert rules(await report_of(cda(), Options(processing="P"))) == ["CDA-I01-DOMAIN"]
    assert (await report_of(cda(), Options(processing="T")))["verdict"] == "accept"


async def test_rules_of_a_destination_are_judged_only_for_that_destination() -> None:
    content = cda().replace(
        b'<id root="1.2.250.1.71.4.2.2.990000010.77.1.1"/>',
        b'<id root="1.2.250.1.71.4.2.2.990000010.77.1.1" extension="7"/>',
    )
    assert content != cda()
    assert (await report_of(content))["verdict"] == "warn"
    assert (await report_of(content, Options(destinations=frozenset({"mss"}))))["verdict"] == "warn"
    body = await report_of(content, Options(destinations=frozenset({"dmp"})))
    assert rules(body) == ["CDA-H08-EXTENSION-DMP"]


async def test_a_replacement_needs_its_related_document() -> None:
    assert rules(await report_of(cda(), Options(Action.REPLACE))) == ["CDA-V03-RPLC"]
    assert (await report_of(cda(1, 2, 1), Options(Action.REPLACE)))["verdict"] == "accept"
    # without --action it is a submission, and the report says how to judge it as a replacement
    body = await report_of(cda(1, 2, 1))
    assert (body["verdict"], body["action"]) == ("accept", "submit")
    assert any("replace" in note for note in body["notes"])


async def test_interop_is_named() -> None:
    body = await report_of(cda(), Options(processing="P"), "interop")
    assert (body["verdict"], body["conformance"]) == ("warn", "interop")


# --- official schematrons -------------------------------------------------------------------------------------------


class Families:
    """A schematron layer that gives the same report for every document."""

    def __init__(self, *families: FamilyReport) -> None:
        self.report = DocumentReport(families)

    async def check(self, inputs: Sequence[SchematronInput]) -> list[DocumentReport]:
        return [self.report for _ in inputs]


async def of_families(content: bytes, *families: FamilyReport, **severity: Severity) -> Report:
    overrides = {name.replace("_", "-"): value for name, value in severity.items()}
    checker = Checker(load_rulebook((), "production", overrides), None, Families(*families))
    return await Validator(checker, 10**8).validate(content, Options())


RAN = FamilyReport(Family.STRUCMIN, True, schema="x.sch")
FAILED = FamilyReport(
    Family.VOLET, True, 2, assertions=(Assertion("il manque un titre", "ClinicalDocument"),)
)
MISSING = FamilyReport(Family.IHE, False, reason="le travailleur ne répond pas.", unavailable=True)


async def test_each_family_of_schematrons_is_told() -> None:
    report = await of_families(cda(), RAN, FAILED, MISSING)
    body = checked(report)
    assert body["checks"]["schematron"] == "warned"
    assert [(f["family"], f["ran"], f["failed"]) for f in body["schematron"][0]] == [
        ("strucmin", True, 0),
        ("volet", True, 2),
        ("ihe", False, 0),
    ]
    text = as_text(report)
    assert "Structuration minimale : aucun écart (x.sch)" in text
    assert "volet du document : 2 écarts" in text
    assert "IHE : NON EXÉCUTÉ : le travailleur ne répond pas." in text


GAPS = (
    Assertion("il manque un titre", "ClinicalDocument", "T-1"),
    Assertion("auteur … inconnu", "ClinicalDocument/author/time/@value"),
    Assertion("ailleurs", "ClinicalDocument/(nom inconnu)"),
    Assertion("pas ici", "Autre/chose"),
)


@pytest.mark.parametrize("content", [GOOD, cda()], ids=["message", "document"])
async def test_every_failed_assertion_has_its_line(content: bytes) -> None:
    report = await of_families(content, replace(FAILED, failed=7, assertions=GAPS))
    (family,) = checked(report)["schematron"][0]
    document = report.units[0].documents[0].content.split(b"\n")
    first = next(n for n, line in enumerate(document, 1) if b"<ClinicalDocument" in line)
    author = next(n for n, line in enumerate(document, 1) if b"<author" in line)
    lines = [a["line"] for a in family["assertions"]]
    assert lines[0] == lines[2] and lines[0] in (first, first + 1, first + 2) and lines[3] is None
    assert b"<time" in document[lines[1] - 1] and lines[1] >= author
    assert (family["failed"], family["cut"]) == (7, True)
    assert [(a["text"], a["id"]) for a in family["assertions"]][:2] == [
        ("il manque un titre", "T-1"),
        ("auteur … inconnu", None),
    ]
    text = as_text(report)
    assert f"ligne {lines[1]}" in text and "les 4 premiers sont montrés" in text
    assert "Écarts des schematrons (4)" in text
    # a rule that is off says nothing to people; the JSON has it all
    silent = await of_families(content, replace(FAILED, assertions=GAPS), CDA_SCH_VOLET=Severity.OFF)
    assert "Écarts des schematrons (" not in as_text(silent)
    assert len(checked(silent)["schematron"][0][0]["assertions"]) == 4


async def test_a_bare_document_is_not_told_of_a_place_in_a_message() -> None:
    for content in (b"%PDF-1.7 \n", base64.b64encode(cda()), b"texte"):
        text = as_text(await validator().validate(content, Options()))
        assert "OBX" not in text and "--" not in text, text


async def test_a_family_that_did_not_run_is_no_pass() -> None:
    some = checked(await of_families(cda(), RAN, MISSING))
    assert some["checks"]["schematron"] == "warned"
    none = checked(await of_families(cda(), MISSING))
    assert none["checks"]["schematron"] == "not run"
    for body in (some, none):
        assert rules(body, "warn") == ["CDA-SCH-NOT-RUN"]


@pytest.mark.parametrize("content", [GOOD, cda()], ids=["message", "document"])
async def test_a_family_that_rejects_and_cannot_run_is_an_ar(content: bytes) -> None:
    body = checked(await of_families(content, MISSING, CDA_SCH_IHE=Severity.REJECT))
    assert (body["ack"], rules(body)) == ("AR", ["CDA-SCH-UNAVAILABLE"])
    assert body["checks"]["schematron"] == "not run"


async def test_a_deletion_is_not_judged_by_the_official_layers() -> None:
    body = checked(await of_families(MESSAGES["deletion"], FAILED))
    assert body["checks"]["schematron"] == "not applicable"
    assert body["schematron"] == []


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MESSAGES)
async def test_no_patient_data_in_any_form_of_the_report(name: str) -> None:
    report = await validator().validate(MESSAGES[name], Options(), "m.er7")
    said = as_text(report) + json.dumps(report.as_json(), ensure_ascii=False)
    for word in PATIENT_WORDS:
        assert word not in said, word


async def test_a_layer_that_did_not_run_never_reads_as_approval() -> None:
    report = await validator().validate(MESSAGES["type"], Options(), "m.er7")
    lines = as_text(report).splitlines()
    for name in ("Règles du document CDA", "Versions"):
        (line,) = (text for text in lines if text.strip().startswith(name))
        assert "NON EXÉCUTÉ" in line and "conforme" not in line
    assert any("le verdict ne dit rien d’eux" in line for line in lines)


async def test_the_text_names_place_codes_sentence_and_rule() -> None:
    report = await validator().validate(MESSAGES["not a CDA"], Options(), "m.er7")
    text = as_text(report)
    assert text.startswith("m.er7 : REFUSÉ — la passerelle répondrait AE\n")
    assert "1. OBX n° 1, champ 5 — 102 : " in text and "[CDA-NOT-XML]" in text


def test_every_state_of_a_layer_has_its_words_and_its_rank() -> None:
    assert set(STATES) == set(Layer)
    assert {state for state, words in STATES.items() if words.startswith("conforme")} == {
        Layer.PASSED,
        Layer.WARNED,
    }


# --- official files -------------------------------------------------------------------------------------------------

SAMPLES = sorted(
    p
    for folder in ("hl7", "cda")
    for p in (OFFICIAL / folder).rglob("*")
    if p.suffix in (".er7", ".hl7", ".xml")
)


@pytest.mark.official
@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.name)
@pytest.mark.parametrize("preset", ["production", "interop"])
async def test_every_official_file_has_a_report(path: Path, preset: Preset) -> None:
    body = await report_of(path.read_bytes(), preset=preset)
    if path.suffix == ".xml":
        assert body["verdict"] in ("accept", "warn")
    elif path.parent.name == "adt":
        # read for the indicators: what the ACK would say (the discharge has an empty ZBE-3)
        assert body["ack"] == "AA" and body["verdict"] in ("accept", "warn")
    elif path.parent.name == "zam" or path.name.startswith("ack"):
        assert "MSH9-TYPE" in rules(body)


@pytest.mark.official
def test_official_files_are_there() -> None:
    official("hl7")
    assert len(SAMPLES) > 20


@pytest.mark.parametrize("framed", [False, True])
async def test_a_file_of_too_many_messages_is_never_a_pass_and_lets_others_work(framed: bool) -> None:
    """EXC-TOO-MANY-MESSAGES: a file of some megabytes holds a million small ones."""
    one = build.mdm("T02", build.cda_n1())
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    found = await validator().validate((encode(one) if framed else one) * (MAX_MESSAGES + 50), Options())
    beside.cancel()
    assert turns > MAX_MESSAGES, "the event loop had its turn after each"
    body = found.as_json()
    assert (body["ack"], rules(body)) == ("AE", ["EXC-TOO-MANY-MESSAGES"])
    assert len(found.units) == MAX_MESSAGES + 1
    assert "plus de 200 messages" in as_text(found)
    whole = await validator().validate((encode(one) if framed else one) * MAX_MESSAGES, Options())
    assert (len(whole.units), whole.code) == (MAX_MESSAGES, "AA")
