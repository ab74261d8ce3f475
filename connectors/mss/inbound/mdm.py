"""MDM^T02, T10 and T04 for the DPI: one message for one document of a received mail. Pure: time comes in as a value.

Purpose: the message of the volet "Transmission au LPS" v1.1: `MSH EVN PID PV1 ORC OBR TXA` and six OBX (document, mail,
four flags). "Only the segments and fields of the tables are to be filled": nothing else is.
Guarantee: same arguments, same bytes; every text is escaped; OBX-5 of the document is the base64, without line breaks,
of the very bytes of the archive, encoded in slices into one buffer; the identity (PID) is never written with other
letters: when the route's charset lacks one of them the message is in UTF-8, and MSH-18 says so.
Fails: `GatewayBug` for a document that must not go to a DPI (MASQUE_PS) or whose findings reject it (no id, no code).
Source: spec/mssante.md §2.3; volet Transmission au LPS v1.1.2.
"""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from connectors.mss.inbound.envelope import InboundMail
from connectors.mss.inbound.reading import InboundDocument
from gateway.cda.document import CdaPatient
from gateway.errors import GatewayBug
from gateway.hl7.acknowledgement import timestamp, to_charset
from gateway.hl7.message import CHARSETS, Separators, escape
from gateway.hl7.transmission import INS_NIA, INS_OIDS, Action, Code, InstanceId, Organisation, Person

EVENTS = {Action.SUBMIT: "T02", Action.REPLACE: "T10", Action.DELETE: "T04"}
_ORDERS = {Action.SUBMIT: "NW", Action.REPLACE: "RO", Action.DELETE: "CA"}
_STATUS = {Action.SUBMIT: "F", Action.REPLACE: "C", Action.DELETE: "D"}
PROFILE = "1.1^CISIS_CDA_HL7_LPS"
UTF8 = "UNICODE UTF-8"
_LOINC = "2.16.840.1.113883.6.1"
_TYPES = {_LOINC: "LN", "1.2.250.1.213.1.1.4.12": "TRE_A05"}
_INS_C = "1.2.250.1.213.1.4.2"
_NATIONAL = {"1.2.250.1.71.4.2.1": "ASIP-SANTE-PS", "1.2.250.1.71.4.2.2": "ASIP-SANTE-ST"}
_OID = re.compile(r"[0-2](?:\.\d+)+")
_SEPARATORS = Separators()
_SLICE = 3 * (1 << 18)
"""Bytes encoded at a time: a multiple of 3, so that the slices join without padding."""
_YES_NO = "expandedYes-NoIndicator"


@dataclass(frozen=True, slots=True)
class Route:
    """Where the messages of a mailbox go, and how they are written."""

    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str
    """MSH-3 to MSH-6: the gateway, the DPI."""
    processing_id: Literal["P", "T", "D"] = "P"
    charset: Literal["UNICODE UTF-8", "8859/15"] = "UNICODE UTF-8"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One PRT: an address and what a directory knows of it (all optional)."""

    address: str = field(repr=False)
    person: Person | None = field(default=None, repr=False)
    organisation: Organisation | None = field(default=None, repr=False)
    application: str = ""
    """PRT-10.1, for an applicative mailbox."""


@dataclass(frozen=True, slots=True)
class Parties:
    """PRT SB, RCT and REPLY."""

    sender: Mailbox
    recipients: tuple[Mailbox, ...] = ()
    reply_to: tuple[str, ...] = field(default=(), repr=False)


def parties_of(mail: InboundMail) -> Parties:
    """The parties as the mail itself names them; a directory may add persons and organisations."""
    origin = mail.origin
    return Parties(Mailbox(origin.sender), tuple(Mailbox(a) for a in origin.recipients), origin.reply_to)


def build(
    document: InboundDocument,
    mail: InboundMail,
    route: Route,
    *,
    control_id: str,
    now: datetime,
    parties: Parties | None = None,
    previous: frozenset[str] | None = None,
) -> bytes:
    """The message for `document`, segments ended by CR.

    `control_id` is MSH-10, `now` MSH-7 and EVN-2; `parties` default to those of the mail. `previous`: the
    confidentiality codes of the replaced version when the gateway knows it (MODIF_CONF_CODE).
    """
    if document.masked:
        raise GatewayBug("a document masked to professionals must not be given to a DPI")
    header = document.document.header
    if header.id is None or header.code is None or header.patient is None:
        raise GatewayBug("a document without id, type or patient must not be given to a DPI")
    action = document.action
    pid = _pid(header.patient)
    charset, encoding = _charset(route, pid)
    kind = _type(header.code)
    event = EVENTS[action]
    head = [
        _line(
            "MSH",
            {
                2: "^~\\&",
                3: _e(route.sending_application),
                4: _e(route.sending_facility),
                5: _e(route.receiving_application),
                6: _e(route.receiving_facility),
                7: timestamp(now),
                9: f"MDM^{event}^MDM_T02",
                10: _e(control_id),
                11: route.processing_id,
                12: "2.6",
                17: "FRA",
                18: charset,
                21: PROFILE,
            },
        ),
        _line("EVN", {2: timestamp(now)}),
        pid,
        "PV1||N",
        f"ORC|{_ORDERS[action]}",
        _line("OBR", {4: kind}),
        _line(
            "TXA",
            {
                1: "1",
                2: _e(header.code.code),
                3: "TEXT",
                12: _identifier(header.id),
                13: _replaced(action, header.replaced_id),
                17: "AU",
            },
        ),
    ]
    out = io.BytesIO()
    out.write(_encoded(head, encoding))
    out.write(to_charset(f"OBX|1|ED|{kind}||^text^XML^Base64^", encoding))
    _write_base64(out, document.document.content)
    out.write(to_charset(f"||||||{_STATUS[action]}\r", encoding))
    out.write(_encoded(_participations(parties or parties_of(mail)), encoding))
    text = binascii.b2a_base64(to_charset(mail.body, encoding), newline=False).decode("ascii")
    tail = [
        _obx(2, "ED", f"{_e(mail_id(mail))}^{_e(mail.subject)}", f"^text^^Base64^{text}"),
        *_flags(document, previous),
    ]
    out.write(_encoded(tail, encoding))
    return out.getvalue()


def changes_confidentiality(document: InboundDocument, previous: frozenset[str] | None) -> bool:
    """MODIF_CONF_CODE: a replacement whose confidentiality codes are not those of the version it replaces."""
    return document.action is Action.REPLACE and previous is not None and previous != document.confidentiality


# --- segments -----------------------------------------------------------------------------------------------


def _charset(route: Route, pid: str) -> tuple[str, str]:
    """MSH-18 and its codec."""
    codec = CHARSETS.get(route.charset, "utf-8")
    try:
        pid.encode(codec)
    except UnicodeEncodeError:
        return UTF8, "utf-8"
    return route.charset, codec


def _pid(patient: CdaPatient) -> str:
    """PID: identifiers in the order of the CDA, INS traits."""
    names = [
        _joined(
            "^",
            (_e(patient.birth_family), _e(patient.birth_given), _e(patient.given_all), "", "", "", "L"),
        )
    ]
    if patient.used_family:
        names.append(f"{_e(patient.used_family)}^{_e(patient.used_given)}^^^^^D")
    fields = {
        3: "~".join(_cx(i) for i in patient.ids if i.extension),
        5: "~".join(names),
        7: _e(patient.birth_time),
        8: {"UN": "U"}.get(patient.gender, _e(patient.gender)),
    }
    if patient.birthplace_code:
        fields[11] = f"^^^^^^BDL^^{_e(patient.birthplace_code)}"
    return _line("PID", fields)


def _cx(identifier: InstanceId) -> str:
    """PID-3: a national identity with its authority's name, another identifier as PI."""
    root = _e(identifier.root)
    value = _e(identifier.extension or "")
    if identifier.root in INS_OIDS:
        name = "ASIP-SANTE-INS-NIA" if identifier.root == INS_NIA else "ASIP-SANTE-INS-NIR"
        return f"{value}^^^{name}&{root}&ISO^INS"
    if identifier.root == _INS_C:
        return f"{value}^^^ASIP-SANTE-INS-C&{root}&ISO^INS-C"
    return f"{value}^^^&{root}&ISO^PI"


def _type(code: Code) -> str:
    """OBR-4 and OBX-3: `code^label^LN` or `TRE_A05`."""
    return f"{_e(code.code)}^{_e(code.label)}^{_e(_TYPES.get(code.system, code.system))}"


def _identifier(identifier: InstanceId | None) -> str:
    """TXA-12/13: `ext^^root^ISO`, or the root alone."""
    if identifier is None:
        return ""
    if identifier.extension:
        return f"{_e(identifier.extension)}^^{_e(identifier.root)}^ISO"
    return _e(identifier.root)


def _replaced(action: Action, replaced: InstanceId | None) -> str:
    """TXA-13: required on T10, not asked for elsewhere."""
    if action is not Action.REPLACE:
        return ""
    if replaced is None:
        raise GatewayBug("a replacement that names no document must not be given to a DPI")
    return _identifier(replaced)


def _participations(parties: Parties) -> list[str]:
    lines = [_prt("SB^Send by^participation", parties.sender)]
    lines += [_prt("RCT^Result Copies To^participation", r) for r in parties.recipients]
    lines += [_prt("REPLY^Reply To^participation", Mailbox(a)) for a in parties.reply_to]
    return lines


def _prt(kind: str, mailbox: Mailbox) -> str:
    fields = {2: "UC", 4: kind, 15: f"^^X.400^{_e(mailbox.address)}"}
    person, organisation = mailbox.person, mailbox.organisation
    if person is not None:
        authority = _authority(person.authority)
        fields[5] = _joined(
            "^",
            (
                _e(person.id),
                _e(person.family),
                _e(person.given),
                *("",) * 5,
                authority,
                *("",) * 3,
                _e(person.id_type),
            ),
        )
    if organisation is not None:
        authority = _authority(organisation.authority)
        fields[8] = _joined(
            "^",
            (
                _e(organisation.name),
                *("",) * 4,
                authority,
                _e(organisation.id_type),
                "",
                "",
                _e(organisation.number),
            ),
        )
    if mailbox.application:
        fields[10] = _e(mailbox.application)
    return _line("PRT", fields)


def _authority(authority: str) -> str:
    """PRT-5.9, PRT-8.6: the national directories by name, another OID as an HD, a local number as it is."""
    if authority in _NATIONAL:
        return f"{_NATIONAL[authority]}&{authority}&ISO"
    return f"&{authority}&ISO" if _OID.fullmatch(authority) else _e(authority)


def mail_id(mail: InboundMail) -> str:
    """OBX-3.1 of the mail: its Message-ID as in the header, else a mark of its bytes."""
    return mail.message_id or f"sha256:{mail.digest}"


def _flags(document: InboundDocument, previous: frozenset[str] | None) -> list[str]:
    rows = (
        ("MASQUE_PS^Masqué aux professionnels de Santé", document.masked),
        ("INVISIBLE_PATIENT^Document Non Visible par le patient", document.invisible_patient),
        (
            "INVISIBLE_REP_LEGAUX^Non visible par les représentants Légaux du patient",
            document.invisible_guardians,
        ),
        ("MODIF_CONF_CODE^Modification Confidentiality Code", changes_confidentiality(document, previous)),
    )
    return [
        _obx(number, "CWE", f"{coded}^MetaDMPMSS", f"{'Y' if value else 'N'}^^{_YES_NO}")
        for number, (coded, value) in enumerate(rows, 3)
    ]


def _obx(number: int, kind: str, identifier: str, value: str) -> str:
    return f"OBX|{number}|{kind}|{identifier}||{value}||||||F"


def _line(name: str, fields: dict[int, str]) -> str:
    """A segment; MSH-1 is the separator itself, so MSH's fields begin at 2."""
    first = 2 if name == "MSH" else 1
    return "|".join([name, *(fields.get(i, "") for i in range(first, max(fields) + 1))])


def _joined(separator: str, parts: Sequence[str]) -> str:
    return separator.join(parts).rstrip(separator)


def _encoded(lines: Sequence[str], encoding: str) -> bytes:
    return to_charset("".join(line + "\r" for line in lines), encoding)


def _write_base64(out: io.BytesIO, content: bytes) -> None:
    view = memoryview(content)
    for start in range(0, len(view), _SLICE):
        out.write(binascii.b2a_base64(view[start : start + _SLICE], newline=False))


def _e(text: str) -> str:
    return escape(text, _SEPARATORS)
