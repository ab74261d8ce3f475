"""Whatever a DPI sends, this room answers with findings and never raises."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from fixtures.build import cda_n1, cda_n3, pdf
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
