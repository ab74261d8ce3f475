"""Differential test: the metadata of the official XDM archives against what we build from the same document.

Every attribute is compared. What differs is listed here with its reason: a new difference fails.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace

import pytest
from lxml import etree

from connectors.xds import registry
from connectors.xds.mapping import document_entry
from connectors.xds.model import DocumentEntry
from connectors.xds.registry import RegisteredDocument
from gateway.cda.document import Document
from gateway.cda.header import read_header
from gateway.cda.reader import read
from gateway.errors import Place
from gateway.hl7.transmission import Flags
from gateway.rules import load_rulebook
from tests.official import OFFICIAL, official
from tests.xds import samples

BOOK = load_rulebook(preset="interop")
NAMES = sorted(p.parent.name for p in (OFFICIAL / "xdm").glob("*/IHE_XDM.ZIP")) or ["absent"]
SAME = (
    "unique_id", "mime_type", "sha1", "size", "title", "language", "creation_time", "service_start",
    "service_stop", "class_code", "facility", "practice", "confidentiality", "authors",
    "legal_authenticator", "patient_id", "source_patient_id", "source_patient_info",
)  # fmt: skip


def both(name: str) -> tuple[RegisteredDocument, DocumentEntry]:
    """(official, ours) of one archive."""
    with zipfile.ZipFile(official("xdm", name, "IHE_XDM.ZIP")) as archive:
        metadata = archive.read("IHE_XDM/SUBSET01/METADATA.XML").lstrip()
        content = archive.read("IHE_XDM/SUBSET01/DOC0001.XML")
    (theirs,) = registry.read_objects(etree.fromstring(metadata)).documents
    result = read(content, BOOK, Place("OBX"))
    assert result.clinical_document is not None
    header = read_header(
        result.clinical_document,
        self_presenting=result.self_presenting,
        has_stylesheet_pi=result.has_stylesheet_pi,
    )
    sent = replace(samples.transmission(), flags=Flags(dest_dmp=True))
    made = document_entry(Document(header, content, ""), sent)
    assert made.entry is not None, made.problems
    return theirs, made.entry


@pytest.mark.official
@pytest.mark.parametrize("name", NAMES)
def test_every_attribute_is_that_of_the_official_archive(name: str) -> None:
    """spec dmp §3.2, §3.3: strings of authors, identities, UTC times, hash, size, codes with their schemes."""
    theirs, ours = both(name)
    for attribute in SAME:
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute


@pytest.mark.official
@pytest.mark.parametrize("name", NAMES)
def test_type_and_format_differ_only_in_spelling(name: str) -> None:
    """The archives spell the label of the type with another apostrophe, and name another scheme for the formats of
    IHE than ASS_A11 does (26/01/2024: 1.3.6.1.4.1.19376.1.2.3); codes are the same."""
    theirs, ours = both(name)
    assert theirs.type_code is not None and theirs.format_code is not None
    label = ours.type_code.label.replace("’", "'")
    assert replace(ours.type_code, label=label) == replace(
        theirs.type_code, label=theirs.type_code.label.replace("’", "'")
    )
    assert (ours.format_code.code, ours.format_code.label) == (
        theirs.format_code.code,
        theirs.format_code.label,
    )
    assert ours.format_code.scheme == "1.3.6.1.4.1.19376.1.2.3"


@pytest.mark.official
@pytest.mark.parametrize("name", NAMES)
def test_events_are_the_same_without_repetition(name: str) -> None:
    """Imaging: the acts, their CCAM translation, modality and anatomical region, each once."""
    theirs, ours = both(name)
    assert ours.event_codes == tuple(dict.fromkeys(theirs.event_codes))


@pytest.mark.official
@pytest.mark.parametrize("name", NAMES)
def test_references_are_given_beside_what_the_archives_hold(name: str) -> None:
    """The archives leave referenceIdList (optional) out; ours names orders and accession numbers only."""
    theirs, ours = both(name)
    assert theirs.reference_ids == ()
    kinds = {r.rpartition("^")[2] for r in ours.reference_ids}
    assert kinds <= {"urn:ihe:iti:xds:2013:order", "urn:ihe:iti:xds:2013:accession"}
