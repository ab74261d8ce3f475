"""A document as the schematron worker gets it: re-serialised, without its payloads.

Purpose: Saxon must see neither a DOCTYPE (it expands external entities by default, spec/cda.md §5) nor a PDF
of several megabytes (a 27 MB document becomes 11 kB). What comes out is lxml's serialisation of the
ClinicalDocument alone.

Guarantee: structure, attributes and all text but base64 payloads are those of the document. The tree given is
changed: it must be the last use of it.
"""

from __future__ import annotations

from typing import cast

from lxml import etree

from gateway.cda.package.reports import SchematronInput
from gateway.cda.reader import V3
from gateway.errors import Place

STUB = "U1RVQg=="
LONGEST = 1_000
"""Characters of base64 that are left as they are: assertions that look at small values still see them."""
_NS = {"v3": V3}
_PAYLOADS = etree.XPath("v3:component/v3:nonXMLBody/v3:text | .//*[@representation='B64']", namespaces=_NS)
_BODY = etree.XPath("boolean(v3:component/v3:nonXMLBody)", namespaces=_NS)
_TEMPLATES = etree.XPath("v3:templateId", namespaces=_NS)


def schematron_input(root: etree._Element, place: Place, key: str) -> SchematronInput:
    """The input for the ClinicalDocument `root` (changed by this call); `key`: its SHA-256."""
    level = 1 if _BODY(root) else 3
    templates = tuple(
        (t.get("root", ""), t.get("extension", "")) for t in cast("list[etree._Element]", _TEMPLATES(root))
    )
    for element in cast("list[etree._Element]", _PAYLOADS(root)):
        # the text itself would be copied into Python (67 MB), with all other threads held
        if cast(float, element.xpath("string-length(text()[1])")) > LONGEST:
            element.text = STUB
    # comments and instructions carry nothing that a schematron looks at
    etree.strip_tags(root, etree.Comment, etree.ProcessingInstruction)
    xml = etree.tostring(root, encoding="UTF-8", xml_declaration=False, with_tail=False)
    return SchematronInput(place, xml, level, templates, key)
