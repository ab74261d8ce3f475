"""Our SMTP session, our mailbox client and the reading of receipts against Postfix and Dovecot.

Source: spec/mssante.md §1.3 (DSN request), §3.1 (reports), §8 (the servers).
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from connectors.mss.mailbox import Fetched, ImapSettings, Settled, Where
from connectors.mss.mailbox.login import log_in
from connectors.mss.mailbox.session import Session
from connectors.mss.receipts.model import Action, Dsn
from connectors.mss.receipts.reading import read
from connectors.mss.settings import MssSettings
from connectors.mss.simulator import Fault, create
from connectors.port import OutcomeClass
from connectors.smtp.pool import Envelope, SmtpPool, transparent
from tests.mailservers.servers import APPLICATIVE, DOCTOR, PFI, REMOTE, MailServers
from tests.mss.mailbox.watching import Kept, connected, until, watching

pytestmark = pytest.mark.mailservers


def _mail(recipient: str, token: str, body: bytes = b"") -> bytes:
    return (
        f"From: {PFI}\r\nTo: {recipient}\r\nSubject: essai {token}\r\nMessage-ID: <{token}@local.mssante.fr>\r\n"
        f"Date: Fri, 20 Nov 2026 10:46:43 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
        f"bonjour\r\n.point\r\n"
    ).encode() + body


async def _send(
    servers: MailServers, recipient: str, token: str, body: bytes = b"", notify: str = "FAILURE"
) -> OutcomeClass:
    pool = SmtpPool(MssSettings.model_validate(servers.smtp_settings()))
    await pool.start()
    try:
        async with pool.slot():
            envelope = Envelope(PFI, recipient, token, notify)
            return (await pool.send(envelope, transparent(_mail(recipient, token, body)))).outcome
    finally:
        await pool.close()


def _settings(servers: MailServers, user: str = PFI, tls: str = "implicit", **options: Any) -> ImapSettings:
    quick = {"retry_first": 0.1, "retry_longest": 0.5, "retry_configuration": 0.3}
    return ImapSettings.model_validate({**servers.imap_settings(user, tls), **quick, **options})


def _given(kept: Kept, token: str) -> list[Fetched]:
    """The mails that name `token`; the servers are shared by these tests."""
    return [m for m in kept.mails if isinstance(m, Fetched) and token.encode() in m.raw]


def _report(kept: Kept, envid: str) -> Dsn | None:
    for mail in _given(kept, envid):
        made = read(mail.raw)
        if isinstance(made, Dsn) and made.envid == envid:
            return made
    return None


@pytest.mark.parametrize(
    ("recipient", "refusal", "action", "code"),
    [
        (DOCTOR, None, Action.RELAYED, ""),
        (REMOTE, None, Action.RELAYED, ""),
        (REMOTE, Fault("rcpt", REMOTE, code=550), Action.FAILED, "550"),
        (REMOTE, Fault("data", REMOTE, code=552), Action.FAILED, "552"),
    ],
)
async def test_a_real_report_is_fetched_and_read(
    mail_servers: MailServers,
    tmp_path: Path,
    recipient: str,
    refusal: Fault | None,
    action: Action,
    code: str,
) -> None:
    """Our DSN request, Postfix's own report, Dovecot's IMAP, our reading: ENVID, recipient, Message-ID, code."""
    kept, envid = Kept(), uuid4().hex
    remote = create(tmp_path, port=mail_servers.remote_port, dsn=False)
    async with remote.running(), watching(_settings(mail_servers), kept):
        if refusal is not None:
            remote.plan(refusal)
        notify = "SUCCESS,FAILURE,DELAY"
        assert await _send(mail_servers, recipient, envid, notify=notify) is OutcomeClass.SUCCESS
        await until(lambda: _report(kept, envid), 30)
    report = _report(kept, envid)
    assert report is not None
    (told,) = report.recipients
    assert (told.action, told.code, told.original) == (action, code, recipient)
    assert report.message_id == f"{envid}@local.mssante.fr"


async def test_an_unknown_mailbox_is_refused_at_once(mail_servers: MailServers) -> None:
    """Postfix's own 550 in the dialogue."""
    outcome = await _send(mail_servers, "inconnu@local.mssante.fr", uuid4().hex)
    assert outcome is OutcomeClass.PERMANENT


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("auth", ["login", "plain"])
async def test_transports_and_logins(mail_servers: MailServers, tls: str, auth: str) -> None:
    """Both kinds of TLS; the bytes as Dovecot's LMTP kept them."""
    kept, token = Kept(), uuid4().hex
    assert await _send(mail_servers, DOCTOR, token) is OutcomeClass.SUCCESS
    async with watching(_settings(mail_servers, DOCTOR, tls, auth=auth), kept):
        await until(lambda: _given(kept, token), 30)
    (mail,) = _given(kept, token)
    assert mail.raw.endswith(b"\r\n\r\nbonjour\r\n.point\r\n") and mail.internal_date is not None


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("user", ["", APPLICATIVE])
async def test_a_certificate_opens_its_mailbox(mail_servers: MailServers, tls: str, user: str) -> None:
    """EXTERNAL, as an applicative mailbox is opened (spec/mssante.md §1.3): the name is the certificate's."""
    kept, token = Kept(), uuid4().hex
    client = mail_servers.pki.client
    certificate = {"client_cert": client.cert, "client_key": client.key, "secret_file": None}
    assert await _send(mail_servers, APPLICATIVE, token) is OutcomeClass.SUCCESS
    async with watching(_settings(mail_servers, user, tls, auth="external", **certificate), kept):
        await until(lambda: _given(kept, token), 30)


async def test_an_absent_folder(mail_servers: MailServers) -> None:
    """Dovecot says NO without a code: LIST tells whether it is there."""
    kept = Kept()
    async with watching(_settings(mail_servers, folder="Absent"), kept):
        await until(lambda: kept.told, 30)
        assert kept.told == ["configuration:folder"]


async def test_idle_tells_within_a_second(mail_servers: MailServers) -> None:
    """From Postfix's acceptance to `keep`."""
    kept = Kept()
    async with watching(_settings(mail_servers, DOCTOR), kept):
        await connected(kept)
        for _ in range(3):
            await asyncio.sleep(0.5)
            token = uuid4().hex
            await _send(mail_servers, DOCTOR, token)
            start = time.monotonic()
            await until(lambda: _given(kept, token))  # noqa: B023
            assert time.monotonic() - start < 1.5


async def test_a_mail_of_30_MB(mail_servers: MailServers) -> None:
    """Byte for byte through Postfix and Dovecot."""
    kept, token = Kept(), uuid4().hex
    noise = random.Random(2)
    body = b"".join(noise.randbytes(38).hex().encode() + b"\r\n" for _ in range(385_000))
    assert len(body) > 30_000_000
    assert await _send(mail_servers, DOCTOR, token, body) is OutcomeClass.SUCCESS
    async with watching(_settings(mail_servers, DOCTOR), kept):
        await until(lambda: _given(kept, token), 60)
    assert _given(kept, token)[0].raw.endswith(b"\r\n.point\r\n" + body)


async def test_flags_folders_and_putting_away(mail_servers: MailServers) -> None:
    """MOVE into a folder made on the way, `$MDNSent`, in place, twice; given once over two sessions."""
    kept, tokens = Kept(), [uuid4().hex for _ in range(3)]
    made = _settings(mail_servers, DOCTOR, processed="Traités", error="Erreurs")
    for token in tokens:
        await _send(mail_servers, DOCTOR, token)
    async with watching(made, kept) as client:
        await until(lambda: all(_given(kept, t) for t in tokens), 30)
        first, second, third = ((m.uidvalidity, m.uid) for m in (_given(kept, t)[0] for t in tokens))
        assert await client.settle(*first, Where.PROCESSED, mdn_sent=True) is Settled.MOVED
        assert await client.settle(*first, Where.PROCESSED) is Settled.GONE
        assert await client.settle(*second, Where.ERROR) is Settled.MOVED
        assert await client.settle(*third, Where.OTHER, mdn_sent=True) is Settled.FLAGGED
    again = Kept()
    again.mails = list(kept.mails)
    async with watching(made, again) as client:
        await connected(again)
        await until(lambda: again.asked)
        await until(lambda: client.waiting == 0)
        assert again.names == kept.names
    async with Session.opened(made) as session:
        await log_in(session, made)
        await session.select()
        assert third[1] in await session.search("SEEN KEYWORD $MDNSent")
        assert not {first[1], second[1]} & set(await session.search("ALL"))
    for folder, query in (("Traités", "SEEN KEYWORD $MDNSent UNFLAGGED"), ("Erreurs", "SEEN FLAGGED")):
        there = made.model_copy(update={"folder": folder})
        async with Session.opened(there) as session:
            await log_in(session, there)
            await session.select()
            assert len(await session.search(query)) >= 1


async def test_a_session_that_the_operator_ends(mail_servers: MailServers) -> None:
    """`doveadm kick`: connected again, mail of the meantime given."""
    kept, token = Kept(), uuid4().hex
    async with watching(_settings(mail_servers, DOCTOR), kept):
        await connected(kept)
        kick = ["doveadm", "-c", str(mail_servers.directory / "dovecot.conf"), "kick", DOCTOR]
        await asyncio.to_thread(subprocess.run, kick, check=True, capture_output=True)
        await _send(mail_servers, DOCTOR, token)
        await until(lambda: _given(kept, token), 30)
    assert [s.state.value for s in kept.states] == ["connected", "disconnected", "connected"]


async def test_a_backlog(mail_servers: MailServers) -> None:
    """100 mails waiting, each given once, in the order of their UIDs."""
    kept, token = Kept(), uuid4().hex
    for _ in range(100):
        await _send(mail_servers, DOCTOR, token)
    async with watching(_settings(mail_servers, DOCTOR), kept):
        await until(lambda: len(_given(kept, token)) == 100, 60)
    uids = [m.uid for m in _given(kept, token)]
    assert uids == sorted(set(uids))


@pytest.mark.parametrize("phase", ["idle", "fetch"])
async def test_stopping_is_prompt(mail_servers: MailServers, phase: str) -> None:
    """`watching` fails after a second."""
    kept = Kept()
    if phase == "fetch":
        await _send(mail_servers, PFI, uuid4().hex, (b"z" * 900 + b"\r\n") * 30_000)
    async with watching(_settings(mail_servers), kept):
        await connected(kept)
        await asyncio.sleep(0.3 if phase == "idle" else 0.02)


async def test_a_wrong_password(mail_servers: MailServers, tmp_path: Path) -> None:
    """A configuration fault. Last: Dovecot then makes every login from this address wait, longer each time."""
    wrong, kept = tmp_path / "secret", Kept()
    wrong.write_text("faux")
    options = {"secret_file": wrong, "retry_configuration": 60}
    async with watching(_settings(mail_servers, **options), kept):
        await until(lambda: kept.told, 30)
        assert kept.told == ["configuration:login"]
