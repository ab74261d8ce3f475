"""Base64 as hospital software sends it: the document of OBX-5.5 and the mail bodies.

Purpose: bytes of base64 text in, content out, with the one repair that is safe (missing padding). Pure.

Guarantee: content is never guessed. Blanks, line breaks and HL7 escapes of line breaks are not part of
base64 and are left out; a missing `=` is restored and told (`repaired`); anything else that is not base64
is refused. Large texts are decoded in slices of at most 1 MB, so that other threads get their turn, and
without a copy of the text (escapes of line breaks apart).

Fails: `BadBase64`.
Source: RFC 4648 §4; deviations seen in the official samples (spec/hl7-transmission.md §5).
"""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from gateway.errors import BadInput

SLICE = 1 << 20
"""Characters per slice; a multiple of 4."""

_BLANKS = b" \t\r\n\x0b\x0c"
_ESCAPED_BREAKS = re.compile(rb"\\(?:\.br|[Xx](?:0[DdAa9]|20)+)\\")


class BadBase64(BadInput):
    """Not base64: `reason` is `character` (a foreign character or misplaced padding) or `length` (the
    number of characters leaves a remainder of 1 by 4: at least one character is lost)."""

    def __init__(self, reason: Literal["character", "length"]) -> None:
        super().__init__(f"not base64: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Decoded:
    """The content, and whether missing padding had to be restored."""

    content: bytes
    repaired: bool


def decode(data: bytes | memoryview) -> Decoded:
    """Decode base64 text. Raises `BadBase64`. Empty text gives empty content."""
    view = memoryview(data)
    if len(view) > SLICE:
        return decode_pieces(lambda: (view,))
    try:
        content = binascii.a2b_base64(view, strict_mode=True)
        # `strict_mode` lets too much padding pass after a whole group: the length of the result tells
        padding = len(view[-2:]) - len(bytes(view[-2:]).rstrip(b"="))
        if len(content) == len(view) * 3 / 4 - padding:
            return Decoded(content, False)
    except binascii.Error:
        pass
    return _whole(bytes(view))


def decode_pieces(pieces: Callable[[], Iterable[bytes | memoryview]]) -> Decoded:
    """As `decode`, for a text that comes in pieces of any length; `pieces` is called again when the text is not
    plain base64.
    """
    try:
        return _streamed(pieces())
    except binascii.Error:
        # escapes of line breaks, or an error to be named: the one path that needs the whole text
        return _whole(b"".join(pieces()))


def _streamed(pieces: Iterable[bytes | memoryview]) -> Decoded:
    """Base64 with blanks and missing padding, slice by slice. Raises `binascii.Error` for anything else."""
    out = io.BytesIO()
    carry = b""
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), SLICE):
            text = view[start : start + SLICE]
            if not carry:
                content = _plain(text)
                if content is not None:
                    out.write(content)
                    continue
            cleaned = carry + bytes(text).translate(None, _BLANKS)
            whole = len(cleaned.rstrip(b"=")) & ~3
            out.write(_unpadded(cleaned[:whole]))
            carry = cleaned[whole:]
            if len(carry) > 2 * 4:
                raise binascii.Error("more padding than a group can have")
    core = carry.rstrip(b"=")
    padding, needed = len(carry) - len(core), -len(core) % 4
    if needed == 3 or padding > needed:
        raise binascii.Error("wrong length or padding")
    out.write(_last(core, needed))
    # BytesIO hands its buffer over without copying it when nobody else uses it.
    return Decoded(out.getvalue(), padding < needed)


def _plain(text: memoryview) -> bytes | None:
    """Whole groups without padding or blanks, decoded without a copy of the text; None for anything else."""
    try:
        content = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    return content if len(content) * 4 == len(text) * 3 else None


def _unpadded(text: bytes) -> bytes:
    """Whole groups without padding or blanks. Raises `binascii.Error` for anything else."""
    content = _plain(memoryview(text))
    if content is None:
        raise binascii.Error("not whole groups")
    return content


def _last(core: bytes, padding: int) -> bytes:
    """The last group, of 0, 2 or 3 characters, and its padding. Raises `binascii.Error`."""
    return binascii.a2b_base64(core + b"=" * padding, strict_mode=True)


def _whole(text: bytes) -> Decoded:
    """Everything that is not plain base64: repaired, or refused with its reason."""
    if b"\\" in text:
        text = _ESCAPED_BREAKS.sub(b"", text)
    text = text.translate(None, _BLANKS)
    core = len(text.rstrip(b"="))
    padding = len(text) - core
    needed = -core % 4
    if needed == 3:
        # A remainder of 1 may also hide a foreign character; the length alone already condemns the text.
        raise BadBase64("length")
    if padding > needed:
        raise BadBase64("character")
    out = io.BytesIO()
    whole = core & ~3
    try:
        for start in range(0, whole, SLICE):
            out.write(_unpadded(text[start : min(start + SLICE, whole)]))
        out.write(_last(text[whole:core], needed))
    except binascii.Error as e:
        raise BadBase64("character") from e
    return Decoded(out.getvalue(), padding < needed)
