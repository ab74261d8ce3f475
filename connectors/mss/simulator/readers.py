"""Who reads the mailboxes: rules that say what a recipient's software answers to a mail. Pure.

Purpose: MDN (displayed, processed, dispatched, deleted, error 9xx) in every form that the volet has had, and the
standard error mail.
Guarantee: never an answer to a report, to an automatic mail or to an empty return path (RFC 8098 §3, RFC 3834 §2);
an MDN only where it is asked for and the address that asks is the return path, unless the rule says `always`.
Fails: `ConfigurationFault` for a rule that cannot be read.
Source: spec/mssante.md §2.6 (variants A, B, C of the volet "Transmission au LPS"), RFC 8098.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes, policy
from email.header import Header
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses
from typing import Final, Literal

from connectors.mss.simulator.reports import HOST, crlf, headers_of

Kind = Literal["none", "displayed", "processed", "dispatched", "deleted", "error", "error_mail"]
LABELS: Final = {
    "900": "Version du document incorrecte lors d'une demande de remplacement/suppression",
    "901": "Auteur non autorisé à remplacer ou supprimer un document",
    "902": "Identifiant de patient inconnu",
    "903": "INS non présent dans le document",
    "904": "L'INS transmis ne correspond pas exactement à celui stocké dans la base du consommateur",
    "905": "L'INS transmis n'est pas complet",
    "906": "Erreur 'Autre'",
}


@dataclass(slots=True)
class Reader:
    """What the software behind a mailbox answers.

    * none: nothing; displayed, processed, dispatched, deleted: an MDN with that disposition
    * error: an MDN "processed" with error `code`; error_mail: the standard error mail, no MDN
    """

    kind: Kind
    recipient: str | None = None
    """Address, `@domain`, or None: any mailbox."""
    code: str = "902"
    words: str = ""
    """Label of the code; "": that of the volet."""
    form: Literal["A", "B", "C"] = "C"
    """Form of an error: A = volet 1.1.2, B = its draft with an Error field, C = 1.1.3."""
    third: Literal["none", "headers", "message"] = "message"
    """Third part of the MDN."""
    final_recipient: str = ""
    """The address that read; "": the mailbox (a forward makes it another)."""
    message_id: Literal["exact", "spaces", "absent"] = "exact"
    """How Original-Message-ID is written: the volet's example has blanks inside the brackets."""
    return_path: Literal["null", "reader"] = "null"
    """Envelope sender of the MDN: empty as RFC 8098 §3 asks, or the reader's own."""
    seconds: float = 0.0
    """Wait before it."""
    always: bool = False
    """Answer whether or not it was asked."""
    times: int = 0
    """How many mails it answers; 0: all."""
    hits: int = 0

    def matches(self, recipient: str) -> bool:
        """True when it answers a mail to `recipient`, and has not yet answered all it should."""
        if self.times and self.hits >= self.times:
            return False
        wanted = (self.recipient or "").lower()
        address = recipient.lower()
        return not wanted or wanted == address or (wanted.startswith("@") and address.endswith(wanted))

    @property
    def label(self) -> str:
        """Words of the error."""
        return self.words or LABELS.get(self.code, LABELS["906"])


@dataclass(frozen=True, slots=True)
class Answer:
    """A mail of the reader."""

    sender: str
    """Envelope sender; "" for the empty one."""
    recipient: str
    raw: bytes
    disposition: str


def answer(
    reader: Reader, mail_from: str, recipient: str, raw: bytes, number: int, now: datetime
) -> Answer | None:
    """What `reader` answers to the mail `raw`, None when nothing. `now` is aware."""
    if reader.kind == "none" or not mail_from:
        return None
    original = message_from_bytes(headers_of(raw), policy=policy.SMTP)
    if str(original.get("Auto-Submitted", "no")).strip().lower() != "no":
        return None
    if original.get_content_type() == "multipart/report":
        return None
    if reader.kind == "error_mail":
        return Answer(
            recipient, mail_from, _error_mail(reader, recipient, mail_from, raw, original, number, now), ""
        )
    asked = [a for _, a in getaddresses([str(original.get("Disposition-Notification-To", ""))]) if a]
    if not reader.always and asked != [mail_from]:
        return None
    to = asked[0] if asked else mail_from
    sender = "" if reader.return_path == "null" else recipient
    disposition = "processed" if reader.kind == "error" else reader.kind
    return Answer(sender, to, _mdn(reader, recipient, to, raw, original, number, now), disposition)


def _subject(reader: Reader, original: EmailMessage) -> str:
    prefix = f"[KO Intégration système !][{reader.code}] " if reader.kind.startswith("error") else ""
    text = prefix + str(original.get("Subject", "")).strip()
    if text.isascii():
        return text
    return Header(text, "utf-8", header_name="Subject", maxlinelen=70).encode(linesep="\n")


def _common(sender: str, to: str, original: EmailMessage, number: int, now: datetime) -> str:
    message_id = _message_id(original)
    linked = f"In-Reply-To: {message_id}\nReferences: {message_id}\n" if message_id else ""
    return f"""\
Date: {format_datetime(now)}
From: {sender}
To: {to}
Message-ID: <reponse.{number}.{int(now.timestamp() * 1000)}@{HOST}>
{linked}Auto-Submitted: auto-replied
MIME-Version: 1.0
"""


def _message_id(original: EmailMessage) -> str:
    return " ".join(str(original.get("Message-ID", "")).split())


def _notification(reader: Reader, recipient: str, original: EmailMessage) -> str:
    """The fields of message/disposition-notification."""
    manual = reader.kind in ("displayed", "deleted")
    mode = "manual-action/MDN-sent-manually" if manual else "automatic-action/MDN-sent-automatically"
    seen = str(original.get("Original-Recipient", "")).strip() or f"rfc822;{recipient}"
    fields = [
        f"Reporting-UA: {HOST}; LPS simule",
        f"Original-Recipient: {seen}",
        f"Final-Recipient: rfc822;{reader.final_recipient or recipient}",
    ]
    message_id = _message_id(original)
    if reader.message_id == "spaces":
        message_id = f"< {message_id.strip('<>')} >"
    if reader.message_id != "absent" and message_id.strip("<> "):
        fields.append(f"Original-Message-ID: {message_id}")
    disposition = "processed" if reader.kind == "error" else reader.kind
    if reader.kind != "error":
        fields.append(f"Disposition: {mode}; {disposition}")
        return "\n".join(fields)
    told = f"{reader.code}^{reader.label}"
    if reader.form == "C":
        fields.append(f"Disposition: {mode}; {disposition}/error")
        fields.append(f"Error: {told}^applicationErrorCondition| E^Error^errorSeverity")
    else:
        old = f"{told}^messageErrorCondition| E^Error^errorSeverity"
        fields.append(f"Disposition: {mode}; {disposition}/Error: {old}")
        if reader.form == "B":
            fields.append(f"Error: {old}")
    return "\n".join(fields)


def _mdn(
    reader: Reader, recipient: str, to: str, raw: bytes, original: EmailMessage, number: int, now: datetime
) -> bytes:
    boundary = f"mdn-{number}-{int(now.timestamp())}"
    if reader.kind == "error":
        words = (
            "Le message ci-dessous n'a pas pu être intégré automatiquement dans le DPI pour la raison suivante : "
            f"{reader.code} {reader.label}"
        )
    else:
        words = f"Votre message a été traité par le logiciel du destinataire ({reader.kind})."
    told = _notification(reader, recipient, original)
    encoding = "" if told.isascii() else "Content-Transfer-Encoding: 8bit\n"
    parts = [
        crlf(
            f"""\
{_common(recipient, to, original, number, now)}\
Subject: {_subject(reader, original)}
Content-Type: multipart/report; report-type=disposition-notification;
\tboundary="{boundary}"

--{boundary}
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

{words}

--{boundary}
Content-Type: message/disposition-notification
{encoding}
{told}

"""
        )
    ]
    if reader.third != "none":
        whole = reader.third == "message"
        kind = "message/rfc822" if whole else "text/rfc822-headers"
        parts.append(crlf(f"--{boundary}\nContent-Type: {kind}\nContent-Transfer-Encoding: 8bit\n\n"))
        parts.append(raw if whole else headers_of(raw))
        parts.append(b"\r\n")
    if reader.kind == "error" and reader.form in ("A", "B"):
        parts.append(_attachments(raw, boundary))
    parts.append(crlf(f"--{boundary}--\n"))
    return b"".join(parts)


def _error_mail(
    reader: Reader, sender: str, to: str, raw: bytes, original: EmailMessage, number: int, now: datetime
) -> bytes:
    """The "courriel standard": text, the original whole, and its attachments again in the forms A and B."""
    boundary = f"erreur-{number}-{int(now.timestamp())}"
    subject = _subject(reader, original)
    if reader.form == "A":
        words = f"[Erreur d'intégration !][{reader.code}] {str(original.get('Subject', '')).strip()}"
        subject = Header(words, "utf-8", header_name="Subject", maxlinelen=70).encode(linesep="\n")
    made = crlf(
        f"""\
{_common(sender, to, original, number, now)}\
Subject: {subject}
Content-Type: multipart/mixed; boundary="{boundary}"

--{boundary}
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Le message joint n'a pas pu être intégré : {reader.code} {reader.label}.

--{boundary}
Content-Type: message/rfc822
Content-Disposition: attachment; filename="message_original.eml"
Content-Transfer-Encoding: 8bit

"""
    )
    again = _attachments(raw, boundary) if reader.form in ("A", "B") else b""
    return b"".join((made, raw, b"\r\n", again, crlf(f"--{boundary}--\n")))


def _attachments(raw: bytes, boundary: str) -> bytes:
    """The archive and the PDF copies of `raw`, as parts."""
    made: list[bytes] = []
    for part in message_from_bytes(raw, policy=policy.SMTP).iter_attachments():
        if part.get_content_type() in ("application/zip", "application/pdf"):
            made += [crlf(f"--{boundary}\n"), part.as_bytes(policy=policy.SMTP).rstrip(b"\r\n"), b"\r\n\r\n"]
    return b"".join(made)
