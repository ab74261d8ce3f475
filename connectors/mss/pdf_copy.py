"""The PDF copy of a CDA document, taken out of the document's own bytes. Pure.

Purpose: an MSSanté mail carries the documents a second time as PDF, outside the archive.
Guarantee: the bytes come from one of the two places that hold the same content as the document: the body of
an N1, the section "Copie du document" of an N3. Attachments of other sections (55107-7, 101792-0) are never
taken.
Fails: `NoPdf` when the place is there but holds no readable PDF.
Source: spec/mssante.md §1.8; parser options: spec/cda.md §5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lxml import etree

from connectors.mss.plan import PdfCopy
from gateway.cda.document import CdaBody
from gateway.errors import BadInput
from gateway.hl7.base64text import BadBase64, decode, decode_pieces
from gateway.safexml import safe_parser

_NS = {"h": "urn:hl7-org:v3"}
_V3 = "{urn:hl7-org:v3}"
_COPY_TEMPLATE, _COPY_CODE = "1.2.250.1.213.1.1.2.243", "55108-5"
_BODY_PATH = tuple(_V3 + name for name in ("ClinicalDocument", "component", "nonXMLBody", "text"))
_VALUE_PATH = (_V3 + "observationMedia", _V3 + "value")
_BODY = etree.XPath("(//h:ClinicalDocument/h:component/h:nonXMLBody/h:text)[1]", namespaces=_NS)
_SECTION = etree.XPath(
    f"(//h:section[h:templateId/@root='{_COPY_TEMPLATE}' or h:code/@code='{_COPY_CODE}']"
    "/h:entry//h:observationMedia/h:value[@mediaType='application/pdf'])[1]",
    namespaces=_NS,
)


LARGE = 2_000_000
"""Bytes of a document from which its base64 is not taken as one string."""
_STEP = 1 << 18


class NoPdf(BadInput):
    """The document announces a PDF that cannot be read."""


def where(body: CdaBody) -> PdfCopy:
    """Where `body` holds a PDF copy, from the header alone."""
    if body.kind == "nonXML" and body.media_type.lower() == "application/pdf":
        return PdfCopy.BODY
    if body.kind == "structured" and body.has_pdf_copy:
        return PdfCopy.SECTION
    return PdfCopy.NONE


def extract(content: bytes, place: PdfCopy) -> bytes | None:
    """The PDF of a CDA at `place`; None when it holds none. Raises `NoPdf`.

    About 1 ms for 330 kB; for documents of many megabytes call it in a thread (0.2 s for 67 MB, in short steps).
    """
    if place not in (PdfCopy.BODY, PdfCopy.SECTION):
        return None
    try:
        pieces = _large(content, place) if len(content) > LARGE else []
        text = None if pieces else _text(content, place)
    except etree.XMLSyntaxError:
        # the parser's own words quote the document: they stop here
        raise NoPdf("the document is not readable XML") from None
    if not pieces and not text:
        raise NoPdf("no base64 text where the PDF copy should be")
    try:
        pdf = (decode_pieces(lambda: pieces) if text is None else decode(text.encode("ascii"))).content
    except (UnicodeEncodeError, BadBase64):
        raise NoPdf("the PDF copy is not base64") from None
    if not pdf.startswith(b"%PDF-"):
        raise NoPdf("the copy is not a PDF")
    return pdf


def _text(content: bytes, place: PdfCopy) -> str | None:
    """The base64 text at `place`. Raises `etree.XMLSyntaxError`, `NoPdf`."""
    root = etree.fromstring(content, safe_parser(len(content)))
    if root.getroottree().docinfo.internalDTD is not None:
        raise NoPdf("the document has a DOCTYPE")
    found: Any = (_BODY if place is PdfCopy.BODY else _SECTION)(root)
    return found[0].text if found else None


def _large(content: bytes, place: PdfCopy) -> list[bytes]:
    """The same in pieces, read on the way without a tree; empty when it is not where a CDA has it.

    As one string and then as bytes a text of 67 MB would be copied twice, with all other threads held meanwhile.
    """
    reader = _Reader(place)
    parser = safe_parser(len(content), target=reader)
    for start in range(0, len(content), _STEP):
        parser.feed(content[start : start + _STEP])
        if reader.done:
            break
    try:
        return [piece.encode("ascii") for piece in reader.pieces]
    except UnicodeEncodeError:
        raise NoPdf("the PDF copy is not base64") from None


class _Reader:
    """A parser target that keeps the first text at `place`, as `_BODY` and `_SECTION` say it."""

    def __init__(self, place: PdfCopy) -> None:
        self.pieces: list[str] = []
        self.done = False
        self._place = place
        self._path: list[str] = []
        self._sections: set[int] = set()
        """Levels of the open sections that are known to be the copy's."""
        self._inside = False

    def doctype(self, *_declaration: str) -> None:
        """A DOCTYPE refuses the document."""
        raise NoPdf("the document has a DOCTYPE")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins: text after it is no longer the first text of its parent."""
        self.done = self.done or self._inside
        path = self._path
        path.append(tag)
        if (tag == f"{_V3}templateId" and attributes.get("root") == _COPY_TEMPLATE) or (
            tag == f"{_V3}code" and attributes.get("code") == _COPY_CODE
        ):
            self._sections.add(len(path) - 1)
        if not self.done:
            body = tuple(path[-4:]) == _BODY_PATH
            self._inside = body if self._place is PdfCopy.BODY else self._is_copy(attributes)

    def _is_copy(self, attributes: Mapping[str, str]) -> bool:
        path = self._path
        return (
            tuple(path[-2:]) == _VALUE_PATH
            and attributes.get("mediaType") == "application/pdf"
            and any(
                path[level - 1] == f"{_V3}section" and path[level] == f"{_V3}entry" and level < len(path) - 2
                for level in self._sections
            )
        )

    def data(self, text: str) -> None:
        """A piece of text."""
        if self._inside and not self.done:
            self.pieces.append(text)

    def end(self, _tag: str) -> None:
        """An element ends; what was known of its children goes with it."""
        self.done = self.done or self._inside
        self._sections.discard(len(self._path))
        self._path.pop()

    def close(self) -> None:
        """The document ends."""
