"""What goes back to people: the MDN to who asked for it, the error mail to the hospital's error mailbox. Pure.

Purpose: bytes ready for SMTP, with the envelope they need.
Guarantee: same arguments, same bytes (boundary and Message-ID come from the caller or from the original); CRLF, lines
within 998 octets; every header is one line of ASCII (RFC 2047), so nothing in a received mail can add a header; the
original is inside byte for byte, once; a mail never answers a report, an automatic mail or the null address.
Fails: `GatewayBug` for an address of ours that is no address.
Source: spec/mssante.md §2.6; RFC 8098, RFC 3834 (Auto-Submitted), RFC 2046 §5.2.1; volet Transmission au LPS v1.1.2
(forms A, B) and v1.1.3 (form C).

The error form of an MDN differs between the versions of the volet: A puts the error into Disposition, B adds the field
Error, C (default) has `processed/error` and the field Error. The reader of MDN must know all three.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime, formataddr
from enum import StrEnum
from typing import Literal

from connectors.mss.addresses import is_address, same_mailbox_key
from connectors.mss.inbound.answers import IntegrationError
from connectors.mss.inbound.envelope import InboundMail, MailKind, message_id_of
from connectors.mss.inbound.parts import (
    attach,
    boundary_of,
    open_part,
    own_address,
    rfc822_headers,
    spliced,
    text_header,
    text_part,
    token,
)
from connectors.mss.mail import ARCHIVE_NAME
from connectors.mss.wording import ascii_form, one_line

KO = "[KO Intégration système !]"
_ORIGINAL = "message_original.eml"
MAX_LABEL = 500
"""Characters of a label in a header field: a line may have 998 octets, and a destination's own words may be longer."""


class MdnForm(StrEnum):
    """How an MDN tells an error (see the module's docstring)."""

    A = "1.1.2"
    B = "1.1.2-error"
    C = "1.1.3"


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports: the applicative mailbox that processed the mail."""

    address: str
    name: str = ""
    host: str = ""
    product: str = ""
    """Reporting-UA: `<host>; <product>`."""


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A mail ready to be sent."""

    content: bytes = field(repr=False)
    return_path: str
    """MAIL FROM; empty: the null address."""
    recipient: str = field(repr=False)
    message_id: str
    eight_bit: bool
    """It holds octets above 127: `BODY=8BITMIME` is needed."""


def mdn_address(mail: InboundMail) -> str | None:
    """Whom an automatic MDN may go to, or None: asked for, by one address that is also the Return-Path, in a mail that
    is neither automatic nor a report (RFC 8098 §2.1)."""
    if mail.kind is not MailKind.XDM or len(mail.notify) != 1 or not mail.return_path:
        return None
    if mail.auto_submitted.partition(";")[0].strip() not in ("", "no"):
        return None
    address = mail.notify[0]
    if not is_address(address) or same_mailbox_key(address) != same_mailbox_key(mail.return_path):
        return None
    return address


def build_mdn(
    mail: InboundMail,
    reporter: Reporter,
    *,
    to: str,
    message_id: str,
    now: datetime,
    error: IntegrationError | None = None,
    displayed: bool = False,
    form: MdnForm = MdnForm.C,
    reattach: bool | None = None,
    text: str | None = None,
) -> OutgoingMail:
    """The MDN of `mail`: `processed` (or `displayed`) when `error` is None, else the error in the wanted form.

    `to` is what `mdn_address` gave; `message_id` has its angle brackets; `now` is aware. `reattach`: the mail's files
    again after it; None: as the form has it. `text`: for an error mailbox, whose person works from this mail alone: an
    original that cannot stand as a mail in it is enclosed as a file.
    """
    subject = mail.subject if error is None else f"{KO}[{error.code}] {mail.subject}"
    if error is None:
        sentence = "Le message ci-dessous a été intégré automatiquement dans le DPI."
    else:
        sentence = (
            "Le message ci-dessous n'a pas pu être intégré automatiquement dans le DPI pour la raison suivante :"
            f" {error.label} (code {error.code})."
        )
    whole, eight_bit = spliced(mail.raw)
    boundary = boundary_of(message_id, mail.raw)
    out = io.BytesIO()
    _headers(out, reporter, to, subject, message_id, now, mail, "auto-replied")
    out.write(
        b'Content-Type: multipart/report; report-type=disposition-notification;\r\n boundary="'
        + boundary
        + b'"\r\n\r\n'
    )
    text_part(out, boundary, sentence if text is None else text)
    open_part(out, boundary, "Content-Type: message/disposition-notification")
    out.write(_notification(mail, reporter, error, displayed, form))
    if whole is None:
        # its lines cannot travel in the open, and a message/rfc822 may not be encoded: the headers alone (RFC 6522)
        open_part(out, boundary, "Content-Type: text/rfc822-headers")
        eight_bit = False
        out.write(_identification(mail))
        if text is not None:
            attach(out, boundary, "application/octet-stream", _ORIGINAL, mail.raw)
    else:
        open_part(out, boundary, *rfc822_headers(eight_bit))
        out.write(whole)
    if error is not None and (form is not MdnForm.C if reattach is None else reattach):
        _reattach(out, boundary, mail)
    out.write(b"\r\n--" + boundary + b"--\r\n")
    return OutgoingMail(out.getvalue(), "", to, message_id, eight_bit)


def build_error_mail(
    mail: InboundMail,
    reporter: Reporter,
    error: IntegrationError,
    *,
    to: str,
    message_id: str,
    now: datetime,
    reattach: bool = True,
    max_bytes: int = 0,
    mdn: bool = False,
) -> OutgoingMail:
    """The « courriel standard » about `mail` to the error mailbox `to`: what is wrong, the original, and (`reattach`)
    its attachments again, so that a person can integrate them by hand.

    `max_bytes` (0: no bound) is the operator's limit: beyond it the attachments are only inside the original.
    `mdn`: the same text and files as a notification of form C, the files after its three parts.
    The envelope sender is the applicative mailbox, not the null address: when this mail itself cannot be delivered
    somebody must know. No loop comes of it: reports are never answered.
    """

    def build(again: bool) -> OutgoingMail:
        if not mdn:
            return _error_mail(mail, reporter, error, to, message_id, now, again)
        text = _explanation(mail, error, again)
        return build_mdn(
            mail, reporter, to=to, message_id=message_id, now=now, error=error, reattach=again, text=text
        )

    made = build(reattach)
    return build(False) if reattach and max_bytes and len(made.content) > max_bytes else made


def _error_mail(
    mail: InboundMail,
    reporter: Reporter,
    error: IntegrationError,
    to: str,
    message_id: str,
    now: datetime,
    reattach: bool,
) -> OutgoingMail:
    whole, eight_bit = spliced(mail.raw)
    boundary = boundary_of(message_id, mail.raw)
    out = io.BytesIO()
    subject = f"{KO}[{error.code}] {mail.subject}"
    _headers(out, reporter, to, subject, message_id, now, mail, "auto-generated")
    out.write(b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n\r\n')
    text_part(out, boundary, _explanation(mail, error, reattach))
    if whole is None:
        attach(out, boundary, "application/octet-stream", _ORIGINAL, mail.raw)
        eight_bit = False
    else:
        open_part(
            out,
            boundary,
            *rfc822_headers(eight_bit),
            f'Content-Disposition: attachment; filename="{_ORIGINAL}"',
        )
        out.write(whole)
    if reattach:
        _reattach(out, boundary, mail)
    out.write(b"\r\n--" + boundary + b"--\r\n")
    return OutgoingMail(out.getvalue(), reporter.address, to, message_id, eight_bit)


def _explanation(mail: InboundMail, error: IntegrationError, reattached: bool) -> str:
    names = [ARCHIVE_NAME] if mail.archive is not None else []
    names += [a.name or "(sans nom)" for a in mail.attachments]
    lines = [
        "Un courriel MSSanté reçu par la passerelle n'a pas pu être intégré automatiquement dans le DPI.",
        "",
        f"Raison : {error.label} (code {error.code}).",
        *(f"- {reason}" for reason in error.reasons),
        "",
        f"Expéditeur : {mail.origin.sender or 'inconnu'}",
        "Pièces jointes : " + (", ".join(names) if names else "aucune"),
        "",
        "Le courriel d'origine est joint ("
        + _ORIGINAL
        + ")."
        + (" Ses pièces jointes le sont aussi." if reattached else " Il contient ses pièces jointes."),
        "Que faire : vérifiez l'identité du patient, puis intégrez le document à la main, ou demandez à l'expéditeur"
        " de le corriger et de l'envoyer de nouveau.",
    ]
    return "\n".join(lines)


def _notification(
    mail: InboundMail,
    reporter: Reporter,
    error: IntegrationError | None,
    displayed: bool,
    form: MdnForm,
) -> bytes:
    """The fields of message/disposition-notification, in ASCII."""
    lines = []
    if reporter.host or reporter.product:
        lines.append(f"Reporting-UA: {token(reporter.host)}; {token(reporter.product)}")
    original = mail.original_recipient.partition(";")[2].strip() or mail.original_recipient
    if not is_address(original):
        original = reporter.address
    lines.append(f"Original-Recipient: rfc822;{original}")
    lines.append(f"Final-Recipient: rfc822;{own_address(reporter.address)}")
    identifier = message_id_of(mail)
    if identifier:
        lines.append(f"Original-Message-ID: {identifier}")
    # the words of the volet's tables, whose accents RFC 8098 does not allow here
    label = ascii_form(one_line(error.label))[:MAX_LABEL] if error else ""
    disposition = "displayed" if displayed else "processed"
    if error is not None:
        disposition = "processed/error"
        if form is not MdnForm.C:
            disposition = (
                f"processed/Error: {error.code}^{label}^messageErrorCondition| E^Error^errorSeverity"
            )
    lines.append(f"Disposition: automatic-action/MDN-sent-automatically; {disposition}")
    if error is not None and form is not MdnForm.A:
        lines.append(f"Error: {error.code}^{label}^applicationErrorCondition| E^Error^errorSeverity")
    return "".join(line + "\r\n" for line in lines).encode("ascii")


def _identification(mail: InboundMail) -> bytes:
    lines = [text_header("Subject", mail.subject)]
    identifier = message_id_of(mail)
    if identifier:
        lines.append(f"Message-ID: {identifier}")
    return "".join(line + "\r\n" for line in lines).encode("ascii")


# --- parts --------------------------------------------------------------------------------------------------


def _headers(
    out: io.BytesIO,
    reporter: Reporter,
    to: str,
    subject: str,
    message_id: str,
    now: datetime,
    mail: InboundMail,
    automatic: Literal["auto-replied", "auto-generated"],
) -> None:
    lines = [
        f"From: {formataddr((one_line(reporter.name), own_address(reporter.address)), charset='utf-8')}",
        f"To: {own_address(to)}",
        text_header("Subject", subject),
        f"Date: {format_datetime(now)}",
        f"Message-ID: {token(message_id)}",
    ]
    identifier = message_id_of(mail)
    if identifier:
        lines += [f"In-Reply-To: {identifier}", f"References: {identifier}"]
    lines += [f"Auto-Submitted: {automatic}", "MIME-Version: 1.0"]
    out.write("".join(line + "\r\n" for line in lines).encode("ascii"))


def _reattach(out: io.BytesIO, boundary: bytes, mail: InboundMail) -> None:
    """The archive and the other files again, each as an attachment of its own."""
    if mail.archive is not None:
        attach(out, boundary, "application/zip", ARCHIVE_NAME, mail.archive)
    for attached in mail.attachments:
        content = attached.part.content()
        if content is not None:
            attach(out, boundary, attached.mime_type, attached.name or "piece_jointe", content)
