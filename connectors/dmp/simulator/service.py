"""One SOAP call of the simulated DMP, from the received bytes to the answer, without any socket.

Purpose: read, check, run, answer; synchronous, so that the server can run it in a thread.
Guarantee: what is checked comes before what is kept; the answer names the request's MessageID.
Fails: never raises for what a client sends.
Source: spec/dmp.md §8.2.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from lxml import etree

from connectors.dmp import mtom
from connectors.dmp.simulator import checks
from connectors.dmp.simulator.answers import (
    Answer,
    Refusal,
    SoapFault,
    answer,
    fault_body,
    query_response,
    registry_response,
)
from connectors.dmp.simulator.faults import Fault
from connectors.dmp.simulator.registry import Registry
from connectors.dmp.soap import PROVIDE_AND_REGISTER, SOAP, STORED_QUERY, UPDATE_DOCUMENT_SET
from connectors.xds import ebrim
from gateway.safexml import safe_parser

ACTIONS = {PROVIDE_AND_REGISTER: "submit", STORED_QUERY: "query", UPDATE_DOCUMENT_SET: "update"}
_ROUTES = {"submit": "repository", "query": "registry", "update": "registry"}


@dataclass(slots=True)
class Received:
    """A call as far as it could be read."""

    route: str
    envelope: etree._Element | None = None
    parts: Mapping[str, bytes] | None = None
    action: str = ""
    """`submit`, `query`, `update`, or "" for something else."""
    soap_action: str = ""
    message_id: str = ""
    unique_id: str = ""
    """uniqueId of the first document named, entryUUID for an update."""
    problem: SoapFault | None = None

    @property
    def multipart(self) -> bool:
        """The repository always answers in a package."""
        return self.route == "repository"


def _unique_id(envelope: etree._Element, action: str) -> str:
    """What the call is about, for the fault plan and the event log."""
    if action == "query":
        value = envelope.findtext(f".//{{{ebrim.RIM}}}AdhocQuery//{{{ebrim.RIM}}}Value") or ""
        return value.strip("()").split(",")[0].strip("'")
    if action == "update":
        found = envelope.find(f".//{{{ebrim.RIM}}}Association[@associationType='{ebrim.UPDATE_STATUS}']")
        return (found.get("targetObject") or "") if found is not None else ""
    for found in envelope.iter(f"{{{ebrim.RIM}}}ExternalIdentifier"):
        if found.get("identificationScheme") == ebrim.DOC_UNIQUE_ID:
            return found.get("value") or ""
    return ""


def receive(route: str, content_type: str, body: bytes) -> Received:
    """MIME, envelope, addressing."""
    made = Received(route)
    try:
        root, made.parts = mtom.decode(content_type, body)
        envelope = etree.fromstring(root, safe_parser(len(root)))
    except (ValueError, etree.XMLSyntaxError) as e:
        made.problem = SoapFault("", f"sim: message illisible ({type(e).__name__})")
        return made
    if envelope.tag != f"{{{SOAP}}}Envelope":
        made.problem = SoapFault("", "sim: enveloppe SOAP 1.2 attendue")
        return made
    made.envelope = envelope
    try:
        found = checks.addressing(envelope)
    except SoapFault as e:
        made.problem = e
        return made
    made.message_id, made.soap_action = found.message_id, found.action
    made.action = ACTIONS.get(found.action, "")
    made.unique_id = _unique_id(envelope, made.action)
    if _ROUTES.get(made.action) != route:
        made.problem = SoapFault("ActionNotSupported", "sim: action inconnue à cette adresse")
    return made


class Service:
    """The three transactions over one registry."""

    def __init__(
        self,
        registry: Registry,
        authority_file: str,
        allowed: Mapping[str, frozenset[str]] | None,
        skew: timedelta,
    ) -> None:
        self._registry = registry
        self._authority_file = authority_file
        self._allowed = allowed
        self._skew = skew
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def run(self, call: Received, peer: x509.Certificate, fault: Fault | None) -> tuple[Answer, str]:
        """Answer one call; also the result in a word (`Success`, or a code) for the event log."""
        try:
            body, result = self._run(call, peer), "Success"
        except SoapFault as e:
            return self.fault(call, e), e.subcode or "Fault"
        except Refusal as e:
            body, result = registry_response([(e.code, e.words)]), e.code
        relates = call.message_id
        if fault is not None and result == "Success":
            if fault.kind == "wrong_relates_to":
                relates = "urn:uuid:00000000-0000-4000-8000-000000000000"
            elif fault.kind == "warning":
                body = registry_response([(fault.code, fault.words)], status="Success", severity="Warning")
            elif fault.kind == "partial":
                body = registry_response([(fault.code, fault.words)], status="PartialSuccess")
        made = answer(body, call.soap_action, relates, multipart=call.multipart)
        if fault is not None and fault.kind == "cut_body":
            made = Answer(made.status, made.content_type, made.body[: len(made.body) // 2])
        return made, result

    def fault(self, call: Received, fault: SoapFault) -> Answer:
        """A SOAP fault, HTTP 500."""
        return answer(fault_body(fault), "", call.message_id, multipart=call.multipart, status=500)

    def refuse(self, call: Received, code: str, words: str) -> Answer:
        """A planned RegistryError."""
        body = registry_response([(code, words)])
        return answer(body, call.soap_action, call.message_id, multipart=call.multipart)

    def _run(self, call: Received, peer: x509.Certificate) -> str:
        if call.problem is not None or call.envelope is None:
            raise call.problem or SoapFault("", "sim: message illisible")
        with self._lock:
            if call.message_id in self._seen:
                raise SoapFault("DuplicateMessage", "sim: MessageID déjà reçu")
            self._seen.add(call.message_id)
        caller = checks.vihf(
            call.envelope, self._authority_file, peer, self._allowed, datetime.now(UTC), self._skew
        )
        if call.action == "submit":
            self._registry.submit(_request(call.envelope), _documents(call), caller)
            return registry_response()
        if call.action == "update":
            self._registry.update(_request(call.envelope), caller)
            return registry_response()
        self._registry.patient(caller.patient)
        return query_response(self._registry.find(_asked(call.envelope)))


def _request(envelope: etree._Element) -> etree._Element:
    found = envelope.find(f".//{{{ebrim.LCM}}}SubmitObjectsRequest")
    if found is None:
        raise Refusal("XDSRepositoryMetadataError", "sim: SubmitObjectsRequest absent")
    return found


def _documents(call: Received) -> dict[str, bytes]:
    """Bytes by Document/@id; only MTOM is taken (EX_2.1-1260)."""
    made: dict[str, bytes] = {}
    for found in call.envelope.iter(f"{{{ebrim.IHE}}}Document") if call.envelope is not None else ():
        include = found.find(f"{{{ebrim.XOP}}}Include")
        if include is None:
            raise Refusal("XDSRepositoryError", "sim: document hors MTOM")
        try:
            made[found.get("id") or ""] = mtom.resolve(include.get("href") or "", call.parts or {})
        except ValueError:
            raise Refusal("XDSMissingDocument", f"sim: {found.get('id')}") from None
    return made


def _asked(envelope: etree._Element) -> list[str]:
    """uniqueIds of a GetDocuments query."""
    query = envelope.find(f".//{{{ebrim.RIM}}}AdhocQuery")
    if query is None or query.get("id") != ebrim.GET_DOCUMENTS:
        raise Refusal("XDSUnknownStoredQuery", "sim: seule GetDocuments est simulée")
    for slot in query.findall(f"{{{ebrim.RIM}}}Slot"):
        if slot.get("name") == "$XDSDocumentEntryUniqueId":
            values = [v.text or "" for v in slot.iter(f"{{{ebrim.RIM}}}Value")]
            return [x.strip().strip("'") for v in values for x in v.strip("()").split(",")]
    raise Refusal("XDSStoredQueryMissingParam", "sim: $XDSDocumentEntryUniqueId")
