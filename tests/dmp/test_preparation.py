"""The pre-transaction (spec dmp §8.1): every rule, all findings together, and what is planned."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.dmp import plan as plans
from connectors.dmp.preparation import prepare
from connectors.dmp.roles import load_roles
from connectors.dmp.settings import DmpSettings, read_settings
from connectors.port import PlannedDelivery, Preparation
from connectors.xds.tables import load_tables
from fixtures import build
from gateway.cda.document import CdaOrganisation, CdaSigner, Document
from gateway.errors import GatewayBug, Severity
from gateway.hl7.transmission import Action, Code, Flags, InstanceId, PatientId, Transmission
from gateway.rules import Findings, Preset
from tests.dmp.conftest import book
from tests.xds import samples

NOW = datetime(2026, 1, 10, 9, tzinfo=UTC)


def settings(**changes: Any) -> DmpSettings:
    return read_settings(
        {
            "base_url": "https://dmp.test/si-dmp-server/v2/services",
            "auth_certificate": "a",
            "auth_key": "a",
            "sign_certificate": "a",
            "sign_key": "a",
            "ca_bundle": "a",
            "instance_oid": "1.2.3",
            **changes,
        },
        Path(),
    )


def run(
    sent: Transmission | None = None,
    *documents: Document,
    preset: Preset = "production",
    given: DmpSettings | None = None,
    certificate: str = build.FINESS,
) -> tuple[Findings, tuple[PlannedDelivery, ...]]:
    return prepare(
        Preparation(sent or samples.transmission(), documents or (samples.document(),), NOW),
        given or settings(),
        load_tables(),
        load_roles((given or settings()).tables, (given or settings()).directory),
        certificate,
        book(preset),
    )


def test_a_conform_document_is_planned_without_a_finding() -> None:
    findings, (planned,) = run()
    assert list(findings) == []
    assert (planned.recipient, planned.document_uids) == ("", (f"{samples.ROOT}.1.1",))
    plan = plans.load(planned.plan)
    assert plans.dump(plan) == planned.plan
    assert json.loads(planned.plan)["subject"]["structure"] == build.FINESS
    assert plan.subject.name_id == "810100000016"
    assert plan.entry is not None


def without(**parts: Any) -> Transmission:
    sent = samples.transmission()
    assert sent.sender is not None
    return replace(sent, sender=dataclasses.replace(sent.sender, **parts))


def with_patient(*identifiers: PatientId, status: str = "VALI") -> Transmission:
    sent = samples.transmission()
    return replace(sent, patient=replace(sent.patient, identifiers=identifiers, identity_status=status))


OTHER_HOSPITAL = CdaOrganisation((InstanceId(samples.STRUCT, "1990000099"),), "Autre")
HEADER = samples.header()
assert HEADER.patient is not None
REFUSED: list[tuple[str, Transmission | None, dict[str, Any]]] = [
    ("DMP-SENDER", replace(samples.transmission(), sender=None), {}),
    ("DMP-SENDER", without(organisation=None), {}),
    ("DMP-SENDER", without(person=None), {}),
    ("DMP-INS-MISSING", with_patient(PatientId("8", "1.2", "PI")), {}),
    (
        "DMP-INS-DIFFERENT",
        with_patient(PatientId("1841275123988", build.INS_TEST, "INS")),
        {},
    ),
    ("DMP-INS-DOMAIN", replace(samples.transmission(), processing_id="P"), {}),
    ("DMP-INS-DOCUMENT", None, {"patient": replace(HEADER.patient, ids=(InstanceId("1.2", "8"),))}),
    ("DMP-ID", None, {"id": InstanceId("1.2.3", "4")}),
    ("DMP-ID", None, {"id": None}),
    ("DMP-ID", None, {"id": InstanceId("1.02.3")}),
    ("DMP-REPLACED", samples.transmission(Action.REPLACE), {}),
    ("DMP-AUTHOR", None, {"authors": (replace(HEADER.authors[0], organisation=OTHER_HOSPITAL),)}),
    ("DMP-TITLE", None, {"title": "x" * 129}),
    ("DMP-CONFIDENTIALITY", None, {"confidentiality": Code("R", "", "2.16.840.1.113883.5.25")}),
    (
        "DMP-SIGNER",
        None,
        {"legal_authenticator": CdaSigner((InstanceId("1.2.3", "4"),), "20260110", samples.DOCTOR, None)},
    ),
    ("DMP-METADATA", None, {"facility": None}),
    ("DMP-METADATA", None, {"template_ids": ()}),
    ("DMP-METADATA", None, {"events": ()}),
    ("DMP-METADATA", None, {"legal_authenticator": None}),
    ("DMP-METADATA", replace(samples.transmission(), patient_class="B"), {}),
    ("DMP-SECRET", replace(samples.transmission(), flags=Flags(dest_dmp=True, connexion_secrete=True)), {}),
]


@pytest.mark.parametrize(("rule", "sent", "changes"), REFUSED)
def test_each_rule_refuses_in_production(
    rule: str, sent: Transmission | None, changes: dict[str, Any]
) -> None:
    findings, planned = run(sent, samples.document(b"<x/>", **changes))
    assert rule in {f.rule for f in findings if f.rejects}
    assert planned == ()


@pytest.mark.parametrize(
    ("rule", "sent", "changes"),
    [
        r
        for r in REFUSED
        if r[0] in ("DMP-AUTHOR", "DMP-TITLE", "DMP-CONFIDENTIALITY", "DMP-SECRET", "DMP-SIGNER")
    ],
)
def test_interop_warns_and_plans(rule: str, sent: Transmission | None, changes: dict[str, Any]) -> None:
    findings, planned = run(sent, samples.document(b"<x/>", **changes), preset="interop")
    assert {f.rule: f.severity for f in findings} == {rule: Severity.WARN}
    assert len(planned) == 1


def test_all_findings_are_told_together() -> None:
    sent = replace(samples.transmission(), flags=Flags(dest_dmp=True, connexion_secrete=True))
    doc = samples.document(
        title="x" * 200, facility=None, confidentiality=Code("V", "", "2.16.840.1.113883.5.25")
    )
    findings, _ = run(sent, doc, certificate="1990000099")
    assert {f.rule for f in findings} == {
        "DMP-SECRET",
        "DMP-TITLE",
        "DMP-METADATA",
        "DMP-CONFIDENTIALITY",
        "DMP-STRUCTURE",
    }


def test_findings_never_quote_the_patient() -> None:
    """Places, codes and rule ids only."""
    sent = with_patient(PatientId("1841275123988", build.INS_TEST, "INS"), status="PROV")
    findings, _ = run(sent, samples.document(b"<x/>", title="TEST-DURAND " * 20, facility=None, id=None))
    told = " ".join(f.text for f in findings)
    assert len(findings) >= 4
    for secret in ("1841275", "DURAND", "CAMILLE"):
        assert secret not in told


def test_certificate_of_the_legal_entity_speaks_for_its_sites() -> None:
    """§1.5: mode EJ/EG."""
    assert {f.rule for f in run(certificate="1990000099")[0]} == {"DMP-STRUCTURE"}
    given = settings(structures={"1990000099": [build.FINESS]})
    assert list(run(given=given, certificate="1990000099")[0]) == []


def test_size_limit_is_of_the_bytes_sent() -> None:
    doc = samples.document()
    assert list(run(None, doc, given=settings(max_document_size=len(doc.content)))[0]) == []
    findings, _ = run(None, doc, given=settings(max_document_size=len(doc.content) - 1))
    assert [f.rule for f in findings] == ["DMP-SIZE"]


def test_secret_connection_passes_once_its_value_is_configured() -> None:
    sent = replace(samples.transmission(), flags=Flags(dest_dmp=True, connexion_secrete=True))
    _, (planned,) = run(sent, given=settings(vihf={"secret_connection": "X"}))
    assert plans.load(planned.plan).subject.secret is True


def test_unlisted_format_is_a_choice_of_the_settings() -> None:
    """ASS_A11 without a row for the template: refused unless the setting says otherwise."""
    doc = samples.document(template_ids=())
    assert run(None, doc)[0].rejects
    _, (planned,) = run(None, doc, given=settings(unlisted_format=True))
    entry = plans.load(planned.plan).entry
    assert entry is not None
    assert entry.format_code.code == "urn:asipSante:modelesHorsProfils:2011"


def test_device_sender_is_the_establishment() -> None:
    """§2.3: an application mailbox: NameID `<Struct_IdNat>/<id>`."""
    sent = samples.transmission()
    assert sent.sender is not None
    sent = replace(sent, sender=replace(sent.sender, person=None, device="LABO"))
    findings, (planned,) = run(sent)
    assert list(findings) == []
    assert plans.load(planned.plan).subject.name_id == f"{build.FINESS}/LABO"


def test_two_documents_are_two_lots() -> None:
    """An ORU with N1 and N3: a lot is atomic, so one lot for each document."""
    second = samples.document(id=InstanceId(f"{samples.ROOT}.9.1"))
    _, planned = run(None, samples.document(), second)
    assert [p.document_uids for p in planned] == [(f"{samples.ROOT}.1.1",), (f"{samples.ROOT}.9.1",)]


def test_one_bad_document_of_two_refuses_both() -> None:
    findings, planned = run(None, samples.document(), samples.document(id=InstanceId("1.2", "x")))
    assert findings.rejects
    assert planned == ()


def test_deletion_needs_identity_not_metadata() -> None:
    """A document published with poor metadata stays deletable; the wrong patient's does not."""
    sent = samples.transmission(Action.DELETE)
    poor = samples.document(facility=None, events=(), title="", code=None, template_ids=())
    findings, (planned,) = run(sent, poor)
    assert list(findings) == []
    assert plans.load(planned.plan).entry is None
    other = replace(sent, patient=replace(sent.patient, identifiers=(PatientId("1", build.INS_TEST, "INS"),)))
    assert {f.rule for f in run(other, poor)[0]} == {"DMP-INS-DIFFERENT"}


def test_foreign_plan_is_our_bug_and_is_not_quoted() -> None:
    with pytest.raises(GatewayBug) as bug:
        plans.load(b'{"version": 1, "secret": "1841275"}')
    assert "1841275" not in str(bug.value)
    _, (planned,) = run()
    with pytest.raises(GatewayBug, match="version 2"):
        plans.load(planned.plan.replace(b'"version":1', b'"version":2', 1))
