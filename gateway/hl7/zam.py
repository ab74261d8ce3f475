"""ZAM: the business acknowledgements that go back to the DPI (Z01 DMP, Z02 MSSanté reception, Z03 MSSanté
reading).

Purpose: bytes of a `ZAM^Z0x^ZAM_Z01` message: `MSH EVN OBX [OBX] [ERR]`, HL7 2.6. Pure: time comes in as a
value.

Guarantee: the same arguments give the same bytes; every text is escaped; an ERR is there exactly when the
answer is N. The profile answers these messages by `ACK^Z0x^ACK` (`gateway.hl7.acknowledgement.read`).

Fails: never for what a destination may say (codes and labels are free text).
Source: CI-SIS volet Transmission v2.1, ZAM (spec/hl7-transmission.md §3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.hl7.acknowledgement import timestamp, to_charset
from gateway.hl7.message import CHARSETS, Separators, escape
from gateway.hl7.tables import APPLICATION_ERRORS, MESSAGE_ERRORS, SMTP_ERRORS, label
from gateway.hl7.transmission import Transmission

DMP_ERROR_TABLE = "DMP_ERROR_CODE"
"""Name of the DMP code table in the profile's text; the official example writes `DMPERRORCODE`."""
_SEPARATORS = Separators()
_YES_NO = "expandedYes-NoIndicator"


@dataclass(frozen=True, slots=True)
class Envelope:
    """MSH of a ZAM: who speaks to whom (MSH-3 to MSH-6), MSH-11 and MSH-18."""

    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str
    processing_id: str = "P"
    charset: str = "UNICODE UTF-8"

    @classmethod
    def answering(cls, transmission: Transmission) -> Envelope:
        """Back to the sender of a transmission: its MSH-3/4 and MSH-5/6 swapped, MSH-11 kept."""
        return cls(
            transmission.receiving_application,
            transmission.receiving_facility,
            transmission.sending_application,
            transmission.sending_facility,
            transmission.processing_id or "P",
        )


@dataclass(frozen=True, slots=True)
class ZamError:
    """What the destination said, for an answer N: its code and label (ERR-5)."""

    code: str
    label: str = ""


def build_z01(
    envelope: Envelope,
    *,
    control_id: str,
    answered: str,
    now: datetime,
    occurred: datetime,
    error: ZamError | None = None,
    error_table: str = DMP_ERROR_TABLE,
) -> bytes:
    """`ZAM^Z01`: the DMP answered. `answered` is MSH-10 of the MDM/ORU, `occurred` (EVN-2) when the DMP
    answered.

    `error` None means accepted (Y). `error_table` is ERR-5.3.
    """
    code = "ACK_RECEPTION_DMP^Accusé de réception DMP"
    return _build(
        envelope, "Z01", control_id, now, occurred, [_answer(code, answered, error)], error, error_table
    )


def build_z02(
    envelope: Envelope,
    *,
    control_id: str,
    answered: str,
    now: datetime,
    occurred: datetime,
    address: str,
    recipient_id: str = "",
    error: ZamError | None = None,
) -> bytes:
    """`ZAM^Z02`: a recipient's server took or refused the mail. One message per recipient `address`.

    An error without a label takes ours (tables/smtp_errors.tsv).
    """
    if error is not None and not error.label:
        error = ZamError(error.code, label(SMTP_ERRORS, error.code))
    observations = [
        _answer("ACK_RECEPTION_MSS^Accusé de réception MSSanté", answered, error),
        _mailbox("DESTINATAIRE_MSS^Destinataire MSSanté", recipient_id, address),
    ]
    return _build(envelope, "Z02", control_id, now, occurred, observations, error, "SMTPERRORCODE")


def build_z03(
    envelope: Envelope,
    *,
    control_id: str,
    answered: str,
    now: datetime,
    occurred: datetime,
    address: str,
    recipient_id: str = "",
    error: ZamError | None = None,
) -> bytes:
    """`ZAM^Z03`: a reader's MDN came back. `error` (a code of table 0533) when it says that the mail was
    not taken.
    """
    if error is not None and not error.label:
        error = ZamError(error.code, label(APPLICATION_ERRORS, error.code))
    observations = [
        _answer("ACK_LECTURE_MSS^Accusé de lecture", answered, error),
        _mailbox("LECTEUR_MSS^Lecteur du courriel MSSanté", recipient_id, address),
    ]
    return _build(
        envelope, "Z03", control_id, now, occurred, observations, error, "applicationErrorCondition"
    )


def _answer(coded: str, answered: str, error: ZamError | None) -> tuple[str, str, str, str]:
    """OBX-2 to OBX-5 of the answer."""
    return "CWE", f"{coded}^AckMetierZAM", _e(answered), f"{'N' if error else 'Y'}^^{_YES_NO}"


def _mailbox(coded: str, recipient_id: str, address: str) -> tuple[str, str, str, str]:
    """OBX-2 to OBX-5 of the mailbox (XTN)."""
    return "XTN", f"{coded}^AckMetierZAM", _e(recipient_id), f"^^X.400^{_e(address)}"


def _build(
    envelope: Envelope,
    event: str,
    control_id: str,
    now: datetime,
    occurred: datetime,
    observations: Sequence[tuple[str, str, str, str]],
    error: ZamError | None,
    error_table: str,
) -> bytes:
    e = envelope
    parties = (e.sending_application, e.sending_facility, e.receiving_application, e.receiving_facility)
    header = [
        "MSH",
        "^~\\&",
        *(_e(p) for p in parties),
        timestamp(now),
        "",
        f"ZAM^{event}^ZAM_Z01",
        _e(control_id),
        _e(e.processing_id),
        "2.6",
        *("",) * 4,
        "FRA",
        e.charset,
        "",
        "",
        "2.1^CISIS_CDA_HL7_V2",
    ]
    segments = ["|".join(header), f"EVN||{timestamp(occurred)}"]
    for number, parts in enumerate(observations, 1):
        segments.append("|".join(("OBX", str(number), *parts, *("",) * 5, "F")))
    if error is not None:
        err3 = f"207^{label(MESSAGE_ERRORS, '207')}^messageErrorCondition"
        segments.append(f"ERR|||{err3}|E|{_e(error.code)}^{_e(error.label)}^{_e(error_table)}")
    text = "".join(segment + "\r" for segment in segments)
    return to_charset(text, CHARSETS.get(e.charset, "utf-8"))


def _e(text: str) -> str:
    return escape(text, _SEPARATORS)
