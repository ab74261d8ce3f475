"""The base64 text of a CDA body looked at without decoding it: is it base64, how long, how does it begin and end.

Purpose: tell a PDF that is none, a cut base64 or a document encoded twice, on the ACK path, for payloads of any size.
Source: RFC 4648 §4; ISO 32000-1 §7.5 (header within the first 1024 bytes, `%%EOF` in the last ones, `/Encrypt`).

Guarantee: pure; the text is scanned in slices of 1 MB and never copied whole; at most some kilobytes are decoded.
Fails: never; `Payload.fault` says what is wrong.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BLANKS = b" \t\r\n"
_SLICE = 1 << 20
_HEAD = 2_732
"""Characters of the beginning that are decoded: 2 kB."""
_TAIL = 10_924
"""Characters of the end that are decoded: 8 kB, the trailer of a PDF and what stands around it."""
_START = re.compile(rb"startxref\s+(\d{1,10})\s+%%EOF")


@dataclass(frozen=True, slots=True)
class Payload:
    """What a base64 text says of itself. `size` is in decoded bytes; `head` and `tail` are decoded parts (they may
    overlap); all three are empty when there is a fault.
    """

    fault: str = ""
    """`character` (foreign character, misplaced padding), `length` (a character is lost), or empty."""
    repaired: bool = False
    """Padding is missing; the content is complete."""
    size: int = 0
    head: bytes = b""
    tail: bytes = b""
    cross_reference: bytes = b""
    """PDF: the first bytes at the last `startxref`, where they can be found without decoding all."""


def read_payload(text: str) -> Payload:
    """Look at base64 `text` (blanks allowed)."""
    if not text.isascii():
        return Payload("character")
    rest = bytearray()
    for start in range(0, len(text), _SLICE):
        rest += text[start : start + _SLICE].encode("ascii").translate(None, _ALPHABET)
    core = len(text) - len(rest)
    others = rest.translate(None, _BLANKS)
    padding = len(others)
    if others.strip(b"=") or padding > 2:
        return Payload("character")
    if padding and not _squeezed(text[-200:]).endswith("=" * padding):
        return Payload("character")
    needed = -core % 4
    if needed == 3:
        return Payload("length")
    if padding > needed:
        return Payload("character")
    head = _squeezed(text[: 2 * _HEAD])[:_HEAD].rstrip("=")
    if len(head) < core:
        head = head[: len(head) // 4 * 4]
    tail = _squeezed(text[-2 * _TAIL :]).rstrip("=")[-_TAIL:]
    tail = tail[-(core - len(tail)) % 4 :]
    end = _decoded(tail)
    found = _START.search(end, max(0, end.rfind(b"startxref")))
    there = b""
    if found is not None and len(rest) == padding:
        # no blank in the text: an offset of the content is a place in the text
        at = int(found[1]) // 3 * 4
        there = _decoded(text[at : at + 1_368].rstrip("="))
    return Payload("", padding < needed, core * 3 // 4, _decoded(head), end, there)


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _decoded(core: str) -> bytes:
    """Decode characters that are known to be of the alphabet; a lost last character is left out."""
    if len(core) % 4 == 1:
        core = core[:-1]
    return base64.b64decode(core + "=" * (-len(core) % 4))


def is_pdf(payload: Payload) -> bool:
    """The header of a PDF stands in the first 1024 bytes."""
    return b"%PDF-" in payload.head[:1024]


def is_whole_pdf(payload: Payload) -> bool:
    """The end marker of a PDF stands in the last 2048 bytes."""
    return b"%%EOF" in payload.tail[-2048:]


def is_empty_pdf(payload: Payload) -> bool:
    """A PDF too short to hold an object."""
    return payload.size < 1024 and b"obj" not in payload.head


def is_encrypted_pdf(payload: Payload) -> bool:
    """The trailer of a PDF names an encryption dictionary."""
    return any(b"/Encrypt" in part for part in (payload.tail, payload.head, payload.cross_reference))


def is_base64_again(payload: Payload) -> bool:
    """The content is itself the base64 of a PDF, an image or an XML document."""
    return payload.head.lstrip(_BLANKS)[:6].startswith(
        (b"JVBERi", b"/9j/", b"iVBORw", b"PD94bW", b"e1xydG", b"PENsaW")
    )


_MAGIC = {
    "application/pdf": (b"%PDF-",),
    "text/rtf": (b"{\\rtf",),
    "application/rtf": (b"{\\rtf",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/jpg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/tiff": (b"II*\0", b"MM\0*"),
}
_BINARY = (
    b"%PDF-",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"{\\rtf",
)


def is_of_type(payload: Payload, media_type: str) -> bool | None:
    """The content begins as `media_type` (lower case) does; None: that type is not known here."""
    if media_type == "application/pdf":
        return is_pdf(payload)
    magic = _MAGIC.get(media_type)
    if magic is not None:
        return payload.head.startswith(magic)
    if media_type == "text/plain":
        # a text has no NUL and no control character but those of its layout, and is not a known file
        controls = payload.head.translate(None, bytes(range(0x20, 0x100)) + b"\t\n\r\f\x1b")
        return not controls and not payload.head.startswith(_BINARY)
    return None
