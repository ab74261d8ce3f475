"""The synthetic fixtures: what the script makes is what is committed, and it is conform."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from fixtures import build, make
from tests.cda.support import passed
from tests.official import official


def test_files_are_what_the_script_makes() -> None:
    for folder, suffix, files in (
        ("documents", ".xml", make.documents()),
        ("messages", ".er7", make.messages()),
    ):
        here = Path(make.__file__).parent / folder
        assert {p.name for p in here.iterdir()} == {name + suffix for name in files}
        for name, content in files.items():
            assert (here / (name + suffix)).read_bytes() == content, name


@pytest.mark.parametrize("name", [n for n in make.messages() if n != "mdm_t02_not_a_cda"])
def test_messages_are_conform_in_production(name: str) -> None:
    """Neither the profile nor this room says anything, not even a warning."""
    reading, check = passed(make.messages()[name])
    assert reading.findings == []
    assert check.findings == []


def test_routing_rows_of_the_mssante_table() -> None:
    """spec/mssante.md §1.1: the default flags are inside the table for every mix of recipients."""
    patient = build.patient_recipient()
    for recipients in ([build.DR_MARTIN], [build.DR_MARTIN, patient], [patient], []):
        raw = build.mdm("T02", build.cda_n1(), recipients=recipients)
        assert passed(raw)[0].findings == [], len(recipients)


def test_a_latin9_message_is_conform() -> None:
    reading, check = passed(build.mdm("T02", build.cda_n1(), charset="8859/15"))
    assert reading.findings == []
    assert check.findings == []


def test_pdf_is_about_the_size_asked_for() -> None:
    for size in (0, 5_000, 180_000):
        content = build.pdf(size)
        assert content.startswith(b"%PDF-1.4")
        assert size == 0 or abs(len(content) - size) < 200
        start = int(content.rsplit(b"startxref\n", 1)[1].split()[0])
        assert content[start:].startswith(b"xref\n")


def test_the_big_message_is_of_an_ordinary_size() -> None:
    assert 300_000 < len(make.messages()["mdm_t02_330k"]) <= 350_000


@pytest.mark.official
def test_documents_validate_against_the_official_schema() -> None:
    schema = etree.XMLSchema(
        etree.parse(str(official("ans-cda-package", "infrastructure", "cda", "CDA_extended.xsd")))
    )
    documents = make.documents() | {
        "copy": build.cda_n3(pdf_copy=build.pdf()),
        "extension": build.cda_n1(uid="1.2.3^4", replaces="1.2.3^3"),
    }
    for name, content in documents.items():
        assert schema.validate(etree.fromstring(content)), (name, str(schema.error_log))
