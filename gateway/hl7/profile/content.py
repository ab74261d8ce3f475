"""The document's bytes, out of the message that brought them.

Purpose: decode the base64 that a `DocumentPart` locates. Pure. CPU work: a caller in an event loop uses a
thread for large documents.
Source: volet Transmission v2.1, OBX-5 of the document (spec/hl7-transmission.md §1, §5).
"""

from __future__ import annotations

from dataclasses import replace

from gateway.hl7 import base64text
from gateway.hl7.transmission import DocumentPart
from gateway.rules import Findings


def document_content(raw: bytes, part: DocumentPart, findings: Findings) -> bytes | None:
    """The exact bytes of the document, or None when its base64 is unreadable (finding OBX5-BASE64).

    `raw` is the whole message (`Message.raw`). Missing padding is repaired with the warning OBX5-PADDING.
    """
    place = replace(part.place, field=5, repetition=1, component=5)
    try:
        decoded = base64text.decode(memoryview(raw)[part.offset : part.offset + part.length])
    except base64text.BadBase64:
        findings.add("OBX5-BASE64", place)
        return None
    if decoded.repaired:
        findings.add("OBX5-PADDING", place)
    return decoded.content
