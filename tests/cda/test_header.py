"""The header as data (spec/dmp.md §3.3): every metadata source is found, nothing is guessed."""

from __future__ import annotations

import pytest

from fixtures.build import AUTHOR, DOCUMENT_ROOT, FINESS, PATIENT, Professional, cda_n1, cda_n3, pdf
from gateway.hl7.transmission import Code, InstanceId
from tests.cda.support import cut, header_of, swap
from tests.official import official

FINESS_ROOT = "1.2.250.1.71.4.2.2"


def test_everything_the_metadata_need_is_read() -> None:
    header = header_of(cda_n1(version=3, replaces="1.2.3.4"))
    assert header.id == InstanceId(f"{DOCUMENT_ROOT}.1.1")
    assert header.set_id == InstanceId(f"{DOCUMENT_ROOT}.1")
    assert header.version == 3
    assert header.code == Code("11502-2", "CR d'examens biologiques", "2.16.840.1.113883.6.1")
    assert header.title == "Compte rendu d'examens biologiques"
    assert header.effective_time == "20260110093000+0100"
    assert header.confidentiality == Code("N", "Normal", "2.16.840.1.113883.5.25")
    assert header.language == "fr-FR"
    assert header.patient is not None
    assert header.patient.ins == InstanceId(PATIENT.ins_oid, PATIENT.ins)
    assert (header.patient.birth_family, header.patient.birth_given) == ("TEST-DURAND", "CAMILLE")
    assert header.patient.given_all == "CAMILLE ANDREA"
    assert (header.patient.birth_time, header.patient.gender) == ("19841203", "M")
    assert header.patient.birthplace_code == "75123"
    (author,) = header.authors
    assert author.ids == (InstanceId("1.2.250.1.71.4.2.1", AUTHOR.id),)
    assert author.code is not None
    assert author.code.code == "G15_10/SM03"
    assert header.author_organisations == {FINESS}
    assert header.custodian is not None
    assert header.custodian.ids == (InstanceId(FINESS_ROOT, FINESS),)
    assert header.legal_authenticator is not None
    assert header.legal_authenticator.person is not None
    assert header.legal_authenticator.person.family == "MARTIN"
    assert header.principal_event is not None
    assert header.principal_event.low == "20260109080000+0100"
    assert header.principal_event.performer_organisation is not None
    assert header.principal_event.performer_organisation.industry is not None
    assert header.principal_event.performer_organisation.industry.code == "ETABLISSEMENT"
    assert header.facility is not None
    assert header.facility.code == "SA01"
    assert header.replaced_id == InstanceId("1.2.3.4")
    assert header.body.kind == "nonXML"
    assert (header.body.media_type, header.body.representation) == ("application/pdf", "B64")


def test_an_extension_stays_apart_from_the_root() -> None:
    assert str(header_of(cda_n1(uid="1.2.3^ABC")).id) == "1.2.3^ABC"


def test_several_authors_are_all_read() -> None:
    header = header_of(cda_n1(authors=[AUTHOR, Professional(id="810100000099", family="LEROY")]))
    assert [a.ids[0].extension for a in header.authors] == [AUTHOR.id, "810100000099"]


def test_a_device_author_is_read() -> None:
    document = cut(cda_n1(), "<assignedPerson>", "</assignedPerson>")
    document = swap(
        document,
        "<representedOrganization>",
        "<assignedAuthoringDevice><manufacturerModelName>Automate</manufacturerModelName>"
        "<softwareName>Logiciel 2</softwareName></assignedAuthoringDevice><representedOrganization>",
        1,
    )
    (author,) = header_of(document).authors
    assert author.person is None
    assert (author.device_model, author.device_name) == ("Automate", "Logiciel 2")


def test_the_principal_event_is_the_first_with_a_performer() -> None:
    """spec/dmp.md §3.3: 25 of 91 examples have several serviceEvent."""
    other = (
        '<documentationOf><serviceEvent><code code="18723-7" displayName="Hématologie"'
        ' codeSystem="2.16.840.1.113883.6.1"/><effectiveTime><low value="2020"/></effectiveTime></serviceEvent>'
        "</documentationOf>"
    )
    header = header_of(swap(cda_n1(), "<documentationOf>", other + "<documentationOf>"))
    assert [e.low for e in header.events] == ["2020", "20260109080000+0100"]
    assert header.principal_event is header.events[1]


def test_orders_and_accession_numbers_are_read() -> None:
    order = (
        '<inFulfillmentOf><order><id root="1.2.9" extension="D1"/>'
        '<p:accessionNumber xmlns:p="urn:dicom-org:ps3-20" root="1.2.8" extension="A1"/></order></inFulfillmentOf>'
    )
    header = header_of(swap(cda_n1(), "<documentationOf>", order + "<documentationOf>"))
    assert header.order_ids == (InstanceId("1.2.9", "D1"),)
    assert header.accession_ids == (InstanceId("1.2.8", "A1"),)


@pytest.mark.parametrize(
    ("value", "version"),
    [("1", 1), ("12", 12), ("0", 0), ("-1", -1), ("1.0", None), ("un", None), ("١", None)],
)
def test_version_number_is_an_integer_or_nothing(value: str, version: int | None) -> None:
    assert (
        header_of(swap(cda_n1(), '<versionNumber value="1"/>', f'<versionNumber value="{value}"/>')).version
        == version
    )


def test_an_id_with_a_null_flavor_is_no_id() -> None:
    uid = f'<id root="{DOCUMENT_ROOT}.1.1"/>'
    assert header_of(swap(cda_n1(), uid, '<id root="1.2.3" nullFlavor="UNK"/>')).id is None


def test_the_pdf_copy_of_an_n3_is_found_and_nothing_else_is_taken_for_it() -> None:
    """spec/mssante.md §1.8: section 1.2.250.1.213.1.1.2.243 or code 55108-5, application/pdf only."""
    copy = cda_n3(pdf_copy=pdf())
    assert header_of(copy).body.has_pdf_copy
    assert not header_of(cda_n3()).body.has_pdf_copy
    attached = swap(swap(copy, "1.2.250.1.213.1.1.2.243", "1.2.250.1.213.1.1.2.37"), "55108-5", "55107-7")
    assert not header_of(attached).body.has_pdf_copy
    assert not header_of(swap(copy, "application/pdf", "image/png")).body.has_pdf_copy


def test_an_empty_document_gives_an_empty_header() -> None:
    header = header_of(b"<ClinicalDocument xmlns='urn:hl7-org:v3'/>")
    assert header.id is None
    assert header.patient is None
    assert header.authors == ()
    assert header.body.kind == "none"


@pytest.mark.official
def test_official_documents_give_every_required_metadata_source() -> None:
    """spec/dmp.md §3.3: in the official examples no required source is missing."""
    for path in sorted(official("cda").glob("*.xml")):
        header = header_of(path.read_bytes())
        assert header.id and header.set_id and header.code and header.title, path.name
        assert header.patient and header.patient.ins, path.name
        assert header.principal_event and header.principal_event.low and header.facility, path.name
        assert header.legal_authenticator, path.name
        assert header.self_presenting == ("Auto-Presentable" in path.name)
