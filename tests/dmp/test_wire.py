"""MTOM (spec dmp §1.4), replies (§4.2), TLS (§1.5), certificates at start."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from connectors.dmp import mtom
from connectors.dmp.certificates import load_credentials
from connectors.dmp.connector import DmpConnector
from connectors.dmp.responses import Answer, ErrorCodes, Failure, load_codes, read_reply
from connectors.dmp.settings import read_settings
from connectors.dmp.simulator import DmpSimulator
from connectors.dmp.simulator.answers import answer, query_response, registry_response
from connectors.dmp.simulator.pki import Authority, Pki, make_pki
from connectors.dmp.soap import PROVIDE_AND_REGISTER, STORED_QUERY
from connectors.dmp.transport import HttpReply
from connectors.port import Accepted, OutcomeClass, Preparation, Unavailable
from gateway.errors import ConfigurationFault
from tests.dmp.conftest import Dpi, book, connector_for
from tests.xds import samples

NOW = datetime.now(UTC)
ID = "urn:uuid:0b0e0000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"\r\n--uuid:00000000-0000-0000-0000-000000000005x\r\n--uuid:0000\r\n\n\r",
        b"--uuid:",
        os.urandom(3000) + b"\r\n\r\n",
    ],
)
def test_parts_come_out_as_they_went_in(content: bytes) -> None:
    """CRLF, empty parts, contents that look like a boundary."""
    made = mtom.encode(
        "urn:a",
        b"<a/>",
        [mtom.Part("d1@x", "text/xml", content), mtom.Part("d2@x", "text/xml", b"z")],
        UUID(int=5),
    )
    body = b"".join(made.chunks)
    assert len(body) == made.length
    root, parts = mtom.decode(made.content_type, body)
    assert root == b"<a/>"
    assert (parts["d1@x"], parts["d2@x"]) == (content, b"z")


def test_the_document_is_not_copied() -> None:
    content = b"x" * 100_000
    made = mtom.encode("urn:a", b"<a/>", [mtom.Part("d", "text/xml", content)], UUID(int=5))
    assert any(chunk is content for chunk in made.chunks)


def test_content_ids_are_compared_raw_and_unquoted() -> None:
    """§1.4: response Content-IDs are URL-encoded on one side or the other."""
    assert mtom.resolve("cid:a-2@urn%3Aihe", {"a-2@urn:ihe": b"1"}) == b"1"
    assert mtom.resolve("cid:a-2@urn:ihe", {"a-2@urn%3Aihe": b"1"}) == b"1"
    with pytest.raises(ValueError, match="no such part"):
        mtom.resolve("cid:b", {"a": b"1"})


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/related", b"--x\r\n\r\n"),
        ('multipart/related; boundary="x"', b""),
        ('multipart/related; boundary="x"', b"--x\r\nA: b\r\n\r\ncut"),
        ('multipart/related; boundary="x"', b"--x\r\nA: b\r\n--x--"),
    ],
)
def test_unreadable_packages_are_value_errors(content_type: str, body: bytes) -> None:
    with pytest.raises(ValueError, match="multipart"):
        mtom.decode(content_type, body)


def test_preamble_and_bare_line_feeds_are_read() -> None:
    body = b"preamble\n--x\nContent-ID: <r>\n\n<a/>\n--x--\n"
    assert mtom.decode("multipart/related; boundary=x; start=<r>", body)[0] == b"<a/>"


# --- replies ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def codes() -> ErrorCodes:
    return load_codes()


def reply(body: str, relates: str = ID, action: str = PROVIDE_AND_REGISTER) -> HttpReply:
    made = answer(body, action, relates, multipart=True)
    return HttpReply(made.status, made.content_type, made.body)


def test_success_with_warnings_is_a_success(codes: ErrorCodes) -> None:
    body = registry_response([("XDSExtraMetadataNotSaved", "")], status="Success", severity="Warning")
    assert read_reply(reply(body), ID, codes, writes=True) == Answer((), ("XDSExtraMetadataNotSaved",))


def test_references_are_read(codes: ErrorCodes) -> None:
    made = reply(query_response(["urn:uuid:1", "urn:uuid:2"]), action=STORED_QUERY)
    assert read_reply(made, ID, codes, writes=False) == Answer(("urn:uuid:1", "urn:uuid:2"))


def test_success_without_relates_to_is_nobodys(codes: ErrorCodes) -> None:
    got = read_reply(reply(registry_response(), relates=""), ID, codes, writes=True)
    assert isinstance(got, Failure)
    assert (got.outcome, got.code) == (OutcomeClass.UNCERTAIN, "RELATES_TO")


def test_the_gravest_error_is_told(codes: ErrorCodes) -> None:
    """A busy repository beside a refusal is a refusal."""
    body = registry_response([("XDSRepositoryBusy", ""), ("DMPClosed", "DMP fermé")])
    got = read_reply(reply(body), ID, codes, writes=True)
    assert isinstance(got, Failure)
    assert (got.outcome, got.code, got.label) == (OutcomeClass.PERMANENT, "DMPClosed", "DMP fermé")


def test_label_and_words_are_both_told(codes: ErrorCodes) -> None:
    body = registry_response([("XDSRepositoryBusy", "retry later")])
    got = read_reply(reply(body), ID, codes, writes=True)
    assert isinstance(got, Failure)
    assert got.label == "Entrepôt DMP occupé : retry later"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html/>",
        b"not xml",
        b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>',
        b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"/>',
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>',
    ],
)
def test_what_is_no_answer_leaves_a_write_uncertain_and_a_query_transient(
    codes: ErrorCodes, body: bytes
) -> None:
    made = HttpReply(200, "application/soap+xml", body)
    for writes, outcome in ((True, OutcomeClass.UNCERTAIN), (False, OutcomeClass.TRANSIENT)):
        got = read_reply(made, ID, codes, writes=writes)
        assert isinstance(got, Failure)
        assert got.outcome is outcome


def test_error_table_can_be_completed_and_is_checked(tmp_path: Path) -> None:
    """Annexe A7-1 is not public: whoever has it adds rows; the shipped ones stay."""
    file = tmp_path / "codes.csv"
    file.write_text("code;class;label_fr;source\nDMPClosed;transient;x;y\nDMPNew;configuration;Neuf;A7-1\n")
    codes = load_codes(file)
    assert codes.by_code["DMPClosed"].outcome is OutcomeClass.TRANSIENT
    assert codes.by_code["DMPNew"].outcome is OutcomeClass.CONFIGURATION
    assert codes.by_code["XDSRegistryBusy"].outcome is OutcomeClass.TRANSIENT
    assert codes.find("Sender", "Structure introuvable ou Inactive") is not None
    file.write_text("code;class;label_fr;source\nDMPClosed;sometimes;x;y\n;permanent;x;y\n")
    with pytest.raises(ConfigurationFault, match=r"codes\.csv: line\(s\) 2, 3"):
        load_codes(file)
    file.write_text("code,class\n1,2\n")
    with pytest.raises(ConfigurationFault, match=r"codes\.csv"):
        load_codes(file)


def test_a_code_that_quotes_a_patient_is_cut_down(codes: ErrorCodes) -> None:
    """Codes go to logs: letters, digits, dots and dashes, 64 of them; the words stay whole for the ZAM."""
    body = registry_response([("XDSError for DURAND^CAMILLE " + "9" * 100, "Patient inconnu")])
    got = read_reply(reply(body), ID, codes, writes=True)
    assert isinstance(got, Failure)
    assert len(got.code) == 64 and "^" not in got.code and " " not in got.code
    assert got.label == "Patient inconnu"


# --- TLS and certificates ---------------------------------------------------------------------------------------


async def test_no_client_certificate_no_handshake(simulator: DmpSimulator) -> None:
    context = ssl.create_default_context(cafile=str(simulator.pki.ca))
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        with pytest.raises(httpx.TransportError):
            await client.post(simulator.address() + "/repository", content=b"")
    assert not simulator.events


class RefusingServer:
    """A blocking TLS server that asks for a client certificate: OpenSSL sends its alert before it closes.

    (asyncio drops the alert of a failed handshake, so the simulator only closes.)
    """

    def __init__(self, pki: Pki) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(pki.certificate("server"), pki.key("server"))
        context.load_verify_locations(pki.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.refusals = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        peer, _ = self._socket.accept()
        with peer:
            try:
                self._context.wrap_socket(peer, server_side=True).close()
            except ssl.SSLError:
                self.refusals += 1

    def close(self) -> None:
        self._thread.join()
        self._socket.close()


async def test_tls_alert_about_our_certificate_is_a_configuration_fault(
    simulator: DmpSimulator, tmp_path: Path
) -> None:
    """It needs a person, not a retry."""
    other = make_pki(tmp_path / "other")
    server = RefusingServer(simulator.pki)
    settings = {
        **simulator.connector_settings(),
        "auth_certificate": str(other.certificate("auth")),
        "auth_key": str(other.key("auth")),
        "base_url": f"https://127.0.0.1:{server.port}",
    }
    connector = await connector_for(settings)
    outcome = await connector.deliver(await Dpi(connector).job(samples.document()))
    server.close()
    assert (outcome.outcome, outcome.code) == (OutcomeClass.CONFIGURATION, "TLS")
    assert server.refusals == 1
    await connector.stop()


async def test_client_certificate_of_another_authority_is_refused_by_the_simulator(
    simulator: DmpSimulator, tmp_path: Path
) -> None:
    """Closed without an alert: nothing left, tried again."""
    other = make_pki(tmp_path / "other")
    settings = {
        **simulator.connector_settings(),
        "auth_certificate": str(other.certificate("auth")),
        "auth_key": str(other.key("auth")),
    }
    connector = await connector_for(settings)
    outcome = await connector.deliver(await Dpi(connector).job(samples.document()))
    assert (outcome.outcome, outcome.code) == (OutcomeClass.TRANSIENT, "CONNECT")
    assert not simulator.events
    await connector.stop()


async def test_server_of_another_authority_is_a_configuration_fault(
    simulator: DmpSimulator, tmp_path: Path
) -> None:
    other = make_pki(tmp_path / "other")
    connector = await connector_for({**simulator.connector_settings(), "ca_bundle": str(other.ca)})
    outcome = await connector.deliver(await Dpi(connector).job(samples.document()))
    assert (outcome.outcome, outcome.code) == (OutcomeClass.CONFIGURATION, "TLS")
    await connector.stop()
    assert not simulator.documents


def test_everything_wrong_with_certificates_is_told_at_once(pki: Pki, tmp_path: Path) -> None:
    """EX_GEN-1450: KU, EKU, pair, dates, OU."""
    authority = Authority(tmp_path, NOW)
    authority.write(tmp_path / "ca.pem")
    authority.issue("auth", "1990000010", ("key_encipherment",), ExtendedKeyUsageOID.SERVER_AUTH)
    authority.issue(
        "sign",
        "1990000099",
        ("digital_signature",),
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
        until=NOW - timedelta(days=1),
    )
    settings = {
        **DmpSimulator(pki.directory.parent).connector_settings(),
        "auth_certificate": str(tmp_path / "auth.crt"),
        "auth_key": str(tmp_path / "auth.key"),
        "sign_certificate": str(tmp_path / "sign.crt"),
        "sign_key": str(pki.key("sign")),
        "ca_bundle": "absent.pem",
    }
    with pytest.raises(ConfigurationFault) as fault:
        load_credentials(read_settings(settings, tmp_path), NOW)
    for words in (
        "digitalSignature is missing",
        "clientAuth is missing",
        "nonRepudiation is missing",
        "sign_certificate: the key does not belong",
        "sign_certificate expired on",
        "same structure",
        "ca_bundle cannot be read",
    ):
        assert words in str(fault.value)


def test_unreadable_files_are_told_without_their_contents(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("secret-of-the-file")
    junk = str(tmp_path / "junk.pem")
    settings = {
        **DmpSimulator(pki.directory.parent).connector_settings(),
        "auth_key": junk,
        "sign_certificate": junk,
        "sign_key": "absent.key",
    }
    with pytest.raises(ConfigurationFault) as fault:
        load_credentials(read_settings(settings, tmp_path), NOW)
    assert "auth_key cannot be read" in str(fault.value)
    assert "sign_certificate cannot be read" in str(fault.value)
    assert "secret-of-the-file" not in str(fault.value)


def test_every_wrong_setting_is_told_at_once() -> None:
    with pytest.raises(ConfigurationFault) as fault:
        read_settings({"base_url": "http://x", "instance_oid": "1.02", "colour": 1}, Path())
    for words in ("base_url", "instance_oid", "colour", "sign_certificate"):
        assert words in str(fault.value)


async def test_certificate_that_expires_while_running_makes_the_connector_unavailable(
    simulator: DmpSimulator, connector: DmpConnector
) -> None:
    """AR, may be sent again: the DPI did nothing wrong."""
    later = NOW + timedelta(days=400)
    verdict = await connector.prepare(Preparation(samples.transmission(), (samples.document(),), later))
    assert isinstance(verdict, Unavailable)
    now = await connector.prepare(Preparation(samples.transmission(), (samples.document(),), NOW))
    assert isinstance(now, Accepted)


async def test_connector_that_was_not_started_is_unavailable(simulator: DmpSimulator) -> None:
    connector = DmpConnector(read_settings(simulator.connector_settings(), Path()), "0.1")
    connector.use(book())
    verdict = await connector.prepare(Preparation(samples.transmission(), (samples.document(),), NOW))
    assert isinstance(verdict, Unavailable)


def test_test_pki_is_used_again_and_renewed_when_it_must(tmp_path: Path) -> None:
    first = make_pki(tmp_path).ca.read_bytes()
    assert make_pki(tmp_path).ca.read_bytes() == first
    assert make_pki(tmp_path, now=NOW + timedelta(days=365)).ca.read_bytes() != first
