r"""What a file, or a text pasted in the page, is: ER7 messages or one bare CDA.

Purpose: bytes as people keep them become the payloads that the gateway would receive. Pure.

Guarantee: the bytes of a payload are those of the file, but for what editors change: MLLP marks and empty lines
around a message go, and the line ends of a message that stands without MLLP marks become the CR of the wire. A
message in its MLLP frame is taken as it is. What is not recognised is taken for a CDA, whose rules say precisely
what it is instead (empty, compressed, not XML).

Fails: never.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import MessageUnreadable
from gateway.hl7.framing import END, START, FrameDecoder
from gateway.hl7.message import Message

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_NEXT = b"\rMSH"
_SEGMENT = re.compile(rb"[A-Z][A-Z0-9]{2}\|")
_DECLARED = re.compile(rb"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})""")
_TEXT_CODECS = re.compile(
    r"utf-?(8|16|16le|16be)|us-ascii|ascii|iso-?8859-\d{1,2}|latin-?[19]|(windows-|cp)125\d", re.I
)
_HEAD = 400
MAX_MESSAGES = 200
"""Messages of one file that are looked at. A file of 100 MB may hold millions of empty ones."""
_SLICE = 1 << 20


class Kind(StrEnum):
    """What was given."""

    ER7 = "er7"
    CDA = "cda"


@dataclass(frozen=True, slots=True)
class Source:
    """The payloads of a file: one or more messages, or one document. Of more than `MAX_MESSAGES` messages, what follows
    the last of them is one more unit, which is no message."""

    kind: Kind
    units: tuple[bytes, ...]
    notes: tuple[str, ...] = ()
    """French sentences on what was put aside."""


def read_source(content: bytes) -> Source:
    """Sort `content` (a whole file) into payloads."""
    head = content[:_HEAD].removeprefix(_BOM).lstrip(_BLANK)
    if head[:1] == bytes([START]):
        return _framed(content)
    plain = head.replace(b"\0", b"").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    if not plain.startswith(b"MSH") and not _SEGMENT.match(plain):
        return Source(Kind.CDA, (content,))
    notes: tuple[str, ...] = ()
    if b"\n" in content:
        notes = ("Fins de ligne d’un fichier (LF ou CRLF) : lues comme le CR du réseau.",)
        if b"\r\n" in content:
            content = content.replace(b"\r\n", b"\r")
        content = content.replace(b"\n", b"\r")
    units = tuple(_trimmed(piece) for piece in _messages(content))
    return Source(Kind.ER7, units, notes + _several(units))


def pasted(text: str) -> bytes:
    """The bytes of a text pasted in a page, in the charset that the message or the document declares (UTF-8 when it
    declares none that can be used)."""
    content = text.encode("utf-8", "surrogatepass")
    source = read_source(content)
    encoding = document_encoding(content)
    if source.kind is Kind.ER7:
        try:
            encoding = Message.parse(source.units[0]).encoding
        except MessageUnreadable:
            encoding = "utf-8"
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return content


def document_encoding(content: bytes) -> str:
    """The codec with which a CDA may be shown: byte order mark, else declaration, else UTF-8."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    found = _DECLARED.match(content[:_HEAD].removeprefix(_BOM).lstrip(_BLANK))
    name = found[1].decode("ascii") if found else ""
    return name if _TEXT_CODECS.fullmatch(name) else "utf-8"


def _framed(content: bytes) -> Source:
    if END not in content:
        # a file whose CR became LF keeps its end blocks in that form
        content = content.replace(b"\x1c\n", END)
    decoder = FrameDecoder(len(content))
    frames: list[bytes] = []
    notes = []
    for start in range(0, len(content), _SLICE):
        frames += decoder.feed(content[start : start + _SLICE])
        if len(frames) > MAX_MESSAGES:
            del frames[MAX_MESSAGES + 1 :]
            return Source(Kind.ER7, tuple(frames))
    if decoder.in_frame:
        frames += decoder.feed(END)
        frames[-1] = _trimmed(frames[-1])
        notes.append(
            "La dernière trame MLLP n’est pas fermée (0x1C 0x0D) : sur le réseau, elle resterait sans réponse."
        )
    outside = decoder.dropped - (len(_BOM) if content.startswith(_BOM) else 0)
    if outside:
        notes.append(f"{outside} octets hors des trames MLLP : la passerelle les ignore.")
    return Source(Kind.ER7, tuple(frames), (*notes, *_several(frames)))


def _messages(content: bytes) -> list[bytes]:
    """`content` cut before each MSH at the beginning of a line, what is blank left out.

    By `find`, which runs through a large document in a few milliseconds (a pattern stops every other thread for
    half a second).
    """
    cuts, position = [0], 0
    while (position := content.find(_NEXT, position)) >= 0:
        position += 1
        following = content[position + 3 : position + 4]
        if following and not following.isalnum() and not following.isspace():
            cuts.append(position)
            if len(cuts) > MAX_MESSAGES:
                break
    pieces = [content[start:end] for start, end in zip(cuts, [*cuts[1:], len(content)], strict=True)]
    return [piece for piece in pieces if piece[:_HEAD].strip(_BLANK + _BOM)]


def _trimmed(unit: bytes) -> bytes:
    """Without the end block of a frame that lost its start, nor empty lines at the end."""
    if unit.endswith(b"\r") and not unit.endswith((b"\r\r", b"\n\r", b"\x1c\r")):
        return unit
    return unit.rstrip(b"\r\n\x1c") + b"\r"


def _several(units: tuple[bytes, ...] | list[bytes]) -> tuple[str, ...]:
    if len(units) == 1 or len(units) > MAX_MESSAGES:
        return ()  # too many: a finding says so
    return (
        f"Le fichier contient {len(units)} messages : chacun a son rapport, le plus mauvais verdict est en tête.",
    )
