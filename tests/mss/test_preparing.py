"""The pre-transaction: rules MSS-*, all findings together. Source: spec/mssante.md §1.1, §1.2, §1.4, §1.9."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.mss import mail, xdm
from connectors.mss.addresses import is_address
from connectors.mss.connector import MssConnector
from connectors.mss.plan import Leg, from_json
from connectors.mss.preparing import attachments
from connectors.mss.simulator import create
from connectors.port import Outcome, OutcomeClass, Preparation, Refused, Report
from connectors.smtp.replies import Phase, label_of, of_reply, table_code
from fixtures import build
from gateway.errors import Place, Severity
from gateway.hl7.tables import SMTP_ERRORS, table
from gateway.hl7.transmission import INS_NIA, INS_NIR, INS_TEST, Action, MailBody, PatientId, Transmission
from gateway.rules import Preset, read_rules
from tests.mss import samples
from tests.mss.samples import BERNARD, MARTIN, PATIENT, accepted, flags, party, preparation, transmission

WHITE_LIST = """<?xml version="1.0" encoding="UTF-8"?>
<ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema"><DateDeGeneration>2026-01-01</DateDeGeneration>
<ListeDomaines><Domaine><Nom>Test-Hopital.mssante.fr</Nom></Domaine><Domaine><Nom>patient.mssante.fr</Nom></Domaine>
<Domaine><Nom>test-hopital.mssante.fr</Nom></Domaine></ListeDomaines></ListeBlancheMSSante>"""


async def refused(prepared: Preparation, table: dict[str, Any] | None = None) -> dict[str, str]:
    """Rule ids of a refusal with the ERL of each (one of several of the same rule)."""
    connector = samples.connector(table)
    verdict = await connector.prepare(prepared)
    assert isinstance(verdict, Refused), verdict
    return {f.rule: f.place.erl() if f.place else "" for f in verdict.findings}


async def warned(prepared: Preparation, preset: Preset = "production") -> list[str]:
    verdict = accepted(await samples.connector(preset=preset).prepare(prepared))
    return [f.rule for f in verdict.warnings]


async def test_a_good_message_has_no_finding_and_one_plan_per_recipient() -> None:
    verdict = accepted(await samples.connector().prepare(preparation()))
    assert verdict.warnings == ()
    assert [d.recipient for d in verdict.deliveries] == [MARTIN, BERNARD]
    assert {d.document_uids for d in verdict.deliveries} == {(f"{build.DOCUMENT_ROOT}.1.1",)}
    made = [from_json(d.plan) for d in verdict.deliveries]
    assert [p.recipient_id for p in made] == ["810100000024", "810100000032"]
    for name in ("message_id", "envid", "boundary"):
        assert len({getattr(p, name) for p in made}) == 2
    assert len({p.submission.unique_id for p in made}) == 2


async def test_all_findings_at_once() -> None:
    """Every finding of recipients, reply address, metadata and PDF comes in one refusal, each in its place."""
    asked = transmission(
        recipients=(party("dr.martin@patient.mssante.f", 2), party("a b@c.fr", 3), party(BERNARD, 4)),
        reply_to=("pas une adresse",),
    )
    cda = build.cda_n1(payload=b"pas un PDF", type_code="99999-9")
    assert await refused(preparation(asked, cda)) == {
        "MSS-ADDRESS": "PRT^3^15^1^4",
        "MSS-REPLY-TO": "",
        "MSS-METADATA": "OBX^1^5",
        "MSS-PDF-UNREADABLE": "OBX^1^5",
    }


async def test_a_model_that_the_tables_do_not_know_goes_as_such() -> None:
    """BIO-TROD has no row in ASS_A11: the mail goes with the format of JDV_J60 for models that are not listed."""
    n3 = build.cda_n3()
    unknown = n3.replace(b"1.2.250.1.213.1.1.1.55", b"1.2.250.1.213.1.1.1.999").replace(
        b"1.3.6.1.4.1.19376.1.3.3", b"1.3.6.1.4.1.19376.1.3.999"
    )
    assert "MSS-FORMAT-UNLISTED" not in await warned(preparation(None, n3))
    assert "MSS-FORMAT-UNLISTED" in await warned(preparation(None, unknown))


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("dr.martin@test-hopital.mssante.fr", True),
        ("279035121518989@patient.mssante.fr", True),
        ("a+b_c-d'e@x.fr", True),
        ("a@patient.mssante.f", False),
        ("a@mssante", False),
        ("a..b@x.fr", False),
        (".a@x.fr", False),
        ("a@-x.fr", False),
        ("é@x.fr", False),
        ("a@x.fr\r\nRCPT TO:<b@x.fr>", False),
        ("a@x.fr ", False),
        ("<a@x.fr>", False),
        ('"a b"@x.fr', False),
        ("a@b@x.fr", False),
        ("x" * 65 + "@x.fr", False),
        ("", False),
    ],
)
def test_address_syntax(address: str, good: bool) -> None:
    """RFC 5321 dot-string; the truncated domain of the volet's example fails."""
    assert is_address(address) is good


async def test_last_door_before_a_wrong_recipient() -> None:
    """Invariants: a masked document never to a professional, an invisible one never to the patient."""
    both = (party(MARTIN, 2), party(PATIENT, 3))
    asked = transmission(
        recipients=both,
        flags=flags(dest_mssante_pat=True, masque_ps=True, invisible_patient=True),
    )
    assert await refused(preparation(asked)) == {
        "MSS-MASKED-TO-PS": "PRT^2^15^1^4",
        "MSS-INVISIBLE-TO-PATIENT": "PRT^3^15^1^4",
    }


def test_safety_rules_are_invariants() -> None:
    rules = {r.id: r for r in read_rules(MssConnector.rule_tables[0])}
    for rule in (
        "MSS-MASKED-TO-PS",
        "MSS-INVISIBLE-TO-PATIENT",
        "MSS-ADDRESS",
        "MSS-REPLY-TO",
        "MSS-NO-RECIPIENT",
    ):
        assert rules[rule].invariant
        assert rules[rule].severity["interop"] is Severity.REJECT


async def test_only_the_legs_asked_for_are_written_to() -> None:
    """DESTMSSANTEPS / DESTMSSANTEPAT split the recipients by domain (§1.1)."""
    both = (party(MARTIN, 2), party(PATIENT, 3))
    only_ps = accepted(await samples.connector().prepare(preparation(transmission(recipients=both))))
    assert [d.recipient for d in only_ps.deliveries] == [MARTIN]
    patient_flags = flags(dest_mssante_ps=False, dest_mssante_pat=True)
    asked = transmission(recipients=both, flags=patient_flags)
    only_patient = accepted(await samples.connector().prepare(preparation(asked)))
    assert [d.recipient for d in only_patient.deliveries] == [PATIENT]
    assert from_json(only_patient.deliveries[0].plan).leg is Leg.PATIENT
    nobody = transmission(recipients=(party(MARTIN, 2),), flags=patient_flags)
    assert await refused(preparation(nobody)) == {"MSS-NO-RECIPIENT": ""}


QUALIFIED = (PatientId("279035121518989", INS_NIR, "NH"), PatientId("12345", build.IPP_ROOT, "PI"))


def to_patient(**traits: Any) -> Transmission:
    """A transmission to the patient alone, without an address of the patient."""
    asked = transmission(recipients=(), flags=flags(dest_mssante_ps=False, dest_mssante_pat=True))
    return replace(
        asked, patient=replace(asked.patient, identifiers=QUALIFIED, identity_status="VALI", **traits)
    )


async def test_the_patients_address_is_computed_only_when_asked() -> None:
    """§1.4: `<matricule>@patient.mssante.fr`, behind a setting."""
    assert await refused(preparation(to_patient())) == {"MSS-NO-RECIPIENT": ""}
    connector = samples.connector({"compute_patient_address": True})
    verdict = accepted(await connector.prepare(preparation(to_patient())))
    (delivery,) = verdict.deliveries
    assert delivery.recipient == "279035121518989@patient.mssante.fr"
    assert from_json(delivery.plan).leg is Leg.PATIENT
    # an address of the message is the one that counts
    given = replace(to_patient(), recipients=(party(PATIENT, 3),))
    assert [d.recipient for d in accepted(await connector.prepare(preparation(given))).deliveries] == [
        PATIENT
    ]


@pytest.mark.parametrize(
    ("status", "identifiers"),
    [
        ("PROV", QUALIFIED),
        ("", QUALIFIED),
        ("VALI", QUALIFIED[1:]),
        ("VALI", (PatientId("279035121518989", INS_TEST, "NH"),)),
        ("VALI", (PatientId("279035121518988", INS_NIR, "NH"),)),
        ("VALI", (PatientId("27903512151898", INS_NIR, "NH"),)),
        ("VALI", (*QUALIFIED, PatientId("146026322000196", INS_NIA, "NH"))),
    ],
)
async def test_no_address_is_computed_from_what_is_not_a_qualified_ins(
    status: str, identifiers: tuple[PatientId, ...]
) -> None:
    """ECO.2.2.6: a mailbox of somebody else is the worst that can happen."""
    asked = to_patient()
    asked = replace(asked, patient=replace(asked.patient, identifiers=identifiers, identity_status=status))
    assert await refused(preparation(asked), {"compute_patient_address": True}) == {"MSS-NO-RECIPIENT": ""}


async def test_a_computed_address_passes_the_same_doors() -> None:
    """INVISIBLE_PATIENT, white list, size: placed at PID-3."""
    asked = replace(
        to_patient(), flags=flags(dest_mssante_ps=False, dest_mssante_pat=True, invisible_patient=True)
    )
    table = {"compute_patient_address": True}
    assert await refused(preparation(asked), table) == {"MSS-INVISIBLE-TO-PATIENT": "PID^1^3"}
    tight = table | {"size_limits": {"patient.mssante.fr": 100}}
    assert await refused(preparation(to_patient()), tight) == {"MSS-TOO-LARGE": "PID^1^3"}


@pytest.mark.parametrize(
    ("born", "minor"),
    [
        ("20081120", False),
        ("20081121", True),
        ("20080101", False),
        ("20150229", True),
        ("2015", False),
        ("", False),
    ],
)
async def test_a_minors_mailbox_is_read_by_the_representatives(born: str, minor: bool) -> None:
    """INVISIBLE_REP_LEGAUX never to the address of a legal representative (decision 21)."""
    hidden = flags(dest_mssante_ps=False, dest_mssante_pat=True, invisible_rep_legaux=True)
    asked = transmission(recipients=(party(PATIENT, 3),), flags=hidden)
    asked = replace(asked, patient=replace(asked.patient, birth_date=born))
    prepared = replace(preparation(asked), now=datetime(2026, 11, 20, 12, tzinfo=UTC))
    verdict = await samples.connector().prepare(prepared)
    found = {f.rule for f in verdict.findings} if isinstance(verdict, Refused) else set()
    assert found == ({"MSS-INVISIBLE-TO-REPRESENTATIVE"} if minor else set())
    # what is not hidden from them, and what goes to professionals, goes
    seen = replace(asked, flags=flags(dest_mssante_ps=False, dest_mssante_pat=True))
    accepted(await samples.connector().prepare(replace(prepared, transmission=seen)))
    ps = transmission(flags=flags(invisible_rep_legaux=True, invisible_patient=True), patient=asked.patient)
    accepted(await samples.connector().prepare(replace(prepared, transmission=ps)))


async def test_the_size_that_the_operator_announced_refuses_before_the_ack(tmp_path: Path) -> None:
    """§1.2: the SIZE of the EHLO answer is known after the first mail."""
    operator = create(tmp_path, size_limit=60_000)
    await operator.start()
    connector = samples.connector(operator.connector_settings())
    await connector.start()
    big = preparation(transmission(recipients=(party(MARTIN, 2),)), build.cda_n1(payload=build.pdf(60_000)))
    accepted(await connector.prepare(big))
    small = preparation(transmission(recipients=(party(MARTIN, 2),)))
    delivery = accepted(await connector.prepare(small)).deliveries[0]
    assert (await connector.deliver(samples.job(delivery, small))).outcome is OutcomeClass.SUCCESS
    verdict = await connector.prepare(big)
    assert isinstance(verdict, Refused)
    assert [f.rule for f in verdict.findings] == ["MSS-TOO-LARGE"]
    accepted(await connector.prepare(small))
    await connector.stop()
    await operator.stop()


def test_wants() -> None:
    connector = samples.connector()
    assert connector.wants(transmission())
    assert connector.wants(transmission(flags=flags(dest_mssante_ps=False, dest_mssante_pat=True)))
    assert not connector.wants(transmission(flags=flags(dest_mssante_ps=False)))


async def test_the_same_mailbox_twice_gets_one_mail() -> None:
    twice = (party(MARTIN, 2), party(MARTIN.upper(), 3), party(BERNARD, 4))
    prepared = preparation(transmission(recipients=twice))
    verdict = accepted(await samples.connector().prepare(prepared))
    assert [d.recipient for d in verdict.deliveries] == [MARTIN, BERNARD]
    assert [(f.rule, f.place) for f in verdict.warnings] == [
        ("MSS-DUPLICATE-RECIPIENT", Place("PRT", 3, 15, None, 4))
    ]


async def test_white_list(tmp_path: Path) -> None:
    """§1.4: domain outside the list: refused in production, warned in interop; compared without case."""
    (tmp_path / "list.xml").write_text(WHITE_LIST, encoding="utf-8")
    asked = transmission(recipients=(party(MARTIN, 2), party("x@ailleurs.fr", 3)))
    for preset, kind in (("production", Refused), ("interop", None)):
        connector = samples.connector({"white_list": "list.xml"}, tmp_path, preset)  # type: ignore[arg-type]  # literal
        await connector.start()
        verdict = await connector.prepare(preparation(asked))
        found = verdict.findings if isinstance(verdict, Refused) else accepted(verdict).warnings
        assert isinstance(verdict, Refused) == (kind is Refused)
        assert [(f.rule, f.place and f.place.erl()) for f in found] == [
            ("MSS-DOMAIN-UNLISTED", "PRT^3^15^1^4")
        ]
        await connector.stop()


async def test_a_document_without_copy_goes_with_a_warning() -> None:
    """§1.8: N3 without "Copie du document"."""
    assert await warned(preparation(transmission(), build.cda_n3())) == ["MSS-PDF-ABSENT"]


async def test_a_type_outside_j66_is_mailable() -> None:
    """dmp.md §3.3: 29274-8 is in J07 and not in J66."""
    assert await warned(preparation(transmission(), build.cda_n1(type_code="29274-8"))) == []


async def test_size_limits_are_exact() -> None:
    """§1.2: the mail itself is measured when its bound passes the limit."""
    cda = build.cda_n1(payload=build.pdf(300_000))
    prepared = preparation(transmission(recipients=(party(MARTIN, 2),)), cda)
    domain = MARTIN.partition("@")[2]
    plan = from_json(accepted(await samples.connector().prepare(prepared)).deliveries[0].plan)
    attached = attachments(plan, [cda], first=False)
    exact = len(mail.build(plan, plan.body, attached))
    # identifiers of another plan are a few digits longer or shorter
    tight, low = exact + 200, exact - 200
    assert mail.size_bound(plan, plan.body, [xdm.size_bound(plan, [len(cda)]), 300_000]) > tight
    accepted(await samples.connector({"size_limits": {domain: tight}}).prepare(prepared))
    assert await refused(prepared, {"size_limits": {domain: low}}) == {"MSS-TOO-LARGE": "PRT^2^15^1^4"}
    assert await refused(prepared, {"default_size_limit": low}) == {"MSS-TOO-LARGE": "PRT^2^15^1^4"}
    accepted(await samples.connector({"size_limits": {"patient.mssante.fr": low}}).prepare(prepared))


async def test_bodies_by_leg_and_action() -> None:
    """§1.2: CORPSMAIL_* as sent; default texts on replacement and deletion say what to do."""
    both = (party(MARTIN, 2), party(PATIENT, 3))
    wanted = flags(dest_mssante_pat=True)
    body = MailBody("Bonjour Madame", Place("OBX", 13))
    asked = transmission(recipients=both, flags=wanted, body_patient=body)
    made = accepted(await samples.connector().prepare(preparation(asked))).deliveries
    assert from_json(made[0].plan).body.startswith("Cher confrère")
    assert from_json(made[1].plan).body == "Bonjour Madame"
    for action, word in ((Action.REPLACE, "remplace"), (Action.DELETE, "supprimé")):
        asked = transmission(action, recipients=both, flags=wanted, body_ps=None)
        for delivery in accepted(await samples.connector().prepare(preparation(asked))).deliveries:
            assert word in from_json(delivery.plan).body


async def test_an_oru_without_pv1_takes_the_default_class() -> None:
    """PV1 is optional in an ORU; contentTypeCode is required in the lot."""
    asked = transmission(message_type="ORU", event="R01", patient_class="")
    verdict = accepted(await samples.connector().prepare(preparation(asked)))
    assert from_json(verdict.deliveries[0].plan).submission.content_type.code == "97"


async def test_no_patient_data_in_findings() -> None:
    cda = build.cda_n1(payload=b"pas un PDF")
    verdict = await samples.connector().prepare(preparation(transmission(), cda))
    assert isinstance(verdict, Refused)
    for word in ("DURAND", "CAMILLE", build.PATIENT.ins, MARTIN):
        assert word not in str(verdict)


async def test_report_is_a_z02() -> None:
    """spec/hl7-transmission.md §3: recipient's address, PRT-5.1, SMTP code."""
    connector = samples.connector()
    delivery = accepted(await connector.prepare(preparation())).deliveries[0]
    refusal = Outcome(OutcomeClass.PERMANENT, "550", "Boîte inexistante")
    assert connector.report(delivery.recipient, delivery.plan, refusal) == Report(
        "Z02", False, MARTIN, "810100000024", "550", "Boîte inexistante"
    )
    success = connector.report(delivery.recipient, delivery.plan, Outcome(OutcomeClass.SUCCESS, "250"))
    assert success is not None
    assert success.accepted
    # who asked for it is the heart's business: a later copy may ask what the first did not
    quiet = preparation(transmission(flags=flags(ack_reception=False)))
    delivery = accepted(await connector.prepare(quiet)).deliveries[0]
    assert connector.report(delivery.recipient, delivery.plan, refusal) is not None


async def test_big_documents_are_prepared_beside_the_event_loop() -> None:
    """The same verdict from the thread."""
    cda = build.cda_n1(payload=build.pdf(1_000_000))
    assert len(cda) > 1_000_000
    verdict = accepted(await samples.connector().prepare(preparation(transmission(), cda)))
    assert len(verdict.deliveries) == 2


@pytest.mark.parametrize("reply", [*range(200, 260), *range(400, 460), *range(500, 560)])
def test_every_reply_has_a_code_of_the_table(reply: int) -> None:
    """SMTPERRORCODE: unknown replies take the general code of their class."""
    code = table_code(reply)
    assert code == "250" or code in table(SMTP_ERRORS)
    assert label_of(code)
    kinds = {phase: of_reply(phase, reply).outcome for phase in Phase}
    if reply < 300:
        assert kinds[Phase.BODY] is OutcomeClass.SUCCESS
        assert OutcomeClass.SUCCESS not in [k for p, k in kinds.items() if p is not Phase.BODY]
    elif reply < 500:
        assert set(kinds.values()) <= {OutcomeClass.TRANSIENT, OutcomeClass.CONFIGURATION}
    else:
        assert kinds[Phase.CONNECT] is OutcomeClass.CONFIGURATION
        config = reply in (530, 534, 535, 538)
        assert kinds[Phase.RCPT] is (OutcomeClass.CONFIGURATION if config else OutcomeClass.PERMANENT)


def test_the_reply_text_goes_nowhere() -> None:
    """A server may quote the recipient or the subject: only its enhanced status is kept."""
    result = of_reply(Phase.RCPT, 550, f"5.1.1 <{MARTIN}> unknown")
    assert MARTIN not in str(result)
    assert result.details["enhanced"] == "5.1.1"


def test_a_sender_refused_at_mail_is_ours_to_mend() -> None:
    """Before any recipient is named every mail would fail: the circuit opens, no document is refused for it."""
    assert of_reply(Phase.MAIL, 550).outcome is OutcomeClass.CONFIGURATION
    assert of_reply(Phase.MAIL, 552).outcome is OutcomeClass.PERMANENT
    assert of_reply(Phase.MAIL, 554, "5.3.4 too big").outcome is OutcomeClass.PERMANENT
