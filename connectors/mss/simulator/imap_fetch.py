"""FETCH: what a client asks of a message, written. Pure.

Guarantee: the bytes of a message are given as they were delivered.
Fails: `Syntax` for an item that is not known; numbered parts (`BODY[1]`) and BODYSTRUCTURE are not offered.
Source: RFC 3501 §6.4.5, §7.4.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.utils import getaddresses

from connectors.mss.simulator.imap_syntax import Syntax, literal, quoted
from connectors.mss.simulator.store import Message

_SECTION = re.compile(
    r"(?:BODY(?P<peek>\.PEEK)?)\[(?P<section>[^\]]*)\](?:<(?P<start>\d{1,10})\.(?P<count>\d{1,10})>)?",
    re.IGNORECASE,
)
_FIELDS = re.compile(r"HEADER\.FIELDS(?P<not>\.NOT)? \((?P<names>[^)]*)\)", re.IGNORECASE)
_MACROS = {
    "ALL": ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"],
    "FAST": ["FLAGS", "INTERNALDATE", "RFC822.SIZE"],
    "FULL": ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"],
}
_OLD = {
    "RFC822": ("BODY[]", True),
    "RFC822.HEADER": ("BODY.PEEK[HEADER]", False),
    "RFC822.TEXT": ("BODY[TEXT]", True),
}
_PLAIN = ("FLAGS", "UID", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing asked. `label` is what the response calls it."""

    label: str
    section: str | None = None
    """What is between the brackets, in upper case; None for what is no section."""
    start: int = 0
    count: int | None = None
    marks_seen: bool = False


def items(token: object) -> list[Item]:
    """What a FETCH asks. Raises `Syntax`."""
    words = token if isinstance(token, list) else [token]
    names: list[str] = []
    for word in words:
        if not isinstance(word, str):
            raise Syntax("item")
        names += _MACROS.get(word.upper(), [word])
    return [_item(name) for name in names]


def _item(name: str) -> Item:
    upper = name.upper()
    if upper in _PLAIN:
        return Item(upper)
    if upper in _OLD:
        section, seen = _OLD[upper]
        made = _item(section)
        return Item(upper, made.section, marks_seen=seen)
    found = _SECTION.fullmatch(name)
    if found is None:
        raise Syntax("item not offered")
    section = found["section"]
    if section.upper() not in ("", "HEADER", "TEXT") and not _FIELDS.fullmatch(section):
        raise Syntax("section not offered")
    partial = found["start"] is not None
    label = f"BODY[{section}]" + (f"<{found['start']}>" if partial else "")
    return Item(
        label,
        section,
        int(found["start"]) if partial else 0,
        int(found["count"]) if partial else None,
        found["peek"] is None,
    )


def flags(message: Message) -> str:
    """`(\\Seen …)`."""
    recent = ["\\Recent"] if message.recent else []
    return f"({' '.join([*sorted(message.flags), *recent])})"


def render(number: int, message: Message, asked: list[Item]) -> bytes:
    """`* n FETCH (…)`, with its CRLF."""
    parts = [item.label.encode("ascii") + b" " + _value(message, item) for item in asked]
    return b"* %d FETCH (" % number + b" ".join(parts) + b")\r\n"


def _value(message: Message, item: Item) -> bytes:
    if item.section is not None:
        data = _section(message, item.section)
        if item.count is not None:
            data = data[item.start : item.start + item.count]
        return literal(data)
    match item.label:
        case "FLAGS":
            return flags(message).encode("ascii")
        case "UID":
            return b"%d" % message.uid
        case "RFC822.SIZE":
            return b"%d" % message.size
        case "INTERNALDATE":
            d = message.date
            return f'"{d.day:2d}-{_MONTHS[d.month - 1]}-{d.year} {d:%H:%M:%S %z}"'.encode("ascii")
    return _envelope(message)


def _split(message: Message) -> tuple[bytes, bytes]:
    content = message.content
    end = content.find(b"\r\n\r\n")
    return (content, b"") if end < 0 else (content[: end + 4], content[end + 4 :])


def _section(message: Message, section: str) -> bytes:
    if not section:
        return message.content
    head, text = _split(message)
    upper = section.upper()
    if upper == "TEXT":
        return text
    if upper == "HEADER":
        return head
    found = _FIELDS.fullmatch(section)
    assert found is not None
    names = {n.strip('"').lower() for n in found["names"].split()}
    lines: list[bytes] = []
    chosen = False
    for line in head[:-2].splitlines(keepends=True):
        if line[:1] not in (b" ", b"\t"):
            name = line.partition(b":")[0].decode("ascii", "replace").strip().lower()
            chosen = (name in names) is (found["not"] is None)
        if chosen:
            lines.append(line)
    return b"".join(lines) + b"\r\n"


def _envelope(message: Message) -> bytes:
    parsed = message_from_bytes(_split(message)[0], policy=policy.compat32)

    def one(name: str) -> bytes:
        value = parsed.get(name)
        return b"NIL" if value is None else quoted(" ".join(str(value).split()))

    def people(*names: str) -> bytes:
        for name in names:
            found = [
                b"(%s NIL %s %s)"
                % (quoted(n) if n else b"NIL", quoted(a.partition("@")[0]), quoted(a.partition("@")[2]))
                for n, a in getaddresses([str(v) for v in parsed.get_all(name, [])])
                if a
            ]
            if found:
                return b"(" + b"".join(found) + b")"
        return b"NIL"

    return (
        b"("
        + b" ".join(
            (
                one("Date"),
                one("Subject"),
                people("From"),
                people("Sender", "From"),
                people("Reply-To", "From"),
                people("To"),
                people("Cc"),
                people("Bcc"),
                one("In-Reply-To"),
                one("Message-ID"),
            )
        )
        + b")"
    )
