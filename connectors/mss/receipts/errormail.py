"""The "courriel standard": a receiving PFI tells that a mail could not be integrated. Pure.

Purpose: the error code and the mail it speaks of.
Guarantee: the code is one of table 0533; the mail is named by the Message-ID of the enclosed original, else by
In-Reply-To and References, never by the subject.
Fails: `Unreadable`.
Source: volet Transmission au LPS 1.1.2 and 1.1.3, "courriel standard" (spec/mssante.md §2.6, §3.3).
"""

from __future__ import annotations

import re
import unicodedata

from connectors.mss.receipts import identifiers
from connectors.mss.receipts.dsn import RETURNED_TYPES, returned_message_id
from connectors.mss.receipts.mime import Part
from connectors.mss.receipts.model import ErrorMail
from gateway.hl7.tables import APPLICATION_ERRORS, table

# 1.1.2 writes « Erreur d'intégration », 1.1.3 « KO Intégration système »; the code may be missing, and a wrong charset
# may stand in for each accent
_SUBJECT = re.compile(
    r"\[\s*(?:ko\s+int\S{1,4}gration\s+syst\S{1,4}me|erreur\s+d\S{1,4}int\S{1,4}gration)\s*!?\s*\]\s*(?:\[\s*([0-9]{1,6})\s*\])?",
    re.IGNORECASE,
)
_THREE_DIGITS = re.compile(r"(?<![\w./-])[0-9]{3}(?![\w/-])")


def subject_code(subject: str) -> str | None:
    """The code in the subject of an error ("" when it gives none), or None when it is not such a subject."""
    found = _SUBJECT.match(unicodedata.normalize("NFC", subject).strip())
    return None if found is None else (found[1] or "")


def text_code(text: str) -> str:
    """The first code of table 0533 that stands alone in `text`, or ""."""
    known = table(APPLICATION_ERRORS)
    return next((word for word in _THREE_DIGITS.findall(text) if word in known), "")


def read_error_mail(mail: Part) -> ErrorMail:
    """What a mail that `classify` calls an error mail says. Raises `Unreadable`."""
    given = subject_code(mail.words("subject")) or ""
    if not given:
        # body, then attachments: machine data may be in either (volet, "courriel standard")
        texts = (
            p
            for p in mail.walk()
            if p.content_type.startswith("text/") and p.content_type not in RETURNED_TYPES
        )
        given = next((code for code in (text_code(part.text()) for part in texts) if code), "")
    return ErrorMail(
        identifiers.error_code(given),
        given,
        returned_message_id(mail),
        identifiers.references(mail.first("in-reply-to"), mail.first("references")),
        identifiers.sender(mail),
    )
