"""The checks of the simulated DMP in the order of spec dmp §8.2, over real mutual TLS: the first wrong one answers."""

from __future__ import annotations

import base64
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from lxml import etree

from connectors.dmp import mtom, soap
from connectors.dmp.certificates import SigningIdentity
from connectors.dmp.simulator import DmpSimulator
from connectors.dmp.simulator.pki import FAULTY, Authority, Pki, _issue_server
from connectors.dmp.vihf import SAML
from connectors.xds import ebrim
from connectors.xds.model import XdsAuthor, XdsCode
from tests.dmp.simulator_client import (
    CLERK,
    DOCTOR,
    PATIENT,
    RIM,
    SOAP,
    STRUCTURE,
    Client,
    Reply,
    document,
)
from tests.official import OFFICIAL
from tests.xds import samples

NOW = datetime.now(UTC)
OTHER = "1750000999"
STRANGER = PATIENT.replace(samples.INS.extension or "", "184127512398748")
CLOSED = PATIENT.replace(samples.INS.extension or "", "184127512398755")
UNKNOWN = PATIENT.replace(samples.INS.extension or "", "184127512398762")
OPPOSED = PATIENT.replace(samples.INS.extension or "", "184127512398779")
STATES = {CLOSED.split("^")[0]: "closed", UNKNOWN.split("^")[0]: "unknown", OPPOSED.split("^")[0]: "opposed"}
SCHEMAS = OFFICIAL / "schemas"
V1 = "2.25.201"


@pytest.fixture(scope="module")
def wide_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The simulator's PKI, and under the same authority: another structure, a certificate that expired."""
    pki = Pki(tmp_path_factory.mktemp("wide") / "pki")
    pki.directory.mkdir()
    authority = Authority(pki.directory, NOW)
    authority.write(pki.ca)
    authority.issue_organisation(STRUCTURE)
    authority.issue_organisation(OTHER, prefix="other-")
    authority.issue_organisation(STRUCTURE, prefix="old-", until=NOW - timedelta(days=1))
    loopback = [x509.IPAddress(ip_address("127.0.0.1"))]
    for name in ("server", *FAULTY.values()):
        _issue_server(authority, name, loopback)
    stranger = Authority(pki.directory, NOW, "AUTRE")
    stranger.issue(
        "foreign-sign",
        STRUCTURE,
        ("digital_signature", "content_commitment"),
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
    )
    return pki


def identity(pki: Pki, name: str) -> SigningIdentity:
    """A signing identity that no settings would accept."""
    leaf = x509.load_pem_x509_certificate(pki.certificate(name).read_bytes())
    key = serialization.load_pem_private_key(pki.key(name).read_bytes(), None)
    return SigningIdentity(
        key=key,  # type: ignore[arg-type]  # an RSA key
        chain=(leaf,),
        leaf_base64=base64.b64encode(leaf.public_bytes(serialization.Encoding.DER)).decode(),
        issuer_name=leaf.subject.rfc4514_string(),
        structure=OTHER if name.startswith("other") else STRUCTURE,
    )


@pytest.fixture
async def simulator(wide_pki: Pki) -> AsyncIterator[DmpSimulator]:
    made = DmpSimulator(
        wide_pki.directory.parent,
        patients=STATES,  # type: ignore[arg-type]
        schemas=SCHEMAS if SCHEMAS.is_dir() else None,
    )
    async with made.running():
        yield made


@pytest.fixture
async def client(simulator: DmpSimulator) -> AsyncIterator[Client]:
    made = Client(simulator)
    yield made
    await made.close()


@dataclass
class Call:
    """A TD2.1a to be made wrong."""

    uid: str = V1
    replaces: str | None = None
    assertion: dict[str, Any] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)
    lot: dict[str, Any] = field(default_factory=dict)
    signed: bytes | None = None
    body: list[Callable[[etree._Element], None]] = field(default_factory=list)
    envelope: list[Callable[[etree._Element], None]] = field(default_factory=list)
    raw: list[tuple[bytes, bytes]] = field(default_factory=list)
    parts: list[Callable[[list[mtom.Part]], list[mtom.Part]]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    async def send(self, client: Client) -> Reply:
        content = document(self.uid)
        body, parts = client.submission(
            self.uid,
            content,
            replaces=self.replaces,
            lot=client.lot(**self.lot),
            entry=client.entry(self.uid, content, **self.entry),
            signed=self.signed,
        )
        for change in self.body:
            change(body)
        for take in self.parts:
            parts = take(parts)
        action = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"
        message = soap.envelope(action, "", uuid4().urn, client.vihf(**self.assertion), body)
        envelope = etree.fromstring(message)
        for change in self.envelope:
            change(envelope)
        package = mtom.encode(action, etree.tostring(envelope), parts, uuid4())
        raw = b"".join(package.chunks)
        for old, new in self.raw:
            assert old in raw
            raw = raw.replace(old, new)
        return await client.raw("repository", package.content_type, raw)


@dataclass(frozen=True)
class Defect:
    """One thing wrong, the step that must find it, and the answer."""

    name: str
    check: str
    code: str
    words: str
    apply: Callable[[Call, Pki], object]


def without(path: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        for found in root.findall(path):
            parent = found.getparent()
            assert parent is not None
            parent.remove(found)

    return change


def attribute(name: str) -> str:
    return f".//{{*}}Attribute[@Name='{name}']"


def value(name: str, text: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        found = root.find(f"{attribute(name)}/{{*}}AttributeValue")
        assert found is not None
        found.text = text

    return change


def issuer(root: etree._Element) -> None:
    found = root.find("{*}Issuer")
    assert found is not None
    found.text = "CN=quelqu'un d'autre"


def tamper(root: etree._Element) -> None:
    found = root.find(".//{*}NameID")
    assert found is not None
    found.text = "810000000000"


def both(call: Call, **options: Any) -> None:
    """Patient of the VIHF and of the metadata."""
    call.assertion["patient"] = options["patient"]
    call.entry["patient_id"] = call.lot["patient_id"] = options["patient"]


def before(call: Call, change: Callable[[etree._Element], None]) -> None:
    """Several changes before the VIHF's signature."""
    old = call.assertion.get("change")

    def every(root: etree._Element) -> None:
        if old is not None:
            old(root)
        change(root)

    call.assertion["change"] = every


MISSING = "A required header representing a Message Addressing Property is not present"
WRONG = "Le certificat ayant signé le VIHF est invalide : Not a valid signature certificate"
ADDRESSING = "MessageAddressingHeaderRequired"
METADATA = "XDSRepositoryMetadataError"
NO_XSD = not SCHEMAS.is_dir()
PURPOSE = "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"
SLOT = f".//{RIM}ExtrinsicObject[@id='Document01']/{RIM}Slot"
DOCUMENT = f".//{RIM}ExtrinsicObject[@id='Document01']"

ORDER = [
    Defect("soap-1.1", "message", "", "SOAP 1.2", lambda c, p: c.raw.append(
        (soap.SOAP.encode(), b"http://schemas.xmlsoap.org/soap/envelope/"))),
    Defect("no-message-id", "addressing", ADDRESSING, MISSING, lambda c, p: c.envelope.append(
        without(f"{SOAP}Header/{{{soap.WSA}}}MessageID"))),
    Defect("vihf-structure", "vihf", "InvalidSecurity", "structure du VIHF", lambda c, p: before(
        c, without(attribute(PURPOSE)))),
    Defect("vihf-signature", "vihf", "FailedCheck", "signature du VIHF", lambda c, p: c.assertion.update(after=tamper)),
    Defect("vihf-chain", "vihf", "DMPInvalidCertificate", "autre AC", lambda c, p: c.assertion.update(
        identity=identity(p, "foreign-sign"))),
    Defect("vihf-usage", "vihf", "DMPInvalidCertificate", WRONG, lambda c, p: c.assertion.update(
        identity=identity(p, "auth"))),
    Defect("vihf-date", "vihf", "InvalidSecurity", "IssueInstant", lambda c, p: c.assertion.update(
        now=NOW - timedelta(hours=1))),
    Defect("vihf-issuer", "vihf", "InvalidSecurity", "Issuer", lambda c, p: before(c, issuer)),
    Defect("structure", "vihf", "InvalidSecurity", "Structure introuvable ou Inactive", lambda c, p: (
        c.assertion.update(structure=OTHER))),
    Defect("mode", "vihf", "InvalidSecurity", "mode d'authentification", lambda c, p: c.assertion.update(
        mode="DIRECTE")),
    Defect("specialty", "vihf", "InvalidSecurity", "Aucune spécialité dans le vihf", lambda c, p: c.assertion.update(
        roles=DOCTOR[:1])),
    Defect("urn", "vihf", "InvalidSecurity", "Ressource_URN", lambda c, p: before(
        c, value("Ressource_URN", "urn:autre"))),
    Defect("rights", "rights", "AccessDenied", "n'est pas ouverte", lambda c, p: c.assertion.update(
        mode="INDIRECTE_RENFORCEE")),
    Defect("ins-authority", "patient", "XDSUnknownPatientId", "autorité", lambda c, p: both(
        c, patient=PATIENT.replace("1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.2"))),
    Defect("ins-form", "patient", "XDSUnknownPatientId", "mal formé", lambda c, p: both(
        c, patient=PATIENT.replace(samples.INS.extension or "", "12345"))),
    Defect("patient-unknown", "patient", "XDSUnknownPatientId", "aucun DMP", lambda c, p: both(c, patient=UNKNOWN)),
    Defect("patient-closed", "patient", "DMPClosed", "DMP fermé", lambda c, p: both(c, patient=CLOSED)),
    Defect("patient-opposed", "patient", "sim:PatientOpposed", "s'oppose", lambda c, p: both(c, patient=OPPOSED)),
    Defect("patient-mismatch", "patient", "XDSPatientIdDoesNotMatch", "VIHF", lambda c, p: c.entry.update(
        patient_id=STRANGER)),
    *([] if NO_XSD else [
        Defect("xsd", "metadata", METADATA, "lcm.xsd", lambda c, p: c.body.append(
            lambda b: b.find(f".//{RIM}Classification").attrib.pop("classifiedObject")))]),
    Defect("source-id", "metadata", METADATA, "sourceId", lambda c, p: c.lot.update(source_id="01.2")),
    Defect("language", "metadata", METADATA, "languageCode", lambda c, p: c.body.append(
        without(f"{SLOT}[@name='languageCode']"))),
    Defect("has-member", "metadata", METADATA, "HasMember", lambda c, p: c.body.append(
        without(f".//{RIM}Association[@targetObject='Document01']"))),
    Defect("signs", "metadata", METADATA, "signs", lambda c, p: c.body.append(
        without(f".//{RIM}Association[@associationType='{ebrim.SIGNS}']"))),
    Defect("no-part", "documents", "XDSMissingDocument", "Document01", lambda c, p: c.parts.append(
        lambda parts: parts[1:])),
    Defect("size", "documents", "XDSNonIdenticalSize", "Document01", lambda c, p: c.body.append(
        lambda b: b.find(f"{SLOT}[@name='size']//{RIM}Value").__setattr__("text", "7"))),
    Defect("hash", "documents", "XDSNonIdenticalHash", "Document01", lambda c, p: c.body.append(
        lambda b: b.find(f"{SLOT}[@name='hash']//{RIM}Value").__setattr__("text", "0" * 40))),
    Defect("xades", "documents", METADATA, "XAdES", lambda c, p: setattr(c, "signed", b"<autre/>")),
    Defect("duplicate", "documents", "XDSDuplicateUniqueIdInRegistry", "déjà connu", lambda c, p: setattr(
        c, "uid", "2.25.200")),
    Defect("author", "documents", METADATA, "Aucun AuthorInstitution", lambda c, p: c.entry.update(authors=(
        XdsAuthor(institution=(f"X^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^{OTHER}",), person="8^A^B"),))),
    Defect("target", "replacement", "UnresolvedReferenceException", "entryUUID", lambda c, p: setattr(
        c, "replaces", "urn:uuid:11111111-2222-4333-8444-555555555555")),
]  # fmt: skip


async def test_the_first_wrong_check_answers(client: Client, wide_pki: Pki) -> None:
    """§8.2: with everything wrong the first check answers; once that is right the next one does, to the last."""
    assert (await client.submit("2.25.200")).result == "Success"
    for at, expected in enumerate(ORDER):
        call = Call()
        # the earlier of two that touch the same thing comes last
        for defect in reversed(ORDER[at:]):
            defect.apply(call, wide_pki)
        reply = await call.send(client)
        event = client.simulator.events[-1]
        assert (reply.code, event.check, reply.status) == (
            expected.code,
            expected.check,
            500 if reply.result == "Fault" else 200,
        ), (expected.name, reply.words)
        assert expected.words in reply.words, expected.name
        assert not event.kept
    assert (await Call().send(client)).result == "Success"
    assert list(client.simulator.documents) == ["2.25.200", V1]


@pytest.mark.parametrize("defect", ORDER, ids=lambda d: d.name)
async def test_each_check_alone(client: Client, wide_pki: Pki, defect: Defect) -> None:
    """Each thing wrong on its own is refused with its code, and nothing is kept."""
    await client.submit("2.25.200")
    call = Call()
    defect.apply(call, wide_pki)
    reply = await call.send(client)
    assert (reply.code, client.simulator.events[-1].check) == (defect.code, defect.check), reply.words
    assert defect.words in reply.words
    assert list(client.simulator.documents) == ["2.25.200"]


# --- 1, 2: message and addressing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/soap+xml", b""),
        ("application/soap+xml", b"<a"),
        ("multipart/related; boundary=x", b"--x\r\ncut"),
        ("multipart/related", b"x"),
        ("application/soap+xml", f'<!DOCTYPE a><e:Envelope xmlns:e="{soap.SOAP}"/>'.encode()),
    ],
)
async def test_unreadable_messages(client: Client, content_type: str, body: bytes) -> None:
    """§8.2 step 1."""
    reply = await client.raw("repository", content_type, body)
    assert (reply.status, reply.result) == (500, "Fault")
    assert client.simulator.events[-1].check == "message"


@pytest.mark.parametrize("header", ["MessageID", "Action", "To", "ReplyTo"])
async def test_every_addressing_header_is_compulsory(client: Client, header: str) -> None:
    """§0.8: the words of Apache CXF."""
    body = etree.Element("x")
    reply = await client.send("query", body, change=without(f"{SOAP}Header/{{{soap.WSA}}}{header}"))
    assert (reply.code, reply.words) == (ADDRESSING, MISSING)


async def test_replayed_message_and_wrong_address(client: Client) -> None:
    body = ebrim.status_update(client.lot(), "urn:uuid:1")
    message_id = uuid4().urn
    await client.send("update", body, message_id=message_id)
    again = await client.send("update", body, message_id=message_id)
    assert again.code == "DuplicateMessage"
    elsewhere = await client.send("update", body, route="repository")
    assert elsewhere.code == "ActionNotSupported"
    assert (await client.send("urn:autre", body)).code == "ActionNotSupported"


async def test_answers_name_the_request(client: Client) -> None:
    message_id = uuid4().urn
    reply = await client.send("query", etree.Element("x"), message_id=message_id)
    assert reply.relates == message_id


# --- 3: VIHF ----------------------------------------------------------------------------------------------------


async def test_expired_signing_certificate(client: Client, wide_pki: Pki) -> None:
    """§8.2 step 3, chain: dates included."""
    reply = await client.submit(V1, assertion=client.vihf(identity=identity(wide_pki, "old-sign")))
    assert reply.code == "DMPInvalidCertificate"


async def test_tls_and_signature_of_different_structures(simulator: DmpSimulator, wide_pki: Pki) -> None:
    """§8.2 step 3: TLS OU = SIGN OU."""
    settings = simulator.connector_settings()
    changed = {
        **settings,
        "auth_certificate": str(wide_pki.certificate("other-auth")),
        "auth_key": str(wide_pki.key("other-auth")),
        "sign_certificate": str(wide_pki.certificate("other-sign")),
        "sign_key": str(wide_pki.key("other-sign")),
    }
    simulator.connector_settings = lambda: changed  # type: ignore[method-assign]
    client = Client(simulator)
    reply = await client.submit(V1, assertion=client.vihf(identity=identity(wide_pki, "sign")))
    assert reply.words == "sim: certificats TLS et VIHF de structures différentes"
    await client.close()


async def test_an_entity_of_the_legal_entity_may_speak(wide_pki: Pki) -> None:
    """§1.5: EJ → EG table; the certificate's OU is the EJ."""
    made = DmpSimulator(wide_pki.directory.parent, entities=[OTHER])
    async with made.running():
        client = Client(made)
        author = XdsAuthor(
            institution=(f"X^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^{OTHER}",),
            person="8^A^B^^^^^^&1&ISO^D^^^IDNPS",
        )
        entry = client.entry(V1, document(V1), authors=(author,))
        reply = await client.submit(V1, entry=entry, assertion=client.vihf(structure=OTHER))
        assert reply.result == "Success", reply.words
        await client.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (value("VIHF_Version", "2.0"), "VIHF_Version"),
        (value("Secteur_Activite", "SA01"), "Secteur_Activite"),
        (without(attribute("urn:oasis:names:tc:xacml:2.0:subject:role")), "role"),
        (without(".//{*}NameID"), "NameID"),
        (without(attribute("LPS_Nom")), "LPS_Nom"),
        (without("{*}AuthnStatement"), "ordre"),
    ],
)
async def test_structure_of_the_vihf(
    client: Client, change: Callable[[etree._Element], None], words: str
) -> None:
    """§2.1, §2.2: order and compulsory attributes."""
    reply = await client.submit(V1, assertion=client.vihf(change=change))
    assert reply.code == "InvalidSecurity"
    assert words in reply.words


async def test_a_token_of_air_says_how_the_user_was_authenticated(client: Client) -> None:
    """EX_AIR-050: AuthnContextDecl is compulsory in AIR."""
    lacking = client.air(change=without(f".//{{{SAML}}}AuthnContextDecl"))
    reply = await client.query(
        ebrim.GET_DOCUMENTS, ("$XDSDocumentEntryUniqueId", f"('{V1}')"), assertion=lacking
    )
    assert reply.code == "InvalidSecurity"
    assert "AuthnContextDecl" in reply.words


async def test_variants_of_the_sources_are_all_accepted(client: Client) -> None:
    """§2.6: version 4.0, the other spelling of the mode, the other order of Issuer."""

    def variant(root: etree._Element) -> None:
        value("VIHF_Version", "4.0")(root)
        mode = root.find(attribute("Authentification_Mode"))
        name = root.find("{*}Issuer")
        assert mode is not None and name is not None
        mode.set("Name", "Authentification_mode")
        name.text = ", ".join(reversed((name.text or "").split(",")))

    reply = await client.submit(V1, assertion=client.vihf(change=variant))
    assert reply.result == "Success", reply.words


# --- 4: rights --------------------------------------------------------------------------------------------------


def roles(client: Client) -> dict[str, Callable[[], bytes]]:
    return {
        "indirect": client.vihf,
        "air": client.air,
        "air-pe": lambda: client.vihf(mode="INDIRECTE_RENFORCEE", roles=CLERK),
    }


MATRIX = {
    "TD2.1a": {"indirect"},
    "TD2.1b": {"indirect"},
    "TD3.1a": {"air"},
    "TD3.1b": {"indirect", "air", "air-pe"},
    "TD3.2": {"air"},
    "TD3.3a": {"air"},
    "TD3.3c": {"indirect", "air", "air-pe"},
    "TD3.3d": {"air"},
}


@pytest.mark.parametrize("who", ["indirect", "air", "air-pe"])
async def test_rights_matrix(client: Client, who: str) -> None:
    """§1.1: PDT-INF-526 for INDIRECTE, PDT-INF-606 for AIR."""
    await client.submit(V1)
    make = roles(client)[who]
    (uuid,) = await client.find(V1)
    by_uid = ("$XDSDocumentEntryUniqueId", f"('{V1}')")
    get = "5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
    replies = {
        "TD2.1a": await client.submit("2.25.202", assertion=make()),
        "TD2.1b": await client.submit("2.25.203", replaces="urn:uuid:x", assertion=make()),
        "TD3.1a": await client.query(get, by_uid, assertion=make()),
        "TD3.1b": await client.query(get, by_uid, leaf=False, assertion=make()),
        "TD3.2": await client.retrieve(V1, assertion=make()),
        "TD3.3a": await client.set_confidentiality(V1, add=["MASQUE_PS"], assertion=make()),
        "TD3.3d": await client.set_status(uuid, ebrim.ARCHIVED, assertion=make()),
        "TD3.3c": await client.set_status(uuid, assertion=make()),
    }
    allowed = {name for name, reply in replies.items() if reply.code != "AccessDenied"}
    assert allowed == {name for name, who_may in MATRIX.items() if who in who_may}
    refused = {e.transaction for e in client.simulator.events if e.check == "rights"}
    assert refused == set(MATRIX) - allowed


async def test_deleting_the_document_of_another_structure(wide_pki: Pki) -> None:
    """§1.1 notes 8, 9: own documents only; a professional's own count as theirs."""
    made = DmpSimulator(wide_pki.directory.parent, entities=[OTHER])
    async with made.running():
        client = Client(made)
        assert (await client.submit(V1)).result == "Success"
        (uuid,) = await client.find(V1)
        stranger = client.vihf(structure=OTHER, name_id="899999999999")
        reply = await client.set_status(uuid, assertion=stranger)
        assert reply.code == "XDSMetadataUpdateError"
        author = client.vihf(structure=OTHER, name_id="810100000016")
        assert (await client.set_status(uuid, assertion=author)).result == "Success"
        await client.close()


async def test_only_the_author_unmasks(wide_pki: Pki) -> None:
    """§1.1 note 8. Who cannot see a masked document may still know its lid."""
    made = DmpSimulator(wide_pki.directory.parent, entities=[OTHER])
    async with made.running():
        client = Client(made)
        await client.submit(V1)
        stranger = {"structure": OTHER, "name_id": "899999999999"}
        masked = await client.set_confidentiality(V1, add=["MASQUE_PS"], assertion=client.air(**stranger))
        assert masked.result == "Success", masked.words
        reply = await client.set_confidentiality(V1, remove=["MASQUE_PS"], assertion=client.air(**stranger))
        assert (reply.code, "démasque" in reply.words) == ("XDSMetadataUpdateError", True)
        assert "MASQUE_PS" in made.documents[V1].confidentiality
        assert (await client.set_confidentiality(V1, remove=["MASQUE_PS"])).result == "Success"
        await client.close()


# --- 6: metadata ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"type_code": XdsCode("99999-9", "2.16.840.1.113883.6.1", "x")}, "typeCode hors JDV_J66"),
        ({"class_code": XdsCode("77", "1.2.250.1.213.1.1.4.1", "x")}, "classCode hors JDV_J57"),
        ({"facility": XdsCode("SA01", "1.2.3", "x")}, "healthcareFacilityTypeCode hors JDV_J61"),
        ({"practice": XdsCode("ESSMS", "1.2.250.1.213.1.1.4.9", "x")}, "practiceSettingCode hors JDV_J62"),
        ({"confidentiality": (XdsCode("Z", "1", "x"),)}, "confidentialityCode hors JDV_J58"),
        ({"confidentiality": ()}, "confidentialityCode : une à quatre"),
        ({"title": "x" * 129}, "title : 128"),
        ({"title": ""}, "title"),
        ({"creation_time": "2026-01-10"}, "creationTime : date UTC"),
        ({"service_start": ""}, "serviceStartTime"),
        ({"legal_authenticator": "MARTIN"}, "legalAuthenticator : XCN"),
        ({"authors": ()}, "author"),
    ],
)
async def test_metadata_are_refused_by_name(client: Client, entry: dict[str, Any], words: str) -> None:
    """§3: cardinalities and value sets; codeContext names the attribute."""
    made = client.entry(V1, document(V1), **entry)
    reply = await client.submit(V1, entry=made)
    assert reply.code == METADATA
    assert f"XDSDocumentEntry.{words}" in reply.words


async def test_all_metadata_problems_are_told_together(client: Client) -> None:
    made = client.entry(V1, document(V1), title="", language="", service_start="")
    reply = await client.submit(V1, entry=made)
    for word in ("title", "languageCode", "serviceStartTime"):
        assert f"Document01 XDSDocumentEntry.{word}" in reply.words


async def test_two_classes_and_an_unknown_content_type(client: Client) -> None:
    def twice(body: etree._Element) -> None:
        found = body.find(f"{DOCUMENT}/{RIM}Classification[@classificationScheme='{ebrim.DOC_CLASS}']")
        assert found is not None
        copy = etree.fromstring(etree.tostring(found))
        copy.set("id", "copy")
        found.addnext(copy)

    assert "classCode : une valeur" in (await client.submit(V1, change=twice)).words
    lot = client.lot(content_type=XdsCode("99", "1.2.250.1.213.2.2", "x"))
    assert "contentTypeCode hors JDV_J59" in (await client.submit(V1, lot=lot)).words


# --- 7: documents -----------------------------------------------------------------------------------------------


async def test_uniqueid_is_an_oid_and_once_in_the_lot(client: Client) -> None:
    """§0.4; one identifier for document and lot is a duplicate in the message."""
    reply = await client.submit("2.25.1^7")
    assert (reply.code, "OID" in reply.words) == (METADATA, True)
    reply = await client.submit(V1, lot=client.lot(unique_id=V1))
    assert reply.code == "XDSRepositoryDuplicateUniqueIdInMessage"


async def test_same_identifier_with_other_bytes(client: Client) -> None:
    await client.submit(V1)
    assert (await client.submit(V1)).code == "XDSDuplicateUniqueIdInRegistry"
    assert (await client.submit(V1, document(V1, "Autre"))).code == "XDSNonIdenticalHash"


async def test_a_lot_identifier_serves_once(client: Client) -> None:
    lot = client.lot()
    assert (await client.submit(V1, lot=lot)).result == "Success"
    assert (await client.submit("2.25.209", lot=lot)).code == "XDSDuplicateUniqueIdInRegistry"


async def test_a_document_without_metadata_and_one_outside_mtom(client: Client) -> None:
    body, parts = client.submission(V1, document(V1))
    extra = etree.SubElement(body, body[-1].tag, id="Document09")
    include = etree.SubElement(extra, f"{{{ebrim.XOP}}}Include", href="cid:d1@t")
    assert (await client.send("submit", body, parts=parts)).code == "XDSMissingDocumentMetadata"
    extra.remove(include)
    extra.text = "PGEvPg=="
    assert (await client.send("submit", body, parts=parts)).words == "sim: document hors MTOM"


async def test_a_separate_stylesheet_is_refused(client: Client) -> None:
    """MIN p. 139: self-presentable documents are accepted, those with a stylesheet beside them are not."""
    for href, code in (("cda.xsl", "InvalidDocumentContent"), ("#style", "")):
        content = f'<?xml-stylesheet type="text/xsl" href="{href}"?>'.encode() + document(V1)
        assert (await client.submit(V1, content)).code == code


# --- lenient ----------------------------------------------------------------------------------------------------


async def test_lenient_lets_the_official_samples_through(wide_pki: Pki) -> None:
    """Another structure's author, a code outside the value sets, ITI-57 without classifiedObject (CNAM samples)."""
    made = DmpSimulator(wide_pki.directory.parent, strict=False, schemas=SCHEMAS)
    assert not made.schemas.present
    async with made.running():
        client = Client(made)
        entry = replace(
            client.entry(V1, document(V1)), type_code=XdsCode("99999-9", "2.16.840.1.113883.6.1", "x")
        )
        reply = await client.submit(V1, entry=entry, assertion=client.vihf(structure=OTHER))
        assert reply.result == "Success", reply.words
        (uuid,) = await client.find(V1)
        body = ebrim.status_update(client.lot(), uuid)
        for found in body.iter(f"{RIM}Classification"):
            found.attrib.pop("classifiedObject")
        assert (await client.send("update", body)).result == "Success"
        # what would lose or mix up documents stays refused
        assert (await client.submit("2.25.1^7")).code == METADATA
        reply = await client.submit("2.25.210", signed=b"<autre/>")
        assert "XAdES" in reply.words
        await client.close()


# --- XSD --------------------------------------------------------------------------------------------------------


@pytest.mark.official
async def test_our_answers_are_valid(simulator: DmpSimulator, client: Client) -> None:
    """ebRS 3.0 and XDS.b: success, failure, ObjectRef, LeafClass, ITI-43; `xop:Include` stands for base64 (§4.1)."""
    if not simulator.schemas.present:
        pytest.skip("official data absent: schemas")
    await client.submit(V1)
    (uuid,) = await client.find(V1)
    get = "bab9529a-4a10-40b3-a01f-f68a615d247a"
    by_uid = ("$XDSDocumentEntryUniqueId", f"('{V1}')")
    replies = [
        ("rs.xsd", await client.submit(V1)),
        ("rs.xsd", await client.submit("2.25.211", replaces=uuid)),
        ("query.xsd", await client.query(get, by_uid)),
        ("query.xsd", await client.query(get, by_uid, leaf=False)),
        ("query.xsd", await client.query(get)),
        ("query.xsd", await client.query("51224314-5390-4169-9b91-b1980040715a", ("$uuid", f"('{uuid}')"))),
        ("IHEXDSB.xsd", await client.retrieve(V1)),
        ("IHEXDSB.xsd", await client.retrieve(V1, "2.25.9")),
        ("IHEXDSB.xsd", await client.retrieve("2.25.9")),
    ]
    for name, reply in replies:
        for found in reply.body.iter(f"{{{ebrim.IHE}}}Document"):
            found[:] = []
            found.text = "AAAA"
        assert simulator.schemas.problems(name, reply.body) == []


@pytest.mark.official
async def test_requests_are_validated(simulator: DmpSimulator, client: Client) -> None:
    """Strict: ITI-57, ITI-18 and ITI-43 too."""
    if not simulator.schemas.present:
        pytest.skip("official data absent: schemas")
    body = ebrim.status_update(client.lot(), "urn:uuid:x")
    body.find(f".//{RIM}Classification").attrib.pop("classifiedObject")  # type: ignore[union-attr]
    reply = await client.send("update", body)
    assert (reply.code, "lcm.xsd" in reply.words) == ("XDSRegistryMetadataError", True)
    query = etree.fromstring(
        f'<q:AdhocQueryRequest xmlns:q="{ebrim.QUERY}" xmlns:r="{ebrim.RIM}"><q:ResponseOption '
        'returnType="ObjectRef"/><r:AdhocQuery id="urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4" autre="x"/>'
        "</q:AdhocQueryRequest>"
    )
    assert "query.xsd" in (await client.send("query", query)).words
    asked = etree.fromstring(
        f'<i:RetrieveDocumentSetRequest xmlns:i="{ebrim.IHE}"><i:DocumentRequest><i:DocumentUniqueId>1'
        "</i:DocumentUniqueId></i:DocumentRequest></i:RetrieveDocumentSetRequest>"
    )
    assert "IHEXDSB.xsd" in (await client.send("retrieve", asked, assertion=client.air())).words


def test_schemas_that_do_not_load_are_told_at_start(wide_pki: Pki, tmp_path: Path) -> None:
    from gateway.errors import ConfigurationFault

    with pytest.raises(ConfigurationFault, match=r"lcm\.xsd"):
        DmpSimulator(wide_pki.directory.parent, schemas=tmp_path)
    if SCHEMAS.is_dir():
        # one of them cut: the folder is not half believed
        copy = shutil.copytree(SCHEMAS, tmp_path / "s")
        (copy / "rim.xsd").write_text("<a>")
        with pytest.raises(ConfigurationFault):
            DmpSimulator(wide_pki.directory.parent, schemas=copy)
