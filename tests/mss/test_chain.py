"""From the message of a DPI to the mail: profile, CDA room and MSSanté connector together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from connectors.mss.connector import MssConnector
from connectors.mss.simulator import create
from connectors.port import OutcomeClass, Preparation, Refused
from fixtures import build
from gateway.cda.check import check_documents
from gateway.errors import Severity
from gateway.hl7.message import Message
from gateway.hl7.profile import read_transmission
from gateway.hl7.transmission import INS_NIR
from gateway.rules import load_rulebook
from tests.mss import samples
from tests.mss.samples import NOW, accepted, job


def prepared(raw: bytes) -> Preparation:
    """What the heart hands to the connectors; the message must be conform."""
    book = load_rulebook(MssConnector.rule_tables)
    reading = read_transmission(Message.parse(raw), book)
    assert reading.transmission is not None
    check = check_documents(reading.transmission, raw, book)
    assert [f for f in (*reading.findings, *check.findings) if f.rejects] == []
    return Preparation(reading.transmission, check.documents, NOW)


async def test_an_mdm_reaches_every_recipient(tmp_path: Path) -> None:
    """MDM^T02 to a professional and to the patient: the CDA byte for byte in both mails."""
    cda = build.cda_n1(payload=build.pdf(50_000))
    recipients = [build.DR_MARTIN, build.patient_recipient()]
    raw = build.mdm("T02", cda, recipients=recipients, body_patient="Bonjour", flags={"DESTDMP": "N"})
    operator = create(tmp_path)
    await operator.start()
    connector = samples.connector(operator.connector_settings())
    await connector.start()
    try:
        wanted = prepared(raw)
        for delivery in accepted(await connector.prepare(wanted)).deliveries:
            assert (await connector.deliver(job(delivery, wanted))).outcome is OutcomeClass.SUCCESS
    finally:
        await connector.stop()
        await operator.stop()
    assert [m.recipient for m in operator.mails] == [r.address for r in recipients]
    assert [m.text().strip() for m in operator.mails] == [build.BODY_PS.replace("\n", "\r\n"), "Bonjour"]
    for mail in operator.mails:
        assert mail.documents()["IHE_XDM/SUBSET01/DOC0001.XML"] == cda


async def test_an_oru_carries_both_documents() -> None:
    """ORU^R01 with N1 and N3: one mail per recipient with both."""
    raw = build.oru("submit", [build.cda_n1(), build.cda_n3()])
    deliveries = accepted(await samples.connector().prepare(prepared(raw))).deliveries
    assert [len(d.document_uids) for d in deliveries] == [2, 2]


def test_a_message_without_the_patients_address_needs_the_setting_twice() -> None:
    """`compute_patient_address`: the profile is told by `[severity]`, the connector by its setting."""
    who = replace(build.PATIENT, ins_oid=INS_NIR)
    flags = {"DESTDMP": "N", "DESTMSSANTEPS": "N", "DESTMSSANTEPAT": "Y"}
    raw = build.mdm("T02", build.cda_n1(patient=who), patient=who, recipients=(), flags=flags, body_ps=None)
    rule = "ROUTE-NO-PATIENT-ADDRESS"
    for severity, rejects in ({}, {rule}), ({rule: Severity.WARN}, set()):
        book = load_rulebook(MssConnector.rule_tables, overrides=severity)
        reading = read_transmission(Message.parse(raw), book)
        assert {f.rule for f in reading.findings if f.rejects} == rejects
    assert reading.transmission is not None
    check = check_documents(reading.transmission, raw, book)
    assert [f for f in check.findings if f.rejects] == []
    wanted = Preparation(reading.transmission, check.documents, NOW)
    assert isinstance(asyncio.run(samples.connector().prepare(wanted)), Refused)
    verdict = asyncio.run(samples.connector({"compute_patient_address": True}).prepare(wanted))
    assert [d.recipient for d in accepted(verdict).deliveries] == [f"{who.ins}@patient.mssante.fr"]
