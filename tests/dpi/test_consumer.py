"""The simulated DPI as consumer, on the wire: structure, patients, versions, answers on order, control.

Source: volet Transmission au LPS v1.1.2 (spec/mssante.md §2.3 to §2.5).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from connectors.dpi.simulator import DpiSimulator, Patient, create, main, send
from connectors.dpi.simulator.structure import check
from connectors.mss.inbound import mdm
from connectors.mss.inbound.mdm import Route
from fixtures import build
from gateway.errors import EnvironmentFault
from gateway.hl7.acknowledgement import Acknowledgement, read
from gateway.hl7.message import Message
from gateway.hl7.transmission import Action
from tests.mss.inbound import samples
from tests.official import official

ROOT = "1.2.250.1.71.4.2.2.990000010.66"
ROUTE = Route("PFI", "HOPITAL-B", "DPI", "HOPITAL-B", "T")
KNOWN = Patient(build.PATIENT.ins, "TEST-DURAND", "CAMILLE", "19841203", "M")
ACTIONS = {"T02": Action.SUBMIT, "T10": Action.REPLACE, "T04": Action.DELETE}


def cda(version: int = 1, replaces: int | None = None, uid: int | None = None, **more: object) -> bytes:
    return build.cda_n1(
        uid=f"{ROOT}.{uid or version}",
        set_id=f"{ROOT}.0",
        version=version,
        replaces=f"{ROOT}.{replaces}" if replaces else None,
        payload=samples.PDF,
        **more,  # type: ignore[arg-type]
    )


def _message(event: str, content: bytes, control_id: str) -> bytes:
    received = samples.receive(samples.mail(ACTIONS[event], content))
    [document] = received.documents
    moment = datetime(2026, 1, 10, tzinfo=UTC)
    # identities are the DPI's to judge: our own rules on them are left out here
    return mdm.build(document, received.mail, ROUTE, control_id=control_id, now=moment)


async def message(event: str, content: bytes, control_id: str = "M1") -> bytes:
    return await asyncio.to_thread(_message, event, content, control_id)


async def give(dpi: DpiSimulator, raw: bytes) -> Acknowledgement:
    return read(await send("127.0.0.1", dpi.port, raw, timeout=10))


def codes(answer: Acknowledgement) -> list[tuple[str, str, str]]:
    """ERR-2, ERR-3, ERR-5."""
    return [(e.location, e.err3, e.err5) for e in answer.errors]


@pytest.fixture
async def dpi(tmp_path: Path) -> AsyncIterator[DpiSimulator]:
    simulator = create(
        tmp_path, consumer=True, patients=[KNOWN], control_port=0, events_file=tmp_path / "events.jsonl"
    )
    await simulator.start()
    yield simulator
    await simulator.stop()


async def test_a_document_is_kept_with_its_exact_bytes(dpi: DpiSimulator) -> None:
    content = cda()
    answer = await give(dpi, await message("T02", content))
    assert (answer.code, answer.acknowledged, answer.errors) == ("AA", "M1", ())
    [kept] = dpi.documents.kept
    assert (kept.uid, kept.set_key, kept.version, kept.content) == (f"{ROOT}.1", f"{ROOT}.0", 1, content)


async def test_an_error_is_written_as_in_the_lines_of_the_volet(dpi: DpiSimulator) -> None:
    """§2.4: ERR-2, ERR-3, ERR-4, ERR-5 alone."""
    dpi.documents.patients = []
    raw = await send("127.0.0.1", dpi.port, await message("T02", cda()))
    [err] = [line for line in raw.decode().split("\r") if line.startswith("ERR")]
    assert re.fullmatch(
        r"ERR\|\|PID\^1\^3\|207\^Application error\^messageErrorCondition\|E\|902\^[^|^]+\^applicationErrorCondition",
        err,
    )


PATIENTS = {
    "902": (KNOWN, replace(build.PATIENT, ins="2790351215189" + build.ins_key("2790351215189"), sex="F")),
    "904 traits": (replace(KNOWN, given="DOMINIQUE"), build.PATIENT),
    "904 matricule": (replace(KNOWN, ins="184127512398899"), build.PATIENT),
    "905": (KNOWN, replace(build.PATIENT, birth_given="")),
}


@pytest.mark.parametrize("case", PATIENTS)
async def test_patients(dpi: DpiSimulator, case: str) -> None:
    """§2.4: 902 unknown, 904 another matricule or other traits, 905 a trait is missing."""
    known, sent = PATIENTS[case]
    dpi.documents.patients = [known]
    answer = await give(dpi, await message("T02", cda(patient=sent)))
    assert answer.code == "AE" and [e.err5 for e in answer.errors] == [case[:3]]
    assert dpi.documents.kept == []


async def test_without_ins(dpi: DpiSimulator) -> None:
    """§2.4: 903."""
    raw = await message("T02", cda())
    plain = cda(with_ins=False)
    raw = re.sub(rb"\|\d{15}\^\^\^ASIP-SANTE-INS-NIR[^|~]*~", b"|", raw, count=1)
    answer = await give(dpi, with_document(raw, plain))
    assert codes(answer) == [("PID^1^3", "207", "903")]


def with_document(raw: bytes, content: bytes) -> bytes:
    return re.sub(
        rb"(\^XML\^Base64\^)[A-Za-z0-9+/=]+", lambda m: m[1] + base64.b64encode(content), raw, count=1
    )


async def play(dpi: DpiSimulator, *steps: tuple[str, bytes]) -> list[str]:
    """Messages one after the other: AA, or the application code of the only error."""
    found = []
    for number, (event, content) in enumerate(steps, 1):
        answer = await give(dpi, await message(event, content, f"V{number}"))
        found.append(answer.code if answer.code == "AA" else answer.errors[0].err5)
    return found


async def test_versions_follow_one_another(dpi: DpiSimulator) -> None:
    """§2.5: V1, V2 replaces V1, V2 is deleted; V1 is the latest again."""
    assert await play(dpi, ("T02", cda()), ("T10", cda(2, 1)), ("T04", cda(2, 1))) == ["AA", "AA", "AA"]
    assert [dpi.documents.state(k) for k in dpi.documents.kept] == ["latest", "deleted"]


OTHERS = {"finess": "1990000028", "authors": (build.Professional(id="810100000099"),)}


@pytest.mark.parametrize(
    ("steps", "answers"),
    [
        pytest.param([("T02", 1, 0), ("T02", 1, 0)], ["AA", "906"], id="same id"),
        pytest.param([("T02", 1, 0), ("T10", 3, 1), ("T02", 2, 0)], ["AA", "AA", "AA"], id="a late version"),
        pytest.param([("T02", 1, 0), ("T10", 2, 1), ("T10", 3, 1)], ["AA", "AA", "900"], id="not the latest"),
        pytest.param([("T10", 2, 1)], ["900"], id="unknown"),
        pytest.param([("T04", 1, 0)], ["900"], id="deletion of an unknown one"),
        pytest.param([("T02", 1, 0), ("T10", 2, 1), ("T04", 1, 0)], ["AA", "AA", "900"], id="deletion of V1"),
        pytest.param([("T02", 1, 0), ("T04", 1, 0), ("T04", 1, 0)], ["AA", "AA", "900"], id="deleted before"),
    ],
)
async def test_version_rules(
    dpi: DpiSimulator, steps: list[tuple[str, int, int]], answers: list[str]
) -> None:
    """§2.5; the latest stays the highest version."""
    assert await play(dpi, *((e, cda(v, r or None)) for e, v, r in steps)) == answers
    latest = dpi.documents.latest(f"{ROOT}.0")
    if latest is not None:
        assert latest.version == max(
            k.version or 0 for k in dpi.documents.kept if dpi.documents.state(k) != "deleted"
        )


async def test_the_same_version_under_another_id(dpi: DpiSimulator) -> None:
    """§2.5: same set, same version."""
    assert await play(dpi, ("T02", cda()), ("T02", cda(1, uid=7))) == ["AA", "906"]


async def test_another_organisation_may_not_replace(dpi: DpiSimulator) -> None:
    """§2.4: 901."""
    assert await play(dpi, ("T02", cda()), ("T10", cda(2, 1, **OTHERS))) == ["AA", "901"]


WRONG: dict[str, tuple[str, bytes, bytes, tuple[str, str, str]]] = {
    "event": ("T02", b"MDM^T02^MDM_T02", b"MDM^T11^MDM_T02", ("MSH^1^9^1^2", "201", "")),
    "version": ("T02", b"|2.6|", b"|2.5|", ("MSH^1^12", "203", "")),
    "profile": ("T02", b"1.1^CISIS_CDA_HL7_LPS", b"1.0^CISIS_CDA_HL7_LPS", ("MSH^1^21", "203", "")),
    "processing": ("T02", b"|T|2.6", b"|X|2.6", ("MSH^1^11", "202", "")),
    "order": ("T02", b"PV1||N\rORC|NW\r", b"ORC|NW\rPV1||N\r", ("", "100", "")),
    "a segment too much": ("T02", b"\rPV1||N", b"\rZZZ|1\rPV1||N", ("", "100", "")),
    "ORC-1": ("T02", b"ORC|NW", b"ORC|RO", ("ORC^1^1", "103", "")),
    "PV1-2": ("T02", b"PV1||N", b"PV1||I", ("PV1^1^2", "103", "")),
    "PID-3": ("T02", b"|184127512398", b"|184127512399", ("PID^1^3", "199", "")),
    "TXA-12": ("T02", f"|{ROOT}.1|".encode(), f"|{ROOT}.9|".encode(), ("TXA^1^12", "199", "")),
    "TXA-13": ("T10", f"|{ROOT}.1|".encode(), f"|{ROOT}.9|".encode(), ("TXA^1^13", "199", "")),
    "TXA-13 absent": ("T10", f"|{ROOT}.1|".encode(), b"||", ("TXA^1^13", "101", "")),
    "OBX-5": ("T02", b"XML^Base64^PD94", b"XML^Base64^!D94", ("OBX^1^5", "102", "")),
    "no CDA": ("T02", b"XML^Base64^PD94", b"XML^Base64^AAAA", ("OBX^1^5", "102", "")),
    "MASQUE_PS": ("T02", b"^MetaDMPMSS||N^", b"^MetaDMPMSS||Y^", ("OBX^3^5", "207", "906")),
    "flag": ("T02", b"INVISIBLE_PATIENT^", b"INVISIBLE_PATIENTE^", ("OBX^4^3", "103", "")),
    "sender": ("T02", b"SB^Send by", b"ZZ^Send by", ("PRT", "198", "")),
    "address": ("T02", b"^^X.400^", b"^^NET^", ("PRT^1^15", "101", "")),
}


@pytest.mark.parametrize("case", WRONG)
async def test_structure(dpi: DpiSimulator, case: str) -> None:
    """§2.3: what a DPI refuses, with the place."""
    event, old, new, expected = WRONG[case]
    raw = await message(event, cda(2, 1) if event == "T10" else cda())
    assert old in raw
    answer = await give(dpi, raw.replace(old, new, 1))
    assert answer.code == "AE" and expected in codes(answer)
    assert dpi.documents.kept == [] and dpi.events[-1].kept is False


async def test_all_errors_are_said(dpi: DpiSimulator) -> None:
    raw = (await message("T02", cda())).replace(b"PV1||N", b"PV1||I").replace(b"ORC|NW", b"ORC|CA")
    assert [c[0] for c in codes(await give(dpi, raw))] == ["PV1^1^2", "ORC^1^1"]


async def test_a_repetition_gets_the_same_answer_and_is_kept_once(dpi: DpiSimulator) -> None:
    """The gateway sends again with the same MSH-10 when an answer was lost."""
    raw = await message("T02", cda())
    dpi.plan("cut", "drop")
    with pytest.raises(EnvironmentFault):
        await give(dpi, raw)
    with pytest.raises(EnvironmentFault):
        await give(dpi, raw)
    assert (await give(dpi, raw)).code == "AA"
    assert [(e.answer, e.kept, e.again) for e in dpi.events] == [
        ("cut", True, False),
        ("drop", False, True),
        ("AA", False, True),
    ]
    assert len(dpi.documents.kept) == 1
    other = await give(dpi, await message("T02", cda(2)))
    assert codes(other) == [("MSH^1^10", "199", "")]


async def test_what_is_lost_or_refused_for_a_circumstance_is_not_kept(dpi: DpiSimulator) -> None:
    raw = await message("T02", cda())
    dpi.plan("AR", "drop")
    assert (await give(dpi, raw)).code == "AR"
    with pytest.raises(EnvironmentFault):
        await give(dpi, raw)
    assert dpi.documents.kept == []
    assert (await give(dpi, raw)).code == "AA"
    assert len(dpi.documents.kept) == 1


async def test_answers_on_order(dpi: DpiSimulator) -> None:
    dpi.plan("AE:904", "other", "late:0.3")
    assert codes(await give(dpi, await message("T02", cda()))) == [("", "207", "904")]
    assert (await give(dpi, await message("T02", cda(), "M2"))).acknowledged == "AUTRE-MESSAGE"
    started = asyncio.get_running_loop().time()
    assert (await give(dpi, await message("T10", cda(2, 1), "M3"))).code == "AA"
    assert asyncio.get_running_loop().time() - started >= 0.3
    with pytest.raises(ValueError):
        dpi.plan("AA", "perhaps")
    assert dpi.planned == []


async def test_the_control(dpi: DpiSimulator) -> None:
    async with httpx.AsyncClient(base_url=dpi.control_address(), trust_env=False) as http:
        assert (await http.post("/plan", json={"answers": ["AE:901", "late:9"]})).status_code == 204
        assert (await http.get("/plan")).json() == ["AE:901", "late:9"]
        assert (await http.post("/plan", json={"answers": ["no"]})).status_code == 422
        assert (await http.post("/plan", json={"answers": 3})).status_code == 422
        assert (await http.delete("/plan")).status_code == 204
        await give(dpi, await message("T02", cda()))
        [document] = (await http.get("/documents")).json()
        assert (document["state"], document["version"], document["control_id"]) == ("latest", 1, "M1")
        [event] = (await http.get("/events")).json()
        assert (event["type"], event["answer"], event["kept"]) == ("MDM^T02", "AA", True)
        assert (await http.get("/patients")).json() == {"everybody": False, "count": 1}
        assert (await http.post("/patients", json={"patients": [{"ins": 3}]})).status_code == 422
        assert (await http.post("/patients", json={"patients": [asdict(KNOWN)]})).status_code == 204
        assert (await http.post("/patients", json={"patients": None})).status_code == 204
        assert (await http.get("/patients")).json()["everybody"] is True
        assert (await http.post("/down")).status_code == 204
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", dpi.port), 1).close()
        assert (await http.post("/up")).status_code == 204
        assert (await http.post("/reset")).status_code == 204
        assert (await http.get("/documents")).json() == []
        assert (await http.get("/events", headers={"Origin": "http://example.org"})).status_code == 403


async def test_nothing_of_the_patient_shows(dpi: DpiSimulator, tmp_path: Path) -> None:
    """Events, history, control: no identity."""
    await give(dpi, await message("T02", cda()))
    dpi.documents.patients = []
    await give(dpi, await message("T02", cda(2), "M2"))
    async with httpx.AsyncClient(base_url=dpi.control_address(), trust_env=False) as http:
        shown = (await http.get("/documents")).text + (await http.get("/patients")).text
    shown += (tmp_path / "events.jsonl").read_text("utf-8") + "".join(dpi.history())
    shown += repr([asdict(e) for e in dpi.events]) + repr(dpi.documents.kept) + repr(KNOWN)
    for secret in (build.PATIENT.ins, "DURAND", "CAMILLE", "19841203"):
        assert secret not in shown
    assert json.loads((tmp_path / "events.jsonl").read_text("utf-8").splitlines()[0])["answer"] == "AA"


@pytest.mark.official
def test_the_official_message_is_understood() -> None:
    """The official T02 (volet v1.1): nothing is against it but what the sample itself breaks (spec §6)."""
    path = official("hl7", "lps-v1.1", "message_MDM__LPS_MSS_CR_Radio_INIT_N1_Base64.er7")
    found = check(Message.parse(path.read_bytes().replace(b"\n", b"\r")))
    assert found.cda is not None
    assert [(str(e), e.place) for e in found.errors] == []


def test_a_file_of_patients_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "known.toml").write_text('[[patient]]\nins = "SECRET"\n', "utf-8")
    with pytest.raises(SystemExit):
        main(["--consumer", "--patients", str(tmp_path / "known.toml"), "--directory", str(tmp_path / "d")])
    said = capsys.readouterr().err
    assert "patients: 0.birth, 0.family, 0.given" in said and "SECRET" not in said
