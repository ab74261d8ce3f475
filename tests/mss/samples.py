"""Transmissions, documents and jobs for the MSSanté tests: synthetic CDA of `fixtures`, read by the CDA
room.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lxml import etree

from connectors.mss.connector import MssConnector, create
from connectors.port import (
    Accepted,
    ConnectorContext,
    DeliveryJob,
    PlannedDelivery,
    Predecessor,
    Preparation,
    Verdict,
)
from fixtures import build
from gateway.cda.document import Document
from gateway.cda.header import read_header
from gateway.errors import Place
from gateway.hl7.transmission import (
    Action,
    Code,
    DocumentPart,
    Flags,
    MailBody,
    Organisation,
    Party,
    Patient,
    PatientId,
    Person,
    Transmission,
)
from gateway.rules import Preset, RuleBook, read_rules

NOW = datetime.now(UTC)
"""The real time: the simulator's certificates are valid now."""
MARTIN = build.DR_MARTIN.address
BERNARD = build.DR_BERNARD.address
PATIENT = f"{build.PATIENT.ins}@patient.mssante.fr"
SETTINGS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 25,
    "tls": "none",
    "from_address": "passerelle@test-hopital.mssante.fr",
    "from_name": "Hôpital fictif de l'Essai",
    "product_reference": "NIL-DE-TEST",
    "source_oid": "1.2.250.1.999.1.1",
}


def document(content: bytes, part: int = 0) -> Document:
    """The document of a synthetic CDA."""
    return Document(
        read_header(etree.fromstring(content)), content, hashlib.sha256(content).hexdigest(), part
    )


def party(address: str, number: int, identifier: str = "") -> Party:
    """A PRT RCT."""
    person = Person(identifier, "NOM", "Prénom", build.RPPS_ROOT, "IDNPS") if identifier else None
    return Party(Place("PRT", number), person=person, address=address)


def flags(**changes: bool) -> Flags:
    """To professionals, with a ZAM."""
    return replace(Flags(dest_mssante_ps=True, ack_reception=True), **changes)


def transmission(action: Action = Action.SUBMIT, **changes: Any) -> Transmission:
    """One document to two professionals."""
    patient = build.PATIENT
    made = Transmission(
        control_id="MSG00001",
        message_type="MDM",
        event={Action.SUBMIT: "T02", Action.REPLACE: "T10", Action.DELETE: "T04"}[action],
        version="2.6",
        processing_id="T",
        sending_application="SIL-ESSAI",
        sending_facility="HOPITAL-ESSAI",
        receiving_application="PFI-ESSAI",
        receiving_facility="HOPITAL-ESSAI",
        action=action,
        patient=Patient(
            identifiers=(PatientId(patient.ins, patient.ins_oid, "INS"),),
            birth_family=patient.birth_family,
            birth_given=patient.birth_given,
            birth_date=patient.birth_date,
            sex=patient.sex,
        ),
        patient_class="I",
        visit_number=None,
        account_number=PatientId("26010007", build.IPP_ROOT, "AN"),
        document_type=Code("11502-2", "CR d'examens biologiques", "LN"),
        document_id=None,
        replaced_id=None,
        parts=(DocumentPart(Place("OBX"), Code("11502-2"), "F", 0, 0),),
        sender=Party(
            Place("PRT"),
            person=Person("810100000016", "MARTIN", "Claude", build.RPPS_ROOT, "IDNPS"),
            organisation=Organisation("Hôpital fictif de l'Essai", build.FINESS_ROOT, "IDNST", build.FINESS),
        ),
        recipients=(party(MARTIN, 2, "810100000024"), party(BERNARD, 3, "810100000032")),
        reply_to=(),
        flags=flags(),
        body_ps=MailBody(
            "Cher confrère,\nvoici un compte rendu.\n. ligne qui commence par un point", Place("OBX", 12)
        ),
    )
    return replace(made, **changes)


def preparation(asked: Transmission | None = None, *contents: bytes) -> Preparation:
    """The preparation of `asked` (default: `transmission()`) with its documents (default: one N1)."""
    documents = tuple(document(c, n) for n, c in enumerate(contents or (build.cda_n1(),)))
    asked = asked or transmission()
    if len(asked.parts) < len(documents):
        part = asked.parts[0]
        parts = tuple(replace(part, place=Place("OBX", n)) for n in range(1, len(documents) + 1))
        asked = replace(asked, parts=parts)
    return Preparation(asked, documents, NOW)


def book(preset: Preset = "production") -> RuleBook:
    """The connector's own rules."""
    return RuleBook(read_rules(MssConnector.rule_tables[0]), preset)


def connector(
    table: dict[str, Any] | None = None, base: Path = Path(), preset: Preset = "production"
) -> MssConnector:
    """A connector with its rules, not started."""
    made = create(ConnectorContext({**SETTINGS, **(table or {})}, base, "1.2.3"))
    made.use(book(preset))
    return made


@dataclass(slots=True)
class Stored:
    """A document as the journal gives it back."""

    uid: str
    content: bytes
    sha256: str = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.sha256 = hashlib.sha256(self.content).hexdigest()
        self.size = len(self.content)

    async def read(self) -> bytes:
        return self.content


def accepted(verdict: Verdict) -> Accepted:
    """The verdict, which must be an acceptance."""
    assert isinstance(verdict, Accepted), verdict
    return verdict


def job(
    delivery: PlannedDelivery,
    prepared: Preparation,
    predecessor: Predecessor = Predecessor.NONE,
    attempt: int = 1,
) -> DeliveryJob:
    """The job of a planned delivery."""
    return DeliveryJob(
        id=1,
        destination="mss",
        recipient=delivery.recipient,
        action=prepared.transmission.action,
        plan=delivery.plan,
        documents=tuple(Stored(d.uid, d.content) for d in prepared.documents),
        attempt=attempt,
        predecessor=predecessor,
        now=NOW,
    )
