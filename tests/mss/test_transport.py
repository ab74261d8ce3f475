"""The transport that senders share: SASL, certificates renewed without a restart, envelopes of reports.

Source: spec/mssante.md §1.3; RFC 1870, 3461, 5321 §4.5.5, 6152.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from pydantic import ValidationError

from connectors.mss.simulator import OperatorSimulator, create
from connectors.mss.simulator.pki import make_pki
from connectors.port import Outcome, OutcomeClass, WithCertificates
from connectors.smtp.pool import Envelope, SmtpPool
from connectors.smtp.settings import SmtpTransport
from gateway.errors import ConfigurationFault
from tests.listener.certificates import Authority
from tests.mss import samples
from tests.mss.test_dialogue import Peer, accept

MAIL = b"Subject: x\r\n\r\nx\r\n"
TRANSPORT_KEYS = tuple(SmtpTransport.model_fields)


async def send(pool: SmtpPool, envelope: Envelope, message: bytes = MAIL) -> Outcome:
    async with pool.slot():
        return await pool.send(envelope, message)


def envelope(**changes: Any) -> Envelope:
    return Envelope(**{"sender": "a@test-hopital.mssante.fr", "recipient": "b@x.fr"} | changes)


@asynccontextmanager
async def served(script: Callable[[Peer], Awaitable[None]], **table: Any) -> AsyncIterator[SmtpPool]:
    """A pool whose every connection is answered by `script`."""
    faults: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(Peer(reader, writer))
        except Exception as e:
            faults.append(e)
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pool = SmtpPool(SmtpTransport(host="127.0.0.1", port=port, tls="none", **table))
        await pool.start()
        yield pool
        await pool.close()
    assert not faults


@asynccontextmanager
async def operated(directory: Path, table: dict[str, Any], **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """An operator and a pool with its settings, changed by `table`."""
    operator: OperatorSimulator = create(directory, **options)
    await operator.start()
    given = {k: v for k, v in operator.connector_settings().items() if k in TRANSPORT_KEYS}
    pool = SmtpPool(SmtpTransport.model_validate({**given, **table}))
    try:
        await pool.start()
        yield operator, pool
    finally:
        await pool.close()
        await operator.stop()


# --- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({"auth": "external"}, "client_cert"),
        ({"auth": "plain"}, "secret_file"),
        ({"auth": "xoauth2", "user": "u"}, "secret_file"),
        ({"auth": "xoauth2", "user": "u", "secret_file": "s", "tls": "none"}, "loopback"),
        ({"client_key": "k"}, "client_cert"),
        ({"client_key_password_file": "k"}, "client_cert"),
        ({"host": "relais.hopital.fr", "tls": "none"}, "loopback"),
        ({"client_cert": "c", "tls": "none"}, "tls"),
        ({"crl_file": "c", "tls": "none"}, "tls"),
        ({"ehlo_name": "a b"}, "ehlo_name"),
        ({"auth": "gssapi"}, "auth"),
    ],
)
def test_incoherent_transports_are_refused(table: dict[str, Any], word: str) -> None:
    """§1.3: no secret in clear to another machine, EXTERNAL needs a certificate."""
    with pytest.raises(ValidationError, match=word):
        SmtpTransport.model_validate({"host": "smtp.example.org", **table})


# --- SASL -----------------------------------------------------------------------------------------------------


async def test_xoauth2_gives_the_token_of_the_file_as_it_is_at_each_login(tmp_path: Path) -> None:
    """§1.3: token file read again at each login."""
    token = tmp_path / "token"
    token.write_text("premier\n")
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.greet("AUTH XOAUTH2")
        heard.append(base64.b64decode((await peer.hear()).removeprefix("AUTH XOAUTH2 ")))
        await peer.say("235 2.7.0 ok")
        await peer.whole_mail()
        await peer.say("250 queued")

    async with served(script, auth="xoauth2", user="u@x.fr", secret_file=token, idle=0) as pool:
        assert (await send(pool, envelope())).outcome is OutcomeClass.SUCCESS
        token.write_text("second")
        assert (await send(pool, envelope())).outcome is OutcomeClass.SUCCESS
    assert heard == [b"user=u@x.fr\x01auth=Bearer %s\x01\x01" % word for word in (b"premier", b"second")]


async def test_a_refused_token_is_a_configuration_fault(tmp_path: Path) -> None:
    """The challenge that holds the error is answered by an empty line; then comes 535."""
    (tmp_path / "token").write_text("faux")

    async def script(peer: Peer) -> None:
        await peer.greet("AUTH XOAUTH2")
        await peer.hear()
        await peer.say("334 eyJzdGF0dXMiOiI0MDEifQ==")
        assert await peer.hear() == ""
        await peer.say("535 5.7.8 no")
        await peer.hear()

    async with served(script, auth="xoauth2", user="u@x.fr", secret_file=tmp_path / "token") as pool:
        result = await send(pool, envelope())
    assert (result.outcome, result.code, result.details["reply"]) == (OutcomeClass.CONFIGURATION, "530", 535)
    assert "faux" not in str(result)


async def test_a_changed_password_needs_no_restart_and_a_lost_one_is_told(tmp_path: Path) -> None:
    """secret_file is read at each login; unreadable: the circuit opens, nothing is refused for it."""
    secret = tmp_path / "password"
    secret.write_text("faux")
    table = {"secret_file": str(secret), "idle": 0}
    async with operated(tmp_path / "op", table, auth="plain") as (operator, pool):
        assert (await send(pool, envelope())).details["reply"] == 535
        secret.write_text(f"{operator.password}\n")
        assert (await send(pool, envelope())).outcome is OutcomeClass.SUCCESS
        secret.unlink()
        result = await send(pool, envelope())
        assert result.outcome is OutcomeClass.CONFIGURATION
        assert result.details["problem"] == "secret_file: FileNotFoundError"
        secret.write_text("")
        assert (await send(pool, envelope())).details["problem"] == "secret_file is empty"
    assert len(operator.mails) == 1


async def test_a_missing_secret_is_told_at_start(tmp_path: Path) -> None:
    transport = SmtpTransport(host="127.0.0.1", auth="login", user="u", secret_file=tmp_path / "none")
    with pytest.raises(ConfigurationFault, match="secret_file"):
        await SmtpPool(transport).start()


# --- certificates ---------------------------------------------------------------------------------------------


def as_pkcs12(directory: Path, phrase: str) -> Path:
    """The simulator's client certificate as PKCS#12, its pass phrase beside it."""
    pki = make_pki(directory)
    key = serialization.load_pem_private_key(pki.client.key.read_bytes(), None)
    made = pkcs12.serialize_key_and_certificates(
        b"x",
        key,  # type: ignore[arg-type]
        x509.load_pem_x509_certificate(pki.client.cert.read_bytes()),
        None,
        serialization.BestAvailableEncryption(phrase.encode()),
    )
    (directory / "client.p12").write_bytes(made)
    (directory / "phrase").write_text(f"{phrase}\n")
    return directory / "client.p12"


async def test_a_pkcs12_holds_certificate_and_key(tmp_path: Path) -> None:
    """§1.3: IGC-Santé gives p12 files."""
    p12 = as_pkcs12(tmp_path / "op" / "pki", "secrète")
    table = {
        "client_cert": str(p12),
        "client_key": None,
        "client_key_password_file": str(p12.with_name("phrase")),
    }
    async with operated(tmp_path / "op", table, tls="starttls", auth="external") as (operator, pool):
        assert (await send(pool, envelope())).outcome is OutcomeClass.SUCCESS
        assert list(pool.certificates()) == ["client_cert"]
        assert pool.certificates()["client_cert"] > datetime.now(UTC) + timedelta(days=300)
    assert len(operator.mails) == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"client_cert": "op/pki/server.pem"}, "does not belong"),
        ({"client_key": None}, "PKCS#12"),
        ({"client_key": "op/secret"}, "client_key cannot be read"),
        ({"ca_bundle": "none.pem"}, "ca_bundle"),
    ],
)
async def test_what_is_wrong_with_the_files_is_told_at_start(
    tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    files = make_pki(tmp_path / "op" / "pki")
    (tmp_path / "op" / "secret").write_text("not a key")
    table = {"client_cert": files.client.cert, "client_key": files.client.key, "ca_bundle": files.authority}
    given = {**table, **{k: v and tmp_path / v for k, v in change.items()}}
    with pytest.raises(ConfigurationFault, match=word) as fault:
        await SmtpPool(SmtpTransport.model_validate({"host": "127.0.0.1", **given})).start()
    assert "not a key" not in str(fault.value)


async def test_an_expired_certificate_is_told_at_start(tmp_path: Path) -> None:
    files = make_pki(tmp_path / "old", datetime.now(UTC) - timedelta(days=500))
    transport = SmtpTransport(host="127.0.0.1", client_cert=files.client.cert, client_key=files.client.key)
    with pytest.raises(ConfigurationFault, match="client_cert expired"):
        await SmtpPool(transport).start()


async def test_a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The watcher takes what is fit; what is not leaves the former identity in force, with one alert."""
    directory = tmp_path / "op"
    first = make_pki(directory / "pki", datetime.now(UTC) - timedelta(hours=20))
    table = {"certificate_check": 0.02}
    async with operated(directory, table, tls="starttls", auth="external") as (operator, pool):
        ends = pool.certificates()["client_cert"]
        assert (await send(pool, envelope())).outcome is OutcomeClass.SUCCESS
        good = first.client.cert.read_bytes()
        with caplog.at_level(logging.WARNING, "connectors.smtp"):
            first.client.cert.write_text("broken")
            while not caplog.records:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert [r.levelname for r in caplog.records] == ["CRITICAL"]
            assert pool.certificates()["client_cert"] == ends
            assert (await send(pool, envelope())).outcome is OutcomeClass.SUCCESS
            caplog.clear()
            first.client.cert.write_bytes(good)
            # another pair of the same authority: the keys of the server are as good as any for the test
            shutil.copy(first.server.key, first.client.key)
            shutil.copy(first.server.cert, first.client.cert)
            leaf = x509.load_pem_x509_certificate(first.server.cert.read_bytes())
            while not any(r.levelname == "WARNING" for r in caplog.records):
                await asyncio.sleep(0.01)
        assert pool.certificates()["client_cert"] == leaf.not_valid_after_utc
    assert len(operator.mails) == 2


async def test_the_connector_tells_the_end_of_its_certificate(tmp_path: Path) -> None:
    """`connectors.port.WithCertificates`: for the metric."""
    async with operated(tmp_path, {}, tls="implicit", auth="external") as (operator, _):
        connector = samples.connector(operator.connector_settings())
        assert isinstance(connector, WithCertificates)
        assert connector.certificates() == {}
        await connector.start()
        assert list(connector.certificates()) == ["client_cert"]
        await connector.stop()


async def test_a_revoked_server_opens_no_session(tmp_path: Path) -> None:
    """ECO.1.1.5 to 1.1.7: the list is checked at each handshake, read again when it changes, and must be current."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    crl = tmp_path / "crl.pem"
    crl.write_bytes(authority.revocations())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(Exception):
            await accept(Peer(reader, writer))
        writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        table = {"ca_bundle": authority.ca, "crl_file": crl, "idle": 0, "certificate_check": 0.02}
        pool = SmtpPool(SmtpTransport(host="localhost", port=port, tls="implicit", **table))
        await pool.start()
        assert (await send(pool, envelope())).outcome is OutcomeClass.SUCCESS
        for content in (authority.revocations(certificate), authority.revocations(until=-timedelta(days=1))):
            before = pool._access.context
            crl.write_bytes(content)
            while pool._access.context is before:
                await asyncio.sleep(0.01)
            assert (await send(pool, envelope())).outcome is OutcomeClass.CONFIGURATION
        await pool.close()
    crl.write_bytes(b"broken")
    with pytest.raises(ConfigurationFault, match="crl_file"):
        await SmtpPool(
            SmtpTransport(host="localhost", tls="implicit", ca_bundle=authority.ca, crl_file=crl)
        ).start()


# --- envelopes ------------------------------------------------------------------------------------------------


async def commands(
    pool_options: dict[str, Any], sent: Envelope, *extensions: str, message: bytes = MAIL
) -> list[str]:
    """MAIL and RCPT as the server heard them."""
    heard: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.greet(*extensions)
        for _ in range(2):
            heard.append(await peer.hear())
            await peer.say("250 ok")
        await peer.hear()
        await peer.say("354 go")
        await peer.reader.readuntil(b"\r\n.\r\n")
        await peer.say("250 queued")

    async with served(script, **pool_options) as pool:
        assert (await send(pool, sent, message)).outcome is OutcomeClass.SUCCESS
    return heard


async def test_a_report_goes_out_with_an_empty_return_path() -> None:
    """RFC 5321 §4.5.5, RFC 3461 §6: nobody answers a report."""
    sent = envelope(sender="", notify="NEVER", body="7BIT")
    assert await commands({}, sent, "DSN", "8BITMIME", "SIZE 1000") == [
        f"MAIL FROM:<> SIZE={len(MAIL)} BODY=7BIT RET=HDRS",
        "RCPT TO:<b@x.fr> NOTIFY=NEVER ORCPT=rfc822;b@x.fr",
    ]


async def test_an_envelope_asks_for_no_more_than_it_names() -> None:
    assert await commands({}, envelope(), "DSN") == [
        "MAIL FROM:<a@test-hopital.mssante.fr>",
        "RCPT TO:<b@x.fr>",
    ]
    assert await commands({}, envelope(envid="e=1"), "DSN") == [
        "MAIL FROM:<a@test-hopital.mssante.fr> RET=HDRS ENVID=e+3D1",
        "RCPT TO:<b@x.fr>",
    ]


async def test_eight_bits_go_only_to_a_server_that_takes_them() -> None:
    """RFC 6152 §3."""
    eight = "Subject: x\r\n\r\né\r\n".encode()
    heard = await commands({}, envelope(), "8BITMIME", message=eight)
    assert heard[0].endswith("BODY=8BITMIME")

    async def script(peer: Peer) -> None:
        await peer.greet()
        assert await peer.hear() in ("", "QUIT")

    async with served(script) as pool:
        result = await send(pool, envelope(), eight)
    assert (result.outcome, result.code) == (OutcomeClass.PERMANENT, "554")
    assert result.details["missing"] == "8BITMIME"


async def test_the_last_announced_size_is_remembered() -> None:
    """RFC 1870: 0 says no fixed limit."""
    announced = ["SIZE 1000", "SIZE 0", "SIZE", "SIZE 2000"]
    waiting = list(announced)

    async def script(peer: Peer) -> None:
        await peer.greet(waiting.pop(0))
        await peer.whole_mail()
        await peer.say("250 queued")

    async with served(script, idle=0) as pool:
        assert pool.announced_size is None
        seen = []
        for _ in announced:
            await send(pool, envelope())
            seen.append(pool.announced_size)
    assert seen == [1000, None, None, 2000]


async def test_without_a_name_the_client_says_localhost_and_asks_no_resolver() -> None:
    async def script(peer: Peer) -> None:
        await peer.say("220 scripted")
        assert await peer.hear() == "EHLO localhost"
        await peer.say("250 scripted")
        await peer.whole_mail()
        await peer.say("250 queued")

    async with served(script) as pool:
        assert (await send(pool, envelope())).outcome is OutcomeClass.SUCCESS
