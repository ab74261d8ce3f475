"""ebRIM of the DMP and of an XDM archive: structure, identifiers, and validity against the public schemas."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from lxml import etree

from connectors.xds import ebrim
from connectors.xds.mapping import document_entry, submission_set
from connectors.xds.model import DocumentEntry, SubmissionSet
from tests.xds import samples
from tests.xds.schemas import valid

NS = {"rim": ebrim.RIM, "lcm": ebrim.LCM, "q": ebrim.QUERY}
OLD = "urn:uuid:11111111-2222-4333-8444-555555555555"


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


def test_dmp_lot_has_symbolic_names_and_all_associations(lot: SubmissionSet, entry: DocumentEntry) -> None:
    """§4.1: HasMember for document and signature, `signs`, RPLC to the entryUUID of the old version."""
    tree = ebrim.submit_objects(lot, [ebrim.Member(entry, replaces=OLD)], signature=entry)
    links = [
        (a.get("associationType"), a.get("sourceObject"), a.get("targetObject"))
        for a in tree.iterfind(".//rim:Association", NS)
    ]
    assert links == [
        (ebrim.HAS_MEMBER, "SubmissionSet01", "Document01"),
        (ebrim.HAS_MEMBER, "SubmissionSet01", "Signature01"),
        (ebrim.SIGNS, "Signature01", "SubmissionSet01"),
        (ebrim.REPLACES, "Document01", OLD),
    ]
    ids = [e.get("id") for e in tree.iterfind(".//*[@id]")]
    assert len(ids) == len(set(ids))
    assert all(c.get("classifiedObject") for c in tree.iterfind(".//rim:Classification", NS))


@pytest.mark.official
def test_dmp_requests_validate_against_the_schemas(lot: SubmissionSet, entry: DocumentEntry) -> None:
    valid("lcm.xsd", ebrim.submit_objects(lot, [ebrim.Member(entry)], signature=entry))
    valid("lcm.xsd", ebrim.submit_objects(lot, [ebrim.Member(entry, replaces=OLD)]))
    valid("lcm.xsd", ebrim.status_update(lot, OLD))
    lot_of_two = ebrim.submit_objects(lot, [ebrim.Member(entry)], signature=entry)
    valid(
        "IHEXDSB.xsd", ebrim.provide_and_register(lot_of_two, (("Document01", "a@b"), ("Signature01", "c@d")))
    )


@pytest.mark.official
def test_xdm_metadata_validates_against_the_schema(lot: SubmissionSet, entry: DocumentEntry) -> None:
    made = ebrim.xdm_metadata(lot, [ebrim.Member(entry, uri="DOC0001.XML", action="C")])
    valid("lcm.xsd", etree.fromstring(made))


def test_xdm_metadata_is_the_same_bytes_each_time(lot: SubmissionSet, entry: DocumentEntry) -> None:
    """spec mssante §1.6: `urn:uuid` ids, Approved, URI, action slot first, no RPLC; stable across
    attempts.
    """
    members = [ebrim.Member(entry, uri="DOC0001.XML", action="C")]
    made = ebrim.xdm_metadata(lot, members)
    assert made == ebrim.xdm_metadata(lot, members)
    tree = etree.fromstring(made)
    document = tree.find(".//rim:ExtrinsicObject", NS)
    assert document is not None
    slots = {
        s.get("name"): s.findtext(".//rim:Value", namespaces=NS) for s in document.findall("rim:Slot", NS)
    }
    assert next(iter(slots.items())) == (ebrim.ACTION_SLOT, "C")
    assert slots["URI"] == "DOC0001.XML"
    assert (document.get("status"), str(document.get("id"))[:9]) == (ebrim.APPROVED, "urn:uuid:")
    assert ebrim.REPLACES not in made.decode()


def test_xdm_first_submission_has_no_action_slot(lot: SubmissionSet, entry: DocumentEntry) -> None:
    made = ebrim.xdm_metadata(lot, [ebrim.Member(entry, uri="DOC0001.XML")])
    assert ebrim.ACTION_SLOT not in made.decode()


def test_query_literals_double_their_quotes() -> None:
    """§5: string literals of a stored query."""
    assert ebrim.literals("a'b", "c") == "('a''b','c')"


def test_deletion_updates_the_status_of_one_entry(lot: SubmissionSet) -> None:
    """§3.8: one association UpdateAvailabilityStatus, OriginalStatus and NewStatus, no document."""
    tree = ebrim.status_update(lot, OLD)
    found = tree.findall(".//rim:Association", NS)
    assert [(a.get("targetObject")) for a in found] == [OLD]
    assert [v.text for v in found[0].iterfind(".//rim:Value", NS)] == [ebrim.APPROVED, ebrim.DELETED]
    assert tree.find(".//rim:ExtrinsicObject", NS) is None


@pytest.mark.official
def test_a_list_too_long_for_one_value_is_several() -> None:
    """rim.xsd: 256 characters in a Value; ITI-18: the values of a slot are one list."""
    uids = [f"1.2.250.1.71.4.2.2.990000010.{n}.'quoted','" for n in range(20)]
    made = ebrim.stored_query(ebrim.GET_DOCUMENTS, (("$XDSDocumentEntryUniqueId", ebrim.literals(*uids)),))
    values = [v.text or "" for v in made.iter(f"{{{ebrim.RIM}}}Value")]
    assert len(values) > 1
    joined = ",".join(v[1:-1] for v in values)
    assert f"({joined})" == ebrim.literals(*uids)
    valid("query.xsd", made)
