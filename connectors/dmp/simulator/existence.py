"""TD0.2: is there a DMP for this patient (HL7v3 PRPA_IN201307UV02, answered by PRPA_IN201308UV02).

Purpose: read the query, answer with existence (`OK` or `NF`), authorisation and status.
Guarantee: an unknown patient is an answer, not an error. Pure but for fresh identifiers.
Fails: `SoapFault` for a query that cannot be read.
Source: spec/dmp.md §1.6. The values for a closed DMP and for a refused authorisation are published nowhere we know:
`terminated` and `sim:INTERDITE` are ours.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4
from xml.sax.saxutils import quoteattr

from lxml import etree

from connectors.dmp.simulator.answers import SoapFault
from connectors.dmp.simulator.patients import State

HL7 = "urn:hl7-org:v3"
_V3 = f"{{{HL7}}}"
_REASONS = "1.2.250.1.213.1.1.4.11"


def patient(envelope: etree._Element) -> str:
    """The patient asked about, as CX."""
    value = envelope.find(f".//{_V3}patientIdentifier/{_V3}value")
    if value is None or not value.get("root") or not value.get("extension"):
        return ""
    return f"{value.get('extension')}^^^&{value.get('root')}&ISO^NH"


def check(envelope: etree._Element) -> None:
    """Only TEST_EXST is simulated. Raises `SoapFault`."""
    reason = envelope.find(f".//{_V3}controlActProcess/{_V3}reasonCode")
    if reason is None or (reason.get("code"), reason.get("codeSystem")) != ("TEST_EXST", _REASONS):
        raise SoapFault("", "sim: reasonCode TEST_EXST attendu")
    if envelope.find(f".//{_V3}queryByParameter/{_V3}queryId") is None or not patient(envelope):
        raise SoapFault("", "sim: queryId ou patientIdentifier absent")


def _ii(element: etree._Element | None) -> str:
    if element is None:
        return '<id nullFlavor="NI"/>'
    extension = element.get("extension")
    return (
        f"<id root={quoteattr(element.get('root') or '')}"
        f"{f' extension={quoteattr(extension)}' if extension else ''}/>"
    )


def answer(envelope: etree._Element, state: State) -> str:
    """The body of the answer."""
    asked = envelope.find(f".//{_V3}queryByParameter")
    query = asked.find(f"{_V3}queryId") if asked is not None else None
    message = envelope.find(f".//{_V3}PRPA_IN201307UV02/{_V3}id")
    value = envelope.find(f".//{_V3}patientIdentifier/{_V3}value")
    known = state != "unknown"
    authorisation = "sim:INTERDITE" if state == "opposed" else "VALIDE"
    found = (
        '<subject typeCode="SUBJ"><registrationEvent classCode="REG" moodCode="EVN"><statusCode code="active"/>'
        f'<subject1 typeCode="SBJ"><patient classCode="PAT">{_ii(value)}'
        f'<statusCode code="{"terminated" if state == "closed" else "active"}"/></patient></subject1>'
        "</registrationEvent></subject>"
    )
    line = (
        '<attentionLine><keyWordText code="AUTORISATION" codeSystem="1.2.250.1.213.4.1.2.6.1"/>'
        f'<value xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CV" code="{authorisation}" '
        'codeSystem="1.2.250.1.213.4.1.2.6.2"/></attentionLine><attentionLine><keyWordText code="STATUT_MT" '
        'codeSystem="1.2.250.1.213.4.1.2.6.3"/><value xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:type="BL" value="false"/></attentionLine>'
    )
    return (
        f'<PRPA_IN201308UV02 xmlns="{HL7}" ITSVersion="XML_1.0"><id root="{uuid4()}"/>'
        f'<creationTime value="{datetime.now(UTC):%Y%m%d%H%M%S}"/>'
        '<interactionId root="2.16.840.1.113883.1.6" extension="PRPA_IN201308UV02"/>'
        '<processingCode code="T"/><processingModeCode code="T"/><acceptAckCode code="NE"/>'
        '<receiver typeCode="RCV"><device classCode="DEV" determinerCode="INSTANCE"><id nullFlavor="NI"/></device>'
        '</receiver><sender typeCode="SND"><device classCode="DEV" determinerCode="INSTANCE">'
        '<id root="1.2.250.1.213.4.1.1.1"/><softwareName>DMP</softwareName></device></sender>'
        f"{line if known else ''}"
        f'<acknowledgement><typeCode code="AA"/><targetMessage>{_ii(message)}</targetMessage></acknowledgement>'
        f'<controlActProcess classCode="CACT" moodCode="EVN">{found if known else ""}'
        f"<queryAck>{_ii(query).replace('<id ', '<queryId ', 1)}"
        f'<queryResponseCode code="{"OK" if known else "NF"}"/></queryAck></controlActProcess></PRPA_IN201308UV02>'
    )
