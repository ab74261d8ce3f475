"""Deliveries over real SMTP sockets (and real TLS) to the simulated operator. Source: spec/mssante.md
§1.2-1.9.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from email.utils import getaddresses
from pathlib import Path
from typing import Any, cast

import pytest

from connectors.mss.connector import MssConnector
from connectors.mss.simulator import OperatorSimulator, create
from connectors.mss.simulator.pki import make_pki
from connectors.port import Outcome, OutcomeClass, PlannedDelivery, Predecessor, Preparation, Unavailable
from fixtures import build
from gateway.errors import ConfigurationFault
from gateway.hl7.transmission import Action
from tests.mss import samples
from tests.mss.samples import BERNARD, MARTIN, PATIENT, accepted, flags, job, party, preparation, transmission

Start = Callable[..., Awaitable[tuple[OperatorSimulator, MssConnector]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start an operator and a connector that talks to it."""
    async with AsyncExitStack() as stack:

        async def run(
            settings: dict[str, Any] | None = None, **options: Any
        ) -> tuple[OperatorSimulator, MssConnector]:
            operator = create(tmp_path, **options)
            await operator.start()
            stack.push_async_callback(operator.stop)
            connector = samples.connector({**operator.connector_settings(), **(settings or {})})
            await connector.start()
            stack.push_async_callback(connector.stop)
            return operator, connector

        yield run


async def plans(connector: MssConnector, prepared: Preparation) -> list[PlannedDelivery]:
    return list(accepted(await connector.prepare(prepared)).deliveries)


async def deliver_one(
    connector: MssConnector, prepared: Preparation | None = None, predecessor: Predecessor = Predecessor.NONE
) -> Outcome:
    prepared = prepared or preparation()
    delivery = (await plans(connector, prepared))[0]
    return await connector.deliver(job(delivery, prepared, predecessor))


async def test_one_mail_per_recipient_with_the_exact_document(start: Start) -> None:
    """§1.2, §1.5: archive with the CDA byte for byte, PDF copy outside it, one transaction per recipient."""
    operator, connector = await start()
    cda = build.cda_n1(payload=build.pdf(20_000))
    prepared = preparation(transmission(), cda)
    deliveries = await plans(connector, prepared)
    assert [d.recipient for d in deliveries] == [MARTIN, BERNARD]
    for delivery in deliveries:
        outcome = await connector.deliver(job(delivery, prepared))
        assert (outcome.outcome, outcome.code) == (OutcomeClass.SUCCESS, "250")
    assert [m.recipient for m in operator.mails] == [MARTIN, BERNARD]
    for mail in operator.mails:
        assert mail.documents()["IHE_XDM/SUBSET01/DOC0001.XML"] == cda
        assert mail.pdf() == build.pdf(20_000)
        assert mail.text().splitlines()[-1] == ". ligne qui commence par un point"
        assert [a for _, a in getaddresses([mail.message["To"]])] == [mail.recipient]
    assert operator.mails[0].message["Message-ID"] != operator.mails[1].message["Message-ID"]
    assert operator.mails[0].mail_dsn["ENVID"] != operator.mails[1].mail_dsn["ENVID"]


async def test_dsn_parameters_keep_their_case_and_follow_ack_reception(start: Start) -> None:
    """§1.3: RET=HDRS, ENVID, NOTIFY and ORCPT (RFC 3461)."""
    operator, connector = await start()
    address = "Dr.Martin+Labo@test-hopital.mssante.fr"
    wanted = preparation(transmission(recipients=(party(address, 2),)))
    assert (await deliver_one(connector, wanted)).details["dsn"] is True
    quiet = preparation(transmission(recipients=(party(address, 2),), flags=flags(ack_reception=False)))
    await deliver_one(connector, quiet)
    first, second = operator.mails
    assert first.recipient == address
    assert first.mail_dsn["RET"] == "HDRS"
    assert first.mail_dsn["ENVID"] and first.mail_dsn["ENVID"].lower() == first.mail_dsn["ENVID"]
    assert first.rcpt_dsn["NOTIFY"] == "SUCCESS,FAILURE,DELAY"
    assert first.rcpt_dsn["ORCPT"] == "rfc822;Dr.Martin+2BLabo@test-hopital.mssante.fr"
    assert second.rcpt_dsn["NOTIFY"] == "FAILURE"


async def test_without_dsn_the_operator_is_spoken_to_plainly(start: Start) -> None:
    """§1.3: DSN parameters only if EHLO lists DSN."""
    operator, connector = await start(dsn=False)
    outcome = await deliver_one(connector)
    assert outcome.outcome is OutcomeClass.SUCCESS
    assert outcome.details["dsn"] is False
    assert (operator.mails[0].mail_dsn, operator.mails[0].rcpt_dsn) == ({}, {})


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("auth", ["none", "plain", "login", "external"])
async def test_tls_and_authentication(start: Start, tls: str, auth: str) -> None:
    """§1.3: TLS 1.2 or more, client certificate, each SASL mechanism."""
    operator, connector = await start(tls=tls, auth=auth)
    assert (await deliver_one(connector)).outcome is OutcomeClass.SUCCESS
    assert len(operator.mails) == 1


async def test_wrong_password_is_a_configuration_fault(start: Start, tmp_path: Path) -> None:
    """535: opens the circuit, does not refuse the document."""
    (tmp_path / "other").write_text("faux", encoding="utf-8")
    operator, connector = await start({"secret_file": str(tmp_path / "other")}, tls="starttls", auth="plain")
    outcome = await deliver_one(connector)
    assert (outcome.outcome, outcome.code) == (OutcomeClass.CONFIGURATION, "530")
    assert outcome.details["reply"] == 535
    assert operator.mails == []


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_server_of_another_authority_is_never_spoken_to(
    start: Start, tmp_path: Path, tls: str
) -> None:
    """ECO.1.1.10: only the configured authorities are trusted."""
    stranger = make_pki(tmp_path / "stranger").authority
    operator, connector = await start({"ca_bundle": str(stranger)}, tls=tls)
    outcome = await deliver_one(connector)
    assert outcome.outcome is OutcomeClass.CONFIGURATION
    assert operator.mails == []


@pytest.mark.parametrize("gives", ["nothing", "stranger"])
async def test_a_refused_client_certificate_is_a_configuration_fault(tmp_path: Path, gives: str) -> None:
    """Mutual TLS: TLS 1.3 tells the refusal by an alert after the client's own handshake is over.

    The server is OpenSSL on a plain socket: asyncio's own server cuts without sending its alert.
    """
    pki = make_pki(tmp_path / "pki")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.cert, pki.server.key)
    context.load_verify_locations(pki.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    table = {"tls": "implicit", "ca_bundle": str(pki.authority)}
    if gives == "stranger":
        other = make_pki(tmp_path / "stranger").client
        table |= {"client_cert": str(other.cert), "client_key": str(other.key)}

    def serve_one(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        connector = samples.connector({**table, "port": listener.getsockname()[1]})
        await connector.start()
        outcome, _ = await asyncio.gather(deliver_one(connector), asyncio.to_thread(serve_one, listener))
        await connector.stop()
    assert outcome.outcome is OutcomeClass.CONFIGURATION


async def test_an_expired_client_certificate_makes_the_connector_unavailable(start: Start) -> None:
    """§1.9: mailbox configured and certificate unexpired, before the ACK."""
    _, connector = await start(tls="starttls", auth="external")
    prepared = replace(preparation(), now=samples.NOW + timedelta(days=3650))
    assert isinstance(await connector.prepare(prepared), Unavailable)


async def test_no_mail_in_clear_when_the_operator_offers_no_starttls(start: Start) -> None:
    """tls = starttls and no STARTTLS in EHLO: nothing is sent."""
    operator, connector = await start({"tls": "starttls"}, tls="none")
    outcome = await deliver_one(connector)
    assert outcome.outcome is OutcomeClass.CONFIGURATION
    assert operator.mails == []


@pytest.mark.parametrize(
    ("verdict", "outcome", "code", "kept"),
    [
        ("450", OutcomeClass.TRANSIENT, "450", 0),
        ("550", OutcomeClass.PERMANENT, "550", 0),
        ("552", OutcomeClass.PERMANENT, "552", 0),
        ("data-451", OutcomeClass.TRANSIENT, "451", 0),
        ("data-554", OutcomeClass.PERMANENT, "554", 0),
        ("cut-before", OutcomeClass.UNCERTAIN, "442", 0),
        ("cut-after", OutcomeClass.UNCERTAIN, "442", 1),
    ],
)
async def test_replies_and_cuts(
    start: Start, verdict: str, outcome: OutcomeClass, code: str, kept: int
) -> None:
    """§1.9: classes of failure; after the final dot nobody knows."""
    operator, connector = await start()
    operator.plan(MARTIN, verdict)
    result = await deliver_one(connector)
    assert (result.outcome, result.code) == (outcome, code)
    assert result.label
    assert MARTIN not in str(result)
    assert len(operator.mails) == kept
    # whatever happened, the next mail goes through
    assert (await deliver_one(connector)).outcome is OutcomeClass.SUCCESS


async def test_silence_is_transient_before_the_dot_and_uncertain_after(start: Start) -> None:
    """RFC 5321 §4.5.3.2 timeouts."""
    operator, connector = await start({"timeouts": {"command": 0.2, "reply": 0.2}})
    operator.plan(MARTIN, "silent-rcpt", "silent")
    result = await deliver_one(connector)
    assert (result.outcome, result.code) == (OutcomeClass.TRANSIENT, "441")
    result = await deliver_one(connector)
    assert (result.outcome, result.code) == (OutcomeClass.UNCERTAIN, "441")
    assert (await deliver_one(connector)).outcome is OutcomeClass.SUCCESS


async def test_a_repetition_is_the_same_bytes(start: Start) -> None:
    """Architecture: the duplicate of an uncertain delivery has the same Message-ID, ENVID and content."""
    operator, connector = await start()
    operator.plan(MARTIN, "cut-after")
    prepared = preparation()
    delivery = (await plans(connector, prepared))[0]
    first = await connector.deliver(job(delivery, prepared))
    assert first.outcome is OutcomeClass.UNCERTAIN
    assert (await connector.reconcile(job(delivery, prepared))).outcome is OutcomeClass.TRANSIENT
    second = await connector.deliver(job(delivery, prepared, attempt=2))
    assert second.outcome is OutcomeClass.SUCCESS
    one, two = operator.mails
    assert one.raw == two.raw
    assert one.mail_dsn == two.mail_dsn


async def test_a_report_is_not_waited_for_as_long_as_a_clock_was_wrong(start: Start) -> None:
    """`uncertain_wait`: set back by a day meanwhile, the clock would keep the mail waiting for a day."""
    _, connector = await start()
    connector._boxes = {"bal": cast(Any, None)}  # a mailbox is read
    prepared = preparation(transmission(flags=flags(ack_reception=True)))
    asked = job((await plans(connector, prepared))[0], prepared)
    for seconds, outcome in ((5, "uncertain"), (-5, "uncertain"), (61, "transient"), (-86_400, "transient")):
        said = await connector.reconcile(replace(asked, uncertain_for=seconds))
        assert said.outcome.value == outcome, seconds


async def test_down_is_transient_and_up_works_again(start: Start) -> None:
    """§1.9: connection refused, code 111."""
    operator, connector = await start()
    assert (await deliver_one(connector)).outcome is OutcomeClass.SUCCESS
    await operator.down()
    result = await deliver_one(connector)
    assert (result.outcome, result.code) == (OutcomeClass.TRANSIENT, "111")
    await operator.up()
    assert (await deliver_one(connector)).outcome is OutcomeClass.SUCCESS


async def test_a_session_serves_several_mails_and_a_refused_recipient(start: Start) -> None:
    """Sessions are reused after 250 and after a refusal at RCPT (RSET)."""
    operator, connector = await start({"connections": 1})
    operator.plan(MARTIN, "accept", "550")
    for _ in range(3):
        await deliver_one(connector)
    assert len(operator.mails) == 2
    assert operator.sessions == 1


async def test_a_mail_above_the_operators_size_is_refused_before_it_is_sent(start: Start) -> None:
    """SIZE of EHLO (RFC 1870): permanent 523."""
    operator, connector = await start(size_limit=20_000)
    result = await deliver_one(
        connector, preparation(transmission(), build.cda_n1(payload=build.pdf(30_000)))
    )
    assert (result.outcome, result.code) == (OutcomeClass.PERMANENT, "523")
    assert operator.mails == []


async def test_a_mail_of_many_slices_arrives_whole(start: Start) -> None:
    """Flow control of the upload: 3 MB over TLS."""
    operator, connector = await start(tls="starttls")
    pdf = build.pdf(1_500_000)
    cda = build.cda_n1(payload=pdf)
    assert (await deliver_one(connector, preparation(transmission(), cda))).outcome is OutcomeClass.SUCCESS
    assert operator.mails[0].documents()["IHE_XDM/SUBSET01/DOC0001.XML"] == cda
    assert operator.mails[0].pdf() == pdf


async def test_a_replacement_of_a_version_never_delivered_goes_as_a_first_submission(start: Start) -> None:
    """Architecture §7, spec §1.7: action slot C and "replaces" text only where the former version arrived."""
    operator, connector = await start()
    root = build.DOCUMENT_ROOT
    cda = build.cda_n1(uid=f"{root}.1.2", version=2, replaces=f"{root}.1.1")
    prepared = preparation(transmission(Action.REPLACE, body_ps=None), cda)
    delivery = (await plans(connector, prepared))[0]
    await connector.deliver(job(delivery, prepared, Predecessor.DELIVERED))
    await connector.deliver(job(delivery, prepared, Predecessor.NOT_DELIVERED))
    metadata = [m.documents()["IHE_XDM/SUBSET01/METADATA.XML"] for m in operator.mails]
    assert b"urn:action:extraMetadataSlot" in metadata[0]
    assert b"urn:action:extraMetadataSlot" not in metadata[1]
    assert "remplace" in operator.mails[0].text()
    assert "remplace" not in operator.mails[1].text()


async def test_a_deletion_is_not_told_to_somebody_who_never_had_the_document(start: Start) -> None:
    """A mail of deletion carries the document: nothing is sent to a recipient who never received it."""
    operator, connector = await start()
    prepared = preparation(transmission(Action.DELETE, body_ps=None))
    delivery = (await plans(connector, prepared))[0]
    assert (await connector.deliver(job(delivery, prepared, Predecessor.NOT_DELIVERED))).details == {
        "sent": False
    }
    assert operator.mails == []
    await connector.deliver(job(delivery, prepared, Predecessor.DELIVERED))
    assert "supprimé" in operator.mails[0].text()


async def test_two_documents_of_an_oru_travel_in_one_archive(start: Start) -> None:
    """Volet Transmission v2.1: ORU with N1 and N3; a PDF of each N1 (of the N3 too where it is rendered)."""
    operator, connector = await start({"render_pdf": "never"})
    n1, n3 = build.cda_n1(), build.cda_n3()
    prepared = preparation(transmission(message_type="ORU", event="R01"), n1, n3)
    assert (await deliver_one(connector, prepared)).outcome is OutcomeClass.SUCCESS
    files = operator.mails[0].documents()
    assert files["IHE_XDM/SUBSET01/DOC0001.XML"] == n1
    assert files["IHE_XDM/SUBSET01/DOC0002.XML"] == n3
    types = [p.get_content_type() for p in operator.mails[0].message.iter_attachments()]
    assert types == ["application/zip", "application/pdf"]


async def test_the_patient_leg_has_its_own_headers(start: Start) -> None:
    """§1.2: X-MSS-MES FIN, body and To of the patient; nothing of it on the professionals' leg."""
    operator, connector = await start()
    asked = transmission(
        recipients=(party(MARTIN, 2), party(PATIENT, 3)),
        flags=flags(dest_mssante_pat=True, ack_lecture_mss=True),
        patient_may_not_answer=True,
        reply_to=("secretariat@test-hopital.mssante.fr",),
    )
    prepared = preparation(asked)
    for delivery in await plans(connector, prepared):
        await connector.deliver(job(delivery, prepared))
    professional, patient = operator.mails
    assert patient.recipient == PATIENT
    assert patient.message["X-MSS-MES"] == "FIN"
    assert professional.message["X-MSS-MES"] is None
    for mail in operator.mails:
        assert mail.message["Disposition-Notification-To"] == mail.sender
        assert mail.message["Reply-To"] == "secretariat@test-hopital.mssante.fr"
        assert mail.message["X-MSS-CODECDA"] == "11502-2"
        assert mail.message["X-MSS-INS"] == "O"
        assert mail.message["X-MSS-NIL"] == "NIL-DE-TEST"
        assert mail.message["Sender"] is None
    assert "confrère" in professional.text()
    assert "confrère" not in patient.text()


async def test_all_configuration_problems_are_told_at_once(tmp_path: Path) -> None:
    """ConfigurationFault names fields, never values."""
    with pytest.raises(ConfigurationFault) as fault:
        samples.connector({"from_address": "x", "source_oid": "y", "auth": "plain", "unknown": 1})
    for name in ("from_address", "source_oid", "unknown"):
        assert name in str(fault.value)
    connector = samples.connector(
        {"tls": "starttls", "ca_bundle": "none.pem", "white_list": "none.xml"}, base=tmp_path
    )
    with pytest.raises(ConfigurationFault) as fault:
        await connector.start()
    assert "ca_bundle" in str(fault.value)
    assert "white list" in str(fault.value)
