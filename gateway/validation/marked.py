"""The text that was checked, line by line, with the findings beside their place: what the page shows.

Purpose: an ER7 segment by segment, a CDA line by line; long base64 is folded, long runs without any finding are left
out and counted. Pure.

Guarantee: every finding of a unit is in exactly one place (`Block.findings` or `Line.findings`), named by its index
in `Unit.findings`. The text is the user's own, for their own browser; it is escaped by the template, not here.
Fails: never.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.cda.document import Document
from gateway.errors import Finding, MessageUnreadable, Place
from gateway.hl7.message import Message, Segment
from gateway.validation.report import Unit
from gateway.validation.source import Kind, document_encoding
from gateway.validation.words import place_in_words

ALL_LINES = 300
"""Up to that many lines are all shown."""
AROUND = 2
"""Lines shown before and after one with findings, in a longer text."""
LINE_LENGTH = 2000
"""Characters of a line (or of a piece of it) that are shown."""
LARGE = 20_000
"""A longer piece of text is never looked at as a whole: patterns over megabytes stop other threads."""
AT_END = 40
"""Characters shown of the end of a large piece."""
_BASE64 = re.compile(r"[A-Za-z0-9+/=]{120,}")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: pieces of text (True: a finding is about that piece) and the findings that stand here."""

    label: str
    pieces: tuple[tuple[str, bool], ...]
    findings: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """So many lines without any finding are not shown."""

    lines: int


@dataclass(frozen=True, slots=True)
class Block:
    """One text: the message, the document, or a document of the message. `findings` have no line of their own."""

    title: str
    lines: Sequence[Line | Gap]
    findings: tuple[int, ...] = ()


def blocks(unit: Unit) -> list[Block]:
    """The texts of `unit` with all its findings."""
    findings = dict(enumerate(unit.findings))
    if unit.kind is Kind.CDA:
        return [_document("Document CDA", unit.payload, findings)]
    inside: dict[int, dict[int, Finding]] = {}
    for index, finding in list(findings.items()):
        document = _document_of(finding, unit)
        if document is not None:
            inside.setdefault(document.part, {})[index] = findings.pop(index)
    shown = [_message(unit.payload, findings)]
    for document in unit.documents:
        if document.part in inside:
            title = f"Document transmis en {unit.places[document.part]}"
            shown.append(_document(title, document.content, inside[document.part], whole=False))
    return shown


def _document_of(finding: Finding, unit: Unit) -> Document | None:
    """The document on a line of which the finding stands."""
    if finding.line is None or finding.place is None:
        return None
    place = finding.place.erl()
    return next((d for d in unit.documents if unit.places.get(d.part) == place), None)


# --- messages -----------------------------------------------------------------------------------------------


def _message(payload: bytes, findings: Mapping[int, Finding]) -> Block:
    try:
        message = Message.parse(payload)
    except MessageUnreadable:
        text = payload[:LINE_LENGTH].decode("utf-8", "replace")
        texts = enumerate(text.splitlines()[:ALL_LINES], 1)
        unread = [Line(f"ligne {n}", ((folded(t), False),)) for n, t in texts]
        return Block("Message", unread, tuple(findings))
    segments = {(s.name, s.occurrence): s for s in message.segments if s.name}
    here: dict[int, list[int]] = {}
    homeless = []
    for index, finding in findings.items():
        place = finding.place
        segment = segments.get((place.segment, place.occurrence)) if place is not None else None
        if segment is None:
            homeless.append(index)
        else:
            here.setdefault(segment.index, []).append(index)
    lines: list[Line | Gap] = []
    for item in _selection(len(message.segments), here):
        if isinstance(item, Gap):
            lines.append(item)
            continue
        segment = message.segments[item]
        own = here.get(item, [])
        places = [p for i in own if (p := findings[i].place) is not None]
        label = place_in_words(Place(segment.name, segment.occurrence)) if segment.name else "ligne inconnue"
        lines.append(Line(label, _pieces(message, segment, places), tuple(own)))
    return Block("Message, segment par segment", lines, tuple(homeless))


def _pieces(message: Message, segment: Segment, places: Sequence[Place]) -> tuple[tuple[str, bool], ...]:
    """The segment's text cut at the parts that findings are about."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted({_span(segment, p) for p in places}):
        if start < end and (not spans or start >= spans[-1][1]):
            spans.append((start, end))
    pieces, position = [], segment.start
    for start, end in spans:
        pieces += [(position, start, False), (start, end, True)]
        position = end
    pieces.append((position, segment.end, False))
    return tuple((_read(message, start, end), marked) for start, end, marked in pieces if start < end)


def _read(message: Message, start: int, end: int) -> str:
    """A part of the message as it may be read; of a large one only both ends are looked at."""
    raw, encoding = message.raw, message.encoding
    if end - start <= LARGE:
        return folded(raw[start:end].decode(encoding, "replace"))
    head = folded(raw[start : start + LINE_LENGTH].decode(encoding, "replace"))
    tail = folded(raw[end - AT_END : end].decode(encoding, "replace"))
    return f"{head}…[{end - start - LINE_LENGTH - AT_END} octets]…{tail}"


def _span(segment: Segment, place: Place) -> tuple[int, int]:
    """Offsets of what a place names; its field when it names no component; nothing when it is absent."""
    if place.field is None:
        return segment.start, min(segment.start + 3, segment.end)
    start, length = segment.locate(place.field, place.component or 1, place.repetition or 1)
    if place.component is None and place.repetition is None:
        length = len(segment.field(place.field))
    return start, start + length


# --- documents ----------------------------------------------------------------------------------------------


def _document(title: str, content: bytes, findings: Mapping[int, Finding], whole: bool = True) -> Block:
    texts = content.decode(document_encoding(content), "replace").split("\n")
    here: dict[int, list[int]] = {}
    homeless = []
    for index, finding in findings.items():
        if finding.line is not None and 1 <= finding.line <= len(texts):
            here.setdefault(finding.line, []).append(index)
        else:
            homeless.append(index)
    lines: list[Line | Gap] = []
    for item in _selection(len(texts), {number - 1 for number in here}, ALL_LINES if whole else 0):
        if isinstance(item, Gap):
            lines.append(item)
        else:
            text = folded(texts[item])
            indent = len(text) - len(text.lstrip())
            pieces = ((text[:indent], False), (text[indent:], item + 1 in here))
            shown = tuple((piece, marked) for piece, marked in pieces if piece)
            lines.append(Line(f"ligne {item + 1}", shown, tuple(here.get(item + 1, ()))))
    return Block(title, lines, tuple(homeless))


def _selection(total: int, marked: Iterable[int], limit: int = ALL_LINES) -> list[int | Gap]:
    """Which of `total` lines to show: all up to `limit`, else the first ones, the `marked` ones and what is around."""
    if total <= limit:
        return list(range(total))
    keep = bytearray(total)
    keep[:AROUND] = b"\x01" * min(AROUND, total)
    for number in marked:
        first, last = max(number - AROUND, 0), min(number + AROUND + 1, total)
        keep[first:last] = b"\x01" * (last - first)
    selection: list[int | Gap] = []
    last_shown = -1
    for number in (n for n in range(total) if keep[n]):
        if number > last_shown + 1:
            selection.append(Gap(number - last_shown - 1))
        selection.append(number)
        last_shown = number
    if last_shown < total - 1:
        selection.append(Gap(total - 1 - last_shown))
    return selection


def folded(text: str) -> str:
    """`text` as it may be read on a page: base64 folded, a long rest cut, control characters made visible."""
    text = text.rstrip("\r")
    if len(text) > LARGE:
        left_out = len(text) - LINE_LENGTH - AT_END
        return f"{folded(text[:LINE_LENGTH])}…[{left_out} caractères]…{folded(text[-AT_END:])}"
    text = _BASE64.sub(
        lambda m: f"{m[0][:24]}…[base64, {len(m[0])} caractères]…{m[0][-8:]}", text.rstrip("\r")
    )
    if len(text) > LINE_LENGTH:
        text = f"{text[:LINE_LENGTH]}…[{len(text) - LINE_LENGTH} caractères de plus]"
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)
