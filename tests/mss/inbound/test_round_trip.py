"""Our archives and mails are read by our own inbound side; the official ones too. Source: spec/mssante.md §1.5-1.7."""

from __future__ import annotations

import hashlib

import pytest

from connectors.mss.inbound.envelope import MailKind
from connectors.mss.inbound.reading import MASKED, read_documents
from fixtures import build
from gateway.cda.versions import CHAIN, KnownDocument, check_versions
from gateway.hl7.transmission import Action
from gateway.rules import Findings
from tests.mss.inbound import samples
from tests.mss.inbound.samples import N1, N1_V2, N3, PDF
from tests.official import official

SLIPS = ["IN-METADATA-BLANKS", "IN-OBJECT-REFS", "IN-IDENTIFIER-NAMES", "IN-CONTENT-TYPE"]


@pytest.mark.parametrize(
    ("action", "contents"),
    [
        (Action.SUBMIT, (N1,)),
        (Action.SUBMIT, (N3,)),
        (Action.SUBMIT, (N1, N3)),
        (Action.REPLACE, (N1_V2,)),
        (Action.DELETE, (N1_V2,)),
        (Action.SUBMIT, (build.cda_n1(uid="1.2.250.1.999.7^AB-12"),)),
    ],
)
def test_our_archives_give_back_the_same_documents_and_action(
    action: Action, contents: tuple[bytes, ...]
) -> None:
    """§1.6, §1.7: bytes, identifiers and action; no finding at all."""
    documents, rules = samples.read(samples.archive(action, *contents))
    assert [d.document.content for d in documents] == list(contents)
    assert {d.action for d in documents} == {action}
    assert [d.entry.unique_id for d in documents] == [d.document.uid for d in documents]
    assert [d.document.sha256 for d in documents] == [hashlib.sha256(c).hexdigest() for c in contents]
    assert rules == []


def test_our_mail_is_read_whole() -> None:
    """§1.2, §2.2: headers, text, archive, PDF copy."""
    raw = samples.mail(extra="Return-Path: <passerelle@test-hopital.mssante.fr>\n")
    received = samples.receive(raw)
    mail = received.mail
    assert received.accepted and samples.rules_of(received) == []
    assert mail.kind is MailKind.XDM
    assert mail.subject == "XDM/1.0/DDM+CR d'examens biologiques TEST-DURAND CAMILLE 03/12/1984"
    assert mail.origin.sender == "passerelle@test-hopital.mssante.fr"
    assert mail.origin.sender_name == "Hôpital fictif de l'Essai"
    assert mail.origin.recipients == (build.DR_MARTIN.address,)
    assert mail.return_path == "passerelle@test-hopital.mssante.fr"
    assert (mail.codes, mail.ins, mail.product) == (("11502-2",), "O", "NIL-DE-TEST")
    assert mail.body.startswith("Cher confrère,\r\nvoici un compte rendu.")
    assert [a.name for a in mail.attachments] == ["copie_1.pdf"]
    assert mail.attachments[0].part.content() == PDF
    assert [d.document.content for d in received.documents] == [N1]


def test_two_documents_with_their_copies() -> None:
    """§1.2: N1 and N3 of one patient in one mail."""
    received = samples.receive(samples.mail(Action.SUBMIT, N1, N3, pdfs=(PDF, b"%PDF-1.4 autre")))
    assert received.accepted and samples.rules_of(received) == []
    assert [str(d.place.occurrence) for d in received.documents] == ["1", "2"]


def test_confidentiality_comes_back() -> None:
    """§1.6: the codes of the metadata give the flags of the MDM."""
    flags = samples.samples.flags(invisible_patient=True, invisible_rep_legaux=True)
    received = samples.receive(samples.mail(flags=flags))
    (document,) = received.documents
    assert document.invisible_patient and document.invisible_guardians and not document.masked
    assert received.accepted


def test_the_version_rules_take_what_was_read() -> None:
    """§2.5: action, id, setId, version and replaced id go to the same version rules as an outbound document."""

    class Known:
        def by_uid(self, uid: str) -> KnownDocument | None:
            return next((k for k in KNOWN if k.uid == uid), None)

        def by_set(self, set_key: str) -> list[KnownDocument]:
            return [k for k in KNOWN if k.set_key == set_key]

        def brought_with(self, uid: str) -> list[KnownDocument]:
            return []

    (first,), _ = samples.read(samples.archive())
    (second,), _ = samples.read(samples.archive(Action.REPLACE, N1_V2))
    key = str(first.document.header.set_id)
    assert not key.startswith(CHAIN)
    KNOWN = [
        KnownDocument(
            first.document.uid, key, 1, first.document.sha256, frozenset({build.FINESS}), Action.SUBMIT
        )
    ]
    decision = check_versions(second.action, second.document, Known(), samples.BOOK, second.place)
    assert not decision.findings.rejects and decision.predecessor_uid == first.document.uid
    again = check_versions(first.action, second.document, Known(), samples.BOOK, first.place)
    assert [f.rule for f in again.findings if f.rejects] == ["CDA-V-RPLC-ON-SUBMIT"]


@pytest.mark.official
@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("BIO-CR-BIO_2021.01_Microbiologie_V1", Action.SUBMIT),
        ("BIO-CR-BIO_2021.01_Microbiologie_V2", Action.REPLACE),
        ("BIO-CR-BIO_2021.01_Microbiologie_V2_Delete", Action.DELETE),
        ("DOC_NON_STRUCTURE_CDA-R2-N1", Action.SUBMIT),
        ("IMG_CR_IMG_2024.01", Action.REPLACE),
    ],
)
def test_the_official_archives_are_read(name: str, action: Action) -> None:
    """§1.6: their slips are tolerated and named; hash, size, ids and patient agree."""
    content = official("xdm", name, "IHE_XDM.ZIP").read_bytes()
    findings = Findings(samples.BOOK)
    (document,) = read_documents(content, samples.BOOK, findings)
    assert document.action is action
    assert [f.rule for f in findings] == SLIPS and not findings.rejects
    assert document.document.content == samples.entries(content)["IHE_XDM/SUBSET01/DOC0001.XML"]
    assert document.document.header.patient is not None and document.document.header.patient.ins is not None
    assert MASKED not in document.confidentiality
