"""Whatever a DPI sends, this room answers with findings and never raises."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from fixtures.build import cda_n1, cda_n3, pdf
from gateway.cda import body
from gateway.hl7.transmission import Action
from tests.cda.support import checked

DOCUMENTS = (cda_n1(version=2, replaces="1.2.3"), cda_n3(pdf_copy=pdf()))


@given(st.sampled_from(DOCUMENTS), st.integers(0), st.integers(0, 40), st.binary(max_size=12))
def test_damaged_bytes(document: bytes, start: int, length: int, patch: bytes) -> None:
    start %= len(document)
    checked(document[:start] + patch + document[start + length :])


@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    assert checked(content).rejects


@given(st.sampled_from(DOCUMENTS), st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(list(Action)))
def test_damaged_trees(document: bytes, seed: int, faults: int, action: Action) -> None:
    """Well-formed documents with elements removed, doubled or emptied, and attributes lost or replaced."""
    chance = random.Random(seed)
    root = etree.fromstring(document)
    for _ in range(faults):
        element = chance.choice([e for e in root.iter("{*}*") if e is not root])
        parent = element.getparent()
        assert parent is not None
        match chance.randrange(5):
            case 0:
                parent.remove(element)
            case 1:
                parent.append(etree.fromstring(etree.tostring(element)))
            case 2:
                element.clear()
            case 3 if element.attrib:
                del element.attrib[chance.choice(list(element.attrib))]
            case _:
                for name in element.attrib:
                    element.set(name, chance.choice(["", " ", "x", "-1", "²", "2A" * 400, "1.2.3"]))
    for dmp in (True, False):
        checked(etree.tostring(root), action=action, dmp=dmp)


def test_a_header_of_190_000_siblings_is_read_once() -> None:
    """Below the limit of elements: a step of XPath that walks them for each of them takes more than a minute."""
    many = cda_n1().replace(b"<realmCode", b"<other/>" * 190_000 + b"<realmCode", 1)
    assert not checked(many).rejects


def test_contacts_of_the_body_are_not_the_header_s_and_nested_ones_are() -> None:
    """H27: telecom and addr at any depth of the header, never in the body."""
    bad = b'<telecom value="0102"/><addr use="BAD"/>'
    in_body = cda_n3().replace(b"</text></section>", b"</text><entry>" + bad + b"</entry></section>", 1)
    assert not {f.rule for f in checked(in_body)} & {"CDA-H27", "CDA-H27-ADDRESS"}
    deep = cda_n1().replace(b"<assignedPerson>", bad + b"<assignedPerson>", 1)
    assert {f.rule for f in checked(deep) if f.rejects} == {"CDA-H27", "CDA-H27-ADDRESS"}


def test_regions_of_images_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """B12: as many images that are missing as a document may hold."""
    calls: list[int] = []

    def regions(element: etree._Element) -> set[str]:
        calls.append(1)
        return {"r1"}

    monkeypatch.setattr(body, "_regions", regions)
    shown = b'<renderMultiMedia referencedObject="r1"/>' + b'<renderMultiMedia referencedObject="gone"/>' * 50
    assert [f.rule for f in checked(cda_n3().replace(b"<tbody>", b"<tbody>" + shown, 1))] == ["CDA-B12"]
    assert calls == [1]
