"""Mutated documents: nothing raises, and an accepted one says the same to a reader that is not ours.

The promises and their oracle are in `promises`.
"""

from __future__ import annotations

import copy
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from fixtures import build
from gateway.rules import Preset
from tests.fuzz.promises import document_promises, sent
from tests.fuzz.support import N1, N1_V2, N3, N3_COPY, check, examples

EVENTS = {N1: "T02", N1_V2: "T10", N3: "T02", N3_COPY: "T02"}
presets = st.sampled_from(["production", "interop"])
documents = st.sampled_from(list(EVENTS))
events = st.sampled_from(["T02", "T10", "T04"])
TEXTS = (
    "",
    " ",
    "x",
    "1.2.3",
    "-1",
    "²",
    "é" * 3,
    "2A" * 40,
    build.PATIENT.ins,
    "UNK",
    "RPLC",
    "FR",
    "V",
    "text/plain",
    "BR",
    "SP",
)
FORGED = (
    b"<id root='1.2.3'/>", b"<recordTarget/>", b"<code code='X'/>", b"<setId root='1.2.3'/>",
    b"<versionNumber value='7'/>", b"&#x41;", b"&lt;id/&gt;",
    b"<patientRole><id root='1.2.250.1.213.1.4.10' extension='1'/></patientRole>", b"<patient><name/></patient>",
    b"<!-- <id root='1.2.3'/> -->", b"<?xml-stylesheet href='x'?>", b"<![CDATA[<id root='1.2.3'/>]]>",
    b"<confidentialityCode code='V' codeSystem='2.16.840.1.113883.5.25'/>", b"<relatedDocument typeCode='RPLC'/>",
    b"<x:id xmlns:x='urn:other' root='1.2.3'/>", b"<id xmlns='' root='1.2.3'/>", b"<id nullFlavor='UNK'/>",
    b"<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='file:///etc/hostname' parse='text'/>",
    b"<birthTime value='19000101'/>", b"<administrativeGenderCode code='F'/>", b"<nonXMLBody><text/></nonXMLBody>",
)  # fmt: skip


@pytest.mark.parametrize("content", EVENTS)
@pytest.mark.parametrize("preset", ["production", "interop"])
def test_the_good_documents_are_good(content: bytes, preset: Preset) -> None:
    raw = build.mdm(EVENTS[content], content)
    assert not [f.rule for f in check(raw, preset).findings if f.rejects]


@st.composite
def damaged_trees(draw: st.DrawFn) -> bytes:
    """Well-formed documents with elements dropped, doubled, moved, emptied, nested, attributes changed."""
    root = etree.fromstring(draw(documents))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 4))):
        # most often an element of the header: that is where decisions hang
        candidates = [e for e in root.iter("{*}*") if e is not root]
        header = [e for e in candidates if len(list(e.iterancestors())) < 5]
        element = chance.choice(header or candidates)
        parent = element.getparent()
        if parent is None:
            break
        match chance.randrange(9):
            case 0:
                parent.remove(element)
            case 1:
                parent.insert(chance.randrange(len(parent) + 1), copy.deepcopy(element))
            case 2:
                target = chance.choice(candidates)
                if target is not element and element not in target.iterancestors():
                    target.append(element)
            case 3:
                element.clear()
            case 4:
                element.append(copy.deepcopy(element))
            case 5 if element.attrib:
                del element.attrib[chance.choice(list(element.attrib))]
            case 6 if element.attrib:
                element.set(chance.choice(list(element.attrib)), chance.choice(TEXTS))
            case 7:
                element.set("nullFlavor", chance.choice(("UNK", "MSK", "PINF", "")))
            case _:
                double = copy.deepcopy(element)
                for name in double.attrib:
                    double.set(name, chance.choice(TEXTS))
                parent.insert(parent.index(element) + chance.randrange(2), double)
    encoding = draw(st.sampled_from(["UTF-8", "UTF-8", "UTF-8", "ISO-8859-15", "UTF-16"]))
    return etree.tostring(root, xml_declaration=True, encoding=encoding)


@examples(250, 1000)
@given(damaged_trees(), events, presets)
def test_damaged_trees(content: bytes, event: str, preset: Preset) -> None:
    document_promises(content, event, preset)


@examples(150, 700)
@given(documents, st.sampled_from(FORGED), st.integers(0), events, presets)
def test_something_forged_in(document: bytes, forged: bytes, at: int, event: str, preset: Preset) -> None:
    places = [m.start() for m in re.finditer(rb"<", document)]
    i = places[at % len(places)]
    document_promises(document[:i] + forged + document[i:], event, preset)


@examples(80, 700)
@given(documents, st.integers(0), st.integers(0, 60), st.binary(max_size=12), events, presets)
def test_damaged_bytes(
    document: bytes, at: int, length: int, patch: bytes, event: str, preset: Preset
) -> None:
    at %= len(document)
    document_promises(document[:at] + patch + document[at + length :], event, preset)


def test_a_name_with_a_letter_of_the_fifth_edition() -> None:
    document = N1.replace(b"<title>", '<title \u0500="1">'.encode(), 1)
    assert document != N1
    document_promises(document, "T02", "interop")


DOCTYPES = (
    b"<!DOCTYPE ClinicalDocument>",
    b"<!DOCTYPE x SYSTEM 'file:///etc/hostname'>",
    b"<!DOCTYPE x [<!ENTITY e 'DURAND'>]>",
    b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/hostname'>]>",
    b"<!DOCTYPE x [<!ENTITY a '" + b"b" * 50 + b"'><!ENTITY c '&a;&a;&a;&a;&a;&a;'>]>",
    b"<!DOCTYPE x [<!ATTLIST id root CDATA '1.2.3'>]>",
    b"<!DOCTYPE x [<!ENTITY % p SYSTEM 'file:///etc/hostname'> %p;]>",
)


@pytest.mark.parametrize("doctype", DOCTYPES)
@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-15", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("use", [b"", b"&e;", b"&c;"])
def test_no_doctype_is_ever_accepted(doctype: bytes, encoding: str, use: bytes) -> None:
    text = N1.decode().replace("UTF-8", encoding.removesuffix("-sig"), 1)
    content = text.replace("<ClinicalDocument", doctype.decode() + "\n<ClinicalDocument", 1)
    content = content.replace("<title>", "<title>" + use.decode(), 1)
    for event in ("T02", "T04"):
        for preset in ("production", "interop"):
            checked = check(sent(content.encode(encoding), event), preset)  # type: ignore[arg-type]
            assert {f.rule for f in checked.findings if f.rejects} & {"CDA-DOCTYPE", "CDA-XML"}, (
                checked.findings
            )
            assert checked.cda is not None and not checked.cda.documents
