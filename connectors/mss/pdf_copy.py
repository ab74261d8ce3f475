"""The PDF copy of a CDA document, taken out of the document's own bytes. Pure.

Purpose: an MSSanté mail carries the documents a second time as PDF, outside the archive.
Guarantee: the bytes come from one of the two places that hold the same content as the document: the body of
an N1, the section "Copie du document" of an N3. Attachments of other sections (55107-7, 101792-0) are never
taken.
Fails: `NoPdf` when the place is there but holds no readable PDF.
Source: spec/mssante.md §1.8; parser options: spec/cda.md §5.
"""

from __future__ import annotations

from typing import Any

from lxml import etree

from connectors.mss.plan import PdfCopy
from gateway.cda.document import CdaBody
from gateway.errors import BadInput
from gateway.hl7.base64text import BadBase64, decode
from gateway.safexml import safe_parser

_NS = {"h": "urn:hl7-org:v3"}
_BODY = etree.XPath("(//h:ClinicalDocument/h:component/h:nonXMLBody/h:text)[1]", namespaces=_NS)
_SECTION = etree.XPath(
    "(//h:section[h:templateId/@root='1.2.250.1.213.1.1.2.243' or h:code/@code='55108-5']"
    "/h:entry//h:observationMedia/h:value[@mediaType='application/pdf'])[1]",
    namespaces=_NS,
)


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
    """The PDF of a CDA at `place`; None for `PdfCopy.NONE`. Raises `NoPdf`.

    About 1 ms for 330 kB; for documents of many megabytes call it in a thread.
    """
    if place is PdfCopy.NONE:
        return None
    try:
        root = etree.fromstring(content, safe_parser(len(content)))
    except etree.XMLSyntaxError:
        # the parser's own words quote the document: they stop here
        raise NoPdf("the document is not readable XML") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise NoPdf("the document has a DOCTYPE")
    found: Any = (_BODY if place is PdfCopy.BODY else _SECTION)(root)
    if not found or not found[0].text:
        raise NoPdf("no base64 text where the PDF copy should be")
    try:
        pdf = decode(found[0].text.encode("ascii")).content
    except (UnicodeEncodeError, BadBase64):
        raise NoPdf("the PDF copy is not base64") from None
    if not pdf.startswith(b"%PDF-"):
        raise NoPdf("the copy is not a PDF")
    return pdf
