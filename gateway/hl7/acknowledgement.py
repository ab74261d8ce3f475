"""The HL7 acknowledgement: built for the DPI, and read when we are the sender.

Purpose: one ACK for one message (volet Transmission v2.1 §ACK): `MSH MSA [{ERR}]`. Pure: time comes in as
a value.

Guarantee: MSH-3 to MSH-6, MSH-10, MSH-11, MSH-12 and MSH-18 of the message come back byte for byte, in the
message's own separators; one ERR per rejecting finding in an AE or AR, never an ERR in an AA; no patient
data beyond what the findings' texts hold (none, by rule).

Fails: `MessageUnreadable` when no ACK can be addressed (`build_for_head`) or when what should be an ACK is
none (`read`).
Source: spec/hl7-transmission.md §2; HL7 v2.5/2.6 chapter 2 (MSA, ERR).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.errors import Finding, GatewayBug, MessageUnreadable, Severity
from gateway.hl7.message import Message, Segment, Separators, escape
from gateway.hl7.tables import APPLICATION_ERRORS, MESSAGE_ERRORS, label

CODES = frozenset({"AA", "AE", "AR"})
_TEXT_LIMIT = 250
"""Length of ERR-8 in HL7 2.5 and 2.6."""
_LINE_END = re.compile(rb"[\r\n]")
_CONTROL = re.compile(rb"[\x00-\x1f]")


@dataclass(frozen=True, slots=True)
class AckError:
    """One ERR segment of an acknowledgement, parts without surrounding blanks; "" for what is absent."""

    location: str
    """ERR-2 as sent."""
    err3: str
    err3_label: str
    severity: str
    err5: str
    err5_label: str
    diagnostic: str
    text: str


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An acknowledgement received. `code` is AA, AE or AR (or CA, CE, CR of the enhanced mode, as sent)."""

    code: str
    acknowledged: str
    """MSA-2: control id of the message that is answered."""
    control_id: str
    """MSH-10 of the acknowledgement itself."""
    event: str
    """MSH-9.2."""
    text: str
    """MSA-3."""
    errors: tuple[AckError, ...]

    @property
    def accepted(self) -> bool:
        """True for AA."""
        return self.code == "AA"


def timestamp(moment: datetime) -> str:
    """An HL7 timestamp with its offset: `YYYYMMDDHHMMSS+ZZZZ` (no offset for a naive moment)."""
    return moment.strftime("%Y%m%d%H%M%S%z")


def to_charset(text: str, encoding: str) -> bytes:
    """`text` in a codec; what the codec lacks is written without its accent or as `?` (labels of ours
    only).
    """
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        plain = text.translate({0x2019: "'", 0xAB: '"', 0xBB: '"', 0xA0: " ", 0x2026: "...", 0x2013: "-"})
        folded = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
        return folded.encode(encoding, "replace")


def build(
    message: Message,
    code: str,
    findings: Sequence[Finding],
    control_id: str,
    now: datetime,
    extended_err: bool = True,
) -> bytes:
    """The ACK of `message`: segments ended by CR, in the message's charset and separators.

    `code`: AA, AE or AR. `findings`: those that reject become ERR segments (never in an AA); warnings are
    left out. `control_id`: MSH-10 of the ACK. `now`: MSH-7. `extended_err=False` leaves ERR-5, ERR-7 and
    ERR-8 out.
    """
    if code not in CODES:
        raise GatewayBug(f"no such acknowledgement code: {code}")
    s, msh = message.separators, message.msh
    encoding = message.encoding

    def put(text: str) -> bytes:
        return to_charset(text, encoding)

    def copied(field: int) -> bytes:
        # a control character could end the frame of the ACK, or begin a segment of its own
        return _CONTROL.sub(b"", msh.field(field))

    event = _CONTROL.sub(b"", _component(message, 9, 2))
    type_parts = (b"ACK", event, b"ACK") if event else (b"ACK",)
    # An unknown charset cannot be honoured: the ACK is UTF-8 and says so.
    charset = copied(18) if message.charset and message.charset_known else b"UNICODE UTF-8"
    header = [
        b"MSH" + s.field + s.declared,
        copied(5),
        copied(6),
        copied(3),
        copied(4),
        put(timestamp(now)),
        b"",
        s.component.join(type_parts),
        put(escape(control_id, s)),
        copied(11) or b"P",
        copied(12) or b"2.6",
        *(b"",) * 4,
        b"FRA",
        charset,
    ]
    segments = [s.field.join(header), s.field.join((b"MSA", put(code), copied(10)))]
    if code != "AA":
        errors = (f for f in findings if f.severity is Severity.REJECT)
        segments.extend(put(_err(f, s, extended_err)) for f in errors)
    return b"".join(segment + b"\r" for segment in segments)


def build_for_head(
    head: bytes,
    code: str,
    findings: Sequence[Finding],
    control_id: str,
    now: datetime,
    extended_err: bool = True,
) -> bytes:
    """The ACK of a message of which only the first bytes are at hand (too long), or whose MSH is cut.

    Only what is complete is used: a field cut by the end of `head` is left out, so MSA-2 is the whole
    MSH-10 or empty. Raises `MessageUnreadable` when the separators cannot be read: there is nobody to answer.
    """
    start = max(head.find(b"MSH"), 0)
    line_end = _LINE_END.search(head, start)
    msh = head[start : line_end.start()] if line_end else head[start:]
    if line_end is None:
        cut = msh.rfind(msh[3:4]) if len(msh) > 4 else -1
        # Before the end of MSH-2 there is nothing to cut.
        msh = msh[:cut] if cut > 3 else msh
    return build(Message.parse(msh), code, findings, control_id, now, extended_err)


def read(raw: bytes) -> Acknowledgement:
    """Read an acknowledgement (payload of a frame). Line ends and surrounding blanks do not matter.

    Raises `MessageUnreadable` when there is no MSH, no MSA, or MSA-1 is not a code.
    """
    message = Message.parse(raw)
    msa = message.first("MSA")
    if msa is None:
        raise MessageUnreadable("no MSA segment: not an acknowledgement")
    code = msa.value(1).upper()
    if code not in CODES and code not in {"CA", "CE", "CR"}:
        raise MessageUnreadable("MSA-1 is not an acknowledgement code")
    return Acknowledgement(
        code=code,
        acknowledged=msa.value(2),
        control_id=message.control_id,
        event=message.event,
        text=msa.value(3),
        errors=tuple(_read_err(e, message) for e in message.all("ERR")),
    )


def _component(message: Message, field: int, component: int) -> bytes:
    offset, length = message.msh.locate(field, component)
    return message.raw[offset : offset + length].strip()


def _err(finding: Finding, s: Separators, extended: bool) -> str:
    sep = s.component.decode("latin-1")
    bar = s.field.decode("latin-1")

    def coded(table: str, code: str, system: str) -> str:
        return sep.join((code, escape(label(table, code), s), system))

    place = finding.place.erl().replace("^", sep) if finding.place else ""
    fields = ["ERR", "", place, coded(MESSAGE_ERRORS, finding.err3, "messageErrorCondition"), "E"]
    if extended:
        err5 = coded(APPLICATION_ERRORS, finding.err5, "applicationErrorCondition") if finding.err5 else ""
        text = finding.text if len(finding.text) <= _TEXT_LIMIT else finding.text[: _TEXT_LIMIT - 1] + "…"
        fields += [err5, "", escape(finding.rule, s), escape(text, s)]
    return bar.join(fields)


def _read_err(err: Segment, message: Message) -> AckError:
    return AckError(
        location=err.field(2).decode(message.encoding, "replace").strip(),
        err3=err.value(3),
        err3_label=err.value(3, comp=2),
        severity=err.value(4),
        err5=err.value(5),
        err5_label=err.value(5, comp=2),
        diagnostic=err.value(7),
        text=err.value(8),
    )
