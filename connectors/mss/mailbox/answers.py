"""What a server's responses say. Pure.

Purpose: the few responses that the client needs, from the records of `wire.Answer`. The grammar of FETCH is
IMAPClient's.
Guarantee: proportional to the bytes of the lines, literals are never copied.
Fails: `MailboxFault(PROTOCOL)` for what cannot be read; never with the server's words.
Source: RFC 3501 §7, 4315 (UIDPLUS).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from imapclient.response_parser import parse_fetch_response

from connectors.mss.mailbox.model import MailboxFault, Reason
from connectors.mss.mailbox.wire import LINE, Answer

_CODE = re.compile(rb"\s*\[([A-Za-z0-9-]+)(?: ([^\]]*))?\]")
_SEARCH = re.compile(rb"(?i)SEARCH((?: +\d+)*) *(?:\(MODSEQ \d+\) *)?$")
_NUMBERED = re.compile(rb"(?i)(\d{1,10}) (EXISTS|EXPUNGE|FETCH)\b")


@dataclass(frozen=True, slots=True)
class Status:
    """`OK [CODE argument]`, tagged or not. `word`: OK, NO, BAD, BYE, PREAUTH."""

    word: str
    code: str
    argument: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What one FETCH response says of one mail."""

    uid: int
    size: int | None
    internal_date: datetime | None
    flags: frozenset[str]
    body: bytes | None
    """Of the whole mail or of its header, whichever was asked for; None when it was not."""


def first_line(answer: Answer) -> bytes:
    """The first line of a response."""
    first = answer[0]
    return first if isinstance(first, bytes) else first[0]


def status(text: bytes) -> Status | None:
    """A status response without its tag; None when it is another one."""
    word, _, rest = text.partition(b" ")
    known = word.upper()
    if known not in (b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"):
        return None
    found = _CODE.match(rest)
    if found is None:
        return Status(known.decode(), "", "")
    return Status(known.decode(), found[1].decode().upper(), (found[2] or b"").decode("ascii", "replace"))


def numbered(text: bytes) -> tuple[int, str] | None:
    """(3, EXISTS) of `3 EXISTS`; also EXPUNGE and FETCH."""
    found = _NUMBERED.match(text)
    return (int(found[1]), found[2].decode().upper()) if found else None


def searched(text: bytes) -> list[int] | None:
    """The numbers of a SEARCH response; None when it is another one."""
    if text[:6].upper() != b"SEARCH":
        return None
    found = _SEARCH.match(text)
    if found is None:
        raise MailboxFault(Reason.PROTOCOL)
    return [int(n) for n in found[1].split()]


def fetched(answer: Answer) -> Facts | None:
    """One FETCH response, the leading `* ` removed; None when it names no UID (told about others, unasked)."""
    if sum(len(r if isinstance(r, bytes) else r[0]) for r in answer) > LINE:
        raise MailboxFault(Reason.PROTOCOL)
    number, _, rest = first_line(answer).partition(b" ")
    if rest[:6].upper() != b"FETCH ":
        raise MailboxFault(Reason.PROTOCOL)
    head = number + b" " + rest[6:]
    records = [head if isinstance(answer[0], bytes) else (head, answer[0][1]), *answer[1:]]
    try:
        read = parse_fetch_response(records, normalise_times=False, uid_is_key=False)
    except Exception:
        # whatever the parser makes of a server's nonsense; its text may quote the mail
        raise MailboxFault(Reason.PROTOCOL) from None
    if len(read) != 1:
        raise MailboxFault(Reason.PROTOCOL)
    items = next(iter(read.values()))
    uid = items.get(b"UID")
    if not isinstance(uid, int):
        return None
    size, date, flags = items.get(b"RFC822.SIZE"), items.get(b"INTERNALDATE"), items.get(b"FLAGS")
    bodies = [v for k, v in items.items() if k.startswith(b"BODY[")]
    body = b"" if bodies and bodies[0] is None else bodies[0] if bodies else None
    if body is not None and not isinstance(body, bytes):
        # an unquoted number: what a mail never is
        raise MailboxFault(Reason.PROTOCOL)
    return Facts(
        uid=uid,
        size=size if isinstance(size, int) else None,
        internal_date=date.astimezone(UTC) if isinstance(date, datetime) else None,
        flags=frozenset(f.decode("ascii", "replace") if isinstance(f, bytes) else str(f) for f in flags or ())
        if isinstance(flags, tuple)
        else frozenset(),
        body=body,
    )
