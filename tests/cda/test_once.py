"""CDA-ONCE: an element of the header that decides something does not stand twice."""

from __future__ import annotations

import pytest

from fixtures.build import cda_n1, mdm
from tests.cda.support import passed, swap

ELEMENTS = {
    "effectiveTime": '<effectiveTime value="20250101"/>',
    "confidentialityCode": '<confidentialityCode code="V" codeSystem="2.16.840.1.113883.5.25"/>',
    "languageCode": '<languageCode code="en-GB"/>',
    "versionNumber": '<versionNumber value="7"/>',
    "custodian": "<custodian/>",
    "administrativeGenderCode": '<administrativeGenderCode code="F"/>',
    "birthTime": '<birthTime value="19000101"/>',
    "birthplace": "<birthplace/>",
}


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("preset", ["production", "interop"])
def test_a_second_one_is_refused_whichever_comes_first(element: str, preset: str) -> None:
    good = cda_n1()
    start = f"<{element}"
    second = ELEMENTS[element]
    # before the real one
    document = swap(good, start, second + start, 1)
    _, check = passed(mdm("T02", document), preset)  # type: ignore[arg-type]
    found = [f for f in check.findings if f.rule == "CDA-ONCE"]
    assert [(f.rejects, f.place.erl() if f.place else "") for f in found] == [(True, "OBX^1^5")]
    assert element in found[0].text and (found[0].path or "").endswith(element) and found[0].line


def test_a_document_with_two_versions_may_still_be_deleted() -> None:
    document = swap(cda_n1(), "<versionNumber", '<versionNumber value="7"/><versionNumber', 1)
    _, check = passed(mdm("T04", document))
    assert not check.findings.rejects


def test_an_element_of_another_namespace_is_not_a_second_one() -> None:
    document = swap(
        cda_n1(), "<versionNumber", '<versionNumber xmlns="urn:other" value="7"/><versionNumber', 1
    )
    _, check = passed(mdm("T02", document))
    assert "CDA-ONCE" not in {f.rule for f in check.findings}
