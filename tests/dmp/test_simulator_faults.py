"""The fault plan, the event log and the control of the simulated DMP, over real sockets (spec dmp §8.2)."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.dmp.simulator import DmpSimulator, Fault, main
from connectors.dmp.simulator.faults import KINDS, read_plan
from connectors.dmp.simulator.patients import read_patients
from connectors.dmp.simulator.pki import Pki
from connectors.dmp.simulator.service import OTHER_MESSAGE
from gateway.errors import ConfigurationFault
from tests.dmp.simulator_client import PATIENT, SOAP, Client, Reply, document
from tests.xds import samples

V1, V2 = "2.25.301", "2.25.302"
MATRICULE = samples.INS.extension or ""


@pytest.fixture
async def client(simulator: DmpSimulator) -> AsyncIterator[Client]:
    made = Client(simulator)
    yield made
    await made.close()


def last(simulator: DmpSimulator) -> tuple[str, str, bool]:
    """Result, fault and keeping of the last call."""
    event = simulator.events[-1]
    return event.result, event.fault, event.kept


# --- each kind --------------------------------------------------------------------------------------------------


async def test_refusal_with_any_codes(client: Client) -> None:
    codes = (("DMPClosed", "DMP fermé"), ("XDSRegistryBusy", "plus tard"))
    client.simulator.plan(Fault("code", codes=codes))
    reply = await client.submit(V1)
    told = [(e.get("errorCode"), e.get("codeContext")) for e in reply.body.iter() if e.get("errorCode")]
    assert (reply.result, told) == ("Failure", list(codes))
    assert last(client.simulator) == ("code", "code", False)
    assert (await client.submit(V1)).result == "Success"


async def test_a_refused_query_answers_as_a_query(client: Client) -> None:
    client.simulator.plan(Fault("code", action="query", code="XDSRegistryBusy"))
    reply = await client.query("5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4", ("$XDSDocumentEntryUniqueId", "('1')"))
    assert (reply.body.tag.rpartition("}")[2], reply.code) == ("AdhocQueryResponse", "XDSRegistryBusy")


async def test_soap_fault(client: Client) -> None:
    client.simulator.plan(Fault("soap_fault", code="DMPInvalidCertificate", words="Le certificat…"))
    reply = await client.submit(V1)
    assert (reply.status, reply.code, reply.words) == (500, "DMPInvalidCertificate", "Le certificat…")
    assert not client.simulator.documents


@pytest.mark.parametrize("kind", ["drop", "commit_then_drop"])
async def test_cut_before_and_after_commit(client: Client, kind: Any) -> None:
    """No answer either way; the document is there or not."""
    client.simulator.plan(Fault(kind))
    with pytest.raises(httpx.TransportError):
        await client.submit(V1)
    kept = kind == "commit_then_drop"
    assert (V1 in client.simulator.documents) is kept
    assert client.simulator.events[-1].kept is kept
    assert await client.find(V1) == ([client.simulator.documents[V1].entry_uuid] if kept else [])


async def plain(client: Client) -> httpx.Response:
    """A submission whose answer is no SOAP."""
    body, parts = client.submission(V1, document(V1))
    made: list[httpx.Response] = []

    async def keep(response: httpx.Response) -> None:
        await response.aread()
        made.append(response)

    client.http.event_hooks["response"] = [keep]
    with pytest.raises(Exception):  # noqa: B017  # whatever the reader makes of it
        await client.send("submit", body, parts=parts)
    return made[0]


async def test_http_with_retry_after(client: Client) -> None:
    client.simulator.plan(Fault("http", retry_after=30))
    got = await plain(client)
    assert (got.status_code, got.headers["retry-after"], got.content) == (503, "30", b"")
    assert not client.simulator.documents


async def test_html(client: Client) -> None:
    client.simulator.plan(Fault("html"))
    got = await plain(client)
    assert (got.status_code, got.headers["content-type"]) == (500, "text/html")
    assert b"<html>" in got.content
    assert not client.simulator.documents


async def test_truncated_mime(client: Client) -> None:
    client.simulator.plan(Fault("cut_body"))
    got = await plain(client)
    assert got.status_code == 200
    assert b"--uuid:" in got.content
    assert not got.content.rstrip().endswith(b"--")
    assert V1 in client.simulator.documents


async def test_wrong_relates_to(client: Client) -> None:
    client.simulator.plan(Fault("wrong_relates_to"))
    reply = await client.submit(V1)
    assert (reply.result, reply.relates) == ("Success", OTHER_MESSAGE)
    assert V1 in client.simulator.documents


@pytest.mark.parametrize(
    ("kind", "status", "severity"),
    [("warning", "Success", "Warning"), ("partial", "PartialSuccess", "Error")],
)
async def test_warning_and_partial_success(client: Client, kind: Any, status: str, severity: str) -> None:
    client.simulator.plan(Fault(kind, code="XDSExtraMetadataNotSaved"))
    reply = await client.submit(V1)
    assert (reply.result, reply.code) == (status, "XDSExtraMetadataNotSaved")
    (error,) = [e for e in reply.body.iter() if e.get("errorCode")]
    assert (error.get("severity") or "").endswith(severity)
    assert V1 in client.simulator.documents


async def test_delay_and_slow_body(client: Client) -> None:
    """At least the time asked for; the slow answer comes in pieces and is whole."""
    client.simulator.plan(Fault("delay", seconds=0.2))
    start = time.monotonic()
    assert (await client.submit(V1)).result == "Success"
    assert time.monotonic() - start >= 0.2
    client.simulator.plan(Fault("slow_body", seconds=0.4))
    body, parts = client.submission(V2, document(V2))
    pieces = []

    async def count(response: httpx.Response) -> None:
        async for chunk in response.aiter_raw():
            pieces.append((time.monotonic(), chunk))

    client.http.event_hooks["response"] = [count]
    with pytest.raises(httpx.StreamConsumed):
        await client.send("submit", body, parts=parts)
    assert pieces[-1][0] - pieces[0][0] >= 0.2
    assert b"ResponseStatusType:Success" in b"".join(chunk for _, chunk in pieces)


async def test_huge_body_is_a_good_answer_when_one_reads_it_all(client: Client) -> None:
    client.simulator.plan(Fault("huge_body", size=3_000_000))
    reply = await client.submit(V1)
    assert reply.result == "Success"
    assert int(reply.headers["content-length"]) > 3_000_000


@pytest.mark.parametrize(
    ("kind", "reason"), [("expired_certificate", "expired"), ("other_certificate", "issuer")]
)
async def test_server_certificates_to_be_refused(client: Client, kind: Any, reason: str) -> None:
    """Kept connections are closed; the next handshake shows it, the one after is right again."""
    assert (await client.submit(V1)).result == "Success"
    client.simulator.plan(Fault(kind))
    with pytest.raises(httpx.ConnectError) as refused:
        await client.submit(V2)
    cause: BaseException | None = refused.value
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    assert isinstance(cause, ssl.SSLCertVerificationError)
    assert reason in cause.verify_message
    assert (await client.submit(V2)).result == "Success"
    assert [e.unique_id for e in client.simulator.events] == [V1, V2]


# --- what a fault matches ---------------------------------------------------------------------------------------


async def told(client: Client, *uids: str, **options: Any) -> list[str]:
    made: list[Reply] = [await client.submit(uid, **options) for uid in uids]
    return [r.code for r in made]


async def test_faults_match_call_document_transaction_and_patient(client: Client) -> None:
    plan = client.simulator.plan
    plan(Fault("code", unique_id=V2, code="A"))
    plan(Fault("code", action="submit", call=3, code="B"))
    plan(Fault("code", transaction="TD2.1b", code="C"))
    assert await told(client, V1, V2, "2.25.303", "2.25.304") == ["", "A", "B", ""]
    (old,) = await client.find(V1)
    assert await told(client, V2, replaces=old) == ["C"]
    plan(Fault("code", patient="000000000000000", code="D"))
    plan(Fault("code", patient=MATRICULE, code="E", times=2))
    assert await told(client, V2, V2, V2) == ["E", "E", ""]
    assert [f.hits for f in client.simulator.faults] == [1, 1, 1, 0, 2]


async def test_a_fault_that_always_hits_and_the_first_that_matches(client: Client) -> None:
    client.simulator.plan(Fault("code", times=0, code="A"))
    client.simulator.plan(Fault("code", times=0, code="B"))
    assert await told(client, V1, V1, V1) == ["A", "A", "A"]
    client.simulator.clear_faults()
    assert await told(client, V1) == [""]


def test_plan_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(
        '[[fault]]\nkind = "http"\ntransaction = "TD2.1a"\ncall = 2\nretry_after = 5\n'
        '[[fault]]\nkind = "code"\ncodes = [["DMPClosed", "DMP fermé"]]\ntimes = 0\n'
    )
    first, second = read_plan(file)
    assert (first.kind, first.transaction, first.call, first.retry_after) == ("http", "TD2.1a", 2, 5)
    assert (second.errors(), second.times) == ((("DMPClosed", "DMP fermé"),), 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[fault]]\nkind = "explode"', "fault 1: kind"),
        ('[[fault]]\nkind = "drop"\n[[fault]]\nkind = "drop"\nwhen = 3', "fault 2: unknown key when"),
        ("[[fault]]\ncall = 1", "fault 1: kind"),
        ('[fault]\nkind = "drop"', "only"),
        ("x = 1", "only"),
        ("[[", "plan.toml"),
    ],
)
def test_wrong_plan_files_are_told(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationFault, match=words):
        read_plan(file)


def test_patients_file(tmp_path: Path) -> None:
    file = tmp_path / "patients.toml"
    file.write_text('default = "unknown"\n[patients]\n"184127512398748" = "closed"\n')
    assert read_patients(file) == ({"184127512398748": "closed"}, "unknown")
    file.write_text('[patients]\n"184127512398748" = "dead"\n')
    with pytest.raises(ConfigurationFault) as wrong:
        read_patients(file)
    assert "184127512398748" not in str(wrong.value)


# --- events -----------------------------------------------------------------------------------------------------


async def test_events_tell_everything_but_the_patient(pki: Pki, tmp_path: Path) -> None:
    """One JSON line for each call: transaction, identifiers, outcome, the check that refused; no patient data."""
    file = tmp_path / "log" / "events.jsonl"
    made = DmpSimulator(pki.directory.parent, events_file=file)
    async with made.running():
        client = Client(made)
        await client.submit(V1)
        await client.submit(V1)
        await client.submit(V2, assertion=client.vihf(mode="DIRECTE"))
        await client.query(
            "14d4debf-8f97-4251-9a74-a90016b0af0d",
            ("$XDSDocumentEntryPatientId", f"'{PATIENT}'"),
            ("$XDSDocumentEntryStatus", "('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')"),
        )
        other = PATIENT.replace(MATRICULE, "184127512398748")
        await client.retrieve(V1, assertion=client.air(patient=other))
        await client.raw("registry", "text/plain", b"x")
        await client.close()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    short = [
        (e["transaction"], e["unique_id"], e["result"], e["check"], e["patient"], e["kept"]) for e in lines
    ]
    assert short == [
        ("TD2.1a", V1, "Success", "", "patient-1", True),
        ("TD2.1a", V1, "XDSDuplicateUniqueIdInRegistry", "documents", "patient-1", False),
        ("TD2.1a", V2, "InvalidSecurity", "vihf", "patient-1", False),
        ("TD3.1a", "", "Success", "", "patient-1", False),
        ("TD3.2", V1, "XDSDocumentUniqueIdError", "query", "patient-2", False),
        ("", "", "Fault", "message", "", False),
    ]
    assert [e["number"] for e in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[0]["message_id"].startswith("urn:uuid:")
    assert MATRICULE not in file.read_text()
    assert not any(MATRICULE in line for line in made.history())


async def test_an_event_is_written_before_the_answer(pki: Pki, tmp_path: Path) -> None:
    """What was committed before a cut is in the file when the client sees the cut."""
    file = tmp_path / "events.jsonl"
    made = DmpSimulator(pki.directory.parent, events_file=file, faults=[Fault("commit_then_drop")])
    async with made.running():
        client = Client(made)
        with pytest.raises(httpx.TransportError):
            await client.submit(V1)
        (event,) = [json.loads(line) for line in file.read_text().splitlines()]
        assert (event["kept"], event["fault"], event["result"]) == (True, "commit_then_drop", "Success")
        await client.close()


# --- TD0.2 ------------------------------------------------------------------------------------------------------


HL7 = "{urn:hl7-org:v3}"


async def exists(client: Client, patient: str = PATIENT, **options: Any) -> Reply:
    from lxml import etree

    number, oid = patient.split("^")[0], patient.split("&")[1]
    body = etree.fromstring(
        '<PRPA_IN201307UV02 xmlns="urn:hl7-org:v3"><id root="1.2.3" extension="7"/><controlActProcess>'
        f'<reasonCode code="{options.pop("reason", "TEST_EXST")}" codeSystem="1.2.250.1.213.1.1.4.11"/>'
        '<queryByParameter><queryId root="1.2.4"/><parameterList><patientIdentifier>'
        f'<value root="{oid}" extension="{number}"/></patientIdentifier></parameterList></queryByParameter>'
        "</controlActProcess></PRPA_IN201307UV02>"
    )
    return await client.send("exist", body, assertion=client.vihf(patient=patient), **options)


def code_of(reply: Reply, name: str) -> str:
    found = reply.body.find(f".//{HL7}{name}")
    return (found.get("code") or "") if found is not None else ""


@pytest.mark.parametrize(
    ("state", "response", "authorisation", "status"),
    [
        ("open", "OK", "VALIDE", "active"),
        ("closed", "OK", "VALIDE", "terminated"),
        ("unknown", "NF", "", ""),
        ("opposed", "OK", "sim:INTERDITE", "active"),
    ],
)
@pytest.mark.parametrize("route", ["patients", "patient"])
async def test_existence(
    client: Client, state: str, response: str, authorisation: str, status: str, route: str
) -> None:
    """§1.6, at both addresses of §1.2."""
    client.simulator.patients.set("184127512398748", state)
    patient = PATIENT.replace(MATRICULE, "184127512398748")
    reply = await exists(client, patient, route=route)
    assert code_of(reply, "queryResponseCode") == response
    assert code_of(reply, "attentionLine/{urn:hl7-org:v3}value") == authorisation
    assert code_of(reply, "patient/{urn:hl7-org:v3}statusCode") == status
    assert code_of(reply, "acknowledgement/{urn:hl7-org:v3}typeCode") == "AA"
    assert client.simulator.events[-1].transaction == "TD0.2"


async def test_existence_of_another_patient_or_for_another_reason(client: Client) -> None:
    assert (await exists(client, reason="CNSLT_DATA")).result == "Fault"

    def other(envelope: Any) -> None:
        value = envelope.find(f"{SOAP}Body//{HL7}patientIdentifier/{HL7}value")
        value.set("extension", "184127512398748")

    assert (await exists(client, change=other)).code == "InvalidSecurity"


# --- control ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def controlled(pki: Pki) -> AsyncIterator[tuple[Client, httpx.AsyncClient]]:
    made = DmpSimulator(pki.directory.parent, control_port=0)
    async with made.running():
        client = Client(made)
        async with httpx.AsyncClient(base_url=made.control_address(), trust_env=False) as control:
            yield client, control
        await client.close()


async def test_control_reads_plans_and_resets(controlled: tuple[Client, httpx.AsyncClient]) -> None:
    client, control = controlled
    assert (await control.post("/faults", json={"kind": "code", "code": "DMPClosed"})).status_code == 201
    assert (await client.submit(V1)).code == "DMPClosed"
    assert (await client.submit(V1)).result == "Success"
    events = (await control.get("/events")).json()
    assert [e["result"] for e in events] == ["code", "Success"]
    assert (await control.get("/events", params={"since": 1})).json() == events[1:]
    (kept,) = (await control.get("/documents")).json()
    assert (kept["uniqueId"], kept["status"], kept["size"]) == (V1, "Approved", len(document(V1)))
    assert (await control.get("/faults")).json()[0]["hits"] == 1
    assert (await control.delete("/faults")).status_code == 204
    assert (await control.get("/faults")).json() == []
    assert (await control.post("/patients", json={MATRICULE: "closed"})).status_code == 204
    assert (await client.submit(V2)).code == "DMPClosed"
    states = await control.get("/patients")
    assert states.json() == {
        "default": "open",
        "given": {"open": 0, "closed": 1, "unknown": 0, "opposed": 0},
        "seen": {"patient-1": "closed"},
    }
    assert MATRICULE not in states.text
    assert (await control.post("/reset")).status_code == 204
    assert (await control.get("/documents")).json() == (await control.get("/events")).json() == []


async def test_control_refuses_what_it_cannot_read(controlled: tuple[Client, httpx.AsyncClient]) -> None:
    """And what a web page could send: another Host, a form."""
    _, control = controlled
    assert (await control.post("/faults", json={"kind": "x"})).status_code == 422
    assert (await control.post("/faults", json=[1])).status_code == 422
    for name in ("TD9.9", "td2.1a", ""):
        answer = await control.post("/faults", json={"kind": "drop", "transaction": name})
        assert answer.status_code == 422 and "TD2.1a" in answer.json()["detail"]
    assert (await control.get("/faults")).json() == []
    assert (await control.post("/patients", json={MATRICULE: "dead"})).status_code == 422
    form = {"content-type": "text/plain"}
    assert (await control.post("/faults", content=b'{"kind":"drop"}', headers=form)).status_code == 415
    assert (await control.get("/events", headers={"host": "evil.example"})).status_code == 400
    for sign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert (await control.post("/reset", headers=sign)).status_code == 403


async def test_control_gives_no_patient(controlled: tuple[Client, httpx.AsyncClient]) -> None:
    client, control = controlled
    await control.post("/faults", json={"kind": "delay", "patient": MATRICULE})
    await client.submit(V1)
    for path in ("/events", "/documents", "/faults"):
        assert MATRICULE not in (await control.get(path)).text


async def test_control_stays_while_the_dmp_is_down(controlled: tuple[Client, httpx.AsyncClient]) -> None:
    client, control = controlled
    assert (await control.post("/down")).status_code == 204
    with pytest.raises(httpx.TransportError):
        await client.submit(V1)
    assert (await control.get("/events")).status_code == 200
    assert (await control.post("/up")).status_code == 204
    assert (await client.submit(V1)).result == "Success"


async def test_what_is_kept_while_the_dmp_goes_down_is_in_the_log(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the chaos harness: the document was there, and no event said so."""
    simulator = client.simulator
    begun, go_on = threading.Event(), threading.Event()
    run = simulator._service.run

    def slowly(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(10)
        return run(*arguments)

    monkeypatch.setattr(simulator._service, "run", slowly)
    call = asyncio.create_task(client.submit(V1))
    assert await asyncio.to_thread(begun.wait, 10)
    await simulator.down()  # it gives up the call
    go_on.set()
    await asyncio.gather(call, return_exceptions=True)
    async with asyncio.timeout(60):
        while not simulator.events:
            await asyncio.sleep(0.01)
    assert V1 in simulator.documents
    assert last(simulator) == ("Success", "", True)


# --- alone ------------------------------------------------------------------------------------------------------


def test_command_line_tells_wrong_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('[[fault]]\nkind = "explode"')
    assert main(["--directory", str(tmp_path), "--faults", str(file)]) == 1
    assert "fault 1: kind" in capsys.readouterr().err


async def test_command_line_serves_alone(tmp_path: Path) -> None:
    """As another editor uses it: started as a process, spoken to with its own certificates, stopped by SIGTERM."""
    import sys

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", "simulator", "dmp", "--port", "0", "--control", "0",
        "--directory", str(tmp_path), "--events", str(tmp_path / "e.jsonl"), "--opposed", MATRICULE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    seen = ""
    while "ca_bundle" not in seen:
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        assert line
        seen += line
    assert "aucune validation XSD" in seen
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 30) == 0


def test_every_kind_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "simulator-dmp.md").read_text()
    for kind in KINDS:
        assert f"`{kind}`" in text, kind
