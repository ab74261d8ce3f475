r"""Message: an HL7 v2 message exactly as it was received, read by position.

Purpose: the wire truth. Segments, fields, repetitions, components and sub-components are found by their
offsets in the bytes received; text is decoded and unescaped only when asked for. Pure.

Guarantee: segments in are segments out, in order, Z and unknown ones included; `raw` is what was received;
a large OBX-5 is never decoded nor copied (`Segment.locate` says where it is). Bytes that the declared
charset cannot decode are never replaced silently: `Message.undecodable` lists them, and `text` shows them
as lone surrogates.

Fails: `MessageUnreadable` only when there is no MSH, its separators cannot be read, it is longer than `MAX_MSH`, or
there are more than `MAX_SEGMENTS` segments. Everything else that may be wrong is for the profile to judge.
Source: HL7 v2.5/2.6 chapter 2 (§2.5 segments, §2.7 escapes, MSH-1, MSH-2, MSH-18 table 0211).
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections.abc import Iterator

from gateway.errors import MessageUnreadable, Place
from gateway.hl7.segment import MAX_FIELDS, Segment, Separators, Wire, escape, unescape

__all__ = [
    "CHARSETS",
    "MAX_FIELDS",
    "MAX_MSH",
    "MAX_SEGMENTS",
    "Message",
    "Segment",
    "Separators",
    "Wire",
    "escape",
    "unescape",
]

CHARSETS = {
    "": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UNICODE": "utf-8",
    "UTF-8": "utf-8",
    "8859/15": "iso8859-15",
    "8859/1": "iso8859-1",
    "ASCII": "ascii",
}
"""MSH-18 values that can be read, and their Python codec. Which of them are *allowed* is a rule of the
profile.
"""

MAX_SEGMENTS = 5000
"""More is no message of this world (a large one has a hundred) but would cost memory out of all proportion."""
MAX_MSH = 8192
"""Bytes of MSH: its fields are read in the event loop, copied into the ACK and written to the log."""

_NAME = re.compile(rb"[A-Z][A-Z0-9]{2}")
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")
_LONG_SEGMENT = 4096
_DECODE_SLICE = 1 << 16
_BOM = b"\xef\xbb\xbf"


class Message:
    """An HL7 v2 message as received. Build with `Message.parse`."""

    __slots__ = ("_wire", "charset", "line_ends", "msh", "raw", "segments", "type")

    def __init__(
        self, wire: Wire, segments: tuple[Segment, ...], charset: str, line_ends: frozenset[str]
    ) -> None:
        self._wire = wire
        self.raw = wire.raw
        self.segments = segments
        self.msh = segments[0]
        self.charset = charset
        """MSH-18 as sent (first repetition)."""
        self.line_ends = line_ends
        """Line ends seen: `CR`, `LF`, `CRLF`."""
        self.type = self.msh.value(9)
        """MSH-9.1."""

    @classmethod
    def parse(cls, raw: bytes) -> Message:
        """Read a frame's payload. Raises `MessageUnreadable` when MSH-1 and MSH-2 cannot be read, when MSH is too
        long, or when there are too many segments.
        """
        begin = 0
        if raw.startswith(_BOM):
            begin = len(_BOM)
        while raw[begin : begin + 1] in (b"\r", b"\n", b" ", b"\t"):
            begin += 1
        separators = _separators(raw, begin)
        lines, line_ends = _lines(raw, begin)
        if lines[0][1] - lines[0][0] > MAX_MSH:
            raise MessageUnreadable(f"MSH of more than {MAX_MSH} bytes")
        # The charset stands in the message itself: MSH-18 is ASCII in every charset of table 0211.
        probe = Segment(Wire(raw, separators, "latin-1"), "MSH", *lines[0], 1, 0)
        charset = probe.value(18)
        wire = Wire(raw, separators, CHARSETS.get(charset.upper(), "utf-8"))
        counts: dict[str, int] = {}
        segments: list[Segment] = []
        for start, end in lines:
            after = raw[start + 3 : start + 4] if start + 3 < end else separators.field
            name = ""
            if after == separators.field and _NAME.fullmatch(raw, start, min(start + 3, end)):
                name = raw[start : start + 3].decode("ascii")
            counts[name] = counts.get(name, 0) + 1
            segments.append(Segment(wire, name, start, end, counts[name], len(segments)))
        return cls(wire, tuple(segments), charset, line_ends)

    @property
    def separators(self) -> Separators:
        """MSH-1 and MSH-2."""
        return self._wire.separators

    @property
    def encoding(self) -> str:
        """The Python codec in use; UTF-8 when MSH-18 is empty or not known."""
        return self._wire.encoding

    @property
    def charset_known(self) -> bool:
        """True when MSH-18 is empty or a charset that can be read."""
        return self.charset.upper() in CHARSETS

    def all(self, name: str) -> list[Segment]:
        """The segments of that name, in order."""
        return [s for s in self.segments if s.name == name]

    def first(self, name: str) -> Segment | None:
        """The first segment of that name."""
        return next((s for s in self.segments if s.name == name), None)

    def undecodable(self) -> list[Place]:
        r"""Where bytes (or `\X..\` escapes) are not text in the declared charset: the first place of each
        segment.
        """
        places: dict[int, Place] = {}
        for offset in (*self._bad_bytes(), *self._bad_escapes()):
            segment = self._segment_at(offset)
            if segment.index not in places:
                places[segment.index] = self._place_of(segment, offset)
        return [places[i] for i in sorted(places)]

    def controls(self) -> list[Place]:
        """Where characters stand that no text has (C0 controls but TAB, U+FFFE, U+FFFF): the first place of each
        segment. OBX-5 of a long OBX is left out: it is a document, and its base64 is judged as such.
        """
        places = []
        for segment in self.segments:
            parts = [(segment.start, segment.end)]
            if segment.name == "OBX" and segment.end - segment.start > _LONG_SEGMENT:
                start, end = segment.extent(5)
                parts = [(segment.start, start), (end, segment.end)]
            for start, end in parts:
                found = _NO_TEXT.search(self.raw, start, end)
                if found:
                    places.append(self._place_of(segment, found.start()))
                    break
        return places

    @property
    def mistaken_charset(self) -> bool:
        """True when a Latin charset is declared and the bytes are UTF-8: accented letters would read as others."""
        if not self.encoding.startswith("iso8859") or self.raw.isascii():
            return False
        view, position = memoryview(self.raw), 0
        try:
            while position < len(view):
                stop = min(position + _DECODE_SLICE, len(view))
                position += codecs.utf_8_decode(view[position:stop], "strict", stop == len(view))[1]
        except UnicodeDecodeError:
            return False
        return True

    def _segment_at(self, offset: int) -> Segment:
        return self.segments[max(bisect_right(self.segments, offset, key=lambda s: s.start) - 1, 0)]

    def _place_of(self, segment: Segment, offset: int) -> Place:
        if not segment.name:
            return Place("MSH")
        return segment.place(segment.field_at(offset))

    def _bad_bytes(self) -> Iterator[int]:
        if self.encoding.startswith("iso8859") or self.raw.isascii():
            return
        view = memoryview(self.raw)
        decode = codecs.utf_8_decode if self.encoding == "utf-8" else codecs.ascii_decode
        position = 0
        while position < len(view):
            stop = min(position + _DECODE_SLICE, len(view))
            try:
                if decode is codecs.utf_8_decode:
                    # In slices, so that a large document is never held twice; a cut character waits for
                    # the next.
                    used = codecs.utf_8_decode(view[position:stop], "strict", stop == len(view))[1]
                else:
                    used = codecs.ascii_decode(view[position:stop], "strict")[1]
                position += used
            except UnicodeDecodeError as e:
                bad = position + e.start
                yield bad
                # One place per segment is enough. (A bad byte on a blank line belongs to the segment before.)
                position = max(self._segment_at(bad).end, bad + 1)

    def _bad_escapes(self) -> Iterator[int]:
        mark = self.separators.escape
        opening = re.compile(re.escape(mark) + rb"X((?:[0-9A-Fa-f]{2})+)" + re.escape(mark))
        for segment in self.segments[1:]:
            if self.raw.find(mark, segment.start, segment.end) < 0:
                continue
            for found in opening.finditer(self.raw, segment.start, segment.end):
                try:
                    bytes.fromhex(found[1].decode("ascii")).decode(self.encoding)
                except UnicodeDecodeError:
                    yield found.start()
                    break

    # --- header, as sent --------------------------------------------------------------------------

    @property
    def event(self) -> str:
        """MSH-9.2."""
        return self.msh.value(9, comp=2)

    @property
    def structure(self) -> str:
        """MSH-9.3."""
        return self.msh.value(9, comp=3)

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.msh.value(10)

    @property
    def processing_id(self) -> str:
        """MSH-11.1."""
        return self.msh.value(11)

    @property
    def version(self) -> str:
        """MSH-12.1."""
        return self.msh.value(12)

    @property
    def sending_application(self) -> str:
        """MSH-3.1."""
        return self.msh.value(3)

    @property
    def sending_facility(self) -> str:
        """MSH-4.1."""
        return self.msh.value(4)

    @property
    def receiving_application(self) -> str:
        """MSH-5.1."""
        return self.msh.value(5)

    @property
    def receiving_facility(self) -> str:
        """MSH-6.1."""
        return self.msh.value(6)


def _separators(raw: bytes, begin: int) -> Separators:
    """MSH-1 and MSH-2. Raises `MessageUnreadable`."""
    if raw[begin : begin + 3] != b"MSH":
        raise MessageUnreadable("the message does not begin with MSH")
    field = raw[begin + 3 : begin + 4]
    # MSH-2 has at most five characters (2.7 adds a truncation character).
    declared = raw[begin + 4 : begin + 10].split(field or b"|")[0].rstrip(b"\r\n")
    marks = [declared[i : i + 1] for i in range(min(4, len(declared)))]
    taken = [field, *marks]
    if (
        not marks
        or len(declared) > 5
        or len(set(taken)) != len(taken)
        or any(not m or m.isalnum() or not 0x20 < m[0] < 0x7F for m in taken)
    ):
        raise MessageUnreadable("the separators of MSH-1 and MSH-2 cannot be read")
    usual = [b"^", b"~", b"\\", b"&"]
    for standard in usual[len(marks) :]:
        # A separator that MSH-2 does not give must not be read where another one already means something
        # else.
        marks.append(standard if standard not in [field, *marks] else b"\x00")
    return Separators(field, marks[0], marks[1], marks[2], marks[3], declared)


def _lines(raw: bytes, begin: int) -> tuple[list[tuple[int, int]], frozenset[str]]:
    """Bounds of the lines that are not blank, and the kinds of line ends met. CR, LF and CRLF all end a
    segment.
    """
    lines: list[tuple[int, int]] = []
    ends: set[str] = set()
    position, size = begin, len(raw)
    find = raw.find
    # Each kind of line end is searched once over the bytes: a large document is walked twice, never more.
    cr, lf = find(b"\r", begin), find(b"\n", begin)
    while position < size:
        if cr >= 0 and (lf < 0 or cr < lf):
            stop = cr
            cr = find(b"\r", stop + 1)
            if lf == stop + 1:
                ends.add("CRLF")
                following = lf + 1
                lf = find(b"\n", following)
            else:
                ends.add("CR")
                following = stop + 1
        elif lf >= 0:
            ends.add("LF")
            stop = lf
            following = lf + 1
            lf = find(b"\n", following)
        else:
            stop = following = size
        if stop - position > 64 or raw[position:stop].strip():
            if len(lines) == MAX_SEGMENTS:
                raise MessageUnreadable(f"more than {MAX_SEGMENTS} segments")
            lines.append((position, stop))
        position = following
    return lines, frozenset(ends)
