"""Clients of the operator simulator: SMTP by the standard library, IMAP by `imaplib` in a thread and by hand."""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar

from connectors.mss.simulator import OperatorSimulator, create
from connectors.mss.simulator.access import PASSWORD

PFI = "pfi@hopital-a.mssante.fr"
DOCTOR = "dr.martin@hopital-b.mssante.fr"
ENVID = "5f0c6f8e1a"
_T = TypeVar("_T")


@asynccontextmanager
async def running(directory: Path, **options: Any) -> AsyncIterator[OperatorSimulator]:
    """A started simulator."""
    async with create(directory, **options).running() as operator:
        yield operator


def mail(number: int = 1, sender: str = PFI, recipient: str = DOCTOR, **headers: str) -> bytes:
    """A small mail that asks for an MDN, with 8-bit text and lines that start with a dot."""
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (
        f"From: {sender}\r\nTo: {recipient}\r\nSubject: XDM/1.0/DDM+CR essai NOM Prenom\r\n"
        f"Message-ID: <m{number}@hopital-a.mssante.fr>\r\nDate: Fri, 20 Nov 2026 10:46:43 +0000\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
        f"{extra}\r\nété\r\n.point\r\n..deux\r\n"
    ).encode()


def asking(sender: str = PFI) -> dict[str, str]:
    """The header that asks for an MDN."""
    return {"Disposition_Notification_To": f"<{sender}>"}


def client_tls(operator: OperatorSimulator) -> ssl.SSLContext:
    """The TLS of a client that trusts the simulator."""
    settings = operator.imap_settings()
    context = ssl.create_default_context(cafile=settings["ca_bundle"])
    if "client_cert" in settings:
        context.load_cert_chain(settings["client_cert"], settings["client_key"])
    return context


def _send(
    operator: OperatorSimulator,
    raw: bytes,
    sender: str,
    recipients: list[str],
    notify: str | None,
    ret: str | None,
    envid: str,
) -> str:
    client: smtplib.SMTP
    if operator.tls == "implicit":
        client = smtplib.SMTP_SSL("localhost", operator.port, timeout=10, context=client_tls(operator))
    else:
        client = smtplib.SMTP(operator.host, operator.port, timeout=10)
    try:
        client.ehlo()
        if operator.tls == "starttls":
            client.starttls(context=client_tls(operator))
            client.ehlo()
        dsn = client.has_extn("dsn")
        options = ["BODY=8BITMIME"]
        if dsn:
            options += [f"ENVID={envid}"] + ([f"RET={ret}"] if ret else [])
        code, words = client.mail(sender, options)
        if code != 250:
            return f"{code} {words.decode()}"
        for recipient in recipients:
            asked = [f"NOTIFY={notify}", f"ORCPT=rfc822;{recipient}"] if dsn and notify else []
            code, words = client.rcpt(recipient, asked)
            if code != 250:
                return f"{code} {words.decode()}"
        code, words = client.data(raw)
        return f"{code} {words.decode()}"
    except smtplib.SMTPServerDisconnected:
        return "cut"
    finally:
        client.close()


async def send(
    operator: OperatorSimulator,
    raw: bytes | None = None,
    sender: str = PFI,
    recipients: list[str] | None = None,
    *,
    notify: str | None = "SUCCESS,FAILURE,DELAY",
    ret: str | None = "HDRS",
    envid: str = ENVID,
) -> str:
    """Send one mail; the last answer of the server, or `cut`."""
    return await asyncio.to_thread(
        _send,
        operator,
        raw if raw is not None else mail(),
        sender,
        recipients or [DOCTOR],
        notify,
        ret,
        envid,
    )


def open_imap(operator: OperatorSimulator, user: str = PFI, password: str = PASSWORD) -> imaplib.IMAP4:
    """A logged-in `imaplib` client."""
    client: imaplib.IMAP4
    if operator.tls == "implicit":
        client = imaplib.IMAP4_SSL(
            "localhost", operator.imap_port, ssl_context=client_tls(operator), timeout=10
        )
    else:
        client = imaplib.IMAP4(operator.host, operator.imap_port, timeout=10)
        if operator.tls == "starttls":
            client.starttls(client_tls(operator))
    client.login(user, password)
    return client


async def imap(operator: OperatorSimulator, work: Callable[[imaplib.IMAP4], _T], user: str = PFI) -> _T:
    """What `work` gives with a client, in a thread."""

    def run() -> _T:
        client = open_imap(operator, user)
        try:
            return work(client)
        finally:
            client.shutdown()

    return await asyncio.to_thread(run)


async def received(operator: OperatorSimulator, user: str = PFI) -> list[EmailMessage]:
    """The mails of a mailbox, read over IMAP once everything due has come."""
    await operator.settle()

    def read(client: imaplib.IMAP4) -> list[EmailMessage]:
        client.select(readonly=True)
        _, data = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
        return [message_from_bytes(d[1], policy=policy.SMTP) for d in data if isinstance(d, tuple)]

    return await imap(operator, read, user)


class ByHand:
    """IMAP line by line, for what `imaplib` cannot do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def connected(cls, operator: OperatorSimulator, user: str = PFI) -> AsyncIterator[ByHand]:
        reader, writer = await asyncio.open_connection(operator.host, operator.imap_port)
        made = cls(reader, writer)
        try:
            assert (await made.line()).startswith("* OK [CAPABILITY IMAP4rev1")
            if user:
                await made.do(f'login "{user}" "{PASSWORD}"')
            yield made
        finally:
            writer.close()

    async def line(self) -> str:
        async with asyncio.timeout(5):
            return (await self.reader.readline()).decode().rstrip("\r\n")

    def say(self, text: str) -> None:
        self.writer.write(text.encode() + b"\r\n")

    async def do(self, command: str, expect: str = "OK") -> list[str]:
        """Run a command; its untagged lines."""
        self.say(f"t {command}")
        lines: list[str] = []
        while not (got := await self.line()).startswith("t "):
            lines.append(got)
            assert got, f"closed after {lines}"
        assert got.startswith(f"t {expect}"), got
        return lines
