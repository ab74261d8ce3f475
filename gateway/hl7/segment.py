r"""Segment: one segment of a message, read by position in the message's bytes, and the HL7 escapes.

Purpose: fields, repetitions, components and sub-components found by their offsets; text decoded and unescaped only
when asked for. Pure. Part of `gateway.hl7.message`, which gives the guarantees.
Fails: never; what is absent reads as empty.
Source: HL7 v2.5/2.6 chapter 2 (§2.5 segments, §2.7 escapes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import Place

SHORT_FIELD = 512
"""Bytes up to which a field is split once and kept."""
MAX_FIELDS = 512
"""Fields told apart in a segment; what follows stays in the last one."""

_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Separators:
    r"""MSH-1 and MSH-2, one byte each. `declared` is MSH-2 as sent; what it leaves out has its usual
    value.
    """

    field: bytes = b"|"
    component: bytes = b"^"
    repetition: bytes = b"~"
    escape: bytes = b"\\"
    subcomponent: bytes = b"&"
    declared: bytes = b"^~\\&"


@dataclass(frozen=True, slots=True)
class Wire:
    """What every segment needs to read itself. Shared, without a way back to the message (no reference
    cycle).
    """

    raw: bytes
    separators: Separators
    encoding: str


class Segment:
    """One segment: `raw[start:end]`, line end left out.

    `name` is "" for a line that is not a segment (its bytes may be anything, so they never serve as a name).
    `occurrence` counts the segments of that name from 1; `index` is the position in the message from 0.
    Fields, repetitions, components and sub-components are numbered from 1, as in HL7.
    """

    __slots__ = ("_fields", "_split", "_wire", "end", "index", "name", "occurrence", "start")

    def __init__(self, wire: Wire, name: str, start: int, end: int, occurrence: int, index: int) -> None:
        self._wire = wire
        self.name = name
        self.start = start
        self.end = end
        self.occurrence = occurrence
        self.index = index
        self._fields: list[tuple[int, int]] | None = None
        self._split: dict[int, list[list[bytes]]] = {}

    def __repr__(self) -> str:
        return f"<Segment {self.name or '?'} {self.occurrence}>"

    @property
    def raw(self) -> bytes:
        """The segment's bytes (a copy: not for segments that carry a document)."""
        return self._wire.raw[self.start : self.end]

    def place(
        self,
        field: int | None = None,
        rep: int | None = None,
        comp: int | None = None,
        sub: int | None = None,
    ) -> Place:
        """This segment, or a part of it, as ERR-2 names it."""
        return Place(self.name, self.occurrence, field, rep, comp, sub)

    def _bounds(self) -> list[tuple[int, int]]:
        fields = self._fields
        if fields is None:
            find = self._wire.raw.find
            sep = self._wire.separators.field
            fields = []
            position, end = self.start, self.end
            while (i := find(sep, position, end)) >= 0 and len(fields) < MAX_FIELDS:
                fields.append((position, i))
                position = i + 1
            fields.append((position, end))
            if self.name == "MSH":
                fields.insert(1, (self.start + 3, self.start + 4))
            self._fields = fields
        return fields

    def field_at(self, offset: int) -> int | None:
        """Number of the field that holds that offset of the message's bytes, or None."""
        bounds = enumerate(self._bounds())
        return next((n for n, (start, end) in bounds if n and start <= offset < end), None)

    @property
    def field_count(self) -> int:
        """Number of the last field present (trailing empty ones included)."""
        return len(self._bounds()) - 1

    def field(self, field: int) -> bytes:
        """The bytes of a field as sent, separators and escapes included; empty when absent."""
        fields = self._bounds()
        if field >= len(fields):
            return b""
        start, end = fields[field]
        return self._wire.raw[start:end]

    def extent(self, field: int) -> tuple[int, int]:
        """Where a field begins and ends in the message's bytes; the segment's end twice when it is absent."""
        fields = self._bounds()
        return fields[field] if field < len(fields) else (self.end, self.end)

    def has(self, field: int) -> bool:
        """True when the field holds something other than blanks, separators or the HL7 null (`""`)."""
        fields = self._bounds()
        if field >= len(fields):
            return False
        start, end = fields[field]
        if end - start > 256:
            return True
        s = self._wire.separators
        # MSH-1 and MSH-2 are made of the separators themselves.
        if self.name == "MSH" and field <= 2:
            return end > start
        content = self._wire.raw[start:end].strip(s.component + s.repetition + s.subcomponent + b" ")
        return content not in (b"", b'""')

    def repetitions(self, field: int) -> int:
        """Number of repetitions of a field; 0 when it is empty or absent."""
        fields = self._bounds()
        if field >= len(fields):
            return 0
        start, end = fields[field]
        if start == end:
            return 0
        raw, separator = self._wire.raw, self._wire.separators.repetition
        # counting takes five times as long as finding, and a document of 89 MB has none
        return 1 if raw.find(separator, start, end) < 0 else raw.count(separator, start, end) + 1

    def _repetition(self, field: int, rep: int) -> tuple[int, int] | None:
        """Bounds of a repetition. For the first one the end is that of the field: `_piece` stops at the
        separator.
        """
        fields = self._bounds()
        if field >= len(fields):
            return None
        start, end = fields[field]
        raw, sep = self._wire.raw, self._wire.separators.repetition
        for _ in range(rep - 1):
            i = raw.find(sep, start, end)
            if i < 0:
                return None
            start = i + 1
        return start, end

    def _component(self, field: int, rep: int, comp: int) -> tuple[int, int] | None:
        """Bounds of a component; the repetition separator is looked for only as far as needed."""
        bounds = self._repetition(field, rep)
        if bounds is None:
            return None
        start, end = bounds
        raw, separators = self._wire.raw, self._wire.separators
        for n in range(1, comp + 1):
            i = raw.find(separators.component, start, end)
            stop = end if i < 0 else i
            cut = raw.find(separators.repetition, start, stop)
            if cut >= 0:
                return (start, cut) if n == comp else None
            if n == comp:
                return start, stop
            if i < 0:
                return None
            start = i + 1
        return None

    def parts(self, field: int) -> list[list[bytes]] | None:
        """The components of each repetition as sent (not for MSH-1 and MSH-2), none when the field is absent; None
        when it is long: `piece` reads it then.

        A short field is split once and kept: most are asked for several times.
        """
        split = self._split.get(field)
        if split is None:
            fields = self._fields or self._bounds()
            if field >= len(fields):
                return []
            start, end = fields[field]
            if end - start > SHORT_FIELD:
                return None
            s = self._wire.separators
            repetitions = self._wire.raw[start:end].split(s.repetition)
            split = self._split[field] = [r.split(s.component) for r in repetitions]
        return split

    def piece(self, field: int, rep: int = 1, comp: int = 1, sub: int = 1) -> bytes:
        """The bytes of a sub-component as sent (not for MSH-1 and MSH-2); empty when absent."""
        split = self._split.get(field)
        if split is None:
            split = self.parts(field)
            if split is None:
                return self._piece_of_long(field, rep, comp, sub)
        if rep > len(split) or comp > len(split[rep - 1]):
            return b""
        piece = split[rep - 1][comp - 1]
        separator = self._wire.separators.subcomponent
        if separator not in piece:
            return piece if sub == 1 else b""
        parts = piece.split(separator)
        return parts[sub - 1] if sub <= len(parts) else b""

    def _piece_of_long(self, field: int, rep: int, comp: int, sub: int) -> bytes:
        """The same in a field that may hold a document: only what is asked for is looked at."""
        bounds = self._component(field, rep, comp)
        if bounds is None:
            return b""
        start, end = bounds
        raw, separator = self._wire.raw, self._wire.separators.subcomponent
        for n in range(1, sub + 1):
            i = raw.find(separator, start, end)
            if n == sub:
                end = end if i < 0 else i
            elif i < 0:
                return b""
            else:
                start = i + 1
        return raw[start:end]

    def locate(self, field: int, component: int = 1, rep: int = 1) -> tuple[int, int]:
        """(offset, length) in the message's bytes of a component, as sent; length 0 when it is absent."""
        bounds = self._component(field, rep, component)
        if bounds is None:
            return self.end, 0
        return bounds[0], bounds[1] - bounds[0]

    def text(self, field: int, rep: int = 1, comp: int = 1, sub: int = 1) -> str:
        """A sub-component as text: decoded and unescaped, blanks kept; "" when absent.

        MSH-1 and MSH-2 are given as sent. Bytes that the charset cannot decode show as lone surrogates
        (`Message.undecodable` reports them).
        """
        if field <= 2 and self.name == "MSH":
            return self.field(field).decode("latin-1")
        content = self.piece(field, rep, comp, sub)
        if not content:
            return ""
        text = content.decode(self._wire.encoding, "surrogateescape")
        return unescape(text, self._wire) if self._wire.separators.escape in content else text

    def value(self, field: int, rep: int = 1, comp: int = 1, sub: int = 1) -> str:
        """`text` without surrounding blanks; the HL7 null (`""`) reads as ""."""
        # `text` again rather than a call: most of the profile's time is spent here
        if field <= 2 and self.name == "MSH":
            return self.text(field, rep, comp, sub).strip()
        content = self.piece(field, rep, comp, sub)
        if not content:
            return ""
        wire = self._wire
        text = content.decode(wire.encoding, "surrogateescape")
        if wire.separators.escape in content:
            text = unescape(text, wire)
        text = text.strip()
        return "" if text == '""' else text


def unescape(text: str, wire: Wire) -> str:
    r"""`text` with HL7 escapes resolved: `\F\ \S\ \T\ \R\ \E\ \X..\ \.br\` (a line feed), `\H\ \N\`
    (nothing).

    Others (`\Z..\`, `\C..\`, formatting commands) and lone escape characters stay as they are.
    """
    s = wire.separators
    plain = {
        "F": s.field.decode("latin-1"),
        "S": s.component.decode("latin-1"),
        "T": s.subcomponent.decode("latin-1"),
        "R": s.repetition.decode("latin-1"),
        "E": s.escape.decode("latin-1"),
        "H": "",
        "N": "",
        ".br": "\n",
    }
    mark = s.escape.decode("latin-1")
    parts = text.split(mark)
    out = [parts[0]]
    i = 1
    while i < len(parts):
        code = parts[i]
        if i + 1 == len(parts):
            out.append(mark + code)
            break
        found = plain.get(code)
        if found is None and code[:1] == "X" and _HEX.fullmatch(code, 1):
            found = bytes.fromhex(code[1:]).decode(wire.encoding, "surrogateescape")
        if found is None:
            # Not an escape: the mark is content, and the next mark may open one.
            out.append(mark + code)
            i += 1
        else:
            out.append(found + parts[i + 1])
            i += 2
    return "".join(out)


def escape(text: str, separators: Separators) -> str:
    r"""`text` as it may stand in a field: separators escaped, line breaks as `\.br\`, other controls left
    out. In a message that has no escape character (its MSH-2 uses it for something else), blanks stand for them.
    """
    mark = separators.escape.decode("latin-1")
    if separators.escape == b"\0":
        s = separators
        marks_of = (s.field + s.component + s.repetition + s.subcomponent).decode("latin-1")
        return "".join(" " if c in marks_of or c < " " else c for c in text)
    table = {
        separators.escape: f"{mark}E{mark}",
        separators.field: f"{mark}F{mark}",
        separators.component: f"{mark}S{mark}",
        separators.subcomponent: f"{mark}T{mark}",
        separators.repetition: f"{mark}R{mark}",
    }
    marks: dict[int, str] = {ord(k): v for k, v in table.items()}
    marks |= dict.fromkeys(range(32), "")
    marks[0x0A] = f"{mark}.br{mark}"
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(marks)
