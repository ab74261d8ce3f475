"""Every mail that the connector can make is read by our own inbound side: the same documents, action and flags.

Exhaustive over action × documents × leg × flags × first submission. Source: spec/mssante.md §1.2 to §1.7, §2.2.
"""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from connectors.mss import mail
from connectors.mss.inbound import reading
from connectors.mss.inbound.envelope import MailKind
from connectors.mss.plan import MailPlan, from_json
from connectors.mss.preparing import attachments
from fixtures import build
from gateway.hl7.transmission import Action
from gateway.rules import load_rulebook
from tests.mss import samples
from tests.mss.inbound.samples import TABLE
from tests.mss.samples import MARTIN, PATIENT, party

BOOK = load_rulebook([TABLE])
ROOT = build.DOCUMENT_ROOT
PDF = build.pdf(3_000)
N1 = build.cda_n1(payload=PDF)
N1_NEXT = build.cda_n1(payload=PDF, uid=f"{ROOT}.1.2", version=2, replaces=f"{ROOT}.1.1")
N3 = build.cda_n3(pdf_copy=PDF)
N3_NEXT = build.cda_n3(uid=f"{ROOT}.3.2", version=2, replaces=f"{ROOT}.3.1")
NEWLY, AGAIN = ((N1,), (N3,), (N1, N3)), ((N1_NEXT,), (N3_NEXT,), (N1_NEXT, N3_NEXT))
BOOLS = (False, True)


def made(action: Action, contents: tuple[bytes, ...], patient: bool, flags: dict[str, bool]) -> MailPlan:
    """The plan of the connector."""
    asked = samples.transmission(
        action,
        message_type="MDM" if len(contents) == 1 else "ORU",
        recipients=(party(PATIENT if patient else MARTIN, 2),),
        flags=samples.flags(dest_mssante_ps=not patient, dest_mssante_pat=patient, **flags),
        body_ps=None,
        patient_may_not_answer=patient,
    )
    verdict = asyncio.run(samples.connector(preset="interop").prepare(samples.preparation(asked, *contents)))
    return from_json(samples.accepted(verdict).deliveries[0].plan)


@pytest.mark.parametrize("patient", BOOLS, ids=["ps", "patient"])
@pytest.mark.parametrize("action", list(Action))
def test_our_inbound_side_reads_what_our_outbound_side_sends(action: Action, patient: bool) -> None:
    """No rejecting finding, the bytes of the documents, the action, the confidentiality, the headers."""
    for contents, first, hidden, guardians, reading_asked in product(
        NEWLY if action is Action.SUBMIT else AGAIN, BOOLS, BOOLS, BOOLS, BOOLS
    ):
        # a document hidden from a reader never goes to that reader: MASQUE_PS only towards the patient
        flags = {
            "masque_ps" if patient else "invisible_patient": hidden,
            "invisible_rep_legaux": guardians,
            "ack_lecture_mss": reading_asked,
        }
        plan = made(action, contents, patient, flags)
        body = plan.first_body if first else plan.body
        raw = mail.build(plan, body, attachments(plan, list(contents), first=first))
        received = reading.receive(raw, BOOK)
        case = (action, patient, len(contents), first, flags)
        assert received.mail.kind is MailKind.XDM, case
        # what is masked for professionals may go to the patient; a DPI that gets it from there does not take it
        refused = ["IN-MASKED"] * len(contents) if patient and hidden else []
        assert [f.rule for f in received.findings if f.rejects] == refused, case
        assert [d.document.content for d in received.documents] == list(contents), case
        told = Action.SUBMIT if action is Action.REPLACE and first else action
        assert {d.action for d in received.documents} == {told}, case
        for document in received.documents:
            assert document.masked == (patient and hidden), case
            assert document.invisible_patient == (not patient and hidden), case
            assert document.invisible_guardians == guardians, case
        assert received.mail.notify == ((plan.sender,) if reading_asked else ()), case
        assert received.mail.final == patient, case
        assert (received.mail.codes, received.mail.ins, received.mail.product) == (
            ("11502-2",),
            "O",
            "NIL-DE-TEST",
        )
        assert received.mail.body.strip() == body.strip().replace("\n", "\r\n"), case
        copies = [a.part.content() for a in received.mail.attachments]
        assert copies.count(PDF) == sum(c is not N3_NEXT for c in contents), case
