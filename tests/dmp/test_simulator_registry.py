"""The simulated DMP's registry over real mutual TLS: RPLC, ITI-18, ITI-43, ITI-57 (spec dmp §3.7, §3.8, §5)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from connectors.dmp.simulator import DmpSimulator
from connectors.xds import ebrim
from tests.dmp.simulator_client import IHE, PATIENT, RIM, Client, document
from tests.xds import samples

V1, V2, V3, OTHER = (f"2.25.10{n}" for n in range(1, 5))
DOCUMENT_UUID = "$XDSDocumentEntryEntryUUID"
DOCUMENT_UID = "$XDSDocumentEntryUniqueId"
FIND_DOCUMENTS = "14d4debf-8f97-4251-9a74-a90016b0af0d"
FIND_BY_REFERENCE = "12941a89-e02e-4be5-967c-ce4bfc8fe492"
FIND_SETS = "f26abbcb-ac74-4422-8a30-edb644bbc1a9"
GET_DOCUMENTS = "5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
GET_ASSOCIATIONS = "a7ae438b-4bc2-4642-93e9-be891f7bb155"
GET_BOTH = "bab9529a-4a10-40b3-a01f-f68a615d247a"
GET_SETS = "51224314-5390-4169-9b91-b1980040715a"
GET_CONTENTS = "e8e3cb2c-e39c-46b9-99e4-c12f57260b83"
GET_RELATED = "d90e5407-b356-4d91-a89f-873917b4b0e6"
APPROVED = ("$XDSDocumentEntryStatus", f"('{ebrim.APPROVED}')")


@pytest.fixture
async def client(simulator: DmpSimulator) -> AsyncIterator[Client]:
    made = Client(simulator)
    yield made
    await made.close()


async def published(client: Client, *uids: str) -> list[str]:
    """Each replaces the one before; entryUUIDs."""
    old: str | None = None
    made = []
    for uid in uids:
        reply = await client.submit(uid, replaces=old)
        assert reply.result == "Success", reply.words
        (old,) = await client.find(uid)
        made.append(old)
    return made


def one(name: str, value: str) -> tuple[str, str]:
    return name, f"('{value}')"


# --- RPLC -------------------------------------------------------------------------------------------------------


async def test_replacement_deprecates_and_refuses_a_second_one(client: Client) -> None:
    """§3.7: RPLC, then the old version is Deprecated and nothing else may replace it."""
    (first, _) = await published(client, V1, V2)
    kept = client.simulator.documents
    assert (kept[V1].status, kept[V2].status) == ("Deprecated", "Approved")
    again = await client.submit(V3, replaces=first)
    assert again.code == "XDSRegistryDeprecatedDocumentError"
    assert V3 not in kept


async def test_replacing_what_is_unknown_deleted_or_anothers(client: Client) -> None:
    """§8.2 step 8."""
    (first,) = await published(client, V1)
    unknown = await client.submit(V2, replaces="urn:uuid:11111111-2222-4333-8444-555555555555")
    assert unknown.code == "UnresolvedReferenceException"
    other = PATIENT.replace(samples.INS.extension or "", "184127512398748")
    foreign = await client.submit(
        V2,
        replaces=first,
        assertion=client.vihf(patient=other),
        lot=client.lot(patient_id=other),
        entry=client.entry(V2, document(V2), patient_id=other),
    )
    assert foreign.code == "XDSPatientIdDoesNotMatch"
    assert (await client.set_status(first)).result == "Success"
    deleted = await client.submit(V2, replaces=first)
    assert deleted.code == "UnresolvedReferenceException"
    assert list(client.simulator.documents) == [V1]


async def test_a_lot_is_all_or_nothing(client: Client) -> None:
    """A refused replacement leaves its target Approved."""
    (first,) = await published(client, V1)
    refused = await client.submit(V1, replaces=first)
    assert refused.code == "XDSDuplicateUniqueIdInRegistry"
    assert client.simulator.documents[V1].status == "Approved"
    assert await client.find(V1) == [first]


# --- ITI-18 -----------------------------------------------------------------------------------------------------


async def test_get_documents_by_either_identifier(client: Client) -> None:
    """§5: entryUUID xor uniqueId, LeafClass with lid, status, version, hash, size, repositoryUniqueId."""
    (uuid,) = await published(client, V1)
    for parameter in (one(DOCUMENT_UID, V1), one(DOCUMENT_UUID, uuid)):
        reply = await client.query(GET_DOCUMENTS, parameter)
        assert reply.ids("ExtrinsicObject") == [uuid]
    leaf = await client.leaf(V1)
    content = client.simulator.documents[V1].content
    slots = {s.get("name"): s.findtext(f".//{RIM}Value") for s in leaf.findall(f"{RIM}Slot")}
    assert (slots["size"], slots["hash"]) == (str(len(content)), client.simulator.documents[V1].sha1)
    assert slots["repositoryUniqueId"] == "1.2.250.1.213.4.1.1.1.2"
    assert (leaf.get("status"), leaf.get("lid")) == (ebrim.APPROVED, uuid)
    version = leaf.find(f"{RIM}VersionInfo")
    assert version is not None and version.get("versionName") == "1"
    both = await client.query(GET_DOCUMENTS, one(DOCUMENT_UID, V1), one(DOCUMENT_UUID, uuid))
    assert both.code == "XDSStoredQueryParamNumber"
    assert (await client.query(GET_DOCUMENTS)).code == "XDSStoredQueryMissingParam"


async def test_unknown_query_and_unreadable_values(client: Client) -> None:
    unknown = await client.query("00000000-0000-4000-8000-000000000000", one(DOCUMENT_UID, V1))
    assert unknown.code == "XDSUnknownStoredQuery"
    for literal in ("('a'", "'a", "a", "('a',)", ""):
        reply = await client.query(GET_DOCUMENTS, (DOCUMENT_UID, literal))
        assert reply.code in ("XDSRegistryError", "XDSStoredQueryMissingParam"), literal


async def test_the_chain_of_versions_is_found_from_any_of_them(client: Client) -> None:
    """GetRelatedDocuments with RPLC: the neighbours of each version; GetDocumentsAndAssociations: its links."""
    uuids = await published(client, V1, V2, V3)
    rplc = ("$AssociationTypes", f"('{ebrim.REPLACES}')")
    for uid, expected in ((V1, uuids[:2]), (V2, uuids), (V3, uuids[1:])):
        reply = await client.query(GET_RELATED, one(DOCUMENT_UID, uid), rplc)
        assert reply.ids("ExtrinsicObject") == expected
        assert len(reply.ids("Association")) == len(expected) - 1
    missing = await client.query(GET_RELATED, one(DOCUMENT_UID, V1))
    assert missing.code == "XDSStoredQueryMissingParam"
    reply = await client.query(GET_BOTH, (DOCUMENT_UID, f"('{V1}','{V3}')"))
    assert reply.ids("ExtrinsicObject") == [uuids[0], uuids[2]]
    links = reply.body.findall(f".//{RIM}Association")
    ends = {
        (a.get("sourceObject"), a.get("targetObject"))
        for a in links
        if a.get("associationType") == ebrim.REPLACES
    }
    assert ends == {(uuids[1], uuids[0]), (uuids[2], uuids[1])}
    assert sum(a.get("associationType") == ebrim.HAS_MEMBER for a in links) == 2


async def test_more_than_twenty_documents_in_one_call_are_refused(client: Client) -> None:
    """PDSM: batches of 20."""
    listed = ",".join(f"'2.25.{n}'" for n in range(21))
    assert (await client.query(GET_BOTH, (DOCUMENT_UID, f"({listed})"))).code == "XDSTooManyResults"


async def test_sets_associations_and_contents(client: Client) -> None:
    (first, second) = await published(client, V1, V2)
    sets = await client.query(GET_SETS, ("$uuid", f"('{first}','{second}')"))
    packages = sets.ids("RegistryPackage")
    assert len(packages) == 2
    assert len(sets.ids("Association")) == 2
    links = await client.query(GET_ASSOCIATIONS, one("$uuid", second))
    kinds = [a.get("associationType") for a in links.body.findall(f".//{RIM}Association")]
    assert sorted(kinds) == sorted([ebrim.HAS_MEMBER, ebrim.REPLACES])
    lot = client.simulator.documents[V2].lot_uid
    for parameter in (one("$XDSSubmissionSetUniqueId", lot), one("$XDSSubmissionSetEntryUUID", packages[1])):
        contents = await client.query(GET_CONTENTS, parameter)
        assert contents.ids("RegistryPackage") == [packages[1]]
        assert second in contents.ids("ExtrinsicObject")
        assert len(contents.ids("ExtrinsicObject")) == 2  # the document and its signature
    narrow = await client.query(
        GET_CONTENTS,
        one("$XDSSubmissionSetUniqueId", lot),
        one("$XDSDocumentEntryFormatCode", "urn:ihe:lab:xd-lab:2008^^1.3.6.1.4.1.19376.1.2.3"),
    )
    assert narrow.ids("ExtrinsicObject") == [second]
    two = ("$XDSSubmissionSetUniqueId", "('1','2')")
    assert (await client.query(GET_CONTENTS, two)).code == "XDSStoredQueryParamNumber"


async def test_find_submission_sets(client: Client) -> None:
    await published(client, V1, V2)
    status = one("$XDSSubmissionSetStatus", ebrim.APPROVED)
    assert len((await client.query(FIND_SETS, status)).ids("RegistryPackage")) == 2
    later = ("$XDSSubmissionSetSubmissionTimeFrom", "20990101")
    assert (await client.query(FIND_SETS, status, later)).ids("RegistryPackage") == []
    deprecated = one("$XDSSubmissionSetStatus", ebrim.DEPRECATED)
    assert (await client.query(FIND_SETS, deprecated)).ids("RegistryPackage") == []
    assert (await client.query(FIND_SETS)).code == "XDSStoredQueryMissingParam"


@pytest.mark.parametrize(
    ("parameter", "found"),
    [
        (("$XDSDocumentEntryClassCode", "('10^^1.2.250.1.213.1.1.4.1')"), True),
        (("$XDSDocumentEntryClassCode", "('x^^y','10^^1.2.250.1.213.1.1.4.1')"), True),
        (("$XDSDocumentEntryClassCode", "('10^^1.2.3')"), False),
        (("$XDSDocumentEntryTypeCode", "('11502-2^^2.16.840.1.113883.6.1')"), True),
        (("$XDSDocumentEntryConfidentialityCode", "('R^^2.16.840.1.113883.5.25')"), False),
        (("$XDSDocumentEntryPracticeSettingCode", "('ETABLISSEMENT^^1.2.250.1.213.1.1.4.9')"), True),
        (("$XDSDocumentEntryCreationTimeFrom", "20260110"), True),
        (("$XDSDocumentEntryCreationTimeFrom", "20260111"), False),
        (("$XDSDocumentEntryCreationTimeTo", "20260110083000"), False),
        (("$XDSDocumentEntryCreationTimeTo", "20260110083001"), True),
        (("$XDSDocumentEntryServiceStartTimeTo", "20260108"), False),
        (("$XDSDocumentEntryAuthorPerson", "('%MARTIN%')"), True),
        (("$XDSDocumentEntryAuthorPerson", "('MARTIN')"), False),
        (("$XDSDocumentEntryPatientId", f"'{PATIENT}'"), True),
    ],
)
async def test_find_documents_filters(client: Client, parameter: tuple[str, str], found: bool) -> None:
    """From is inclusive, To exclusive; values of a list are OR; RG_3010: the patient is optional."""
    (uuid,) = await published(client, V1)
    reply = await client.query(FIND_DOCUMENTS, APPROVED, parameter)
    assert reply.ids("ExtrinsicObject") == ([uuid] if found else []), reply.words


async def test_find_documents_by_status(client: Client) -> None:
    """Deprecated and Deleted are given only when asked for; the status is compulsory; signatures never."""
    (first, second) = await published(client, V1, V2)
    assert (await client.query(FIND_DOCUMENTS, APPROVED)).ids("ExtrinsicObject") == [second]
    old = ("$XDSDocumentEntryStatus", f"('{ebrim.APPROVED}','{ebrim.DEPRECATED}')")
    assert (await client.query(FIND_DOCUMENTS, old)).ids("ExtrinsicObject") == [first, second]
    await client.set_status(second)
    assert (await client.query(FIND_DOCUMENTS, APPROVED)).ids("ExtrinsicObject") == []
    deleted = one("$XDSDocumentEntryStatus", ebrim.DELETED)
    assert len((await client.query(FIND_DOCUMENTS, deleted)).ids("ExtrinsicObject")) == 1
    assert await client.find(V2) == []
    assert (await client.query(FIND_DOCUMENTS)).code == "XDSStoredQueryMissingParam"


async def test_find_by_reference(client: Client) -> None:
    (uuid,) = await published(client, V1)
    leaf = await client.leaf(V1)
    reference = leaf.findtext(f"{RIM}Slot[@name='{ebrim.REFERENCE_ID_LIST}']//{RIM}Value")
    assert reference
    given = one("$XDSDocumentEntryReferenceIdList", reference)
    assert (await client.query(FIND_BY_REFERENCE, APPROVED, given)).ids("ExtrinsicObject") == [uuid]
    assert (await client.query(FIND_BY_REFERENCE, APPROVED)).code == "XDSStoredQueryMissingParam"


async def test_nothing_of_another_patient_is_found(client: Client) -> None:
    """The patient is that of the VIHF, whatever is asked for."""
    (uuid,) = await published(client, V1)
    other = PATIENT.replace(samples.INS.extension or "", "184127512398748")
    stranger = client.air(patient=other)
    for parameter in (one(DOCUMENT_UID, V1), one(DOCUMENT_UUID, uuid)):
        assert (await client.query(GET_DOCUMENTS, parameter, assertion=stranger)).ids("ExtrinsicObject") == []
    asked = (APPROVED, ("$XDSDocumentEntryPatientId", f"'{PATIENT}'"))
    mismatch = await client.query(FIND_DOCUMENTS, *asked, assertion=stranger)
    assert mismatch.code == "XDSPatientIdDoesNotMatch"
    got = await client.retrieve(V1, assertion=client.air(patient=other))
    assert got.code == "XDSDocumentUniqueIdError"


# --- ITI-43 -----------------------------------------------------------------------------------------------------


async def test_retrieve_gives_the_bytes_back(client: Client) -> None:
    await published(client, V1, V2)
    reply = await client.retrieve(V1, V2)
    assert reply.result == "Success"
    assert reply.documents() == {V1: document(V1), V2: document(V2)}
    assert [e.text for e in reply.body.iter(f"{IHE}mimeType")] == ["text/xml", "text/xml"]


async def test_retrieve_of_what_is_not_there(client: Client) -> None:
    """PartialSuccess beside what is found; unknown repository; deleted documents are gone."""
    (uuid,) = await published(client, V1)
    some = await client.retrieve(V1, V2)
    assert (some.result, some.code) == ("PartialSuccess", "XDSDocumentUniqueIdError")
    assert list(some.documents()) == [V1]
    assert (await client.retrieve(V1, repository="1.2.3")).code == "XDSUnknownRepositoryId"
    await client.set_status(uuid)
    gone = await client.retrieve(V1)
    assert (gone.result, gone.code) == ("Failure", "XDSDocumentUniqueIdError")


# --- ITI-57 -----------------------------------------------------------------------------------------------------


async def test_status_changes_and_their_order(client: Client) -> None:
    """TD3.3d archive and back, TD3.3c from either; OriginalStatus is the current one; a new entryUUID."""
    (uuid,) = await published(client, V1)
    doctor = client.air
    wrong = await client.set_status(uuid, original=ebrim.ARCHIVED)
    assert wrong.code == "XDSMetadataUpdateError"
    assert (await client.set_status(uuid, ebrim.ARCHIVED, assertion=doctor())).result == "Success"
    stale = await client.set_status(uuid, ebrim.APPROVED, ebrim.ARCHIVED, doctor())
    assert stale.code == "UnresolvedReferenceException"
    (uuid,) = await client.find(V1)
    assert client.simulator.documents[V1].status == "Archived"
    back = await client.set_status(uuid, ebrim.APPROVED, ebrim.ARCHIVED, doctor())
    assert back.result == "Success"
    (uuid,) = await client.find(V1)
    nonsense = await client.set_status(uuid, ebrim.DEPRECATED, assertion=doctor())
    assert nonsense.code == "XDSMetadataUpdateError"
    assert (await client.set_status(uuid)).result == "Success"
    assert client.simulator.documents[V1].status == "Deleted"
    assert (await client.submit(V1)).code == "XDSDuplicateUniqueIdInRegistry"


async def test_a_deprecated_version_cannot_be_deleted(client: Client) -> None:
    """§3.8: the current status is Approved or Archived."""
    (first, _) = await published(client, V1, V2)
    reply = await client.set_status(first, original=ebrim.DEPRECATED)
    assert reply.code == "XDSMetadataUpdateError"


async def test_associations_follow_a_changed_entry_uuid(client: Client) -> None:
    """§0.10: the entryUUID changes with the metadata, the chain of versions does not break."""
    await published(client, V1, V2)
    (old,) = await client.find(V2)
    assert (await client.set_confidentiality(V2, add=["MASQUE_PS"])).result == "Success"
    (new,) = await client.find(V2)
    assert new != old
    leaf = await client.leaf(V2)
    assert leaf.get("lid") == old
    version = leaf.find(f"{RIM}VersionInfo")
    assert version is not None and version.get("versionName") == "2"
    rplc = ("$AssociationTypes", f"('{ebrim.REPLACES}')")
    related = await client.query(GET_RELATED, one(DOCUMENT_UID, V1), rplc)
    assert new in related.ids("ExtrinsicObject")


async def test_mask_unmask_and_make_visible(client: Client) -> None:
    """TD3.3a, TD3.3b: confidentiality only, on the current version, visible never becomes invisible."""
    await published(client, V1)
    assert client.simulator.documents[V1].confidentiality == ("N", "INVISIBLE_PATIENT")
    assert (await client.set_confidentiality(V1, add=["MASQUE_PS"])).result == "Success"
    stale = await client.set_confidentiality(V1, remove=["MASQUE_PS"], previous=1)
    assert stale.code == "XDSMetadataVersionError"
    assert (await client.set_confidentiality(V1, remove=["MASQUE_PS"])).result == "Success"
    assert (await client.set_confidentiality(V1, remove=["INVISIBLE_PATIENT"])).result == "Success"
    assert client.simulator.documents[V1].confidentiality == ("N",)
    assert client.simulator.documents[V1].version == 4
    for options in ({"add": ["INVISIBLE_PATIENT"]}, {}, {"remove": ["N"]}):
        reply = await client.set_confidentiality(V1, **options)  # type: ignore[arg-type]
        assert reply.code in ("XDSMetadataUpdateError", "XDSRegistryMetadataError"), options
    assert client.simulator.documents[V1].version == 4


async def test_nothing_else_changes_in_a_metadata_update(client: Client) -> None:
    await published(client, V1)

    def title(leaf: object) -> None:
        leaf.find(f"{RIM}Name/{RIM}LocalizedString").set("value", "Autre")  # type: ignore[attr-defined]

    reply = await client.set_confidentiality(V1, add=["MASQUE_PS"], change=title)
    assert (reply.code, reply.words) == ("XDSMetadataUpdateError", "sim: title ne peut pas changer")


async def test_masked_documents_are_seen_by_their_author_only(
    simulator: DmpSimulator, client: Client
) -> None:
    """MASQUE_PS hides from the professionals of other establishments (lenient: any structure may speak)."""
    lenient = DmpSimulator(simulator.pki.directory.parent, strict=False)
    async with lenient.running():
        mine = Client(lenient)
        assert (await mine.submit(V1)).result == "Success"
        await mine.set_confidentiality(V1, add=["MASQUE_PS"])
        other = mine.air(structure="1750000999")
        assert (await mine.query(GET_DOCUMENTS, one(DOCUMENT_UID, V1), assertion=other)).ids(
            "ExtrinsicObject"
        ) == []
        assert (await mine.retrieve(V1, assertion=mine.air(structure="1750000999"))).result == "Failure"
        assert (await mine.retrieve(V1)).result == "Success"
        await mine.close()
