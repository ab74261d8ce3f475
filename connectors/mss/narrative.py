"""The narrative of a structured CDA (N3) as one HTML page, for the PDF copy of a mail. Pure.

Purpose: what a reader needs of a document: title, type, date, author, organisation, the patient's identity, then every
section with its headings, paragraphs, lists, tables and images.
Guarantee: every text of a `section/title` and of a `section/text` is in the page, in its order, whatever the elements
around it; nothing of the document becomes markup, style or an address: elements are made here, one by one, from a
closed list, and images are embedded (`data:`) or named.
Fails: `NotRenderable` when there is no narrative, or more than is worth a page.
Source: Référentiel socle MSSanté #2, ECO.2.1.5 (header data and faithful narrative); CDA R2 §4.3.5 (narrative block);
spec/mssante.md §1.8.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from lxml import etree

from gateway.cda.document import CdaAuthor, CdaHeader
from gateway.cda.header import read_header
from gateway.errors import BadInput
from gateway.hl7.transmission import INS_NIA, INS_NIR
from gateway.safexml import safe_parser

MAX_TEXT = 1_000_000
"""Characters of the narrative that are rendered: some hundreds of pages."""
MAX_IMAGES = 20_000_000
"""Characters of base64 of all images together."""
MAX_CELLS = 20_000
"""A table's cells are what takes long to lay out."""
MAX_DEPTH = 60
_V3 = "{urn:hl7-org:v3}"
_IMAGES = ("image/png", "image/jpeg", "image/gif")
_SEXES = {"M": "masculin", "F": "féminin"}

STYLE = """
@page { size: A4; margin: 18mm 15mm 20mm 15mm;
        @bottom-right { content: "Page " counter(page) " / " counter(pages); font-size: 8pt } }
* { overflow-wrap: anywhere; hyphens: none; font-variant-ligatures: none }
body { font-family: "DejaVu Sans", "Liberation Sans", sans-serif; font-size: 9.5pt; line-height: 1.35 }
h1 { font-size: 15pt; margin: 0 0 3mm }
h2, h3, h4, h5, h6 { font-size: 11.5pt; margin: 5mm 0 1.5mm; border-bottom: 0.3mm solid #888; break-after: avoid }
h3 { font-size: 10.5pt } h4, h5, h6 { font-size: 10pt; border: 0 }
dl { margin: 0 0 3mm; padding: 2mm; border: 0.3mm solid #444 }
dt { font-weight: bold; display: inline } dt::after { content: " : " } dd { display: inline; margin: 0 }
dd::after { content: "\\A"; white-space: pre }
table { border-collapse: collapse; margin: 2mm 0; width: 100% }
td, th { border: 0.2mm solid #666; padding: 1mm; text-align: left; vertical-align: top }
th { background: #eee } caption, .caption { font-weight: bold; text-align: left }
thead { display: table-header-group } tr { break-inside: avoid }
img { max-width: 100%; max-height: 200mm }
del { text-decoration: line-through } .none { list-style: none }
"""


class NotRenderable(BadInput):
    """The document has no narrative that can be rendered."""


def page(content: bytes) -> str:
    """The HTML page of a CDA's bytes. Raises `NotRenderable`. 1 ms for the 60 kB of a report, 10 ms for a table of 3000
    cells."""
    try:
        root = etree.fromstring(content, safe_parser(len(content)))
    except etree.XMLSyntaxError:
        # the parser's own words quote the document: they stop here
        raise NotRenderable("the document is not readable XML") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise NotRenderable("the document has a DOCTYPE")
    document = next(root.iter(f"{_V3}ClinicalDocument"), None)
    body = None if document is None else document.find(f"{_V3}component/{_V3}structuredBody")
    if document is None or body is None:
        raise NotRenderable("the document has no structured body")
    made = _Page(document)
    header = read_header(document, self_presenting=document is not root, has_stylesheet_pi=False)
    made.banner(header)
    for component in body.findall(f"{_V3}component"):
        made.sections(component, 2)
    if not made.texts:
        raise NotRenderable("the document has no narrative")
    return "<!DOCTYPE html>\n" + etree.tostring(made.html, method="html", encoding="unicode")


class _Page:
    """One page while it is made."""

    def __init__(self, document: etree._Element) -> None:
        self.html = etree.Element("html", lang="fr")
        head = etree.SubElement(self.html, "head")
        etree.SubElement(head, "meta", charset="utf-8")
        self._title = etree.SubElement(head, "title")
        etree.SubElement(head, "style").text = STYLE
        self._body = etree.SubElement(self.html, "body")
        self._media = {
            e.get("ID", ""): e
            for e in document.iter(f"{_V3}observationMedia", f"{_V3}regionOfInterest")
            if e.get("ID")
        }
        self.texts = 0
        """Characters of narrative so far."""
        self._cells = 0
        self._images = 0

    # --- header -------------------------------------------------------------------------------------------------

    def banner(self, header: CdaHeader) -> None:
        """Title, what the document is, who wrote it, whose it is."""
        self._title.text = header.title or "Document de santé"
        etree.SubElement(self._body, "h1").text = header.title or "Document de santé"
        code = header.code
        known = [
            ("Type de document", (code.label or code.code) if code else ""),
            ("Date du document", french_time(header.effective_time)),
            *(("Auteur", author) for author in map(_author, header.authors) if author),
            ("Organisme responsable", header.custodian.name if header.custodian else ""),
        ]
        self._list(known)
        patient = header.patient
        if patient is None:
            return
        ins = patient.ins
        kind = {INS_NIR: " (NIR)", INS_NIA: " (NIA)"}.get(ins.root, "") if ins else ""
        self._list(
            [
                ("Patient — nom de naissance", patient.birth_family),
                ("Premier prénom de naissance", patient.birth_given),
                ("Prénoms", patient.given_all),
                ("Nom utilisé", patient.used_family),
                ("Date de naissance", french_time(patient.birth_time)),
                ("Sexe", _SEXES.get(patient.gender, "inconnu" if patient.gender else "")),
                ("Matricule INS" + kind, (ins.extension or "") if ins else ""),
            ]
        )

    def _list(self, pairs: list[tuple[str, str]]) -> None:
        made = etree.SubElement(self._body, "dl")
        for name, value in pairs:
            if value:
                etree.SubElement(made, "dt").text = name
                etree.SubElement(made, "dd").text = value

    # --- sections -----------------------------------------------------------------------------------------------

    def sections(self, component: etree._Element, level: int) -> None:
        """The sections of a component, and those inside them."""
        if level > MAX_DEPTH:
            raise NotRenderable("sections too deep")
        for section in component.findall(f"{_V3}section"):
            title = section.find(f"{_V3}title")
            heading = f"h{min(level, 6)}"
            if title is not None:
                self._fill(etree.SubElement(self._body, heading), title, 0)
            text = section.find(f"{_V3}text")
            if text is not None:
                self._fill(etree.SubElement(self._body, "div"), text, 0)
            for inner in section.findall(f"{_V3}component"):
                self.sections(inner, level + 1)

    def _say(self, parent: etree._Element, text: str | None) -> None:
        """Append text at the end of `parent`."""
        if not text:
            return
        self.texts += len(text.strip())
        if self.texts > MAX_TEXT:
            raise NotRenderable("the narrative is too long")
        # not `len(parent)`, which counts: a paragraph may hold thousands of line breaks
        last = next(parent.iterchildren(reversed=True), None)
        if last is None:
            parent.text = (parent.text or "") + text
        else:
            last.tail = (last.tail or "") + text

    def _fill(self, into: etree._Element, source: etree._Element, depth: int) -> None:
        """The content of a narrative element."""
        if depth > MAX_DEPTH:
            raise NotRenderable("the narrative is too deep")
        self._say(into, source.text)
        for child in source:
            if isinstance(child.tag, str):
                self._element(into, child, depth + 1)
            self._say(into, child.tail)

    def _element(self, into: etree._Element, source: etree._Element, depth: int) -> None:
        name = etree.QName(source).localname
        if name == "renderMultiMedia":
            self._multimedia(into, source, depth)
            return
        if name == "br":
            etree.SubElement(into, "br")
            # no schema allows text there; it is not lost for that
            self._fill(into, source, depth)
            return
        made = etree.SubElement(into, _TAGS.get(name, "span"))
        if name == "table":
            # in HTML a table's caption is its first child, whatever the document's order
            for caption in source.findall(f"{_V3}caption"):
                self._fill(etree.SubElement(made, "caption"), caption, depth)
            self._say(made, source.text)
            for child in source:
                if isinstance(child.tag, str) and child.tag != f"{_V3}caption":
                    self._element(made, child, depth + 1)
                self._say(made, child.tail)
            return
        if name in ("td", "th"):
            self._cells += 1
            if self._cells > MAX_CELLS:
                raise NotRenderable("too many cells")
            for attribute in ("colspan", "rowspan"):
                value = source.get(attribute, "")
                if value.isdigit() and 1 < int(value) <= 100:
                    made.set(attribute, str(int(value)))
        elif name == "list":
            made.tag = "ol" if source.get("listType") == "ordered" else "ul"
        elif name == "caption":
            made.set("class", "caption")
        elif name == "content" and source.get("revised") == "delete":
            made.tag = "del"
        elif name in ("content", "paragraph", "item"):
            self._emphasis(made, source.get("styleCode", ""))
        self._fill(made, source, depth)
        if name == "linkHtml" and source.get("href", "").lower().startswith(
            ("http://", "https://", "mailto:")
        ):
            # on paper an address that is not written is lost
            self._say(made, f" [{source.get('href')}]")

    def _emphasis(self, made: etree._Element, codes: str) -> None:
        for code, style in (
            ("Bold", "font-weight: bold"),
            ("Italics", "font-style: italic"),
            ("Underline", "text-decoration: underline"),
        ):
            if code in codes.split():
                made.set("style", f"{made.get('style', '')}{style};")

    # --- images -------------------------------------------------------------------------------------------------

    def _multimedia(self, into: etree._Element, source: etree._Element, depth: int) -> None:
        made = etree.SubElement(into, "div")
        for reference in source.get("referencedObject", "").split():
            for value in self._values(reference):
                self._image(made, value)
        self._fill(made, source, depth)

    def _values(self, reference: str) -> Iterator[etree._Element]:
        found = self._media.get(reference)
        return iter(()) if found is None else found.iter(f"{_V3}value")

    def _image(self, into: etree._Element, value: etree._Element) -> None:
        media = value.get("mediaType", "")
        text = "".join((value.text or "").split())
        usable = media in _IMAGES and value.get("representation") == "B64" and text
        if usable:
            self._images += len(text)
            if self._images > MAX_IMAGES:
                raise NotRenderable("too many images")
            try:
                binascii.a2b_base64(text, strict_mode=True)
            except ValueError:
                usable = ""
        if usable:
            etree.SubElement(into, "img", src=f"data:{media};base64,{text}")
        else:
            named = media or "objet"
            etree.SubElement(into, "p").text = f"[{named} : voir le document joint]"


_TAGS = {
    "paragraph": "p",
    "content": "span",
    "list": "ul",
    "item": "li",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tfoot": "tfoot",
    "tr": "tr",
    "td": "td",
    "th": "th",
    "sub": "sub",
    "sup": "sup",
    "caption": "div",
    "footnote": "small",
    "footnoteRef": "sup",
    "linkHtml": "span",
}
"""Anything else becomes a `span`: its text stays. `col` and `colgroup` hold none."""


def _author(author: CdaAuthor) -> str:
    """`Docteur Claude MARTIN, Biologie médicale, Hôpital`, or the device."""
    person = author.person
    name = ""
    if person is not None:
        name = " ".join(part for part in (person.prefix, person.given, person.family) if part)
    name = name or " ".join(part for part in (author.device_name, author.device_model) if part)
    specialty = author.code.label if author.code and author.code.label else ""
    organisation = author.organisation.name if author.organisation else ""
    return ", ".join(part for part in (name, specialty, organisation) if part)


def french_time(hl7: str) -> str:
    """`10/01/2026 à 09:30` of an HL7 time as it is written (its own time zone); the day alone when it is all."""
    digits = hl7[: next((i for i, c in enumerate(hl7) if not c.isdigit()), len(hl7))]
    if len(digits) < 8:
        return "/".join(part for part in (digits[4:6], digits[:4]) if part)
    day = f"{digits[6:8]}/{digits[4:6]}/{digits[:4]}"
    return f"{day} à {digits[8:10]}:{digits[10:12]}" if len(digits) >= 12 else day
