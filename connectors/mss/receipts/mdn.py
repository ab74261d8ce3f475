"""Reading reports (MDN) read, in the three forms that the volet has had. Pure.

Purpose: what happened to the mail, with which error, who read it, which mail it was.
The forms of an error differ: A (1.1.2) writes it in the disposition modifier, which RFC 8098 has no grammar for; B adds
an `Error:` field; C (1.1.3) writes `processed/error` and a compulsory `Error:` field. All three give the same result.
Guarantee: an error in any of these places (or in the subject) is an error; its code is one of table 0533.
Fails: `Unreadable`.
Source: spec/mssante.md §2.6, §3.2; RFC 8098 §3.
"""

from __future__ import annotations

import re
from dataclasses import replace

from connectors.mss.receipts import identifiers
from connectors.mss.receipts.dsn import returned_message_id
from connectors.mss.receipts.errormail import subject_code, text_code
from connectors.mss.receipts.mime import Part, Unreadable, field_blocks
from connectors.mss.receipts.model import Disposition, Mdn, Reason

NOTIFICATION_TYPES = frozenset(
    {"message/disposition-notification", "message/global-disposition-notification"}
)
_DISPOSITION = re.compile(
    r"(?P<mode>manual-action|automatic-action)\s*/\s*MDN-sent-(?:manually|automatically)\s*;\s*"
    r"(?P<type>[a-z-]+)\s*(?:/(?P<modifier>.*)|\([^()]*\))?[\s;]*",
    re.IGNORECASE,
)
# at the start of the field or of one of its parts: `902^label^table| E^Error^errorSeverity`
_CODE = re.compile(r"(?:^|[|~])\s*(?:error\s*:)?\s*([0-9]{1,6})(?=\s*(?:\^|$|[|~\s]))", re.IGNORECASE)


def read_mdn(mail: Part) -> Mdn:
    """The report of a mail that `classify` calls an MDN. Raises `Unreadable`."""
    parts = [part for part in mail.parts if part.content_type in NOTIFICATION_TYPES]
    blocks = field_blocks(parts[0]) if len(parts) == 1 else ()
    if not blocks:
        raise Unreadable(Reason.REPORT_UNREADABLE)
    # blank lines between fields split them: one report has one set of fields
    fields = replace(blocks[0], headers=tuple(header for block in blocks for header in block.headers))
    found = _DISPOSITION.fullmatch(fields.one("disposition"))
    try:
        disposition = Disposition(found["type"].lower() if found else "")
    except ValueError:
        raise Unreadable(Reason.REPORT_UNREADABLE) from None
    assert found is not None
    error, given = _error(mail, fields, disposition, found["modifier"] or "")
    return Mdn(
        disposition,
        found["mode"].lower() == "automatic-action",
        error,
        given,
        (
            identifiers.message_id(fields.one("original-message-id")),
            returned_message_id(mail),
            next(iter(identifiers.references(mail.first("in-reply-to"))), ""),
        ),
        identifiers.typed_address(fields.one("original-recipient")),
        identifiers.typed_address(fields.one("final-recipient")),
    )


def _error(mail: Part, fields: Part, disposition: Disposition, modifier: str) -> tuple[str | None, str]:
    """The code of table 0533 (None: no error) and the code as it came."""
    told = (*fields.all("error"), *fields.all("failure"))
    in_subject = subject_code(mail.words("subject"))
    # a modifier may be a list; `warning` and what a mail client invents are not errors
    failed = bool(told) or in_subject is not None or disposition is Disposition.FAILED
    failed = (
        failed
        or modifier.strip().lower().startswith(("error", "failure", "failed"))
        or "error" in {word.strip().lower() for word in modifier.split(",")}
    )
    if not failed:
        return None, ""
    given = next((code for code in map(_code, ("|".join(told), modifier)) if code), "") or in_subject or ""
    if not given:
        texts = (part.text() for part in mail.walk() if part.content_type == "text/plain")
        given = next((code for code in map(text_code, texts) if code), "")
    return identifiers.error_code(given), given


def _code(text: str) -> str:
    """The application code (9yz) among those that `text` gives, else its first code, else ""."""
    codes = _CODE.findall(text)
    return next((code for code in codes if len(code) == 3 and code[0] == "9"), codes[0] if codes else "")
