"""What must be true of any input, whoever made it: hypothesis, atheris or a saved case.

`message_promises` for the payload of a frame, `document_promises` for a CDA. The oracles read the bytes themselves:
lines and separators for a message, the standard library's ElementTree (expat) for a document.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from xml.etree import ElementTree

from lxml import etree

from fixtures import build
from gateway.errors import MessageUnreadable
from gateway.exchange.checking import Checked
from gateway.hl7.acknowledgement import build as build_ack
from gateway.hl7.acknowledgement import read
from gateway.hl7.message import Message
from gateway.hl7.profile.structure import STRUCTURES
from gateway.hl7.transmission import INS_OIDS
from gateway.rules import Preset
from tests.fuzz.support import N1, N1_V2, check

NOW = datetime(2026, 1, 10, 9, 30, tzinfo=UTC)
V3 = "{urn:hl7-org:v3}"
WIRE_NAMES = {"MASQUE_PS": "masque_ps", "INVISIBLE_PATIENT": "invisible_patient", "DESTDMP": "dest_dmp"} | {
    "INVISIBLE_REP_LEGAUX": "invisible_rep_legaux", "CONNEXION_SECRETE": "connexion_secrete",
    "MODIF_CONF_CODE": "modif_conf_code", "DESTMSSANTEPS": "dest_mssante_ps", "DESTMSSANTEPAT": "dest_mssante_pat",
    "ACK_RECEPTION": "ack_reception", "ACK_LECTURE_MSS": "ack_lecture_mss",
}  # fmt: skip


def wire(raw: bytes) -> list[bytes]:
    """The oracle's segments: lines that are not blank, read without the gateway's code."""
    raw = raw.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n \t")
    return [line for line in re.split(rb"\r\n|\r|\n", raw) if line.strip()]


def message_of(raw: bytes) -> Message | None:
    try:
        return Message.parse(raw)
    except MessageUnreadable:
        return None


def message_promises(raw: bytes, preset: Preset) -> None:
    """All properties of one frame's payload."""
    message = message_of(raw)
    if message is None:
        return
    lines = wire(raw)
    assert [s.raw for s in message.segments] == lines
    checked = check(raw, preset)
    again = check(raw, preset)
    assert checked.findings == again.findings
    if checked.transmission is None:
        assert any(f.rejects for f in checked.findings)
    the_ack_reads_back(message, checked)
    if not any(f.rejects for f in checked.findings):
        nothing_unread(message, lines, checked)


def the_ack_reads_back(message: Message, checked: Checked) -> None:
    rejects = [f for f in checked.findings if f.rejects]
    code = "AE" if rejects else "AA"
    raw = build_ack(message, code, checked.findings, "ACK1", NOW)
    assert not re.search(rb"[\x00-\x0c\x0e-\x1f]", raw), "a control character in an ACK could end its frame"
    ack = read(raw)
    assert ack.code == code
    assert len(ack.errors) == len(rejects)
    for error, finding in zip(ack.errors, rejects, strict=True):
        place = finding.place.erl() if finding.place else ""
        component = message.separators.component.decode("latin-1")
        assert (error.location, error.err3, error.err5) == (
            place.replace("^", component), finding.err3, finding.err5 or "",
        )  # fmt: skip
        assert error.diagnostic == finding.rule
        assert error.severity == "E"
        assert error.text


def nothing_unread(message: Message, lines: list[bytes], checked: Checked) -> None:
    """What would be answered AA: every segment was read or is named by a finding, and what matters was read as sent."""
    transmission, cda = checked.transmission, checked.cda
    assert transmission is not None and cda is not None
    told = {f.place.segment + f"^{f.place.occurrence}" for f in checked.findings if f.place}
    neither = {
        f"OBX^{f.place.occurrence}"
        for f in checked.findings
        if f.place and f.rule in ("OBX-UNKNOWN", "META-UNKNOWN")
    }
    known = set(STRUCTURES[message.type].after) | {"NTE"}
    for segment in message.segments:
        assert segment.name in known or f"{segment.name}^{segment.occurrence}" in told, segment
    # from here on the oracle reads the bytes itself, with the separators that the message declares
    field, component, repetition, _, sub = (lines[0][i : i + 1] or b"\0" for i in range(3, 8))
    if (field, component, repetition, sub) != (b"|", b"^", b"~", b"&"):
        assert "MSH2-SEPARATORS" in {f.rule for f in checked.findings}
        return
    documents, flags, addresses = [], {}, []
    occurrences: dict[bytes, int] = {}
    for line in lines:
        fields = line.split(b"|") + [b""] * 16
        name = fields[0]
        occurrences[name] = occurrences.get(name, 0) + 1
        place = f"{name.decode()}^{occurrences[name]}"
        if name == b"OBX":
            code = fields[3].split(b"^")[0].strip().decode("latin-1")
            if code in WIRE_NAMES:
                flags[WIRE_NAMES[code]] = fields[5].split(b"^")[0].strip()
            elif (
                fields[2].strip().upper() == b"ED"
                and not code.startswith("CORPSMAIL")
                and place not in neither
            ):
                documents.append(fields[5])
        elif name == b"PRT" and b"RCT" in fields[4] and place not in told:
            addresses += [a.lower() for a in re.findall(rb"[^\s^~&|]+@[^\s^~&|]+", line)]
        elif name == b"PID":
            ids = [r.split(b"^")[0].strip() for r in fields[3].split(b"~")]
            found = [i.value for i in transmission.patient.identifiers]
            if place not in told:
                assert [i for i in ids if i] == [f.encode(message.encoding, "surrogateescape") for f in found]
    for document, sent in zip(cda.documents, documents, strict=True):
        data = sent.split(b"^")
        assert len(data) == 5, "a component after the document was dropped"
        text = re.sub(rb"\\(?:\.br|[Xx](?:0[DdAa9]|20)+)\\|[ \t]", b"", data[4])
        assert base64.b64decode(text + b"==") == document.content
    for name, value in flags.items():
        if any(f.place and f.place.segment == "OBX" and f.rule.startswith("META-") for f in checked.findings):
            continue
        assert value == (b"Y" if getattr(transmission.flags, name) else b"N"), name
    assert set(addresses) <= {(r.address or "").lower().encode("utf-8") for r in transmission.recipients}


# --- documents ---


def sent(content: bytes, event: str) -> bytes:
    """The message that carries `content`, with what the good document says in TXA-12, TXA-13, OBR-4 and PID-3."""
    good = N1_V2 if event == "T10" else N1
    raw = build.mdm(event, good)
    return raw.replace(_b64(good), _b64(content))


def _b64(content: bytes) -> bytes:
    return base64.b64encode(content)


def document_promises(content: bytes, event: str, preset: Preset) -> None:
    checked = check(sent(content, event), preset)
    again = check(sent(content, event), preset)
    assert checked.findings == again.findings
    rejected = any(f.rejects for f in checked.findings)
    assert checked.cda is not None
    if b"<!DOCTYPE" in content or "<!DOCTYPE".encode("utf-16-le") in content:
        assert rejected or _only_in_text(content)
    if rejected:
        return
    (document,) = checked.cda.documents
    assert document.content == content
    header = document.header
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        # names may have more letters since the fifth edition of XML 1.0; this other reader keeps to the fourth
        assert not all(name.isascii() for name in _names(content))
        return
    clinical = list(root.iter(f"{V3}ClinicalDocument"))
    assert len(clinical) == 1
    identifier = _one(clinical[0], "id")
    assert header.id is not None
    assert (header.id.root, header.id.extension) == _identifier(identifier)
    role = _one(_one(clinical[0], "recordTarget"), "patientRole")
    _one(role, "patient")
    ids = {_identifier(i) for i in role.findall(f"{V3}id") if not i.get("nullFlavor", "").strip()}
    ids = {(r, e) for r, e in ids if r}
    assert header.patient is not None
    assert {(i.root, i.extension) for i in header.patient.ids} == ids
    if event != "T04":
        told = INS_OIDS & {r for r, _ in ids}
        assert not told or (header.patient.ins is not None and header.patient.ins.root in told)
        if preset == "production":
            the_same_as_the_message(clinical[0], header.code.code if header.code else "")


def _names(content: bytes) -> Iterator[str]:
    for element in etree.fromstring(content).iter(etree.Element):
        yield str(element.tag)
        yield from map(str, element.attrib)


def the_same_as_the_message(clinical: ElementTree.Element, code: str) -> None:
    """In production the header has one of each element on which a decision hangs, and it is the one that was read."""
    assert _one(clinical, "code").get("code") == code == "11502-2"
    for name in (
        "setId",
        "versionNumber",
        "confidentialityCode",
        "effectiveTime",
        "title",
        "languageCode",
        "component",
    ):
        _one(clinical, name)
    patient = _one(_one(_one(clinical, "recordTarget"), "patientRole"), "patient")
    for name in ("name", "birthTime", "administrativeGenderCode"):
        _one(patient, name)
    assert _one(patient, "birthTime").get("value", "")[:8] == build.PATIENT.birth_date
    assert _one(patient, "administrativeGenderCode").get("code") == build.PATIENT.sex


def _identifier(element: ElementTree.Element) -> tuple[str, str | None]:
    """(root, extension) without blanks around them."""
    return (element.get("root") or "").strip(), (element.get("extension") or "").strip() or None


def _one(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    found = parent.findall(V3 + name)
    assert len(found) == 1, f"{len(found)} {name} in an accepted document"
    return found[0]


def _only_in_text(content: bytes) -> bool:
    """`<!DOCTYPE` stands in a comment or CDATA only: there it is text."""
    bare = re.sub(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>", b"", content, flags=re.S)
    return b"<!DOCTYPE" not in bare
