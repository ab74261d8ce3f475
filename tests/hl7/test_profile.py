"""The profile's rules one by one: the rule, its place in ERR-2, and what it does under each preset."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pytest

from gateway.errors import Severity
from gateway.hl7.message import Message
from gateway.hl7.profile import read_transmission
from gateway.rules import RuleBook
from tests.hl7 import messages as m
from tests.hl7.messages import MDM, ORU, PAIR, REPLACEMENT, TO_PATIENT, add, drop, flag, put

R, W = Severity.REJECT, Severity.WARN
OBX = {
    code: f"OBX^{n}" for n, code in enumerate(("MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REP_LEGAUX"), 2)
}
INS = m.PATIENT.ins
WRONG_INS = "184127512398" + ("9" if INS[12] != "9" else "8") + "00"


@dataclass(frozen=True)
class Case:
    """A message that breaks one rule. `also`: other rules that the same change breaks."""

    rule: str
    place: str
    raw: bytes
    production: Severity
    interop: Severity
    also: frozenset[str] = frozenset()


def case(rule: str, place: str, raw: bytes, production: Severity, interop: Severity, *also: str) -> Case:
    return Case(rule, place, raw, production, interop, frozenset(also))


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


PATIENT_ADDRESS = "PRT^3^15^1^4"
HOLLOW = "1^^^X&1.2.3&ISO^PI"
MANY = "\r".join(m.copy(MDM, "PRT", 2).replace("dr.martin@", f"dr.{n}@") for n in range(100))
"""With the recipients of the message: more than 100."""
LATIN = MDM.replace(b"UNICODE UTF-8", b"8859/15").decode().encode("iso8859-15")

CASES = [
    # --- MSH, EVN: volet Transmission v2.1, MSH table
    *(
        case("MSH-REQUIRED", f"MSH^1^{n}", put(MDM, f"MSH^1^{n}", ""), R, R)
        for n in (3, 4, 5, 6, 7, 10, 11, 12)
    ),
    case("MSH-REQUIRED", "MSH^1^9", put(MDM, "MSH^1^9", ""), R, R),
    case("MSH-REQUIRED", "MSH^1^9^1^1", put(MDM, "MSH^1^9^1^1", ""), R, R),
    case("MSH-REQUIRED", "MSH^1^10", put(MDM, "MSH^1^10", "^X"), R, R),
    *(
        case("MSH7-FORM", "MSH^1^7", put(MDM, "MSH^1^7", v), R, W)
        for v in ("20260230", "202613", "2026011025", "2026-01-10", "202601100930+2500", "2026011009300061")
    ),
    case("MSH2-SEPARATORS", "MSH^1^2", MDM.replace(b"^~\\&|", b"^~\\&#|", 1), R, W),
    case("MSH9-TYPE", "MSH^1^9^1^1", put(MDM, "MSH^1^9^1^1", "ADT"), R, R),
    case("MSH9-EVENT", "MSH^1^9^1^2", put(MDM, "MSH^1^9^1^2", "T11"), R, R),
    case("MSH9-EVENT", "MSH^1^9^1^2", put(MDM, "MSH^1^9^1^2", ""), R, R),
    case("MSH9-EVENT", "MSH^1^9^1^2", put(ORU, "MSH^1^9^1^2", "R30"), R, R),
    case("MSH9-STRUCTURE", "MSH^1^9^1^3", put(MDM, "MSH^1^9^1^3", "MDM_T01"), R, W),
    case("MSH9-STRUCTURE-ABSENT", "MSH^1^9^1^3", put(MDM, "MSH^1^9", "MDM^T02"), W, W),
    case("MSH11-PROCESSING", "MSH^1^11", put(MDM, "MSH^1^11", "X"), R, R),
    case("MSH12-VERSION", "MSH^1^12", put(MDM, "MSH^1^12", "2.3"), R, R),
    case("MSH12-OTHER-VERSION", "MSH^1^12", put(MDM, "MSH^1^12", "2.5"), R, W),
    case("MSH17-ABSENT", "MSH^1^17", put(MDM, "MSH^1^17", ""), R, W),
    case("MSH17-VALUE", "MSH^1^17", put(MDM, "MSH^1^17", "BEL"), R, W),
    case("MSH18-ABSENT", "MSH^1^18", put(MDM, "MSH^1^18", ""), R, W),
    case("MSH18-VALUE", "MSH^1^18", put(MDM, "MSH^1^18", "UNICODE"), R, W),
    case("MSH18-UNREADABLE", "MSH^1^18", put(MDM, "MSH^1^18", "BIG-5"), R, R),
    case("MSH21-ABSENT", "MSH^1^21", put(MDM, "MSH^1^21", ""), R, W),
    case("MSH21-ABSENT", "MSH^1^21^1^2", put(MDM, "MSH^1^21^1^2", ""), R, W),
    case("MSH21-VALUE", "MSH^1^21^1^1", put(MDM, "MSH^1^21", "1.1^CISIS_CDA_HL7_LPS"), R, W),
    case("MSH21-VALUE", "MSH^1^21^1^2", put(MDM, "MSH^1^21^1^2", "CISIS_CDA_HL7_LPS"), R, W),
    case("MSH21-BLANK", "MSH^1^21^1^2", put(MDM, "MSH^1^21", "2.1^ CISIS_CDA_HL7_V2"), W, W),
    case("EVN2-ABSENT", "EVN^1^2", put(MDM, "EVN^1^2", ""), R, W),
    case("EVN2-FORM", "EVN^1^2", put(MDM, "EVN^1^2", "10/01/2026"), R, W),
    case("OPTIONAL-DATE", "EVN^1^6", put(MDM, "EVN^1^6", "hier"), W, W),
    case("MSG-MOJIBAKE", "MSH^1^18", put(MDM, "MSH^1^18", "8859/15"), R, W),
    case("MSG-CHARSET-BYTES", "PID^1^5", MDM.replace(b"CAMILLE", b"H\xe9l\xe8ne", 1), R, R),
    case("MSG-CONTROL", "PID^1^11", put(MDM, "PID^1^11", "rue\x01"), R, R),
    case(
        "MSG-CONTROL",
        "PRT^1^8",
        put(MDM, "PRT^1^8", "H\uffff^^^^^&1.2.250.1.71.4.2.2&ISO^FINEG^^^590780185"),
        R,
        R,
    ),
    # --- a message in several pieces
    case("SEG-CONTINUED", "DSC^1", MDM + b"DSC|REST-OF-IT|I\r", R, R),
    case("SEG-CONTINUED", "ADD^1", MDM + b"ADD|the end of a field\r", R, R),
    case("SEG-CONTINUED", "MSH^1^14", put(MDM, "MSH^1^14", "REST-OF-IT"), R, R),
    # --- PID, PV1
    *(case("PID-REQUIRED", f"PID^1^{n}", put(MDM, f"PID^1^{n}", ""), R, R) for n in (3, 5, 7, 8)),
    case("PID-REQUIRED", "PID^1^7", put(MDM, "PID^1^7", '""'), R, R),
    case("PID-REPETITIONS", "PID^1^3^51", put(MDM, "PID^1^3^60", HOLLOW), R, R, "FIELD-EMPTY-REPETITION"),
    case("PID-REPETITIONS", "PID^1^5^51", put(MDM, "PID^1^5^60", "X^Y"), R, R),
    case("PID3-INCOMPLETE", "PID^1^3^2^1", put(MDM, "PID^1^3^2^1", ""), R, W),
    case("PID3-INCOMPLETE", "PID^1^3^2^4", put(MDM, "PID^1^3^2^4", ""), R, W),
    case("FIELD-EMPTY-REPETITION", "PID^1^3^2", put(put(MDM, "PID^1^3^3", HOLLOW), "PID^1^3^2", ""), W, W),
    case("PID3-AUTHORITY", "PID^1^3^2^4^2", put(MDM, "PID^1^3^2^4", "HOPITAL&990000019&ISO"), R, W),
    case("PID3-AUTHORITY", "PID^1^3^2^4^2", put(MDM, "PID^1^3^2^4", "HOPITAL&&ISO"), R, W),
    case("PID3-AUTHORITY", "PID^1^3^2^4^2", put(MDM, "PID^1^3^2^4", "HOPITAL&9900000190&M"), R, W),
    case("PID3-INS-FORM", "PID^1^3^1^1", put(MDM, "PID^1^3^1^1", WRONG_INS), W, W),
    case(
        "PID3-SEVERAL-INS",
        "PID^1^3^3^1",
        put(MDM, "PID^1^3^3", "279035121518989^^^X&1.2.250.1.213.1.4.8&ISO^INS"),
        W,
        W,
    ),
    case("PID3-TEST-INS", "PID^1^3^1^4", put(MDM, "MSH^1^11", "P"), R, W),
    case("PID5-BIRTH-NAME", "PID^1^5^1^7", put(MDM, "PID^1^5^1^7", "D"), R, W),
    case("PID5-BIRTH-NAME", "PID^1^5", put(put(MDM, "PID^1^5^1^7", "D"), "PID^1^5^2", "X^Y^^^^^M"), R, W),
    case("PID5-BIRTH-NAME", "PID^1^5^1^1", put(MDM, "PID^1^5^1^1", ""), R, W),
    *(
        case("PID7-FORM", "PID^1^7", put(MDM, "PID^1^7", v), R, W)
        for v in ("03/12/1984", "19840230", "198412", "1984", "19841203T10", "１９８４１２０３")
    ),
    case("PID8-VALUE", "PID^1^8", put(MDM, "PID^1^8", "Q"), R, W),
    case("PV1-REQUIRED", "PV1^1^2", put(MDM, "PV1^1^2", ""), R, R),
    *(
        case("PV1-REQUIRED", "PV1^1^19", put(put(MDM, "PV1^1^19", ""), "PV1^1^2", c), R, R)
        for c in ("E", "I", "O", "R")
    ),
    case("PV1-REQUIRED", "PV1^1^19^1^1", put(MDM, "PV1^1^19^1^1", ""), R, R),
    case("PV12-VALUE", "PV1^1^2", put(MDM, "PV1^1^2", "X"), R, R),
    # --- what is optional never refuses: it warns
    case("OPTIONAL-AUTHORITY", "PID^1^18^1^4^2", put(MDM, "PID^1^18^1^4", "X&1204567809&M"), W, W),
    case("OPTIONAL-AUTHORITY", "PV1^1^19^1^4^2", put(MDM, "PV1^1^19^1^4", "X&9900&ISO"), W, W),
    case("OPTIONAL-AUTHORITY", "PRT^2^5^1^9^2", put(MDM, "PRT^2^5^1^9", "X&9900&ISO"), W, W),
    case("OPTIONAL-VALUE", "PID^1^18^1^5", put(MDM, "PID^1^18^1^5", "PI"), W, W),
    case("OPTIONAL-VALUE", "PV1^1^19^1^5", put(MDM, "PV1^1^19^1^5", "AN"), W, W),
    case("OPTIONAL-VALUE", "NTE^1^4", put(TO_PATIENT, "NTE^1^4", "FINI"), W, W),
    *(case("OPTIONAL-DATE", f"PV1^1^{n}", put(MDM, f"PV1^1^{n}", "20260231"), W, W) for n in (44, 45)),
    *(case("OPTIONAL-DATE", f"TXA^1^{n}", put(MDM, f"TXA^1^{n}", "20260231"), W, W) for n in (4, 6, 7)),
    case("OPTIONAL-DATE", "TXA^1^8^2", put(put(MDM, "TXA^1^8", "2026"), "TXA^1^8^2", "demain"), W, W),
    # --- ORC, OBR, TXA
    case("ORC1-REQUIRED", "ORC^1^1", put(MDM, "ORC^1^1", ""), R, R),
    case("ORC1-VALUE", "ORC^1^1", put(MDM, "ORC^1^1", "XX"), R, R),
    case("ACTION-DISAGREES", "ORC^1^1", put(MDM, "ORC^1^1", "CA"), R, R),
    case("ACTION-DISAGREES", "OBX^1^11", put(MDM, "OBX^1^11", "D"), R, R),
    case("ACTION-DISAGREES", "OBX^1^11", put(m.DELETION, "OBX^1^11", "F"), R, R),
    case("ACTION-DISAGREES", "ORC^1^1", put(ORU, "ORC^1^1", "RO"), R, R),
    case("ACTION-DISAGREES", "OBX^2^11", put(PAIR, "OBX^2^11", "C"), R, R),
    case("OBR4-REQUIRED", "OBR^1^4", put(MDM, "OBR^1^4", ""), R, R),
    case("OBR4-REQUIRED", "OBR^1^4^1^1", put(MDM, "OBR^1^4^1^1", ""), R, R),
    case("OBR4-SYSTEM", "OBR^1^4^1^3", put(MDM, "OBR^1^4^1^3", "L"), R, W),
    *(case("TXA-REQUIRED", f"TXA^1^{n}", put(MDM, f"TXA^1^{n}", ""), R, R) for n in (1, 2, 3, 12, 17)),
    case("TXA-REQUIRED", "TXA^1^13", put(REPLACEMENT, "TXA^1^13", ""), R, R),
    *(case("TXA-VALUE", f"TXA^1^{n}", put(MDM, f"TXA^1^{n}", "XX"), R, W) for n in (1, 3, 17)),
    case("TXA-ID-FORM", "TXA^1^12^1^1", put(MDM, "TXA^1^12", "DOC-42"), R, R),
    case("TXA-ID-FORM", "TXA^1^12^1^4", put(MDM, "TXA^1^12", "42^^1.2.3^UUID"), R, R),
    case("TXA-ID-FORM", "TXA^1^13^1^3", put(REPLACEMENT, "TXA^1^13", "42^^notanoid^ISO"), R, R),
    case("TXA-ID-ORGANISATION", "TXA^1^12^1^2", put(MDM, "TXA^1^12^1^2", "Organisation"), W, W),
    case("TXA13-UNEXPECTED", "TXA^1^13", put(MDM, "TXA^1^13", "1.2.3"), W, W),
    case("TYPE-DISAGREES", "TXA^1^2", put(MDM, "TXA^1^2", "18748-4"), R, R),
    case("TYPE-DISAGREES", "OBX^1^3", put(MDM, "OBX^1^3", ""), R, R),
    case("TYPE-DISAGREES", "OBX^1^3^1^1", put(MDM, "OBX^1^3^1^1", "18748-4"), R, R),
    case("TYPE-DISAGREES", "OBX^2^3^1^1", put(PAIR, "OBX^2^3^1^1", "18748-4"), R, R),
    # --- the document OBX
    case("OBX2-DOCUMENT", "OBX^1^2", put(MDM, "OBX^1^2", "TX"), R, R),
    *(case("OBX5-FORM", f"OBX^1^5^1^{n}", put(MDM, f"OBX^1^5^1^{n}", "PDF"), R, R) for n in (2, 3, 4)),
    case("OBX5-EMPTY", "OBX^1^5^1^5", put(MDM, "OBX^1^5^1^5", ""), R, R),
    case("OBX5-EMPTY", "OBX^1^5", put(MDM, "OBX^1^5", ""), R, R),
    case("OBX5-REPEATED", "OBX^1^5^2", put(MDM, "OBX^1^5^2", "^TEXT^XML^Base64^QUJD"), R, R),
    case("OBX11-DOCUMENT", "OBX^1^11", put(MDM, "OBX^1^11", "P"), R, R),
    case("OBX-UNKNOWN", "OBX^13^3^1^1", add(MDM, "OBX", "OBX|13|NM|GLU^Glucose^L||5.1||||||F", 12), R, W),
    # --- PRT
    case("PRT-PLACE", "PRT^4", add(MDM, "OBX", m.copy(MDM, "PRT", 2).replace("martin", "tiers"), 2), R, W),
    case("PRT4-ROLE", "PRT^2^4^1^1", put(MDM, "PRT^2^4^1^1", "XX"), R, W),
    case("PRT2-VALUE", "PRT^2^2", put(MDM, "PRT^2^2", "AD"), W, W),
    case("PRT-BLANKS", "PRT^2^5^1^9", put(MDM, "PRT^2^5^1^9", "ASIP-SANTE- PS&1.2.250.1.71.4.2.1&ISO"), W, W),
    case("PRT-BLANKS", "PRT^1^8^1^10", put(MDM, "PRT^1^8^1^10", "990000019   "), W, W),
    case("SB-REQUIRED", "OBX^1", drop(MDM, "PRT", 1), R, R),
    case("SB-INCOMPLETE", "PRT^1^5", put(MDM, "PRT^1^5", ""), R, W),
    case("SB-INCOMPLETE", "PRT^1^8^1^10", put(MDM, "PRT^1^8^1^10", ""), R, W),
    case("SB-INCOMPLETE", "PRT^1^8", put(MDM, "PRT^1^8", ""), R, W),
    case("SB-AUTHORITY", "PRT^1^5^1^9^2", put(MDM, "PRT^1^5^1^9", "ASIP-SANTE-PS&RPPS&ISO"), R, W),
    case("SB-AUTHORITY", "PRT^1^8^1^6^2", put(MDM, "PRT^1^8^1^6", "ASIP-SANTE-ST&990000019&ISO"), R, W),
    case("SB-REPEATED", "PRT^2", add(MDM, "PRT", m.copy(MDM, "PRT").replace("Claude", "Autre")), R, W),
    case("RCT-ADDRESS", "PRT^2^15", put(MDM, "PRT^2^15", ""), R, R),
    case("RCT-ADDRESS", "PRT^2^15^1^4", put(MDM, "PRT^2^15^1^4", ""), R, R),
    case("RCT-TOO-MANY", "PRT^102", add(MDM, "PRT", MANY, 3), R, R),
    case("RCT-REPEATED", "PRT^4^15^1^4", add(MDM, "PRT", m.copy(MDM, "PRT", 2), 3), W, W),
    case(
        "RCT-UNUSED",
        "PRT^3",
        flag(drop(flag(TO_PATIENT, "INVISIBLE_PATIENT", "Y"), "NTE"), "DESTMSSANTEPAT", "N"),
        W,
        W,
    ),
    case("PRT15-TYPE", "PRT^2^15^1^3", put(MDM, "PRT^2^15^1^3", "Internet"), W, W),
    *(
        case("ADDRESS-SYNTAX", "PRT^2^15^1^4", put(MDM, "PRT^2^15^1^4", a), R, W)
        for a in (
            "dr.martin@mssante.f",
            "dr..martin@test.mssante.fr",
            "x" * 65 + "@test.mssante.fr",
            "a@localhost",
        )
    ),
    *(
        case("ADDRESS-UNSAFE", "PRT^2^15^1^4", put(MDM, "PRT^2^15^1^4", a), R, R)
        for a in (
            "dr martin@test.mssante.fr",
            "dr.martin",
            "a@b@test.mssante.fr",
            "<a@test.mssante.fr>",
            r"a@test.mssante.fr\X0D0A\Bcc: b@test.mssante.fr",
            "é@test.mssante.fr",
            "a,b@test.mssante.fr",
        )
    ),
    case("REPLY-ADDRESS", "PRT^4^15", put(TO_PATIENT, "PRT^4^15", ""), R, W),
    case("REPLY-ADDRESS", "PRT^4^15^1^4", put(TO_PATIENT, "PRT^4^15^1^4", ""), R, W),
    # --- metadata OBX
    *(case("META-MISSING", f"OBX^{n}", drop(MDM, "OBX", n), R, R) for n in range(2, 12)),
    case("META-ORDER", "OBX^3", add(drop(MDM, "OBX", 2), "OBX", m.copy(MDM, "OBX", 2), 2), R, W),
    case("META-REPEATED", "OBX^3^3^1^1", add(MDM, "OBX", m.copy(MDM, "OBX", 2), 2), R, R),
    case(
        "META-UNKNOWN",
        "OBX^13^3^1^1",
        add(MDM, "OBX", "OBX|13|CWE|MASQUE_X^x^MetaDMPMSS||Y^^expandedYes-NoIndicator||||||F", 12),
        R,
        W,
    ),
    case("META-ALIAS", "OBX^11^3^1^1", put(MDM, "OBX^11^3^1^1", "ACK_LECTURE"), W, W),
    case("META-ALIAS", "OBX^4^3^1^1", put(MDM, "OBX^4^3^1^1", "INVISIBLE_ REP_LEGAUX"), W, W),
    *(case("META-VALUE", "OBX^2^5^1^1", put(MDM, "OBX^2^5^1^1", v), R, R) for v in ("", "O", "y", "1")),
    case("META-VALUE", "OBX^2^5^2", put(MDM, "OBX^2^5^2", "Y"), R, R),
    case("META-VALUE", "OBX^2^5", put(MDM, "OBX^2^5", ""), R, R),
    *(case("META-VALUE", f"OBX^{n}^5^1^1", put(MDM, f"OBX^{n}^5^1^1", "?"), R, R) for n in range(3, 12)),
    case("META-TYPE", "OBX^2^2", put(MDM, "OBX^2^2", "CE"), R, W),
    case("META-TYPE", "OBX^2^2", put(ORU, "OBX^2^2", "CWE"), R, W),
    case("META-TYPE", "OBX^12^2", put(MDM, "OBX^12^2", "TX"), R, W),
    case("META-STATUS", "OBX^2^11", put(MDM, "OBX^2^11", "P"), R, W),
    case("META-SYSTEM", "OBX^2^3^1^3", put(MDM, "OBX^2^3^1^3", "L"), W, W),
    case("META-SYSTEM", "OBX^2^5^1^3", put(MDM, "OBX^2^5^1^3", "L"), W, W),
    case("BODY-FORM", "OBX^12^5^1^4", put(MDM, "OBX^12^5^1^4", "Hex"), R, W),
    case("BODY-PADDING", "OBX^12^5^1^5", put(MDM, "OBX^12^5^1^5", "Qm9uam91cg"), W, W),
    case("BODY-BASE64", "OBX^12^5^1^5", put(MDM, "OBX^12^5^1^5", "Qm9uam91c"), R, W),
    case("BODY-BASE64", "OBX^12^5^1^5", put(MDM, "OBX^12^5^1^5", "Qm9u!91c"), R, W),
    case("BODY-CHARSET", "OBX^12^5^1^5", put(MDM, "OBX^12^5^1^5", b64(b"cl\xf4ture")), R, W),
    # --- destinations: spec/mssante.md §1.1
    case(
        "ROUTE-NONE", "OBX^7^5^1^1", flag(flag(MDM, "DESTDMP", "N"), "DESTMSSANTEPS", "N"), R, R, "RCT-UNUSED"
    ),
    case("ROUTE-TABLE", "OBX^8^5^1^1", flag(MDM, "INVISIBLE_REP_LEGAUX", "Y"), R, W),
    case("ROUTE-MASKED-TO-PS", "OBX^8^5^1^1", flag(MDM, "MASQUE_PS", "Y"), R, R),
    case("ROUTE-INVISIBLE-TO-PATIENT", "OBX^9^5^1^1", flag(TO_PATIENT, "INVISIBLE_PATIENT", "Y"), R, R),
    case("ROUTE-NO-PATIENT-ADDRESS", "OBX^9^5^1^1", drop(TO_PATIENT, "PRT", 3), R, R),
    case("ROUTE-NO-PS-ADDRESS", "OBX^8^5^1^1", drop(TO_PATIENT, "PRT", 2), R, R),
    case("ROUTE-MODIF-OUTSIDE-REPLACEMENT", "OBX^6^5^1^1", flag(MDM, "MODIF_CONF_CODE", "Y"), R, W),
    case(
        "PATIENT-ADDRESS-INS",
        PATIENT_ADDRESS,
        put(TO_PATIENT, PATIENT_ADDRESS, "279035121518989@patient.mssante.fr"),
        R,
        W,
    ),
    case(
        "PATIENT-ADDRESS-INS",
        PATIENT_ADDRESS,
        put(TO_PATIENT, PATIENT_ADDRESS, f"{INS[:13]}@patient.mssante.fr"),
        R,
        W,
    ),
    case("PATIENT-ADDRESS-NO-INS", "PID^1^3", put(TO_PATIENT, "PID^1^3^1^4", "X&1.2.3&ISO"), R, W),
    case("PATIENT-ADDRESS-UNQUALIFIED", "PID^1^32", put(TO_PATIENT, "PID^1^32", "PROV"), R, W),
    case(
        "PATIENT-ADDRESS-DOMAIN",
        PATIENT_ADDRESS,
        put(TO_PATIENT, PATIENT_ADDRESS, f"{INS}@autre.mssante.fr"),
        R,
        R,
        "ROUTE-NO-PATIENT-ADDRESS",
    ),
]


@pytest.mark.parametrize("c", CASES, ids=lambda c: f"{c.rule}@{c.place}")
@pytest.mark.parametrize("preset", ["production", "interop"])
def test_rule(c: Case, preset: str) -> None:
    """Each rule is found at its place with its severity, and nothing else is said of the message."""
    reading = m.read(c.raw, preset)  # type: ignore[arg-type]  # pytest hands the preset over as str
    finding = next(
        (f for f in reading.findings if f.rule == c.rule and f.place and f.place.erl() == c.place), None
    )
    assert finding is not None, m.found(reading)
    assert finding.severity is (c.production if preset == "production" else c.interop)
    assert {f.rule for f in reading.findings} - c.also == {c.rule}


def test_every_rule_of_the_table_has_a_case() -> None:
    tested = {c.rule for c in CASES}
    elsewhere = {r.id for r in m.RULES if r.id.startswith("SEG-")} | {
        "MSG-LINE-ENDS",
        "MSG-STRAY-LINE",
        "DOC-COUNT",
        # test_unread.py
        "FIELD-REPEATED",
        "FIELD-REPETITION-IGNORED",
        "FIELD-COMPONENT",
        "FIELD-SUBCOMPONENT",
        "RCT-SEVERAL-ADDRESSES",
    }
    assert {r.id for r in m.RULES} == tested | elsewhere


CODES = "MASQUE_PS, INVISIBLE_PATIENT, INVISIBLE_REP_LEGAUX, CONNEXION_SECRETE, DESTDMP"


def test_no_text_holds_a_value_and_all_fit_err_8() -> None:
    """ERR-8 has 250 characters; a text has holes for field numbers, codes and segment names only."""
    for rule in m.RULES:
        words = {
            "field": "12",
            "code": "INVISIBLE_REP_LEGAUX",
            "codes": CODES,
            "expected": "TEXT",
            "segment": "OBX",
        }
        assert len(rule.text.format(**words)) <= 250
        assert rule.source


def test_nothing_of_the_patient_is_in_a_finding() -> None:
    secrets = (
        m.PATIENT.ins,
        m.PATIENT.birth_family,
        m.PATIENT.ipp,
        m.PATIENT.birth_date,
        "dr.martin",
        "MARTIN",
    )
    for c in CASES:
        for finding in m.read(c.raw).findings:
            assert not [s for s in secrets if s in finding.text]


def test_all_errors_are_reported_together() -> None:
    raw = put(put(put(put(MDM, "MSH^1^17", ""), "PID^1^8", "Q"), "ORC^1^1", "CA"), "OBX^2^5^1^1", "?")
    raw = drop(flag(raw, "INVISIBLE_REP_LEGAUX", "Y"), "EVN")
    assert m.rejecting(m.read(raw)) == {
        "MSH17-ABSENT",
        "PID8-VALUE",
        "ACTION-DISAGREES",
        "META-VALUE",
        "ROUTE-TABLE",
        "SEG-MISSING",
    }


@pytest.mark.parametrize("marks", [b"^~\\@", b"~^\\&", b"^~#&"])
def test_other_separators_are_one_error(marks: bytes) -> None:
    """What is read with them is noise; `interop` reads on."""
    raw = put(MDM, "PID^1^8", "Q").replace(b"^~\\&|", marks + b"|", 1)
    reading = m.read(raw)
    assert [f.rule for f in reading.findings] == ["MSH2-SEPARATORS"]
    assert reading.transmission is None
    assert {"MSH2-SEPARATORS", "PID8-VALUE"} <= {f.rule for f in m.read(raw, "interop").findings}
    # a fifth character, or one that is left out, changes nothing of what is read
    for known in (b"^~\\&#", b"^~\\"):
        raw = put(MDM, "PID^1^8", "Q").replace(b"^~\\&|", known + b"|", 1)
        assert {"MSH2-SEPARATORS", "PID8-VALUE"} <= m.rejecting(m.read(raw))


def test_latin_9_message_is_read() -> None:
    reading = m.read(
        put(MDM, "PID^1^5^1^2", "HÉLÈNE").replace(b"UNICODE UTF-8", b"8859/15").decode().encode("iso8859-15")
    )
    assert m.found(reading) == set()
    assert reading.transmission is not None
    assert reading.transmission.patient.birth_given == "HÉLÈNE"


@pytest.mark.parametrize("system", ["HL70136", "expandedYes-NoIndicator"])
def test_both_spellings_of_the_yes_no_table(system: str) -> None:
    assert m.found(m.read(MDM.replace(b"expandedYes-NoIndicator", system.encode()))) == set()


def test_document_form_is_compared_without_case() -> None:
    assert m.found(m.read(put(MDM, "OBX^1^5^1^2", "text"))) == set()


def test_n_class_needs_no_visit_number() -> None:
    assert m.found(m.read(put(put(MDM, "PV1^1^2", "N"), "PV1^1^19", ""))) == set()


ROUTES = [
    # (MASQUE_PS, INVISIBLE_PATIENT, INVISIBLE_REP_LEGAUX, CONNEXION_SECRETE, DESTDMP, PS, PAT) → rejecting rules
    ("NNNNYYY", set()),
    ("NNNYNYY", set()),
    ("NYNNYYN", set()),
    ("NYNYNYN", set()),
    ("NNNNNNY", set()),
    ("YNYNNNY", set()),
    ("NNNNYYN", {"ROUTE-TABLE"}),
    ("NNYNYYY", {"ROUTE-TABLE"}),
    ("NYYNYYN", {"ROUTE-TABLE"}),
    ("YNNNYNY", {"ROUTE-TABLE"}),
    ("YNNYNNY", {"ROUTE-TABLE"}),
    ("YNNNNYY", {"ROUTE-MASKED-TO-PS"}),
    ("YYNNNYY", {"ROUTE-MASKED-TO-PS", "ROUTE-INVISIBLE-TO-PATIENT"}),
    ("NYNNNNY", {"ROUTE-INVISIBLE-TO-PATIENT"}),
    ("YYYYYNN", set()),
    ("NNNNYNN", set()),
    ("NNNNNNN", {"ROUTE-NONE"}),
]


@pytest.mark.parametrize(("values", "expected"), ROUTES)
def test_routing_table_of_the_volet(values: str, expected: set[str]) -> None:
    """spec/mssante.md §1.1: the three rows, free ACK flags, the DMP alone with any masking."""
    raw = TO_PATIENT
    codes = (
        "MASQUE_PS",
        "INVISIBLE_PATIENT",
        "INVISIBLE_REP_LEGAUX",
        "CONNEXION_SECRETE",
        "DESTDMP",
        "DESTMSSANTEPS",
        "DESTMSSANTEPAT",
    )
    for code, value in zip(codes, values, strict=True):
        raw = flag(raw, code, value)
    for ack in ("N", "Y"):
        assert m.rejecting(m.read(flag(raw, "ACK_RECEPTION", ack))) == expected
    invariants = {r for r in expected if r != "ROUTE-TABLE"}
    assert m.rejecting(m.read(raw, "interop")) == invariants


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ({"INVISIBLE_REP_LEGAUX": "Y"}, "INVISIBLE_REP_LEGAUX"),
        ({"DESTMSSANTEPAT": "N"}, "INVISIBLE_PATIENT"),
        (
            {"DESTMSSANTEPAT": "N", "INVISIBLE_PATIENT": "Y", "INVISIBLE_REP_LEGAUX": "Y"},
            "INVISIBLE_REP_LEGAUX",
        ),
        ({"DESTMSSANTEPS": "N", "DESTDMP": "Y"}, "DESTDMP"),
        ({"DESTMSSANTEPS": "N", "CONNEXION_SECRETE": "Y", "DESTDMP": "Y"}, "CONNEXION_SECRETE, DESTDMP"),
    ],
)
def test_the_metadata_that_do_not_fit_the_routing_table_are_named(values: dict[str, str], codes: str) -> None:
    raw = TO_PATIENT
    for code, value in values.items():
        raw = flag(raw, code, value)
    (finding,) = (f for f in m.read(raw).findings if f.rule == "ROUTE-TABLE")
    assert finding.text.endswith(f"À revoir : {codes}.")


def test_modif_conf_code_is_for_replacements() -> None:
    assert m.found(m.read(flag(REPLACEMENT, "MODIF_CONF_CODE", "Y"))) == set()
    without_dmp = flag(flag(MDM, "MODIF_CONF_CODE", "Y"), "DESTDMP", "N")
    assert m.found(m.read(without_dmp)) == set()


def test_two_identical_senders_after_two_documents_are_one() -> None:
    """ORU with two documents: PRT may follow each (architecture §7a)."""
    segments = m.lines(PAIR)
    second = next(i for i, s in enumerate(segments) if s.startswith("OBX|2|ED"))
    segments[second + 1 : second + 1] = [s for s in segments if s.startswith("PRT|")]
    reading = m.read(m.joined(segments))
    assert m.found(reading) == set()
    assert reading.transmission is not None
    assert [r.address for r in reading.transmission.recipients] == [
        "dr.martin@test-hopital.mssante.fr",
        "dr.bernard@test-hopital.mssante.fr",
    ]


@pytest.mark.parametrize(
    ("rule", "raw", "consequence"),
    [
        ("META-MISSING", drop(drop(drop(MDM, "OBX", 9), "OBX", 8), "OBX", 7), "ROUTE-NONE"),
        ("PRT4-ROLE", put(MDM, "PRT^1^4", ""), "SB-REQUIRED"),
        ("PID3-INCOMPLETE", put(TO_PATIENT, "PID^1^3^1^4", ""), "PATIENT-ADDRESS-NO-INS"),
    ],
)
def test_what_follows_from_an_error_is_told_only_when_the_error_is_let_pass(
    rule: str, raw: bytes, consequence: str
) -> None:
    """One cause, one error; but a cause that settings tolerate must not carry what it hides through."""
    reading = m.read(raw)
    assert rule in m.rejecting(reading) and consequence not in m.rejecting(reading)
    tolerant = read_transmission(Message.parse(raw), RuleBook(m.RULES, overrides={rule: W}))
    assert rule not in m.rejecting(tolerant) and consequence in m.rejecting(tolerant)
