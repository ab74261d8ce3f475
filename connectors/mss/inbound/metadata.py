"""METADATA.XML of one SUBSET: DocumentEntry, submission set, associations, actions. Pure.

Purpose: from bytes to data. What a registry answers and what an archive brings is the same ebRIM: the reader is
`connectors.xds.registry`; here stand the file (URI), the action slot and what must be coherent inside the file.
Guarantee: attributes are found by scheme and by nesting, never by `registryObject` or `classifiedObject` (official
archives get them wrong); nothing outside the bytes is opened.
Fails: never for what is in the bytes; every refusal is a finding.
Source: spec/mssante.md §1.6, §1.7 (measured on 110 official archives); IHE ITI TF-3 §4.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lxml import etree

from connectors.mss.inbound.limits import InboundLimits
from connectors.xds import ebrim
from connectors.xds.registry import Found, RegisteredDocument, read_objects
from gateway.hl7.transmission import Action
from gateway.rules import Findings
from gateway.safexml import safe_parser

_RIM = f"{{{ebrim.RIM}}}"
_ACTIONS = {"": Action.SUBMIT, "C": Action.REPLACE, "D": Action.DELETE}
_ASSOCIATION_TYPE = re.compile(r"[^:]+\Z")
_FACILITY_SCHEME = "1.2.250.1.71.4.2.4"
_NAMES = frozenset(
    f"XDS{kind}.{name}"
    for kind, names in (
        ("SubmissionSet", ("patientId", "sourceId", "uniqueId")),
        ("DocumentEntry", ("patientId", "uniqueId")),
    )
    for name in names
)
_XML_TYPES = frozenset({"text/xml", "application/xml", "application/xslt+xml", "application/xhtml+xml", ""})


@dataclass(frozen=True, slots=True)
class Described:
    """One document as METADATA.XML describes it."""

    entry: RegisteredDocument = field(repr=False)
    uri: str
    """Upper case, `/`; empty when absent."""
    action: Action
    size: int | None
    """None: no slot, or not a number."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """One METADATA.XML. `documents` are those that may be CDA."""

    documents: tuple[Described, ...]
    others: tuple[str, ...] = field(repr=False)
    """URI of the objects that are no XML (upper case)."""
    found: Found = field(repr=False)


def read_metadata(content: bytes, limits: InboundLimits, findings: Findings) -> Metadata | None:
    """The metadata of `content`; None when they cannot be read."""
    # blanks before an XML declaration are fatal to a parser, and most official files begin with them
    text = content.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if content[:1] in (b" ", b"\t", b"\r", b"\n"):
        findings.add("IN-METADATA-BLANKS")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content
    try:
        root = etree.fromstring(text, safe_parser(len(text), remove_comments=True, remove_pis=True))
    except (etree.XMLSyntaxError, ValueError):
        # the parser's own words quote the content: they stop here
        findings.add("IN-METADATA-XML")
        return None
    if root.getroottree().docinfo.internalDTD is not None:
        findings.add("IN-METADATA-DOCTYPE")
        return None
    listed = next(root.iter(f"{_RIM}RegistryObjectList"), None)
    parent = listed.getparent() if listed is not None else None
    found = read_objects(parent) if parent is not None else Found()
    if len(found.sets) != 1:
        findings.add("IN-METADATA-SET")
    documents: list[Described] = []
    others: list[str] = []
    for entry in found.documents[: limits.documents]:
        uri = _slot(entry, "URI").replace("\\", "/").strip("/").upper()
        if entry.mime_type.partition(";")[0].strip().lower() not in _XML_TYPES and not uri.endswith(".XML"):
            others.append(uri)
            continue
        documents.append(Described(entry, uri, _action(entry, findings), _size(entry)))
    if len(found.documents) > limits.documents:
        findings.add("IN-DOCUMENTS", limit=limits.documents)
    if others:
        findings.add("IN-NOT-CDA")
    if not documents:
        findings.add("IN-NO-DOCUMENT")
    metadata = Metadata(tuple(documents), tuple(others), found)
    _check_objects(metadata, findings)
    if listed is not None:
        _check_slips(listed, metadata, findings)
    return metadata


def _slot(entry: RegisteredDocument, name: str) -> str:
    if entry.element is None:
        return ""
    for slot in entry.element.findall(f"{_RIM}Slot"):
        if slot.get("name") == name:
            value = slot.find(f"{_RIM}ValueList/{_RIM}Value")
            return ((value.text if value is not None else "") or "").strip()
    return ""


def _action(entry: RegisteredDocument, findings: Findings) -> Action:
    action = _ACTIONS.get(_slot(entry, ebrim.ACTION_SLOT))
    if action is None:
        findings.add("IN-ACTION")
    return action or Action.SUBMIT


def _size(entry: RegisteredDocument) -> int | None:
    text = _slot(entry, "size")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _check_objects(metadata: Metadata, findings: Findings) -> None:
    """Status, uris and associations; one finding per rule."""
    documents = metadata.documents
    if any(d.entry.status not in ("", ebrim.APPROVED) for d in documents):
        findings.add("IN-STATUS")
    uris = [d.uri for d in documents if d.uri]
    if len(set(uris)) != len(uris):
        findings.add("IN-URI-TWICE")
    if len({d.action for d in documents}) > 1:
        findings.add("IN-ACTIONS-DIFFER")
    members: set[str] = set()
    replacing: set[str] = set()
    other = False
    for association in metadata.found.associations:
        match = _ASSOCIATION_TYPE.search(association.kind)
        kind = match[0] if match else ""
        if kind == "HasMember":
            members.add(association.target)
        elif kind in ("RPLC", "XFRM_RPLC"):
            replacing.add(association.source)
        else:
            other = True
    if any(not d.entry.identifiers & members for d in documents):
        findings.add("IN-NO-MEMBER")
    if replacing and any(
        d.action is not Action.REPLACE for d in documents if d.entry.identifiers & replacing
    ):
        # the profile tells a replacement by its slot: which of the two is meant cannot be guessed
        findings.add("IN-RPLC-ASSOCIATION")
    if other:
        findings.add("IN-ASSOCIATION")


def _check_slips(listed: etree._Element, metadata: Metadata, findings: Findings) -> None:
    """The slips of the official archives: nothing here is read, so nothing is lost by them."""
    points = (("Classification", "classifiedObject"), ("ExternalIdentifier", "registryObject"))
    for parent in (*listed.findall(f"{_RIM}ExtrinsicObject"), *listed.findall(f"{_RIM}RegistryPackage")):
        if any(
            part.get(attribute) != parent.get("id")
            for tag, attribute in points
            for part in parent.findall(f"{_RIM}{tag}")
        ):
            findings.add("IN-OBJECT-REFS")
            break
    names = listed.iterfind(f"*/{_RIM}ExternalIdentifier/{_RIM}Name/{_RIM}LocalizedString")
    if any(name.get("value") not in _NAMES for name in names):
        findings.add("IN-IDENTIFIER-NAMES")
    lots = metadata.found.sets
    if any(lot.content_type is not None and lot.content_type.scheme == _FACILITY_SCHEME for lot in lots):
        findings.add("IN-CONTENT-TYPE")
