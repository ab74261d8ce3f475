"""CDA header and message to XDS metadata: mapping tables of the volet Transmission (spec dmp §3.2 to
§3.6).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.xds import formats
from connectors.xds.mapping import UNLISTED_FORMAT, document_entry, submission_set
from connectors.xds.model import DocumentEntry
from connectors.xds.oid import is_oid, new_oid
from connectors.xds.tables import load_tables
from fixtures import build
from gateway.cda.document import CdaAuthor, CdaBody, Document
from gateway.errors import ConfigurationFault, Place
from gateway.hl7.transmission import Code, Flags, InstanceId, Organisation, Party
from tests.xds import samples

NOW = datetime(2026, 1, 10, 9, 0, tzinfo=UTC)


def entry(doc: Document, flags: Flags | None = None) -> DocumentEntry:
    sent = samples.transmission()
    made = document_entry(doc, sent if flags is None else replace(sent, flags=flags))
    assert made.problems == ()
    assert made.entry is not None
    return made.entry


@pytest.mark.parametrize(
    ("cda", "xds"),
    [
        ("20260110093000+0100", "20260110083000"),
        ("20260710093000+0200", "20260710073000"),
        ("20260101003000+0100", "20251231233000"),
        ("20260110093000.1234+0100", "20260110083000"),
        ("202601100930-0430", "202601101400"),
        ("2026011009+0100", "2026011008"),
        ("2026011009+0530", "202601100330"),
        ("20260110", "20260110"),
        ("20260110+0100", "20260110"),
        ("202601", "202601"),
        ("20260110093000", "20260110093000"),
        ("20261310", ""),
        ("20260110093000+9900", ""),
        ("hier", ""),
        ("", ""),
    ],
)
def test_times_are_utc_at_the_precision_of_the_source(cda: str, xds: str) -> None:
    """§3.2: convert the CDA offset; date-only values keep their precision; what is no time gives nothing."""
    assert formats.utc_time(cda) == xds


def test_entry_of_a_structured_document() -> None:
    doc = samples.document()
    made = entry(doc)
    assert made.unique_id == f"{samples.ROOT}.1.1"
    assert (made.class_code.code, made.class_code.label) == ("10", "Compte rendu")
    assert made.format_code.code == "urn:ihe:lab:xd-lab:2008"
    assert made.creation_time == "20260110083000"
    assert made.mime_type == "text/xml"
    assert made.size == len(doc.content)
    assert made.sha1 == hashlib.sha1(doc.content).hexdigest()
    ins = samples.INS
    assert made.patient_id == f"{ins.extension}^^^&{ins.root}&ISO^NH"
    assert made.source_patient_id == f"8004567^^^&{build.IPP_ROOT}&ISO^PI"
    assert made.source_patient_info == (
        "PID-5|TEST-DURAND^CAMILLE^CAMILLE ANDREA^^^^L",
        "PID-5|TEST-DURAND^CAMILLE^^^^^D",
        "PID-7|19841203",
        "PID-8|M",
        "PID-11|^^^^^^BDL^^75123",
    )
    assert made.reference_ids == ("A7^^^&1.2.3.4&ISO^urn:ihe:iti:xds:2013:order",)


def test_principal_event_is_the_first_with_a_performer() -> None:
    """§3.3: practiceSettingCode and service times come from the event with a performer, not from the
    first.
    """
    made = entry(samples.document())
    assert (made.service_start, made.service_stop) == ("20260109070000", "20260109071500")
    assert made.practice.code == "ETABLISSEMENT"
    assert [c.code for c in made.event_codes] == ["18725-2", "18719-5"]


def test_author_identifier_is_chosen_by_root_and_names_cannot_move_components() -> None:
    author = entry(samples.document()).authors[0]
    assert author.person == "810100000016^MARTIN^Claude^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
    assert author.institution == (f"Hôpital \\T\\ Fils^^^^^&{samples.STRUCT}&ISO^IDNST^^^1990000010",)
    assert author.specialty == ("G15_10/SM03^Médecin - Biologie médicale (SM)^1.2.250.1.213.1.1.4.5",)


def test_internal_identifier_and_device_authors() -> None:
    """§3.2: an id with "/" is an internal one (EI); a device is `…^U^^^RI`."""
    person = CdaAuthor(ids=(InstanceId(samples.PS, "3990000010/42"),), person=samples.DOCTOR)
    device = CdaAuthor(ids=(InstanceId("1.2.3", "7"),), device_name="Labo", device_model="V2")
    made = entry(samples.document(authors=(person, device)))
    assert made.authors[0].person.endswith("^D^^^EI")
    assert made.authors[1].person == "7^Labo^V2^^^^^^&1.2.3&ISO^U^^^RI"


def test_confidentiality_is_the_document_code_then_one_per_flag() -> None:
    """§3.6: OBX INVISIBLE_REP_LEGAUX is INVISIBLE_REPRESENTANTS_LEGAUX in XDS."""
    made = entry(samples.document(), Flags(masque_ps=True, invisible_patient=True, invisible_rep_legaux=True))
    assert [c.code for c in made.confidentiality] == [
        "N",
        "MASQUE_PS",
        "INVISIBLE_PATIENT",
        "INVISIBLE_REPRESENTANTS_LEGAUX",
    ]


@pytest.mark.parametrize(
    ("media", "code"),
    [
        ("application/pdf", "urn:ihe:iti:xds-sd:pdf:2008"),
        ("text/plain", "urn:ihe:iti:xds-sd:text:2008"),
        ("image/jpeg", "urn:ihe:iti-fr:xds-sd:jpeg:2010"),
    ],
)
def test_format_of_an_unstructured_document_follows_its_media_type(media: str, code: str) -> None:
    assert entry(samples.document(body=CdaBody("nonXML", media))).format_code.code == code


def test_unknown_template_is_a_problem_unless_a_fallback_is_given() -> None:
    doc = samples.document(template_ids=(InstanceId("1.2.3"),))
    assert document_entry(doc, samples.transmission()).problems == ("formatCode",)
    made = document_entry(doc, samples.transmission(), fallbacks={"formatCode": UNLISTED_FORMAT})
    assert made.entry is not None
    assert made.entry.format_code == UNLISTED_FORMAT


def test_all_problems_are_told_together() -> None:
    doc = samples.document(
        facility=None, events=(), legal_authenticator=None, title=" ", language="", authors=(), code=None
    )
    assert set(document_entry(doc, samples.transmission()).problems) == {
        "healthcareFacilityTypeCode",
        "practiceSettingCode",
        "serviceStartTime",
        "legalAuthenticator",
        "title",
        "languageCode",
        "author",
        "typeCode",
        "classCode",
    }


def test_code_outside_the_value_set_is_a_problem() -> None:
    doc = samples.document(facility=Code("SA99", "?", "1.2.250.1.71.4.2.4"))
    assert document_entry(doc, samples.transmission()).problems == ("healthcareFacilityTypeCode",)


@pytest.mark.parametrize(
    ("patient_class", "content"), [("I", "03"), ("O", "07"), ("R", "19"), ("N", "97"), ("E", "07")]
)
def test_lot_is_signed_by_the_sender_and_typed_by_the_patient_class(patient_class: str, content: str) -> None:
    """§3.3: contentTypeCode from PV1-2; author from PRT SB, a bare FINESS gets its prefix."""
    sent = samples.transmission(patient_class=patient_class)
    lot, problems = submission_set(sent, unique_id="2.25.1", source_id="1.2.3", now=NOW)
    assert problems == ()
    assert lot is not None
    assert lot.content_type.code == content
    assert lot.submission_time == "20260110090000"
    assert lot.author.institution[0].endswith("^IDNST^^^1990000010")
    assert lot.author.person.startswith("810100000016^MARTIN^Claude^")


def test_lot_without_sender_patient_and_class_tells_all_three() -> None:
    sent = samples.transmission(sender=None, patient_class="X")
    sent = replace(sent, patient=replace(sent.patient, identifiers=()))
    lot, problems = submission_set(sent, unique_id="2.25.1", source_id="1.2.3", now=NOW)
    assert lot is None
    assert set(problems) == {"patientId", "author", "contentTypeCode"}


@pytest.mark.parametrize(
    ("kind", "number", "expected"),
    [
        ("FINEG", "990000010", "1990000010"),
        ("FINEJ", "1990000010", "1990000010"),
        ("IDNST", "339172288100052", "339172288100052"),
        ("SIRET", "39172288100052", "339172288100052"),
        ("UF", "3435", "3435"),
    ],
)
def test_structure_identifier_gets_its_national_prefix_once(kind: str, number: str, expected: str) -> None:
    assert formats.struct_id_nat(Organisation("x", samples.STRUCT, kind, number)) == expected


def test_sender_that_names_nobody_is_no_author() -> None:
    assert submission_set(
        samples.transmission(sender=Party(Place("PRT"), device="X")),
        unique_id="2.25.1",
        source_id="1.2",
        now=NOW,
    )[1] == ("author",)


def test_tables_can_be_replaced_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "type.tsv").write_text("# table: x\n# date: 2030-01-01\ncode\tlabel\n11502-2\tBio\n")
    tables = load_tables(tmp_path)
    assert tables.type_labels == {"11502-2": "Bio"}
    assert tables.versions["type.tsv"] == "2030-01-01"
    assert tables.class_by_type["11502-2"].code == "10"


def test_broken_table_is_a_configuration_fault(tmp_path: Path) -> None:
    (tmp_path / "facility.tsv").write_text("code\tlabel\nSA01\tx\n")
    with pytest.raises(ConfigurationFault, match=r"facility\.tsv"):
        load_tables(tmp_path)


def test_new_oids_are_valid_and_new() -> None:
    made = {new_oid() for _ in range(50)}
    assert len(made) == 50
    assert all(is_oid(o) and o.startswith("2.25.") for o in made)
    assert not is_oid("1.02.3")
    assert not is_oid("1.2^x")
