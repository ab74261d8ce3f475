"""A DMP client for the tests of the simulator: builds each request by hand, so that each part of it can be wrong."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from lxml import etree

from connectors.dmp import mtom, soap
from connectors.dmp.certificates import SigningIdentity, load_credentials
from connectors.dmp.settings import Role, Software, Vihf, read_settings
from connectors.dmp.simulator import DmpSimulator
from connectors.dmp.simulator.operations import OPERATIONS
from connectors.dmp.vihf import SAML, VihfSubject, build, sign
from connectors.dmp.xades import sign_lot, signature_entry
from connectors.xds import ebrim
from connectors.xds.formats import utc_now
from connectors.xds.mapping import document_entry, sha1_of, submission_set
from connectors.xds.model import DocumentEntry, SubmissionSet
from connectors.xds.oid import new_oid
from tests.xds import samples

ACTIONS = {o.name: o.action for o in OPERATIONS}
RIM = f"{{{ebrim.RIM}}}"
RS = f"{{{ebrim.RS}}}"
SOAP = f"{{{soap.SOAP}}}"
IHE = f"{{{ebrim.IHE}}}"
PATIENT = f"{samples.INS.extension}^^^&{samples.INS.root}&ISO^NH"
STRUCTURE = "1990000010"
DOCTOR = (
    Role(code="10", system="1.2.250.1.71.1.2.7", label="Médecin"),
    Role(code="SM26", system="1.2.250.1.71.4.2.5", label="Médecine générale"),
)
CLERK = (Role(code="SECRETARIAT_MEDICAL", system="1.2.250.1.213.1.1.4.6", label="Secrétariat"),)
Change = Callable[[etree._Element], object]


def nothing(_element: etree._Element) -> None:
    """No change."""


@dataclass
class Reply:
    """One HTTP answer, read."""

    status: int
    headers: httpx.Headers
    body: etree._Element
    relates: str
    parts: Mapping[str, bytes]

    @property
    def result(self) -> str:
        """Status of the ebRS response, or `Fault`."""
        if self.body.tag == f"{SOAP}Fault":
            return "Fault"
        found = self.body if self.body.get("status") else self.body.find(f"{RS}RegistryResponse")
        assert found is not None
        return (found.get("status") or "").rpartition(":")[2]

    @property
    def code(self) -> str:
        """First error code, or the fault's subcode."""
        subcode = self.body.findtext(f".//{SOAP}Subcode/{SOAP}Value")
        error = self.body.find(f".//{RS}RegistryError")
        if subcode is not None:
            return subcode.rpartition(":")[2]
        return (error.get("errorCode") or "") if error is not None else ""

    @property
    def words(self) -> str:
        error = self.body.find(f".//{RS}RegistryError")
        text = self.body.findtext(f".//{SOAP}Reason/{SOAP}Text")
        return text or ((error.get("codeContext") or "") if error is not None else "")

    def ids(self, kind: str) -> list[str]:
        """Identifiers of the objects of one kind (ObjectRef, ExtrinsicObject…)."""
        listed = self.body.find(f"{RIM}RegistryObjectList")
        assert listed is not None
        return [e.get("id") or "" for e in listed.findall(f"{RIM}{kind}")]

    def documents(self) -> dict[str, bytes]:
        """Bytes by uniqueId of an ITI-43 answer."""
        return {
            one.findtext(f"{IHE}DocumentUniqueId") or "": mtom.resolve(
                one.find(f".//{{{ebrim.XOP}}}Include").get("href"),  # type: ignore[union-attr,arg-type]
                self.parts,
            )
            for one in self.body.findall(f"{IHE}DocumentResponse")
        }


class Client:
    """Speaks to one simulator with the certificates that it made."""

    def __init__(self, simulator: DmpSimulator) -> None:
        self.simulator = simulator
        settings = read_settings(simulator.connector_settings(), Path())
        credentials = load_credentials(settings, datetime.now(UTC))
        self.identity: SigningIdentity = credentials.signing
        self.http = httpx.AsyncClient(verify=credentials.tls, trust_env=False, timeout=20)

    async def close(self) -> None:
        await self.http.aclose()

    def vihf(
        self,
        *,
        mode: str = "INDIRECTE",
        patient: str = PATIENT,
        structure: str = STRUCTURE,
        name_id: str = "810100000016",
        roles: Sequence[Role] = (),
        change: Change = nothing,
        after: Change = nothing,
        now: datetime | None = None,
        identity: SigningIdentity | None = None,
    ) -> bytes:
        """A signed assertion; `change` before the signature, `after` it."""
        identity = identity or self.identity
        subject = VihfSubject(structure, name_id, "MARTIN, Claude", patient)
        given = Vihf(roles=tuple(roles)) if roles else Vihf()
        root = build(
            subject, given, Software(version="1"), identity.issuer_name, now or datetime.now(UTC), uuid4()
        )
        value = root.find(".//{*}Attribute[@Name='Authentification_Mode']/{*}AttributeValue")
        assert value is not None
        value.text = mode
        if mode == "INDIRECTE_RENFORCEE":
            context = root.find(".//{*}AuthnContext")
            assert context is not None
            etree.SubElement(context, f"{{{SAML}}}AuthnContextDecl").text = "CONF_EXI_PGSSIS"
        change(root)
        made = etree.fromstring(sign(root, identity))
        after(made)
        return etree.tostring(made)

    def air(self, **options: Any) -> bytes:
        """The VIHF of a doctor."""
        return self.vihf(mode="INDIRECTE_RENFORCEE", roles=DOCTOR, **options)

    async def send(
        self,
        name: str,
        body: etree._Element,
        *,
        route: str = "",
        assertion: bytes | None = None,
        parts: Sequence[mtom.Part] = (),
        message_id: str = "",
        change: Change = nothing,
    ) -> Reply:
        """One call. `change`: of the whole envelope, just before it leaves."""
        action = ACTIONS.get(name, name)
        message_id = message_id or uuid4().urn
        raw = soap.envelope(action, "", message_id, assertion if assertion is not None else self.vihf(), body)
        envelope = etree.fromstring(raw)
        change(envelope)
        raw = etree.tostring(envelope)
        content_type = soap.content_type(action)
        if parts:
            package = mtom.encode(action, raw, parts, uuid4())
            raw, content_type = b"".join(package.chunks), package.content_type
        defaults = {"submit": "repository", "retrieve": "repository", "exist": "patients"}
        return await self.raw(route or defaults.get(name, "registry"), content_type, raw)

    async def raw(self, route: str, content_type: str, body: bytes) -> Reply:
        """Any bytes."""
        url = f"{self.simulator.address()}/{route}"
        reply = await self.http.post(url, content=body, headers={"content-type": content_type})
        return read(reply)

    # --- transactions -------------------------------------------------------------------------------------------

    def entry(self, uid: str, content: bytes, **changes: Any) -> DocumentEntry:
        """The DocumentEntry of the synthetic document."""
        made = document_entry(samples.document(content), samples.transmission()).entry
        assert made is not None
        return replace(made, unique_id=uid, size=len(content), sha1=sha1_of(content), **changes)

    def lot(self, **changes: Any) -> SubmissionSet:
        """A new submission set."""
        made, _ = submission_set(
            samples.transmission(),
            unique_id=new_oid(),
            source_id="1.2.250.1.999.1",
            now=datetime.now(UTC),
            title="Lot",
        )
        assert made is not None
        return replace(made, **changes)

    def submission(
        self,
        uid: str,
        content: bytes,
        *,
        replaces: str | None = None,
        lot: SubmissionSet | None = None,
        entry: DocumentEntry | None = None,
        signed: bytes | None = None,
    ) -> tuple[etree._Element, list[mtom.Part]]:
        """ITI-41 body and parts; `signed`: what the XAdES is made on, when not the content."""
        lot = lot or self.lot()
        entry = entry or self.entry(uid, content)
        now = datetime.now(UTC)
        document = signed if signed is not None else content
        xades = sign_lot(
            lot.unique_id, [(uid, document)], self.identity, kind="sha1", now=now, identifier=uuid4()
        )
        signature = signature_entry(entry, new_oid(), len(xades), sha1_of(xades), utc_now(now))
        request = ebrim.submit_objects(lot, [ebrim.Member(entry, replaces=replaces)], signature=signature)
        body = ebrim.provide_and_register(request, (("Document01", "d1@t"), ("Signature01", "s1@t")))
        return body, [mtom.Part("d1@t", "text/xml", content), mtom.Part("s1@t", "text/xml", xades)]

    async def submit(
        self,
        uid: str,
        content: bytes | None = None,
        *,
        assertion: bytes | None = None,
        change: Change = nothing,
        **options: Any,
    ) -> Reply:
        """TD2.1a or TD2.1b of a synthetic document; `change` of the body."""
        body, parts = self.submission(uid, content if content is not None else document(uid), **options)
        change(body)
        return await self.send("submit", body, parts=parts, assertion=assertion)

    async def query(
        self, uuid: str, *parameters: tuple[str, str], leaf: bool = True, assertion: bytes | None = None
    ) -> Reply:
        """ITI-18 as a doctor, unless told otherwise."""
        body = stored_query(uuid, *parameters, kind="LeafClass" if leaf else "ObjectRef")
        return await self.send("query", body, assertion=assertion or self.air())

    async def find(self, *uids: str, assertion: bytes | None = None) -> list[str]:
        """TD3.1b."""
        listed = "(" + ",".join(f"'{uid}'" for uid in uids) + ")"
        body = stored_query(
            "5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4", ("$XDSDocumentEntryUniqueId", listed), kind="ObjectRef"
        )
        reply = await self.send("query", body, assertion=assertion)
        return reply.ids("ObjectRef")

    async def retrieve(
        self, *uids: str, repository: str = "1.2.250.1.213.4.1.1.1.2", assertion: bytes | None = None
    ) -> Reply:
        """ITI-43 as a doctor, unless told otherwise."""
        root = etree.Element(f"{IHE}RetrieveDocumentSetRequest", nsmap={"ihe": ebrim.IHE})
        for uid in uids:
            one = etree.SubElement(root, f"{IHE}DocumentRequest")
            etree.SubElement(one, f"{IHE}RepositoryUniqueId").text = repository
            etree.SubElement(one, f"{IHE}DocumentUniqueId").text = uid
        return await self.send("retrieve", root, assertion=assertion or self.air())

    async def set_status(
        self,
        entry_uuid: str,
        new: str = ebrim.DELETED,
        original: str = ebrim.APPROVED,
        assertion: bytes | None = None,
    ) -> Reply:
        """ITI-57: TD3.3c and TD3.3d."""
        body = ebrim.status_update(self.lot(), entry_uuid, original=original, new=new)
        return await self.send("update", body, assertion=assertion)

    async def leaf(self, uid: str) -> etree._Element:
        """The ExtrinsicObject of one document, as a doctor reads it."""
        reply = await self.query(
            "5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4", ("$XDSDocumentEntryUniqueId", f"('{uid}')")
        )
        found = reply.body.find(f".//{RIM}ExtrinsicObject")
        assert found is not None
        return found

    async def set_confidentiality(
        self,
        uid: str,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        previous: int | None = None,
        assertion: bytes | None = None,
        change: Change = nothing,
    ) -> Reply:
        """ITI-57: TD3.3a and TD3.3b, the whole ExtrinsicObject sent back with other codes (§3.8)."""
        leaf = await self.leaf(uid)
        version = leaf.find(f"{RIM}VersionInfo")
        assert version is not None
        previous = previous if previous is not None else int(version.get("versionName") or "")
        leaf.set("id", "Document01")
        for one in leaf.findall(f"{RIM}Classification"):
            one.set("classifiedObject", "Document01")
            if one.get("nodeRepresentation") in remove:
                leaf.remove(one)
        for one in leaf.findall(f"{RIM}ExternalIdentifier"):
            one.set("registryObject", "Document01")
        at = leaf.index(leaf.findall(f"{RIM}Classification")[-1])
        for code in add:
            made = etree.fromstring(
                f'<rim:Classification xmlns:rim="{ebrim.RIM}" id="{uuid4().urn}" classifiedObject="Document01" '
                f'classificationScheme="{ebrim.DOC_CONFIDENTIALITY}" nodeRepresentation="{code}"><rim:Slot '
                'name="codingScheme"><rim:ValueList><rim:Value>1.2.250.1.213.1.1.4.13</rim:Value></rim:ValueList>'
                f'</rim:Slot><rim:Name><rim:LocalizedString value="{code}"/></rim:Name></rim:Classification>'
            )
            leaf.insert(at, made)
        change(leaf)
        body = ebrim.status_update(self.lot(), "x")
        listed = body.find(f"{RIM}RegistryObjectList")
        assert listed is not None
        (old,) = listed.findall(f"{RIM}Association")
        link = etree.fromstring(
            f'<rim:Association xmlns:rim="{ebrim.RIM}" id="link" associationType="{ebrim.HAS_MEMBER}" '
            'sourceObject="SubmissionSet01" targetObject="Document01"><rim:Slot name="SubmissionSetStatus">'
            "<rim:ValueList><rim:Value>Original</rim:Value></rim:ValueList></rim:Slot><rim:Slot "
            f'name="PreviousVersion"><rim:ValueList><rim:Value>{previous}</rim:Value></rim:ValueList></rim:Slot>'
            "</rim:Association>"
        )
        listed.replace(old, leaf)
        listed.append(link)
        return await self.send("update", body, assertion=assertion or self.air())


def stored_query(uuid: str, *parameters: tuple[str, str], kind: str) -> etree._Element:
    """An AdhocQueryRequest with ready-made literals."""
    root = etree.Element(
        f"{{{ebrim.QUERY}}}AdhocQueryRequest", nsmap={"query": ebrim.QUERY, "rim": ebrim.RIM}
    )
    option = etree.SubElement(root, f"{{{ebrim.QUERY}}}ResponseOption", returnType=kind)
    option.set("returnComposedObjects", "true")
    query = etree.SubElement(root, f"{RIM}AdhocQuery", id=f"urn:uuid:{uuid}")
    for name, literal in parameters:
        slot = etree.SubElement(query, f"{RIM}Slot", name=name)
        etree.SubElement(etree.SubElement(slot, f"{RIM}ValueList"), f"{RIM}Value").text = literal
    return root


def document(uid: str, title: str = "Document") -> bytes:
    """Synthetic content for a uniqueId."""
    return f"<ClinicalDocument xmlns='urn:hl7-org:v3'><!-- é {uid} -->\r\n{title}</ClinicalDocument>".encode()


def read(reply: httpx.Response) -> Reply:
    """Raises for what is no SOAP answer."""
    root, parts = mtom.decode(reply.headers.get("content-type", ""), reply.content)
    envelope = etree.fromstring(root)
    body = envelope.find(f"{SOAP}Body")
    assert body is not None
    relates = envelope.findtext(f"{SOAP}Header/{{{soap.WSA}}}RelatesTo") or ""
    return Reply(reply.status_code, reply.headers, body[0], relates, parts)


def trusting(simulator: DmpSimulator) -> ssl.SSLContext:
    """A context that trusts the simulator and shows no certificate."""
    return ssl.create_default_context(cafile=str(simulator.pki.ca))
