"""Steps 1 and 2 of §8.2: the received bytes as a SOAP message with its addressing.

Purpose: MIME, XOP, SOAP 1.2, WS-Addressing; and what the call is about, for the fault plan and the event log, which
come before anything is checked.
Guarantee: never raises for what a client sends: `problem` is then the fault to answer. Pure.
Source: spec/dmp.md §1.3, §1.4, §8.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lxml import etree

from connectors.dmp import mtom
from connectors.dmp.simulator import checks, existence, queries, retrieve, submission, updating
from connectors.dmp.simulator.answers import Refusal, SoapFault
from connectors.dmp.simulator.operations import BY_ACTION, ROUTES
from connectors.dmp.soap import SOAP
from connectors.xds import ebrim
from gateway.safexml import safe_parser


@dataclass(slots=True)
class Received:
    """A call as far as it could be read."""

    route: str
    envelope: etree._Element | None = None
    parts: Mapping[str, bytes] = field(default_factory=dict)
    action: str = ""
    """`submit`, `query`, `retrieve`, `update`, `exist`, or "" for something else."""
    transaction: str = ""
    """TD2.1a, TD2.1b, TD3.1a…"""
    soap_action: str = ""
    message_id: str = ""
    unique_id: str = ""
    """uniqueId of the first document named; entryUUID where the call names that."""
    patients: tuple[str, ...] = ()
    """Every patient that the body names (CX)."""
    vihf_patient: str = ""
    """resource-id of the VIHF, not verified: for the fault plan and the event log alone."""
    objects: submission.Objects | None = None
    query: queries.Query | None = None
    check: str = "message"
    """The step that the call is at: the one that refused it, in the end."""
    problem: SoapFault | None = None
    refusal: Refusal | None = None
    """What could not be read of the body: answered when its step comes."""

    @property
    def multipart(self) -> bool:
        """The repository always answers in a package."""
        return self.route == "repository"

    def mark(self, step: str) -> None:
        """Enter a step of §8.2."""
        self.check = step


def receive(route: str, content_type: str, body: bytes) -> Received:
    """MIME, envelope, addressing, and what the call is about."""
    made = Received(route)
    try:
        root, made.parts = mtom.decode(content_type, body)
        envelope = etree.fromstring(root, safe_parser(len(root)))
    except (ValueError, etree.XMLSyntaxError) as e:
        made.problem = SoapFault("", f"sim: message illisible ({type(e).__name__})")
        return made
    if envelope.getroottree().docinfo.internalDTD is not None:
        made.problem = SoapFault("", "sim: DOCTYPE interdit")
        return made
    if envelope.tag != f"{{{SOAP}}}Envelope":
        made.problem = SoapFault("", "sim: enveloppe SOAP 1.2 attendue")
        return made
    made.envelope = envelope
    made.mark("addressing")
    try:
        found = checks.addressing(envelope)
    except SoapFault as e:
        made.problem = e
        return made
    made.message_id, made.soap_action = found.message_id, found.action
    operation = BY_ACTION.get(found.action)
    if operation is None or route not in operation.routes or route not in ROUTES:
        made.problem = SoapFault("ActionNotSupported", "sim: action inconnue à cette adresse")
        return made
    made.action = operation.name
    made.vihf_patient = checks.resource_id(envelope)
    try:
        _about(made, envelope)
    except Refusal as e:
        made.refusal = e
    return made


def _about(call: Received, envelope: etree._Element) -> None:
    """Transaction, uniqueId and patients of the body. Raises `Refusal`."""
    if call.action == "query":
        call.transaction = "TD3.1a"
        call.query = queries.read(envelope)
        call.unique_id = queries.subject(call.query)
        call.transaction = "TD3.1b" if queries.is_reference_search(call.query) else "TD3.1a"
        names = ("$XDSDocumentEntryPatientId", "$XDSSubmissionSetPatientId")
        call.patients = tuple(v for n in names for v in call.query.values(n))
    elif call.action == "retrieve":
        call.transaction = "TD3.2"
        call.unique_id = next((uid for _, uid in retrieve.asked(envelope)), "")
    elif call.action == "exist":
        call.transaction = "TD0.2"
        named = existence.patient(envelope)
        call.patients = (named,) if named else ()
    elif call.action == "submit":
        call.transaction = "TD2.1a"
        objects = call.objects = submission.read(envelope, submission.METADATA_ERROR)
        call.transaction = "TD2.1b" if objects.of(ebrim.REPLACES) else "TD2.1a"
        call.unique_id = next((d.unique_id for d in objects.described if not d.signature), "")
        call.patients = tuple(submission.patients(objects))
    else:
        call.transaction = "TD3.3c"
        objects = call.objects = submission.read(envelope, updating.METADATA_ERROR)
        call.transaction = updating.transaction(objects)
        targets = [target for _, target in objects.of(ebrim.UPDATE_STATUS)]
        call.unique_id = next(iter([*targets, *(d.unique_id for d in objects.described)]), "")
        call.patients = tuple(submission.patients(objects))


def documents(call: Received) -> dict[str, bytes]:
    """Bytes by Document/@id; only MTOM is taken (EX_2.1-1260). Raises `Refusal`."""
    made: dict[str, bytes] = {}
    for found in call.envelope.iter(f"{{{ebrim.IHE}}}Document") if call.envelope is not None else ():
        include = found.find(f"{{{ebrim.XOP}}}Include")
        if include is None:
            raise Refusal("XDSRepositoryError", "sim: document hors MTOM")
        try:
            made[found.get("id") or ""] = mtom.resolve(include.get("href") or "", call.parts)
        except ValueError:
            raise Refusal("XDSMissingDocument", f"sim: {found.get('id')}") from None
    return made
