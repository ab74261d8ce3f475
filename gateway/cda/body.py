"""The body of a CDA: rules H26 and B00 to B13.

Purpose: what a gateway must know of a body before it publishes it: N1 (`nonXMLBody`), one payload that is what it says;
N3 (`structuredBody`), sections that can be shown and media that can be read. Source: spec/cda.md §4 (H26, B01, B02);
decision 0013 for B03 to B13; EX_GEN-1060 (an empty document must not be sent).

Guarantee: pure; payloads are never decoded whole; each rule at most once per document.
Fails: never; everything is a fault.
"""

from __future__ import annotations

import re
from typing import cast

from lxml import etree

from gateway.cda.faults import Faults
from gateway.cda.header import attribute, child, childs
from gateway.cda.payload import (
    Payload,
    is_base64_again,
    is_empty_pdf,
    is_encrypted_pdf,
    is_of_type,
    is_pdf,
    is_whole_pdf,
    read_payload,
)
from gateway.cda.reader import V3

MEDIA_TYPES = frozenset({"application/pdf", "text/plain"})
OLD_MEDIA_TYPES = frozenset({"text/rtf", "application/rtf", "image/jpeg", "image/tiff"})
PDF_COPY = "1.2.250.1.213.1.1.2.243"
PDF_COPY_CODE = "55108-5"
_LANGUAGE = re.compile(r"[a-z]{2}-[A-Z]{2}\Z")
_STRING = etree.XPath("string()")
_MEDIA, _SHOWN = f"{{{V3}}}observationMedia", f"{{{V3}}}renderMultiMedia"


def check_body(root: etree._Element, faults: Faults) -> None:
    """H26, then the rules of the level that the body is."""
    component = child(root, "component")
    raw, structured = child(component, "nonXMLBody"), child(component, "structuredBody")
    alone = sum(1 for _ in childs(root, "component")) == 1
    if component is None or not alone or (raw is None) == (structured is None):
        faults.add("CDA-H26", component, "" if component is not None else "component")
    elif raw is not None:
        _level_1(raw, faults)
    elif structured is not None:
        _level_3(structured, faults)


# --- N1 -------------------------------------------------------------------------------------------------------


def _level_1(body: etree._Element, faults: Faults) -> None:
    payloads = list(childs(body, "text"))
    language = child(body, "languageCode")
    if language is not None and not _LANGUAGE.match(attribute(language, "code")):
        faults.add("CDA-B13", language)
    if len(payloads) != 1 or attribute(payloads[0], "nullFlavor"):
        faults.add("CDA-B01", payloads[-1] if payloads else body, "" if payloads else "text")
        return
    (payload,) = payloads
    content = _text(payload)
    if not content or content.isspace():
        faults.add("CDA-B00", payload)
        return
    media = attribute(payload, "mediaType").lower()
    if media in OLD_MEDIA_TYPES:
        faults.add("CDA-B01-OLD", payload)
    elif media not in MEDIA_TYPES:
        faults.add("CDA-B01-MEDIA", payload)
    if attribute(payload, "representation") != "B64":
        faults.add("CDA-B01-B64", payload)
        return
    read = read_payload(content)
    if read.fault:
        faults.add("CDA-B03", payload)
        return
    if read.repaired:
        faults.add("CDA-B03-PADDING", payload)
    if is_base64_again(read):
        faults.add("CDA-B09", payload)
    elif media == "application/pdf":
        _pdf(read, payload, faults)
    elif media == "text/plain":
        if not is_of_type(read, media):
            faults.add("CDA-B07", payload)
    elif is_of_type(read, media) is False:
        faults.add("CDA-B08", payload)


def _pdf(read: Payload, payload: etree._Element, faults: Faults) -> None:
    if not is_pdf(read):
        faults.add("CDA-B04", payload)
    elif is_empty_pdf(read):
        faults.add("CDA-B04-EMPTY", payload)
    else:
        if not is_whole_pdf(read):
            faults.add("CDA-B05", payload)
        if is_encrypted_pdf(read):
            faults.add("CDA-B06", payload)


def _text(element: etree._Element) -> str:
    """The text of a payload, comments left out; one copy of it."""
    return (element.text or "") if len(element) == 0 else cast(str, _STRING(element))


# --- N3 -------------------------------------------------------------------------------------------------------


def _level_3(body: etree._Element, faults: Faults) -> None:
    if child(body, "component", "section") is None:
        faults.add("CDA-B00", body)
        return
    _sections(body, faults)
    identifiers: set[str] = set()
    shown: list[etree._Element] = []
    for element in body.iter(_MEDIA, _SHOWN):
        if element.tag == _SHOWN:
            shown.append(element)
            continue
        identifiers.add(attribute(element, "ID"))
        _media(element, faults)
    unknown = [(e, w) for e in shown if (w := set(attribute(e, "referencedObject").split()) - identifiers)]
    # a region of an image may be shown too (regionOfInterest): they are looked for once, and only then
    regions = _regions(body) if unknown else set()
    for element, wanted in unknown:
        if not wanted <= regions:
            faults.add("CDA-B12", element)


def _regions(body: etree._Element) -> set[str]:
    return {attribute(e, "ID") for e in body.iter(f"{{{V3}}}regionOfInterest")}


def _sections(parent: etree._Element, faults: Faults) -> None:
    """B02: every section without sections of its own has a title, a code and a text."""
    for component in childs(parent, "component"):
        for section in childs(component, "section"):
            below = [c for c in childs(section, "component") if child(c, "section") is not None]
            if below:
                _sections(section, faults)
                continue
            missing = [name for name in ("title", "code", "text") if child(section, name) is None]
            if missing:
                faults.add("CDA-B02", section, missing=", ".join(missing))
            if _is_copy(section) and next(section.iter(_MEDIA), None) is None:
                faults.add("CDA-B10-EMPTY", section)


def _is_copy(section: etree._Element) -> bool:
    """The section « Copie du document »."""
    return attribute(child(section, "code"), "code") == PDF_COPY_CODE or any(
        attribute(t, "root") == PDF_COPY for t in childs(section, "templateId")
    )


def _media(element: etree._Element, faults: Faults) -> None:
    """B10 and B11: an attached file that nobody could open."""
    value = child(element, "value")
    media = attribute(value, "mediaType").lower()
    copy = media == "application/pdf"
    if value is None or child(value, "reference") is not None:
        return
    # a PDF is base64 whether it says so or not; what else it may be is looked at as a PDF, and is none
    if attribute(value, "representation") != "B64" and not copy:
        return
    read = read_payload(_text(value))
    if read.fault or not read.size:
        faults.add("CDA-B10" if copy else "CDA-B11", value)
    elif copy:
        if not is_pdf(read):
            faults.add("CDA-B10", value)
        elif is_encrypted_pdf(read):
            faults.add("CDA-B06", value)
    elif is_of_type(read, media) is False:
        faults.add("CDA-B11-TYPE", value)
