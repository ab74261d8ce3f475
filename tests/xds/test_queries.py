"""Stored queries (spec dmp §5), what a registry answers, and the metadata update (§3.8)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from lxml import etree

from connectors.xds import ebrim, queries, registry
from connectors.xds.mapping import document_entry, submission_set
from connectors.xds.model import DocumentEntry, SubmissionSet, XdsCode
from connectors.xds.updates import metadata_update
from tests.xds import samples
from tests.xds.schemas import valid

NS = {"rim": ebrim.RIM, "q": ebrim.QUERY}
PATIENT = "1841275123987^^^&1.2.250.1.213.1.4.10&ISO^NH"
UUID = "urn:uuid:11111111-2222-4333-8444-555555555555"
CODE = XdsCode("11502-2", "2.16.840.1.113883.6.1", "")

EVERY = {
    "FindDocuments": queries.find_documents(
        PATIENT,
        queries.DocumentFilter(
            statuses=(ebrim.APPROVED, ebrim.ARCHIVED),
            types=(CODE,),
            author_persons=("%O'NEIL%",),
            created=("20260101", "20261231"),
        ),
    ),
    "FindSubmissionSets": queries.find_submission_sets(
        PATIENT, queries.SetFilter(submitted=("20260101", ""), author_person="%MARTIN%")
    ),
    "GetDocuments": queries.get_documents(["1.2.3", "1.2.4"]),
    "GetAssociations": queries.get_associations([UUID]),
    "GetDocumentsAndAssociations": queries.get_documents_and_associations(entry_uuids=[UUID]),
    "GetSubmissionSets": queries.get_submission_sets([UUID]),
    "GetSubmissionSetAndContents": queries.get_submission_set_and_contents("1.2.3"),
    "GetRelatedDocuments": queries.get_related_documents("1.2.3"),
    "TD3.1b": queries.get_documents(["1.2.3"], leaf=False),
}


def xml(query: queries.StoredQuery) -> etree._Element:
    return ebrim.stored_query(query.id, query.parameters, return_type=query.return_type)


def slots(query: queries.StoredQuery) -> dict[str, str]:
    return dict(query.parameters)


@pytest.mark.official
@pytest.mark.parametrize("name", EVERY)
def test_every_query_validates_against_the_schema(name: str) -> None:
    valid("query.xsd", xml(EVERY[name]))


def test_the_eight_queries_of_the_ans_have_their_identifiers() -> None:
    """§5, IHE ITI TF-2 3.18.4.1.2.4."""
    assert {EVERY[name].id.removeprefix("urn:uuid:")[:8] for name in EVERY} == {
        "14d4debf",
        "f26abbcb",
        "5c4f972b",
        "a7ae438b",
        "bab9529a",
        "51224314",
        "e8e3cb2c",
        "d90e5407",
    }


def test_literals_are_quoted_as_each_parameter_wants() -> None:
    """Lists in parentheses, single values without, times unquoted, codes with their scheme, quotes doubled."""
    found = slots(EVERY["FindDocuments"])
    assert found == {
        "$XDSDocumentEntryPatientId": f"'{PATIENT}'",
        "$XDSDocumentEntryTypeCode": "('11502-2^^2.16.840.1.113883.6.1')",
        "$XDSDocumentEntryCreationTimeFrom": "20260101",
        "$XDSDocumentEntryCreationTimeTo": "20261231",
        "$XDSDocumentEntryAuthorPerson": "('%O''NEIL%')",
        "$XDSDocumentEntryStatus": f"('{ebrim.APPROVED}','{ebrim.ARCHIVED}')",
    }
    assert slots(EVERY["GetRelatedDocuments"]) == {
        "$XDSDocumentEntryUniqueId": "'1.2.3'",
        "$AssociationTypes": f"('{ebrim.REPLACES}')",
    }
    assert slots(EVERY["GetSubmissionSetAndContents"]) == {"$XDSSubmissionSetUniqueId": "'1.2.3'"}
    assert slots(EVERY["GetDocuments"]) == {"$XDSDocumentEntryUniqueId": "('1.2.3','1.2.4')"}


def test_references_only_for_td31b() -> None:
    """RG_3130: ObjectRef; the rest LeafClass."""
    kinds = {name: xml(q)[0].get("returnType") for name, q in EVERY.items()}
    assert kinds.pop("TD3.1b") == "ObjectRef"
    assert set(kinds.values()) == {"LeafClass"}


def test_a_query_names_documents_one_way_and_twenty_at_most() -> None:
    for wrong in (
        lambda: queries.get_documents(),
        lambda: queries.get_documents(["1.2"], [UUID]),
        lambda: queries.get_documents([f"1.{n}" for n in range(21)]),
        lambda: queries.get_associations([]),
        lambda: queries.get_submission_set_and_contents(),
    ):
        with pytest.raises(ValueError):
            wrong()


# --- what comes back --------------------------------------------------------------------------------------------


@pytest.fixture
def entry() -> DocumentEntry:
    made = document_entry(samples.document(), samples.transmission())
    assert made.entry is not None
    return made.entry


@pytest.fixture
def lot() -> SubmissionSet:
    made, _ = submission_set(
        samples.transmission(),
        unique_id="2.25.42",
        source_id="1.2.250.1.999.1",
        now=datetime(2026, 1, 10, 9, tzinfo=UTC),
        title="Lot",
    )
    assert made is not None
    return made


def stored(lot: SubmissionSet, entry: DocumentEntry) -> etree._Element:
    """An AdhocQueryResponse made of what we submitted, as a registry gives it back."""
    request = ebrim.submit_objects(lot, [ebrim.Member(entry, replaces=UUID)])
    listed = request[0]
    document = listed.find("rim:ExtrinsicObject", NS)
    assert document is not None
    document.set("id", UUID)
    document.set("lid", UUID)
    document.set("status", ebrim.APPROVED)
    first = document.find("rim:Classification", NS)
    assert first is not None
    first.addprevious(etree.Element(f"{{{ebrim.RIM}}}VersionInfo", versionName="3"))
    document.insert(0, etree.Comment("kept by nobody"))
    answer = etree.Element(f"{{{ebrim.QUERY}}}AdhocQueryResponse")
    answer.append(listed)
    return answer


def test_what_was_submitted_is_read_back(lot: SubmissionSet, entry: DocumentEntry) -> None:
    """Every attribute of the model, through ebRIM and back."""
    found = registry.read_objects(stored(lot, entry))
    (document,) = found.documents
    for name in (
        "unique_id", "mime_type", "creation_time", "title", "language", "class_code", "type_code",
        "format_code", "facility", "practice", "confidentiality", "patient_id", "source_patient_id",
        "source_patient_info", "authors", "legal_authenticator", "service_start", "service_stop",
        "event_codes", "reference_ids", "size", "sha1",
    ):  # fmt: skip
        assert getattr(document, name) == getattr(entry, name), name
    assert (document.entry_uuid, document.version, document.status) == (UUID, "3", ebrim.APPROVED)
    (package,) = found.sets
    assert (package.unique_id, package.source_id, package.content_type) == (
        lot.unique_id,
        lot.source_id,
        lot.content_type,
    )
    assert package.author == lot.author
    assert [a.kind for a in found.associations] == [ebrim.HAS_MEMBER, ebrim.REPLACES]
    assert registry.read_objects(etree.Element("x")) == registry.Found()


def test_patients_do_not_show_in_a_representation(lot: SubmissionSet, entry: DocumentEntry) -> None:
    """What ends in a log by mistake carries no identity."""
    assert "184127" not in repr(registry.read_objects(stored(lot, entry)).documents)
    assert "DURAND" not in repr(registry.read_objects(stored(lot, entry)))


def masked(lot: SubmissionSet, entry: DocumentEntry) -> etree._Element:
    (document,) = registry.read_objects(stored(lot, entry)).documents
    assert document.element is not None
    codes = (*entry.confidentiality, XdsCode("MASQUE_PS", "1.2.250.1.213.1.1.4.13", "Masqué"))
    return metadata_update(lot, document.element, codes)


def test_masking_sends_everything_back_with_the_new_codes(lot: SubmissionSet, entry: DocumentEntry) -> None:
    """TD3.3a (§3.8): lid, status and version kept; HasMember with PreviousVersion; only the codes change."""
    tree = masked(lot, entry)
    document = tree.find(".//rim:ExtrinsicObject", NS)
    assert document is not None
    assert (document.get("id"), document.get("lid"), document.get("status")) == (
        "Document01",
        UUID,
        ebrim.APPROVED,
    )
    again = registry.read_objects(etree.ElementTree(tree).getroot())
    (read,) = again.documents
    assert [c.code for c in read.confidentiality] == [*(c.code for c in entry.confidentiality), "MASQUE_PS"]
    assert (read.sha1, read.authors, read.type_code) == (entry.sha1, entry.authors, entry.type_code)
    (link,) = tree.findall(".//rim:Association", NS)
    assert [v.text for v in link.iterfind(".//rim:Value", NS)] == ["Original", "3"]
    for part in document.findall("rim:Classification", NS):
        assert part.get("classifiedObject") == "Document01"
    ids = [e.get("id") for e in tree.iterfind(".//*[@id]")]
    assert len(ids) == len(set(ids))


@pytest.mark.official
def test_update_and_retrieval_validate_against_the_schemas(lot: SubmissionSet, entry: DocumentEntry) -> None:
    valid("lcm.xsd", masked(lot, entry))
    valid("lcm.xsd", ebrim.status_update(lot, UUID, original=ebrim.APPROVED, new=ebrim.ARCHIVED))
    valid("IHEXDSB.xsd", ebrim.retrieve("1.2.250.1.213.4.1.1.1.2", ["1.2.3"]))
