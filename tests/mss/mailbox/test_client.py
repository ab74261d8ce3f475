"""The mailbox client against the operator simulator, over real sockets and TLS.

Source: RFC 3501, 2177, 6851; spec/mssante.md §1.3, §2.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import logging
import random
import socket
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from imapclient import imap_utf7

from connectors.mss.mailbox import Fetched, ImapSettings, MailboxClient, Settled, TooLarge, Where
from connectors.mss.simulator import Fault
from connectors.mss.simulator.pki import make_pki
from gateway.errors import JournalUnavailable
from gateway.logs import SafeFormatter
from tests.mss.mailbox.watching import Kept, connected, settings, until, watching
from tests.mss.simulator_client import DOCTOR, PFI, imap, mail, running, send


def _flags(client: imaplib.IMAP4) -> dict[int, set[str]]:
    """UID → flags of INBOX."""
    client.select(readonly=True)
    _, data = client.uid("FETCH", "1:*", "(FLAGS)")
    made = {}
    for line in data:
        if isinstance(line, bytes):
            uid = int(line.partition(b"UID ")[2].split()[0].rstrip(b")"))
            made[uid] = {f.decode() for f in imaplib.ParseFlags(line)} - {"\\Recent"}
    return made


def _stored(name: str) -> str:
    """A folder's name as IMAP carries it (RFC 3501 §5.1.3)."""
    return imap_utf7.encode(name).decode()


@pytest.mark.parametrize(
    ("tls", "certificate", "auth"),
    [
        ("none", False, "login"),
        ("none", False, "plain"),
        ("starttls", False, "login"),
        ("starttls", True, "external"),
        ("implicit", False, "plain"),
        ("implicit", True, "external"),
    ],
)
async def test_a_mail_is_given_byte_for_byte_then_flagged(
    tmp_path: Path, tls: str, certificate: bool, auth: str
) -> None:
    """Every transport and login; lines with dots, 8-bit and bare CR as they are on the server."""
    kept = Kept()
    async with running(tmp_path, tls=tls, client_certificate=certificate) as operator:
        await send(operator)
        async with watching(settings(operator, auth=auth), kept):
            await until(lambda: kept.mails)
            await until(lambda: "store" in [e.action for e in operator.events])
        flags = await imap(operator, _flags, DOCTOR)
        stored = operator.boxes.folder(DOCTOR, "INBOX").messages[0]
    assert kept.raws == [stored.content] and stored.body == mail()
    assert kept.mails[0].internal_date is not None and kept.mails[0].internal_date.utcoffset() is not None
    assert flags == {1: {"\\Seen"}}
    assert kept.told == ["connected"]


@pytest.mark.parametrize("tls", ["none", "starttls"])
async def test_a_mail_of_30_MB(tmp_path: Path, tls: str) -> None:
    """All bytes, in any value that SMTP carries."""
    body = b"\r\n".join(random.Random(1).randbytes(700).translate(None, b"\r\n\0") for _ in range(43_500))
    raw = mail() + body + b"\r\n"
    assert len(raw) > 30_000_000
    kept = Kept()
    async with running(tmp_path, tls=tls) as operator:
        assert (await send(operator, raw)).startswith("250")
        async with watching(settings(operator), kept):
            await until(lambda: kept.mails, 60)
    assert kept.raws[0].endswith(raw)


async def test_200_waiting_mails_come_in_order_and_once(tmp_path: Path) -> None:
    """A backlog is drained; a restart gives nothing again."""
    kept = Kept()
    async with running(tmp_path) as operator:
        for number in range(200):
            await send(operator, mail(number), notify="NEVER")
        async with watching(settings(operator), kept) as client:
            await until(lambda: len(kept.mails) == 200, 60)
            await until(lambda: client.waiting == 0)
        async with watching(settings(operator), kept):
            await send(operator, mail(200), notify="NEVER")
            await until(lambda: len(kept.mails) == 201)
    assert [uid for _, uid in kept.names] == list(range(1, 202))


@pytest.mark.parametrize("idle", [True, False])
async def test_new_mail_is_noticed(tmp_path: Path, idle: bool) -> None:
    """With IDLE at once, without at the next look."""
    kept = Kept()
    async with running(tmp_path) as operator, watching(settings(operator, idle=idle, poll=0.2), kept):
        await connected(kept)
        for number in range(3):
            await asyncio.sleep(0.1)
            await send(operator, mail(number))
            start = time.monotonic()
            await until(lambda: len(kept.mails) > number)  # noqa: B023
            assert time.monotonic() - start < 1


async def test_idle_is_said_again(tmp_path: Path) -> None:
    """RFC 2177: under 29 minutes; mail still comes after many times."""
    kept = Kept()
    async with running(tmp_path) as operator, watching(settings(operator, idle_renew=0.05), kept):
        await connected(kept)
        await asyncio.sleep(0.4)
        await send(operator)
        await until(lambda: kept.mails)
    assert kept.told == ["connected"]


async def test_a_cut_in_the_middle_of_a_mail_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """The mail that was cut is read again, the others too, each uid kept once."""
    kept = Kept()
    async with running(tmp_path) as operator:
        for number in range(5):
            await send(operator, mail(number))
        operator.plan(Fault("imap_cut", DOCTOR, times=3))
        async with watching(settings(operator), kept):
            await until(lambda: len(kept.mails) == 5)
    assert sorted(kept.names) == sorted(set(kept.names))
    assert set(kept.raws) == {m.content for m in operator.boxes.folder(DOCTOR, "INBOX").messages}
    assert "disconnected:cut" in kept.told and kept.told[-1] == "connected"


async def test_a_mail_that_cuts_each_session_holds_no_other_back(tmp_path: Path) -> None:
    """What failed comes after all others."""
    kept = Kept()
    async with running(tmp_path) as operator:
        await send(operator)
        operator.plan(Fault("imap_cut", DOCTOR, times=1))
        async with watching(settings(operator, retry_first=0.5, retry_longest=0.5), kept):
            await until(lambda: "disconnected:cut" in kept.told)
            for number in range(3):
                await send(operator, mail(number))
            await until(lambda: len(kept.mails) == 4)
    assert [uid for _, uid in kept.names][-1] == 1, kept.names


async def test_stopped_between_keeping_and_flagging(tmp_path: Path) -> None:
    """The mail is known: it is flagged at the next start and not given again."""
    kept = Kept()
    async with running(tmp_path) as operator:
        await send(operator)
        stop = asyncio.Event()

        async def keep(given: object) -> None:
            await kept.keep(given)  # type: ignore[arg-type]
            stop.set()
            await asyncio.sleep(60)

        client = MailboxClient(settings(operator), kept.states.append)
        task = asyncio.create_task(client.watch(keep, kept.known))
        await stop.wait()
        task.cancel()
        await asyncio.wait({task})
        assert await imap(operator, _flags, DOCTOR) == {1: set()}
        async with watching(settings(operator), kept):
            await until(lambda: "store" in [e.action for e in operator.events])
        assert await imap(operator, _flags, DOCTOR) == {1: {"\\Seen"}}
    assert len(kept.mails) == 1


async def test_a_journal_that_cannot_keep(tmp_path: Path) -> None:
    """Nothing is flagged, the state says so once, and all is given when it works again."""
    kept = Kept()
    kept.fault = JournalUnavailable("disk full")
    async with running(tmp_path) as operator:
        for number in range(3):
            await send(operator, mail(number))
        async with watching(settings(operator), kept) as client:
            await until(lambda: "held:keep" in kept.told)
            await asyncio.sleep(0.5)
            assert await imap(operator, _flags, DOCTOR) == {1: set(), 2: set(), 3: set()}
            assert client.waiting == 3
            await send(operator, mail(4))
            kept.fault = None
            await until(lambda: len(kept.mails) == 4)
            await until(lambda: kept.told[-1] == "connected")
    assert kept.told == ["connected", "held:keep", "connected"]


async def test_a_bug_of_ours_holds_one_mail_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Logged with a correlation id and without what the exception says; others come; it is tried again."""
    kept = Kept()
    kept.refuse = lambda m: ValueError("NOM PRENOM") if m.uid == 2 and len(kept.mails) < 3 else None
    async with running(tmp_path) as operator:
        for number in range(4):
            await send(operator, mail(number))
        async with watching(settings(operator), kept):
            await until(lambda: len(kept.mails) == 4)
    assert [uid for _, uid in kept.names] == [1, 3, 4, 2]
    records = [logging.makeLogRecord({**r.__dict__, "exc_text": None}) for r in caplog.records]
    lines = [SafeFormatter().format(r) for r in records if r.levelno == logging.ERROR]
    assert "ValueError" in lines[-1] and "watching.py" in lines[-1] and "PRENOM" not in "".join(lines)


async def test_another_uidvalidity(tmp_path: Path) -> None:
    """A restored folder: `known` is asked with the new one, the mails are given again (RFC 3501 §2.3.1.1)."""
    kept = Kept()
    async with running(tmp_path) as operator:
        await send(operator)
        async with watching(settings(operator), kept) as client:
            await until(lambda: len(kept.mails) == 1)
            before = kept.mails[0].uidvalidity
            operator.restore(DOCTOR)
            await until(lambda: len(kept.mails) == 2)
            after = kept.mails[1].uidvalidity
            assert after != before and kept.raws[0] == kept.raws[1]
            # the old name is nobody's now
            assert await client.settle(before, kept.mails[1].uid, Where.PROCESSED) is Settled.GONE
        assert {v for v, _ in kept.asked} == {before, after}
    assert kept.told == ["connected", "disconnected:bye", "connected"]


async def test_an_operator_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """One state for the whole time, mails of the meantime included afterwards."""
    kept = Kept()
    async with running(tmp_path) as operator, watching(settings(operator), kept):
        await connected(kept)
        await operator.down()
        await until(lambda: kept.told[-1].startswith("disconnected:refused"))
        await asyncio.sleep(0.6)
        await operator.up()
        await send(operator)
        await until(lambda: kept.mails)
    assert kept.told.count("disconnected:refused") == 1 and kept.told[-1] == "connected"


async def test_a_refused_login_is_a_configuration_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One alert when it starts, one line when it ends; the secret is read again at each login."""
    kept = Kept()
    caplog.set_level(logging.INFO)
    async with running(tmp_path) as operator:
        await send(operator)
        secret = tmp_path / "other"
        secret.write_text("faux\n")
        async with watching(settings(operator, secret_file=secret), kept):
            await until(lambda: "configuration:login" in kept.told)
            await asyncio.sleep(0.6)
            renewed = tmp_path / "renewed"
            renewed.write_text(Path(operator.imap_settings()["secret_file"]).read_text())
            renewed.replace(secret)  # whole at once: a file being written would be another fault
            await until(lambda: kept.mails)
    assert kept.told == ["configuration:login", "connected"]
    lines = [r.getMessage() for r in caplog.records if r.name == "gateway.mailbox"]
    assert lines == ["mailbox bal: configuration: login", "mailbox bal: connected"]
    assert DOCTOR not in caplog.text and "faux" not in caplog.text


async def test_busy_for_a_while(tmp_path: Path) -> None:
    """NO to SELECT, then NO to FETCH: tried again, nothing lost."""
    kept = Kept()
    async with running(tmp_path) as operator:
        await send(operator)
        operator.plan(Fault("imap_busy", DOCTOR, times=4))
        async with watching(settings(operator), kept):
            await until(lambda: kept.mails)
    assert kept.told[0] == "disconnected:busy" and kept.told[-1] == "connected"


@pytest.mark.parametrize(
    ("tls", "wrong", "told"),
    [
        ("implicit", {"host": "127.0.0.2"}, "configuration:certificate"),
        ("starttls", {"host": "127.0.0.2"}, "configuration:certificate"),
        ("implicit", {"ca_bundle": None}, "configuration:certificate"),
        ("starttls", {"ca_bundle": None}, "configuration:certificate"),
        ("none", {"tls": "starttls"}, "configuration:starttls"),
        ("starttls", {"tls": "none", "host": "127.0.0.1"}, "configuration:mechanism"),
        ("implicit", {"secret_file": "/absent"}, "configuration:files"),
        ("implicit", {"ca_bundle": "/absent"}, "configuration:files"),
        ("starttls", {"client_cert": "/absent", "client_key": "/absent"}, "configuration:files"),
        ("implicit", {"folder": "Absent"}, "configuration:folder"),
        ("implicit", {"auth": "xoauth2"}, "configuration:mechanism"),
    ],
)
async def test_what_a_person_must_repair(
    tmp_path: Path, tls: str, wrong: dict[str, object], told: str
) -> None:
    """Certificate with another host name or of another authority, no STARTTLS (never in clear), login not offered."""
    kept = Kept()
    host = "0.0.0.0" if "host" in wrong else "127.0.0.1"
    async with (
        running(tmp_path, tls=tls, host=host) as operator,
        watching(settings(operator, **wrong), kept),
    ):
        await until(lambda: kept.told)
    assert kept.told == [told]


async def test_a_pkcs12(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The certificate as IGC-Santé gives it; a wrong pass phrase is told, and used once it is right."""
    kept, phrase = Kept(), tmp_path / "phrase"
    async with running(tmp_path, tls="implicit", client_certificate=True) as operator:
        pki = make_pki(tmp_path / "pki")
        key = serialization.load_pem_private_key(pki.client.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        leaf = x509.load_pem_x509_certificate(pki.client.cert.read_bytes())
        encryption = serialization.BestAvailableEncryption(b"ouvre-toi")
        (tmp_path / "c.p12").write_bytes(
            pkcs12.serialize_key_and_certificates(b"c", key, leaf, None, encryption)
        )
        phrase.write_text("faux")
        await send(operator)
        files = {"client_cert": tmp_path / "c.p12", "client_key": None, "client_key_password_file": phrase}
        async with watching(settings(operator, auth="external", **files), kept):
            await until(lambda: kept.told == ["configuration:files"])
            phrase.write_text("ouvre-toi\n")
            await until(lambda: kept.mails)
    assert "client_cert cannot be read as PKCS#12" in caplog.text and "faux" not in caplog.text


def _refuse_without_certificate(listener: socket.socket, context: ssl.SSLContext) -> None:
    """One TLS handshake, as OpenSSL's servers end it: with an alert (asyncio's say nothing)."""
    connection, _ = listener.accept()
    with (
        connection,
        contextlib.suppress(ssl.SSLError, OSError),
        context.wrap_socket(connection, server_side=True) as tls,
    ):
        tls.recv(1)


async def test_our_certificate_is_missing(tmp_path: Path) -> None:
    """TLS 1.3 tells it after the handshake."""
    kept = Kept()
    pki = make_pki(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.cert, pki.server.key)
    context.load_verify_locations(pki.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    secret = tmp_path / "secret"
    secret.write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = asyncio.create_task(asyncio.to_thread(_refuse_without_certificate, listener, context))
        made = ImapSettings(
            host="localhost",
            port=listener.getsockname()[1],
            tls="implicit",
            ca_bundle=pki.authority,
            user="u",
            secret_file=secret,
        )
        async with watching(made, kept):
            await until(lambda: kept.told)
        await server
    assert kept.told == ["configuration:certificate"]


async def test_a_mail_that_is_too_large(tmp_path: Path) -> None:
    """Its header and its size; never its body. The others as usual."""
    kept = Kept()
    async with running(tmp_path) as operator:
        await send(operator, mail(1) + b"x" * 998 + b"\r\n" + b"y" * 500 + b"\r\n")
        await send(operator, mail(2))
        async with watching(settings(operator, max_mail_bytes=1500), kept):
            await until(lambda: len(kept.mails) == 2)
            await until(lambda: [e.action for e in operator.events].count("store") == 2)
        content = operator.boxes.folder(DOCTOR, "INBOX").messages[0].content
    large, small = kept.mails
    assert isinstance(large, TooLarge) and isinstance(small, Fetched)
    assert (
        large.size == len(content) and content.startswith(large.header) and large.header.endswith(b"\r\n\r\n")
    )
    assert b"<m1@" in large.header


async def test_a_header_is_bounded_too(tmp_path: Path) -> None:
    """64 kB of it."""
    kept = Kept()
    raw = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 900) for n in range(200)) + mail()
    async with running(tmp_path) as operator:
        await send(operator, raw)
        async with watching(settings(operator, max_mail_bytes=1500), kept):
            await until(lambda: kept.mails)
    assert isinstance(kept.mails[0], TooLarge) and len(kept.mails[0].header) == 65_536


async def test_treated_mails_are_put_away(tmp_path: Path) -> None:
    """Folders made when missing (accents too), flags, `$MDNSent`, in place without a folder; asked twice: fine."""
    kept = Kept()
    folders = {"processed": "Traités", "error": "Erreurs/À voir", "other": ""}
    async with running(tmp_path) as operator:
        for number in range(1, 5):
            await send(operator, mail(number))
        async with watching(settings(operator, **folders), kept) as client:
            await until(lambda: len(kept.mails) == 4)
            v = kept.mails[0].uidvalidity
            assert await client.settle(v, 1, Where.PROCESSED, mdn_sent=True) is Settled.MOVED
            assert await client.settle(v, 2, Where.ERROR) is Settled.MOVED
            assert await client.settle(v, 3, Where.OTHER) is Settled.FLAGGED
            assert await client.settle(v, 3, Where.OTHER) is Settled.FLAGGED
            assert await client.settle(v, 1, Where.PROCESSED) is Settled.GONE
            assert await client.settle(v, 99, Where.PROCESSED) is Settled.GONE
            assert await asyncio.gather(*(client.settle(v, 4, Where.PROCESSED) for _ in range(3))) == [
                Settled.MOVED,
                Settled.GONE,
                Settled.GONE,
            ]
        boxes = operator.boxes
        assert [m.flags for m in boxes.folder(DOCTOR, _stored("Traités")).messages] == [
            {"\\Seen", "$MDNSent"},
            {"\\Seen"},
        ]
        assert [m.flags for m in boxes.folder(DOCTOR, _stored("Erreurs/À voir")).messages] == [
            {"\\Seen", "\\Flagged"}
        ]
        assert [(m.uid, m.flags) for m in boxes.folder(DOCTOR, "INBOX").messages] == [(3, {"\\Seen"})]
    assert kept.told == ["connected"]


async def test_an_error_mail_left_in_place_is_flagged(tmp_path: Path) -> None:
    """A person must find it."""
    kept = Kept()
    async with running(tmp_path) as operator:
        await send(operator)
        async with watching(settings(operator), kept) as client:
            await until(lambda: kept.mails)
            assert await client.settle(*kept.names[0], Where.ERROR) is Settled.FLAGGED
        assert await imap(operator, _flags, DOCTOR) == {1: {"\\Seen", "\\Flagged"}}


async def test_settling_waits_for_the_mailbox(tmp_path: Path) -> None:
    """Asked while the operator is down: done once it is back; what was cancelled meanwhile is not done."""
    kept = Kept()
    async with running(tmp_path) as operator:
        await send(operator, mail(1))
        await send(operator, mail(2))
        async with watching(settings(operator, processed="Fait"), kept) as client:
            await until(lambda: len(kept.mails) == 2)
            await operator.down()
            await until(lambda: kept.told[-1].startswith("disconnected"))
            first, second = (asyncio.create_task(client.settle(*n, Where.PROCESSED)) for n in kept.names)
            await asyncio.sleep(0.2)
            assert not first.done()
            second.cancel()
            await operator.up()
            assert await first is Settled.MOVED
        assert [m.uid for m in operator.boxes.folder(DOCTOR, "INBOX").messages] == [2]


async def test_settling_while_a_backlog_is_drained(tmp_path: Path) -> None:
    """Each mail is put away by its keeper at once: nothing waits for the end of the backlog, nothing is missed."""
    kept = Kept()
    async with running(tmp_path) as operator:
        for number in range(40):
            await send(operator, mail(number), notify="NEVER")
        async with watching(settings(operator, processed="Fait"), kept) as client:
            results = []
            for at in range(40):
                await until(lambda: len(kept.mails) > at)  # noqa: B023
                results.append(await client.settle(*kept.names[at], Where.PROCESSED))
        assert results == [Settled.MOVED] * 40
        assert len(operator.boxes.folder(DOCTOR, "Fait").messages) == 40
    assert len(set(kept.names)) == len(kept.names) == 40


async def test_two_mailboxes_beside_one_another(tmp_path: Path) -> None:
    """One client each."""
    one, other = Kept(), Kept()
    async with (
        running(tmp_path) as operator,
        watching(settings(operator), one),
        watching(settings(operator, PFI, name="pfi"), other),
    ):
        await connected(one)
        await connected(other)
        await send(operator)  # its delivery report goes to the sender's mailbox
        await until(lambda: one.mails and other.mails)
    assert b"multipart/report" in other.raws[0] and other.states[0].mailbox == "pfi"


@pytest.mark.parametrize("phase", ["idle", "fetch", "poll", "pause"])
async def test_stopping_is_prompt(tmp_path: Path, phase: str) -> None:
    """`watching` fails after a second."""
    kept = Kept()
    async with running(tmp_path) as operator:
        if phase == "fetch":
            await send(operator, mail() + (b"z" * 900 + b"\r\n") * 30_000)
        made = settings(operator, idle=phase != "poll", retry_first=60, retry_longest=60)
        if phase == "pause":
            await operator.down()
        async with watching(made, kept):
            if phase == "fetch":
                await until(lambda: "fetch" in [e.action for e in operator.events])
            else:
                await until(lambda: kept.told)
                await asyncio.sleep(0.1)
        assert not kept.mails


async def test_a_secret_that_is_just_being_written_is_read_a_moment_later(tmp_path: Path) -> None:
    """Truncated and not yet filled: the server is not asked, so nothing is gained by waiting five minutes."""
    async with running(tmp_path) as operator:
        secret = tmp_path / "renewed"
        secret.write_text("")
        kept = Kept()
        made = settings(operator, secret_file=secret, retry_configuration=600)
        async with watching(made, kept):
            await until(lambda: kept.told == ["configuration:files"])
            secret.write_text(Path(operator.imap_settings()["secret_file"]).read_text())
            await connected(kept)
