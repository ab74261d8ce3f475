"""TD0.2: does this patient have a DMP? HL7 v3 PRPA_IN201307UV02, reason TEST_EXST.

Purpose: build the question, read the answer. Pure: time and identifier come in.
Guarantee: `exists` is True or False only when the DMP said OK or NF; anything else is a `Failure`.
Fails: never raises on what the network brings.
Source: spec/dmp.md §1.6 (CNAM samples).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from lxml import etree

from connectors.dmp.responses import Failure
from connectors.port import OutcomeClass

V3: Final = "urn:hl7-org:v3"
_H = f"{{{V3}}}"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
DMP_DEVICE: Final = "1.2.250.1.213.4.1.1.1"
_INTERACTIONS = "2.16.840.1.113883.1.6"
_REASONS = "1.2.250.1.213.1.1.4.11"


@dataclass(frozen=True, slots=True)
class Existence:
    """What the DMP says of one identity. `facts`: its own keyword to value (AUTORISATION, STATUT_MT…)."""

    exists: bool
    status: str = ""
    """patient/statusCode."""
    facts: Mapping[str, str] = field(default_factory=dict)


def question(
    patient: tuple[str, str], sender: str, software: str, processing: str, now: datetime, identifier: UUID
) -> etree._Element:
    """The request. `patient`: (INS OID, matricule); `sender`: OID of this gateway; `processing`: P, T or D."""
    root = etree.Element(f"{_H}PRPA_IN201307UV02", nsmap={None: V3, "xsi": _XSI}, ITSVersion="XML_1.0")  # type: ignore[dict-item]

    def add(parent: etree._Element, tag: str, text: str | None = None, **values: str) -> etree._Element:
        made = etree.SubElement(parent, f"{_H}{tag}", values)
        made.text = text
        return made

    def device(side: str, kind: str, oid: str, name: str) -> None:
        made = add(add(root, side, typeCode=kind), "device", classCode="DEV", determinerCode="INSTANCE")
        add(made, "id", root=oid)
        add(made, "softwareName", name)

    add(root, "id", root=sender, extension=str(identifier))
    add(root, "creationTime", value=now.astimezone(UTC).strftime("%Y%m%d%H%M%S"))
    add(root, "interactionId", root=_INTERACTIONS, extension="PRPA_IN201307UV02")
    add(root, "processingCode", code=processing)
    add(root, "processingModeCode", code="T")
    add(root, "acceptAckCode", code="AL")
    device("receiver", "RCV", DMP_DEVICE, "DMP")
    device("sender", "SND", sender, software)
    act = add(root, "controlActProcess", classCode="CACT", moodCode="EVN")
    add(act, "reasonCode", code="TEST_EXST", codeSystem=_REASONS)
    query = add(act, "queryByParameter")
    add(query, "queryId", root=sender, extension=str(identifier))
    add(query, "statusCode", code="new")
    named = add(add(query, "parameterList"), "patientIdentifier")
    add(named, "value", root=patient[0], extension=patient[1])
    add(named, "semanticsText", "Patient.id")
    return root


def read(content: etree._Element) -> Existence | Failure:
    """The answer PRPA_IN201308UV02."""
    acknowledged = _code(content, "acknowledgement/typeCode")
    act = content.find(f"{_H}controlActProcess")
    answer = _code(act, "queryAck/queryResponseCode") if act is not None else ""
    if acknowledged in ("AE", "AR"):
        code = _code(content, "acknowledgement/acknowledgementDetail/code")
        words = content.findtext(f"{_H}acknowledgement/{_H}acknowledgementDetail/{_H}text") or ""
        return Failure(OutcomeClass.PERMANENT, code or acknowledged, " ".join(words.split())[:300] or code)
    if act is None or answer not in ("OK", "NF"):
        return Failure(OutcomeClass.TRANSIENT, "UNKNOWN_BODY", "Réponse du DMP de forme inconnue.")
    facts = {}
    for line in content.iter(f"{_H}attentionLine"):
        keyword, value = line.find(f"{_H}keyWordText"), line.find(f"{_H}value")
        if keyword is not None and value is not None:
            name = keyword.get("code") or (keyword.text or "").strip()
            facts[name] = value.get("code") or value.get("value") or (value.text or "").strip()
    patient = next(content.iter(f"{_H}patient"), None)
    status = _code(patient, "statusCode") if patient is not None else ""
    return Existence(answer == "OK" and patient is not None, status, facts)


def _code(parent: etree._Element, path: str) -> str:
    found = parent.find("/".join(f"{_H}{step}" for step in path.split("/")))
    return (found.get("code") or "") if found is not None else ""
