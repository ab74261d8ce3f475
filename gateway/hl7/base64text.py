"""Base64 as hospital software sends it: the document of OBX-5.5 and the mail bodies.

Purpose: bytes of base64 text in, content out, with the one repair that is safe (missing padding). Pure.

Guarantee: content is never guessed. Blanks, line breaks and HL7 escapes of line breaks are not part of
base64 and are left out; a missing `=` is restored and told (`repaired`); anything else that is not base64
is refused. Large texts are decoded in slices of at most 1 MB, so that other threads get their turn, and
without a copy of the text when it holds no blank.

Fails: `BadBase64`.
Source: RFC 4648 §4; deviations seen in the official samples (spec/hl7-transmission.md §5).
"""

from __future__ import annotations

import binascii
import io
import re
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
    try:
        return Decoded(_decode(view), False)
    except binascii.Error:
        pass
    # Something is not plain base64: blanks, missing padding, or an error. This path may copy the text once.
    text = bytes(view)
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
    try:
        content = _decode(memoryview(text + b"=" * (needed - padding) if padding < needed else text))
    except binascii.Error as e:
        raise BadBase64("character") from e
    return Decoded(content, padding < needed)


def _decode(view: memoryview) -> bytes:
    """Strict decoding in slices. Raises `binascii.Error`."""
    padding = len(view[-2:]) - len(bytes(view[-2:]).rstrip(b"="))
    # `strict_mode` lets too much padding pass after a whole group: the length of the result tells.
    if len(view) <= SLICE:
        content = binascii.a2b_base64(view, strict_mode=True)
        if len(content) != len(view) * 3 / 4 - padding:
            raise binascii.Error("wrong padding")
        return content
    out = io.BytesIO()
    for start in range(0, len(view), SLICE):
        piece = view[start : start + SLICE]
        content = binascii.a2b_base64(piece, strict_mode=True)
        if len(content) != len(piece) * 3 / 4 - (padding if start + SLICE >= len(view) else 0):
            raise binascii.Error("wrong padding")
        out.write(content)
    # BytesIO hands its buffer over without copying it when nobody else uses it.
    return out.getvalue()
