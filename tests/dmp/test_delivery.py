"""TD2.1a, TD2.1b, TD3.3c, TD3.1b against the simulator, over real mutual TLS: what happens to documents."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.dmp.connector import DmpConnector
from connectors.dmp.simulator import DmpSimulator, Fault
from connectors.dmp.simulator.pki import Pki
from connectors.port import Accepted, Outcome, OutcomeClass, Predecessor, Preparation, Refused
from fixtures import build
from gateway.cda.document import RelatedDocument
from gateway.errors import ConfigurationFault
from gateway.hl7.transmission import Action, InstanceId
from tests.dmp.conftest import Dpi, connector_for
from tests.xds import samples

V1 = f"{samples.ROOT}.1.1"
V2 = f"{samples.ROOT}.1.2"


def told(outcome: Outcome) -> tuple[OutcomeClass, str]:
    return outcome.outcome, outcome.code


async def test_a_document_arrives_byte_for_byte(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """TD2.1a: CRLF, comments and accents included; masking flags and format in the metadata."""
    doc = samples.document()
    outcome = await connector.deliver(await dpi.job(doc))
    assert told(outcome) == (OutcomeClass.SUCCESS, "")
    kept = simulator.documents[V1]
    assert kept.content == doc.content
    assert b"\r\n" in kept.content
    assert kept.status == "Approved"
    assert kept.confidentiality == ("N", "INVISIBLE_PATIENT")
    assert connector.report("", b"", outcome) is not None


async def test_large_documents_and_several_at_once(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """A 1 MB document beside small ones, on the same pool."""
    jobs = []
    for n in range(6):
        content = build.cda_n1(uid=f"{samples.ROOT}.{n}", payload=build.pdf(750_000 if n == 0 else 0))
        doc = samples.document(content, id=InstanceId(f"{samples.ROOT}.{n}"))
        jobs.append(await dpi.job(doc))
    outcomes = await asyncio.gather(*(connector.deliver(j) for j in jobs))
    assert {o.outcome for o in outcomes} == {OutcomeClass.SUCCESS}
    for n, job in enumerate(jobs):
        assert simulator.documents[f"{samples.ROOT}.{n}"].content == await job.documents[0].read()


async def test_replacement_deprecates_the_old_version(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """TD2.1b: entryUUID looked up, RPLC, V1 Deprecated."""
    await connector.deliver(await dpi.job(samples.document()))
    old_uuid = simulator.documents[V1].entry_uuid
    job = await dpi.job(samples.version_2(), Action.REPLACE, Predecessor.DELIVERED)
    assert told(await connector.deliver(job)) == (OutcomeClass.SUCCESS, "")
    assert simulator.documents[V1].status == "Deprecated"
    assert simulator.documents[V2].status == "Approved"
    assert simulator.documents[V2].replaces == old_uuid


async def test_v1_never_delivered_v2_goes_as_a_first_submission(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """Architecture §7: V1 failed, V2 replaces it."""
    job = await dpi.job(samples.version_2(), Action.REPLACE, Predecessor.NOT_DELIVERED)
    assert told(await connector.deliver(job)) == (OutcomeClass.SUCCESS, "")
    assert simulator.documents[V2].replaces == ""


async def test_v3_replaces_the_version_that_was_delivered(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """V1 delivered, V2 failed: V3 names V2, the journal says V1."""
    await connector.deliver(await dpi.job(samples.document()))
    v3 = samples.document(
        id=InstanceId(f"{samples.ROOT}.1.3"),
        version=3,
        related=(RelatedDocument("RPLC", InstanceId(V2)),),
    )
    job = await dpi.job(v3, Action.REPLACE, Predecessor.DELIVERED, predecessor_uids=(V1,))
    assert told(await connector.deliver(job)) == (OutcomeClass.SUCCESS, "")
    assert simulator.documents[V1].status == "Deprecated"


@pytest.mark.parametrize("predecessor", [Predecessor.UNKNOWN, Predecessor.DELIVERED])
async def test_replacing_what_the_dmp_does_not_know_is_refused(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi, predecessor: Predecessor
) -> None:
    job = await dpi.job(samples.version_2(), Action.REPLACE, predecessor)
    assert told(await connector.deliver(job)) == (OutcomeClass.PERMANENT, "UNKNOWN_PREDECESSOR")
    assert not simulator.documents


async def test_replacement_repeated_after_a_cut_is_a_success(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """§4.4: the target is already Deprecated and our uniqueId exists: done."""
    await connector.deliver(await dpi.job(samples.document()))
    simulator.plan(Fault("commit_then_drop", action="submit"))
    job = await dpi.job(samples.version_2(), Action.REPLACE, Predecessor.DELIVERED)
    assert (await connector.deliver(job)).outcome is OutcomeClass.UNCERTAIN
    again = await connector.deliver(replace(job, attempt=2, uncertain_attempts=1))
    assert again.outcome is OutcomeClass.SUCCESS
    assert again.details["recovered"] is True
    assert simulator.documents[V2].status == "Approved"


async def test_deletion_and_deleting_again(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """TD3.3c: status Deleted; what is already gone is a success."""
    await connector.deliver(await dpi.job(samples.document()))
    job = await dpi.job(samples.document(), Action.DELETE, Predecessor.DELIVERED)
    assert told(await connector.deliver(job)) == (OutcomeClass.SUCCESS, "")
    assert simulator.documents[V1].status == "Deleted"
    again = await connector.deliver(replace(job, attempt=2, uncertain_attempts=1))
    assert again.details == {"already_gone": True}
    assert (await connector.reconcile(job)).outcome is OutcomeClass.SUCCESS


async def test_a_document_that_the_patient_archived_can_be_deleted(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """§3.8: OriginalStatus is Approved or Archived, which TD3.1b does not say."""
    await connector.deliver(await dpi.job(samples.document()))
    simulator.documents[V1].status = "Archived"
    job = await dpi.job(samples.document(), Action.DELETE, Predecessor.DELIVERED)
    assert told(await connector.deliver(job)) == (OutcomeClass.SUCCESS, "")
    assert simulator.documents[V1].status == "Deleted"


async def test_a_deletion_that_the_dmp_refuses_is_told(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    await connector.deliver(await dpi.job(samples.document()))
    simulator.plan(Fault("code", action="update", code="XDSMetadataUpdateError", words="non", times=0))
    job = await dpi.job(samples.document(), Action.DELETE, Predecessor.DELIVERED)
    assert told(await connector.deliver(job)) == (OutcomeClass.PERMANENT, "XDSMetadataUpdateError")
    assert sum(e.action == "update" for e in simulator.events) == 2
    assert simulator.documents[V1].status == "Approved"


async def test_deletion_cut_after_commit_is_reconciled(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    await connector.deliver(await dpi.job(samples.document()))
    job = await dpi.job(samples.document(), Action.DELETE, Predecessor.DELIVERED)
    simulator.plan(Fault("commit_then_drop", action="update"))
    assert (await connector.deliver(job)).outcome is OutcomeClass.UNCERTAIN
    assert (await connector.reconcile(job)).outcome is OutcomeClass.SUCCESS


async def test_deletion_that_did_not_happen_is_sent_again(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    await connector.deliver(await dpi.job(samples.document()))
    job = await dpi.job(samples.document(), Action.DELETE, Predecessor.DELIVERED)
    simulator.plan(Fault("drop", action="update"))
    assert (await connector.deliver(job)).outcome is OutcomeClass.UNCERTAIN
    assert (await connector.reconcile(job)).outcome is OutcomeClass.TRANSIENT
    assert (
        await connector.deliver(replace(job, attempt=2, uncertain_attempts=1))
    ).outcome is OutcomeClass.SUCCESS


async def test_dmp_closed_is_permanent_and_told_to_the_dpi(pki: Pki, dpi: Dpi) -> None:
    """The official ZAM example: DMPClosed^DMP fermé."""
    closed = DmpSimulator(pki.directory.parent, closed_patients=[build.PATIENT.ins])
    async with closed.running():
        connector = await connector_for(closed.connector_settings())
        outcome = await connector.deliver(await Dpi(connector).job(samples.document()))
        await connector.stop()
    assert (outcome.outcome, outcome.code, outcome.label) == (
        OutcomeClass.PERMANENT,
        "DMPClosed",
        "DMP fermé",
    )
    report = connector.report("", b"", outcome)
    assert report is not None
    assert (report.event, report.accepted, report.code, report.label) == (
        "Z01",
        False,
        "DMPClosed",
        "DMP fermé",
    )
    assert not closed.documents


async def test_commit_then_drop_is_reconciled_without_a_second_document(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """The key test of idempotence: kept, then cut before the answer."""
    simulator.plan(Fault("commit_then_drop", action="submit"))
    job = await dpi.job(samples.document())
    assert (await connector.deliver(job)).outcome is OutcomeClass.UNCERTAIN
    found = await connector.reconcile(job)
    assert found.outcome is OutcomeClass.SUCCESS
    assert found.details["recovered"] is True
    assert list(simulator.documents) == [V1]
    assert sum(e.action == "submit" for e in simulator.events) == 1


async def test_a_blind_repetition_publishes_nothing_twice(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """Same uniqueId again: XDSDuplicateUniqueIdInRegistry, looked up, success, one document."""
    job = await dpi.job(samples.document())
    await connector.deliver(job)
    again = await connector.deliver(replace(job, attempt=2, uncertain_attempts=1))
    assert told(again) == (OutcomeClass.SUCCESS, "XDSDuplicateUniqueIdInRegistry")
    assert len(simulator.documents) == 1


async def test_a_document_already_there_at_the_first_attempt_is_refused(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """It is not ours: somebody published that uniqueId before."""
    await connector.deliver(await dpi.job(samples.document()))
    outcome = await connector.deliver(await dpi.job(samples.document()))
    assert told(outcome) == (OutcomeClass.PERMANENT, "XDSDuplicateUniqueIdInRegistry")


async def test_a_repetition_after_attempts_that_surely_failed_proves_nothing(
    connector: DmpConnector, dpi: Dpi
) -> None:
    """What is there was not put there by us: telling Y would be telling of another document."""
    await connector.deliver(await dpi.job(samples.document()))
    outcome = await connector.deliver(await dpi.job(samples.document(), attempt=2))
    assert told(outcome) == (OutcomeClass.PERMANENT, "XDSDuplicateUniqueIdInRegistry")


async def test_a_delivery_asked_for_again_after_an_unknown_outcome_looks_first(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """The first delivery expired without an answer; the journal knows the same bytes were sent: look, Y."""
    await connector.deliver(await dpi.job(samples.document()))
    again = replace(await dpi.job(samples.document()), may_be_there=True)
    outcome = await connector.deliver(again)
    assert (outcome.outcome, outcome.details) == (OutcomeClass.SUCCESS, {"recovered": True})
    assert [e.action for e in simulator.events] == ["submit", "query"]
    other = samples.document(id=InstanceId(f"{samples.ROOT}.7.1"), content=None)
    job = replace(await dpi.job(other), may_be_there=True)
    assert (await connector.deliver(job)).outcome is OutcomeClass.SUCCESS
    assert simulator.documents[f"{samples.ROOT}.7.1"].content == other.content


async def test_same_identifier_with_other_bytes_is_refused_even_on_repetition(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    await connector.deliver(await dpi.job(samples.document()))
    other = samples.document(build.cda_n3(uid=V1, title="Autre"))
    again = replace(await dpi.job(other, attempt=2), uncertain_attempts=1)
    outcome = await connector.deliver(again)
    assert told(outcome) == (OutcomeClass.PERMANENT, "XDSNonIdenticalHash")


async def test_cut_before_commit_is_uncertain_then_sent_again(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    simulator.plan(Fault("drop", action="submit"))
    job = await dpi.job(samples.document())
    assert (await connector.deliver(job)).outcome is OutcomeClass.UNCERTAIN
    assert told(await connector.reconcile(job)) == (OutcomeClass.TRANSIENT, "NOT_DONE")
    assert (
        await connector.deliver(replace(job, attempt=2, uncertain_attempts=1))
    ).outcome is OutcomeClass.SUCCESS
    assert list(simulator.documents) == [V1]


async def test_silence_after_sending_is_uncertain(simulator: DmpSimulator) -> None:
    """Read timeout: the request left, so nothing is known."""
    settings = {**simulator.connector_settings(), "timeouts": {"read": 0.2}}
    connector = await connector_for(settings)
    simulator.plan(Fault("delay", action="submit", seconds=1.0))
    job = await Dpi(connector).job(samples.document())
    assert told(await connector.deliver(job)) == (OutcomeClass.UNCERTAIN, "TIMEOUT")
    await connector.stop()


async def test_down_is_transient_and_up_again_delivers(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    job = await dpi.job(samples.document())
    await simulator.down()
    assert told(await connector.deliver(job)) == (OutcomeClass.TRANSIENT, "CONNECT")
    assert (await connector.reconcile(job)).outcome is OutcomeClass.UNCERTAIN
    await simulator.up()
    assert (
        await connector.deliver(replace(job, attempt=2, uncertain_attempts=1))
    ).outcome is OutcomeClass.SUCCESS


async def test_look_up_that_fails_before_a_replacement_is_transient(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """Nothing was written yet: never uncertain."""
    simulator.plan(Fault("drop", action="query"))
    job = await dpi.job(samples.version_2(), Action.REPLACE, Predecessor.DELIVERED)
    assert (await connector.deliver(job)).outcome is OutcomeClass.TRANSIENT
    assert not any(e.action == "submit" for e in simulator.events)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "code", "code": "XDSRepositoryBusy"}, (OutcomeClass.TRANSIENT, "XDSRepositoryBusy")),
        (
            {"kind": "code", "code": "XDSRegistryNotAvailable"},
            (OutcomeClass.TRANSIENT, "XDSRegistryNotAvailable"),
        ),
        ({"kind": "code", "code": "DMPNew", "words": "Nouveau"}, (OutcomeClass.PERMANENT, "DMPNew")),
        ({"kind": "http", "status": 429}, (OutcomeClass.TRANSIENT, "HTTP429")),
        # a proxy may say so after the document was kept
        ({"kind": "http", "status": 503}, (OutcomeClass.UNCERTAIN, "HTTP503")),
        ({"kind": "http", "status": 502}, (OutcomeClass.UNCERTAIN, "HTTP502")),
        ({"kind": "http", "status": 404}, (OutcomeClass.CONFIGURATION, "HTTP404")),
        ({"kind": "html"}, (OutcomeClass.UNCERTAIN, "HTTP500")),
        (
            {"kind": "soap_fault", "code": "", "words": "Structure introuvable ou Inactive"},
            (OutcomeClass.CONFIGURATION, "Sender"),
        ),
        ({"kind": "wrong_relates_to"}, (OutcomeClass.UNCERTAIN, "RELATES_TO")),
        ({"kind": "cut_body"}, (OutcomeClass.UNCERTAIN, "HTTP200")),
        ({"kind": "partial"}, (OutcomeClass.UNCERTAIN, "PartialSuccess")),
        ({"kind": "warning", "code": "XDSExtraMetadataNotSaved"}, (OutcomeClass.SUCCESS, "")),
    ],
)
async def test_every_kind_of_answer_has_its_class(
    simulator: DmpSimulator,
    connector: DmpConnector,
    dpi: Dpi,
    fault: dict[str, Any],
    expected: tuple[OutcomeClass, str],
) -> None:
    """§4.4: transient, permanent, configuration, uncertain; Success with a warning is a success."""
    simulator.plan(Fault(action="submit", **fault))
    assert told(await connector.deliver(await dpi.job(samples.document()))) == expected


async def test_unknown_code_keeps_the_words_of_the_dmp(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    """PRE_ERR: the original code and message reach the user."""
    simulator.plan(Fault("code", code="DMPXyz", words="Message nouveau du DMP"))
    outcome = await connector.deliver(await dpi.job(samples.document()))
    assert (outcome.code, outcome.label) == ("DMPXyz", "Message nouveau du DMP")


async def test_vihf_signed_with_the_tls_certificate_opens_the_circuit(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi, pki: Pki
) -> None:
    """`DMPInvalidCertificate` is a configuration fault; our own start would refuse it first."""
    settings = {
        **simulator.connector_settings(),
        "sign_certificate": str(pki.certificate("auth")),
        "sign_key": str(pki.key("auth")),
    }
    with pytest.raises(ConfigurationFault, match="nonRepudiation"):
        await connector_for(settings)
    # past the start's check, the simulator answers as the DMP does
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    builder = connector._link._builder
    assert builder is not None
    leaf = x509.load_pem_x509_certificate(pki.certificate("auth").read_bytes())
    key = serialization.load_pem_private_key(pki.key("auth").read_bytes(), None)
    builder._identity = replace(
        builder._identity,
        key=key,  # type: ignore[arg-type]  # an RSA key
        chain=(leaf,),
        issuer_name=leaf.subject.rfc4514_string(),
    )
    outcome = await connector.deliver(await dpi.job(samples.document()))
    assert told(outcome) == (OutcomeClass.CONFIGURATION, "DMPInvalidCertificate")


async def test_stopped_connector_sends_nothing(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    job = await dpi.job(samples.document())
    await connector.stop()
    assert told(await connector.deliver(job)) == (OutcomeClass.TRANSIENT, "STOPPED")
    assert not simulator.events


# --- TD0.2 before the ACK ---------------------------------------------------------------------------------------


async def asked_first(simulator: DmpSimulator, **changes: Any) -> tuple[DmpConnector, Preparation]:
    settings = {**simulator.connector_settings(), "precheck_existence": True, **changes}
    return await connector_for(settings), Preparation(
        samples.transmission(), (samples.document(),), datetime.now(UTC)
    )


async def test_existence_may_be_asked_before_the_ack(simulator: DmpSimulator) -> None:
    """`precheck_existence`: TD0.2 answers NF: refused at once (DMP-ABSENT); OK: accepted."""
    connector, preparation = await asked_first(simulator)
    assert isinstance(await connector.prepare(preparation), Accepted)
    simulator.patients.set(build.PATIENT.ins, "unknown")
    verdict = await connector.prepare(preparation)
    assert isinstance(verdict, Refused)
    assert [f.rule for f in verdict.findings] == ["DMP-ABSENT"]
    assert {e.transaction for e in simulator.events} == {"TD0.2"}
    await connector.stop()


@pytest.mark.parametrize("fault", [Fault("http"), Fault("html"), Fault("delay", seconds=5.0)])
async def test_no_answer_about_existence_is_no_reason_to_refuse(
    simulator: DmpSimulator, fault: Fault
) -> None:
    simulator.patients.set(build.PATIENT.ins, "unknown")
    connector, preparation = await asked_first(simulator, precheck_timeout=0.3)
    simulator.plan(fault)
    assert isinstance(await connector.prepare(preparation), Accepted)
    await connector.stop()


async def test_existence_is_not_asked_unless_wanted(simulator: DmpSimulator, connector: DmpConnector) -> None:
    preparation = Preparation(samples.transmission(), (samples.document(),), datetime.now(UTC))
    assert isinstance(await connector.prepare(preparation), Accepted)
    assert simulator.events == []


# --- several structures behind one certificate ------------------------------------------------------------------

INACTIVE = {"code": "", "words": "Structure introuvable ou Inactive", "times": 0}


async def test_a_refused_structure_stops_alone(pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    """Mode EJ/EG: one site that the DMP does not know must not stop the others; one alert at each end."""
    sites = DmpSimulator(pki.directory.parent, entities=["1990000028"])
    async with sites.running():
        connector = await connector_for(sites.connector_settings())
        dpi = Dpi(connector)
        fault = sites.plan(Fault("soap_fault", action="submit", unique_id=V1, **INACTIVE))
        job = await dpi.job(samples.document())
        for attempt in (1, 2):
            refused = await connector.deliver(replace(job, attempt=attempt))
            assert told(refused) == (OutcomeClass.TRANSIENT, "Sender")
        assert caplog.text.count("the others go on") == 1
        sites.clear_faults()
        assert fault.hits == 2
        assert (await connector.deliver(replace(job, attempt=3))).outcome is OutcomeClass.SUCCESS
        assert caplog.text.count("again") == 1
        sites.plan(Fault("soap_fault", action="query", **INACTIVE))
        assert (await connector.reconcile(job)).outcome is OutcomeClass.UNCERTAIN
        await connector.stop()


async def test_the_only_structure_refused_stops_the_destination(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi
) -> None:
    simulator.plan(Fault("soap_fault", **INACTIVE))
    job = await dpi.job(samples.document())
    assert (await connector.deliver(job)).outcome is OutcomeClass.CONFIGURATION
    assert (await connector.reconcile(job)).outcome is OutcomeClass.CONFIGURATION


async def test_what_breaks_tls_after_the_handshake_is_a_cut(pki: Pki, simulator: DmpSimulator) -> None:
    """Bytes that are no TLS in the middle of a connection: a fault of the other side, not a bug of ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate("server"), pki.key("server"))
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        raw, _ = listening.accept()
        with context.wrap_socket(raw, server_side=True) as secured:
            secured.recv(65_536)
            os.write(secured.fileno(), b"HTTP/1.1 200 OK\r\n\r\n")
            with contextlib.suppress(OSError):
                while os.read(secured.fileno(), 65_536):
                    pass

    address = f"https://127.0.0.1:{listening.getsockname()[1]}/services"
    connector = await connector_for({**simulator.connector_settings(), "base_url": address})
    job = await Dpi(connector).job(samples.document())
    serving = asyncio.create_task(asyncio.to_thread(serve))
    assert told(await connector.deliver(job)) == (OutcomeClass.UNCERTAIN, "CUT")
    await connector.stop()
    await serving
    listening.close()
