"""The API for the DPI, in AIR mode, against the simulator: every query, retrieval, updates, lineage, refusals."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from connectors.dmp.connector import DmpConnector
from connectors.dmp.roles import PROFESSIONS, SPECIALTIES
from connectors.dmp.settings import Role
from connectors.dmp.simulator import DmpSimulator, Fault
from connectors.dmp.vihf import VihfSubject
from connectors.port import OutcomeClass, Predecessor
from fixtures import build
from gateway.app import Gateway
from gateway.cda.document import RelatedDocument
from gateway.errors import ConfigurationFault, JournalUnavailable
from gateway.hl7.transmission import Action, Code, InstanceId
from gateway.settings import Settings
from tests.dmp.conftest import Dpi, connector_for
from tests.xds import samples

V1, V2, V3 = (f"{samples.ROOT}.1.{n}" for n in (1, 2, 3))
TOKEN = secrets.token_urlsafe(32)
READER = secrets.token_urlsafe(32)
UNKNOWN = f"{samples.ROOT}.404"
NOW = datetime.now(UTC)
VIHF_SUBJECT = VihfSubject(
    structure=build.FINESS,
    name_id="810100000016",
    display="MARTIN Claude",
    patient=f"{build.PATIENT.ins}^^^&{build.INS_TEST}&ISO^NH",
    roles=(
        Role(code="10", system=PROFESSIONS, label="Médecin"),
        Role(code="SM26", system=SPECIALTIES["10"], label="Qualifié en Médecine Générale (SM)"),
    ),
)


def user(**changes: Any) -> dict[str, Any]:
    """A radiologist, authenticated now."""
    return {
        "id": "810100000016",
        "family": "MARTIN",
        "given": "Claude",
        "roles": [
            {"code": "10", "system": PROFESSIONS},
            {"code": "SM26", "system": SPECIALTIES["10"]},
        ],
        "structure": build.FINESS,
        "structure_name": "Hôpital de test",
        "authenticated_at": datetime.now(UTC).isoformat(),
        "authentication": "urn:oasis:names:tc:SAML:2.0:ac:classes:MobileTwoFactorUnregistered",
        **changes,
    }


PATIENT = {"ins": build.PATIENT.ins, "oid": build.INS_TEST}


def token_file(folder: Path) -> Path:
    path = folder / "tokens.toml"
    path.write_text(
        "\n".join(
            f'[[token]]\nname = "{name}"\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
            f"scopes = {scopes}\n"
            for name, token, scopes in (
                ("dpi", TOKEN, '["consult", "update"]'),
                ("lecture", READER, '["consult"]'),
            )
        )
    )
    return path


@dataclass
class Api:
    """A client, what the journal was given, and a DPI to fill the DMP with."""

    http: httpx.AsyncClient
    simulator: DmpSimulator
    connector: DmpConnector
    dpi: Dpi
    entries: list[Mapping[str, Any]] = field(default_factory=list)
    journal_down: bool = False

    async def audit(self, entry: Mapping[str, Any]) -> None:
        if self.journal_down:
            raise JournalUnavailable("full")
        self.entries.append(entry)

    async def post(self, path: str, token: str = TOKEN, **body: Any) -> httpx.Response:
        given = {"user": user(), "patient": PATIENT, **body}
        return await self.http.post(path, json=given, headers={"Authorization": f"Bearer {token}"})

    async def good(self, path: str, **body: Any) -> dict[str, Any]:
        answer = await self.post(path, **body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def publish(self, action: Action = Action.SUBMIT, **header: Any) -> str:
        """A document in the DMP; its uniqueId."""
        related = bool(header.get("related"))
        document = samples.document(**header)
        predecessor = Predecessor.DELIVERED if related else Predecessor.NONE
        outcome = await self.connector.deliver(await self.dpi.job(document, action, predecessor))
        assert outcome.outcome is OutcomeClass.SUCCESS, outcome
        return document.uid

    async def three_versions(self) -> None:
        await self.publish()
        for uid, old, version in ((V2, V1, 2), (V3, V2, 3)):
            await self.publish(
                Action.REPLACE,
                id=InstanceId(uid),
                version=version,
                related=(RelatedDocument("RPLC", InstanceId(old)),),
            )


@pytest.fixture
async def api(simulator: DmpSimulator, tmp_path: Path) -> AsyncIterator[Api]:
    settings = {
        **simulator.connector_settings(),
        "api_tokens": str(token_file(tmp_path)),
        "api": {"processing_id": "T"},
    }
    connector = await connector_for(settings)
    made = Api(httpx.AsyncClient(), simulator, connector, Dpi(connector))
    app = connector.api(made.audit)
    assert app is not None
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        made.http = http
        yield made
    await connector.stop()


# --- consultation -----------------------------------------------------------------------------------------------


async def test_find_documents_by_type_and_date(api: Api) -> None:
    """FindDocuments: filters, Approved only unless asked (EX_3.1-1030), times in ISO 8601 UTC (EX_3.1-1070)."""
    await api.three_versions()
    found = await api.good("/queries/FindDocuments")
    assert [d["unique_id"] for d in found["documents"]] == [V3]
    every = await api.good("/queries/FindDocuments", statuses=["Approved", "Deprecated"])
    assert {d["unique_id"] for d in every["documents"]} == {V1, V2, V3}
    loinc = {"code": "11502-2", "system": samples.LOINC}
    typed = await api.good("/queries/FindDocuments", types=[loinc], created={"after": "20260101"})
    (document,) = typed["documents"]
    assert document["created"] == "2026-01-10T08:30:00Z"
    assert document["type"]["code"] == "11502-2"
    assert document["authors"][0]["person"]["family"] == "MARTIN"
    assert document["authors"][0]["institutions"][0]["id"] == build.FINESS
    assert document["status"] == "Approved"
    none = await api.good("/queries/FindDocuments", created={"after": "2027"})
    assert none["documents"] == []


async def test_every_other_query_of_the_ans(api: Api) -> None:
    """From a document to its set and back, associations included."""
    await api.three_versions()
    (document,) = (await api.good("/queries/GetDocuments", unique_ids=[V3]))["documents"]
    uuid = document["entry_uuid"]
    both = await api.good("/queries/GetDocuments", unique_ids=[V1, V3])
    assert {d["unique_id"]: d["status"] for d in both["documents"]} == {V1: "Deprecated", V3: "Approved"}
    links = await api.good("/queries/GetAssociations", entry_uuids=[uuid])
    assert {"RPLC", "HasMember"} <= {a["kind"] for a in links["associations"]}
    joined = await api.good("/queries/GetDocumentsAndAssociations", unique_ids=[V3])
    assert [d["unique_id"] for d in joined["documents"]] == [V3]
    assert joined["associations"]
    related = await api.good("/queries/GetRelatedDocuments", unique_id=V2)
    assert {d["unique_id"] for d in related["documents"]} == {V1, V2, V3}
    (lot,) = (await api.good("/queries/GetSubmissionSets", entry_uuids=[uuid]))["sets"]
    assert lot["author"]["person"]["id"] == "810100000016"
    contents = await api.good("/queries/GetSubmissionSetAndContents", unique_id=lot["unique_id"])
    assert V3 in {d["unique_id"] for d in contents["documents"]}
    sets = await api.good("/queries/FindSubmissionSets", submitted={"after": "2020"})
    assert len(sets["sets"]) == 3


async def test_more_than_twenty_documents_take_several_queries(api: Api) -> None:
    await api.publish()
    names = [V1, *(f"{samples.ROOT}.404.{n}" for n in range(24))]
    found = await api.good("/queries/GetDocuments", unique_ids=names)
    assert [d["unique_id"] for d in found["documents"]] == [V1]
    assert sum(e.action == "query" for e in api.simulator.events) == 2


async def test_newest_version_is_one_call(api: Api) -> None:
    """RG_3130 and the RPLC chain: from any version, the last one and all between."""
    await api.three_versions()
    for asked in (V1, V2, V3):
        found = await api.good("/newest", unique_id=asked)
        assert found["is_newest"] is (asked == V3)
        assert found["newest"]["unique_id"] == V3
        assert [v["unique_id"] for v in found["versions"]] == [V1, V2, V3]
        assert [v["status"] for v in found["versions"]] == ["Deprecated", "Deprecated", "Approved"]
    answer = await api.post("/newest", unique_id=UNKNOWN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


async def test_a_document_alone_is_the_newest(api: Api) -> None:
    await api.publish()
    found = await api.good("/newest", unique_id=V1)
    assert (found["is_newest"], found["newer_hidden"]) == (True, False)


async def test_retrieval_gives_the_exact_bytes(api: Api) -> None:
    """TD3.2: base64 of what was submitted, checked against the registry's size and SHA-1."""
    await api.publish()
    found = await api.good("/retrieve", unique_id=V1)
    assert base64.b64decode(found["content"]) == samples.document().content
    assert found["document"]["sha1"] == hashlib.sha1(samples.document().content).hexdigest()
    assert [e.transaction for e in api.simulator.events][-2:] == ["TD3.1a", "TD3.2"]


async def test_bytes_that_are_not_those_announced_are_not_given(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size or SHA-1 of the registry against the bytes of the repository."""
    await api.publish()
    kept = api.simulator.documents[V1]
    honest = type(kept).leaf

    def lying(entry: Any) -> Any:
        made = honest(entry)
        for slot in made.iterfind("{*}Slot[@name='hash']"):
            slot[0][0].text = "0" * 40
        return made

    monkeypatch.setattr(type(kept), "leaf", lying)
    answer = await api.post("/retrieve", unique_id=V1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "INTEGRITY")


async def test_existence(api: Api) -> None:
    """TD0.2: OK and NF."""
    assert (await api.good("/existence"))["exists"] is True
    api.simulator.patients.set(build.PATIENT.ins, "unknown")
    assert (await api.good("/existence"))["exists"] is False


# --- updates ----------------------------------------------------------------------------------------------------


async def test_masking_and_showing_again(api: Api) -> None:
    """TD3.3a, TD3.3b: only the codes change; a second time changes nothing and sends nothing (EX_GEN-1060)."""
    await api.publish()
    made = await api.good("/visibility", unique_id=V1, hide_from=["professionals"])
    assert made == {"unique_id": V1, "changed": True, "recovered": False}
    assert set(api.simulator.documents[V1].confidentiality) == {"N", "INVISIBLE_PATIENT", "MASQUE_PS"}
    again = await api.good("/visibility", unique_id=V1, hide_from=["professionals"])
    assert again["changed"] is False
    assert sum(e.action == "update" for e in api.simulator.events) == 1
    await api.good("/visibility", unique_id=V1, show_to=["professionals", "patient"])
    assert api.simulator.documents[V1].confidentiality == ("N",)
    assert api.simulator.documents[V1].content == samples.document().content


async def test_archiving_and_back(api: Api) -> None:
    """TD3.3d."""
    await api.publish()
    assert (await api.good("/archive", unique_id=V1, archived=True))["changed"] is True
    assert api.simulator.documents[V1].status == "Archived"
    assert (await api.good("/archive", unique_id=V1, archived=True))["changed"] is False
    assert (await api.good("/archive", unique_id=V1, archived=False))["changed"] is True
    assert api.simulator.documents[V1].status == "Approved"


async def test_an_update_whose_answer_is_lost_is_read_back(api: Api) -> None:
    """Commit, then cut: said as done; cut before: said as not done, may be asked again."""
    await api.publish()
    api.simulator.plan(Fault("commit_then_drop", action="update"))
    made = await api.good("/visibility", unique_id=V1, hide_from=["professionals"])
    assert made == {"unique_id": V1, "changed": True, "recovered": True}
    api.simulator.plan(Fault("drop", action="update"))
    lost = await api.post("/archive", unique_id=V1, archived=True)
    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "NOT_DONE")
    assert lost.json()["error"]["retry"] is True
    assert api.simulator.documents[V1].status == "Approved"


# --- who may, and what is said ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": "Basic abc"},
        {"Authorization": "Bearer " + "x" * 43},
        {"Authorization": "Bearer x"},
    ],
)
async def test_no_known_token_no_call(api: Api, header: dict[str, str]) -> None:
    answer = await api.http.post("/newest", content=b"{not read", headers=header)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "TOKEN")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert api.entries == []


async def test_scope_of_a_token(api: Api) -> None:
    await api.publish()
    assert (await api.post("/newest", READER, unique_id=V1)).status_code == 200
    refused = await api.post("/archive", READER, unique_id=V1, archived=True)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "SCOPE")
    assert not any(e.action == "update" for e in api.simulator.events)


async def test_tokens_are_read_again_when_they_change(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(
        file.read_text()
        .replace('name = "dpi"', 'name = "dpi"  # revoked')
        .replace(hashlib.sha256(TOKEN.encode()).hexdigest(), "0" * 64)
    )
    assert (await api.post("/existence")).status_code == 401
    assert (await api.post("/existence", READER)).status_code == 200
    file.write_text("[[token]]\nname = 1\n")
    shut = await api.post("/existence", READER)
    assert (shut.status_code, shut.json()["error"]["code"]) == (503, "TOKENS")


async def test_too_long_and_unannounced_requests_are_not_read(api: Api) -> None:
    long = await api.post("/newest", unique_id=V1, padding="x" * 70_000)
    assert (long.status_code, long.json()["error"]["code"]) == (413, "TOO_LARGE")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"{}"

    headers = {"Authorization": f"Bearer {TOKEN}"}
    unannounced = await api.http.post("/newest", content=chunks(), headers=headers)
    assert unannounced.status_code == 411
    both = {**headers, "Content-Length": "2", "Transfer-Encoding": "chunked"}
    in_pieces = await api.http.post("/newest", content=chunks(), headers=both)
    assert (in_pieces.status_code, in_pieces.json()["error"]["code"]) == (411, "LENGTH")


async def test_every_wrong_field_is_told_without_its_value(api: Api) -> None:
    answer = await api.post(
        "/newest",
        unique_id="not-an-oid",
        patient={"ins": "SECRET-INS", "oid": "SECRET-OID"},
        user=user(id="??", authentication="password"),
        extra="SECRET-EXTRA",
    )
    assert answer.status_code == 422
    fields = {f["field"] for f in answer.json()["error"]["fields"]}
    assert fields == {"unique_id", "patient.oid", "user.id", "user.authentication", "extra"}
    assert "SECRET" not in answer.text


@pytest.mark.parametrize("odd", ["a\u0000b", "a\nb", "a\ufffeb"])
async def test_characters_that_xml_cannot_carry_are_refused(api: Api, odd: str) -> None:
    named = await api.post("/newest", unique_id=V1, user=user(family=odd))
    asked = await api.post("/queries/FindDocuments", authors=[odd])
    assert (named.status_code, asked.status_code) == (422, 422)


async def test_names_with_separators_and_quotes_move_nothing(api: Api) -> None:
    """HL7 and SQL separators in a name or a pattern stay inside it."""
    await api.publish()
    await api.good("/archive", unique_id=V1, archived=True, user=user(family="O'N^E&I<L", given="É|~"))
    found = await api.good("/queries/FindDocuments", authors=["%O'NEIL%", "%MARTIN%"], statuses=["Archived"])
    assert [d["unique_id"] for d in found["documents"]] == [V1]


def hours_ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"patient": {"ins": "184127512398712", "oid": build.INS_TEST}}, "INS_KEY"),
        ({"patient": {"ins": build.PATIENT.ins, "oid": "1.2.3"}}, "INS_DOMAIN"),
        ({"user": user(structure="1990000099")}, "STRUCTURE"),
        ({"user": user(roles=[{"code": "10", "system": PROFESSIONS}])}, "ROLE"),
        ({"user": user(purpose="bris")}, "PURPOSE"),
        ({"user": user(authenticated_at=hours_ago(13))}, "AUTHENTICATION"),
        ({"user": user(authenticated_at=hours_ago(-1))}, "AUTHENTICATION"),
    ],
)
async def test_what_must_not_be_sent_is_refused_here(api: Api, body: dict[str, Any], code: str) -> None:
    """The wrong patient, a structure that is not ours, a doctor without specialty, an old authentication."""
    answer = await api.post("/newest", unique_id=V1, **body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert api.simulator.events == []


async def test_the_words_of_the_dmp_reach_the_caller(api: Api) -> None:
    """PRE_ERR: original code and message; classes as HTTP statuses."""
    api.simulator.patients.set(build.PATIENT.ins, "closed")
    closed = await api.post("/queries/FindDocuments")
    assert (closed.status_code, closed.json()["error"]) == (
        409,
        {"code": "DMPClosed", "message": "DMP fermé", "outcome": "permanent", "retry": False},
    )
    api.simulator.patients.set(build.PATIENT.ins, "open")
    api.simulator.plan(Fault("http", action="query"))
    busy = await api.post("/queries/FindDocuments")
    assert (busy.status_code, busy.json()["error"]["code"]) == (503, "HTTP503")


async def test_a_professional_who_is_none_is_refused_by_the_matrix(api: Api) -> None:
    """PDT-INF-606: the connector does not carry the matrix, the DMP does."""
    secretary = [{"code": "SECRETARIAT_MEDICAL", "system": "1.2.250.1.213.1.1.4.6"}]
    answer = await api.post("/queries/FindDocuments", user=user(roles=secretary))
    assert answer.status_code == 409
    assert "sim:" in answer.json()["error"]["message"]


async def test_what_a_call_is_to_the_indicators(api: Api) -> None:
    """TD, type of what was read, stay and what set it off: for those who count uses, not for the DMP."""
    await api.publish()
    stay = {"value": "V1", "authority": "750000001"}
    await api.good("/retrieve", unique_id=V1, stay=stay, trigger="prefetch")
    told = api.entries[-1]
    assert (told["transaction"], told["type_code"], told["type_system"]) == (
        "TD3.2",
        "11502-2",
        samples.LOINC,
    )
    assert (told["stay"], told["trigger"]) == (stay, "prefetch")
    await api.post("/visibility", unique_id=V1, hide_from=["professionals"])
    assert api.entries[-1]["transaction"] == "TD3.3a"
    await api.post("/visibility", unique_id=V1, show_to=["patient"])
    assert api.entries[-1]["transaction"] == "TD3.3b"
    await api.post("/archive", unique_id=V1, archived=True)
    assert api.entries[-1]["transaction"] == "TD3.3d"
    await api.post("/existence")
    assert api.entries[-1]["transaction"] == "TD0.2"


async def test_every_call_is_recorded_twice_without_the_patient(api: Api) -> None:
    """Who, what, uniqueId, outcome: before the DMP is asked, and after."""
    await api.publish()
    await api.good("/newest", unique_id=V1)
    before, after = api.entries
    common = {
        "call": "newest",
        "client": "dpi",
        "user": "810100000016",
        "structure": build.FINESS,
        "documents": [V1],
        "transaction": "TD3.1a",
        "profession": "10",
        "stay": None,
        "trigger": None,
    }
    assert before == {**common, "outcome": "asked"}
    assert after == {**common, "outcome": "success", "code": ""}
    assert build.PATIENT.ins not in str(api.entries)
    await api.post("/newest", unique_id=UNKNOWN)
    assert api.entries[-1]["outcome"] == "permanent"
    assert api.entries[-1]["code"] == "NOT_FOUND"


async def test_what_cannot_be_recorded_is_not_asked(api: Api) -> None:
    api.journal_down = True
    answer = await api.post("/existence")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "AUDIT")
    assert api.simulator.events == []


async def test_no_tokens_no_api(simulator: DmpSimulator, tmp_path: Path) -> None:
    async def audit(entry: Mapping[str, Any]) -> None: ...

    connector = await connector_for(simulator.connector_settings())
    assert connector.api(audit) is None
    await connector.stop()
    (tmp_path / "empty.toml").write_text("")
    settings = {**simulator.connector_settings(), "api_tokens": str(tmp_path / "empty.toml")}
    with pytest.raises(ConfigurationFault, match="api_tokens"):
        await connector_for(settings)


def test_codes_of_a_document_type_are_known() -> None:
    """The sample's type stays one that the DMP takes (the tests above depend on it)."""
    assert samples.header().code == Code("11502-2", "CR d'examens biologiques", samples.LOINC)


async def test_mounted_in_the_gateway_with_its_journal_and_metrics(
    simulator: DmpSimulator, tmp_path: Path
) -> None:
    """`/api/v1/dmp/` over a real socket: calls are facts of the journal; certificates have their end in /metrics."""
    settings = Settings(
        listener={"port": 0},
        web={"port": 0},
        journal={"path": "journal.sqlite"},
        connectors={
            "dmp": {
                **simulator.connector_settings(),
                "api_tokens": str(token_file(tmp_path)),
                "api": {"processing_id": "T"},
            }
        },
    )
    gateway = Gateway(settings, tmp_path)
    await gateway.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.web_port}") as http:
            body = {"user": user(), "patient": PATIENT, "unique_id": V1}
            headers = {"Authorization": f"Bearer {TOKEN}"}
            answer = await http.post("/api/v1/dmp/newest", json=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
            assert answer.headers["Cache-Control"] == "no-store"
            assert (await http.get("/api/v1/dmp/newest", headers=headers)).status_code == 405
            assert (await http.get("/api/v1/messages/none")).status_code == 404
            metrics = (await http.get("/metrics")).text
        assert (
            'segur_certificate_not_after_seconds{certificate="sign_certificate",destination="dmp"}' in metrics
        )
        rows = await gateway.journal.read(
            lambda s: s.execute(text("SELECT data FROM fact WHERE kind = 'api_call' ORDER BY id")).all()
        )
        facts = [json.loads(row.data) for row in rows]
        assert [f["outcome"] for f in facts] == ["asked", "permanent"]
        assert facts[0]["destination"] == "dmp"
        (told,) = await gateway.journal.read(
            lambda s: s.execute(text("SELECT body FROM indicator_fact")).scalars().all()
        )
        use = json.loads(told)
        assert (use["fact"], use["transaction"], use["outcome"]) == ("dmp_consultation", "TD3.1", "failure")
        assert use["user"] == {"rpps": "10100000016", "profession": "10"}
        assert use["finess"] == build.FINESS[1:]
    finally:
        await gateway.stop()
    journal = b"".join(p.read_bytes() for p in tmp_path.glob("journal.sqlite*"))
    assert build.PATIENT.ins.encode() not in journal
