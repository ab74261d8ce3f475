"""The simulated operator: settings, plan of answers, kept mails.

Purpose: `create(directory, **options)`; the server runs in the current event loop.
Guarantee: a mail is kept byte for byte as it came over SMTP (transparency undone), before its 250.
Fails: `OSError` when the port is taken.

Options of `create`: `host`, `port` (0: any free one), `tls` (none, starttls, implicit), `client_certificate`
(ask for one), `auth` (none, plain, login, external), `dsn` (False: an operator without DSN), `size_limit`
(bytes of SIZE), `keep` (True: also write each mail as an .eml file in `directory`/mails).
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import ssl
import zipfile
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from connectors.mss.simulator.pki import make_pki
from connectors.mss.simulator.server import DsnEnvelope, DsnSmtp, silence
from connectors.simulator_port import serve

USER = "passerelle"
PASSWORD = "mot-de-passe-de-test"  # noqa: S105  # of the simulator, on loopback


class Verdict(StrEnum):
    """One answer for one mail to an address. Codes are given at RCPT, the others after the final dot."""

    ACCEPT = "accept"
    BUSY = "450"
    UNKNOWN = "550"
    FULL = "552"
    DATA_BUSY = "data-451"
    DATA_REFUSED = "data-554"
    CUT_BEFORE = "cut-before"
    """The mail is read to its final dot and lost, the connection cut without an answer."""
    CUT_AFTER = "cut-after"
    """The mail is kept, the connection cut without an answer."""
    SILENT_RCPT = "silent-rcpt"
    SILENT = "silent"
    """The mail is kept and never answered; the connection stays open."""


_RCPT_ANSWERS = {
    Verdict.BUSY: "450 4.2.1 mailbox busy",
    Verdict.UNKNOWN: "550 5.1.1 no such mailbox",
    Verdict.FULL: "552 5.2.2 mailbox full",
}
_DATA_ANSWERS = {
    Verdict.DATA_BUSY: "451 4.3.0 try again later",
    Verdict.DATA_REFUSED: "554 5.7.1 message refused",
}


@dataclass(frozen=True, slots=True)
class Mail:
    """A kept mail: envelope, DSN parameters (values as sent), raw bytes."""

    sender: str
    recipient: str
    raw: bytes
    mail_dsn: dict[str, str] = field(default_factory=dict)
    rcpt_dsn: dict[str, str] = field(default_factory=dict)

    @property
    def message(self) -> EmailMessage:
        """The parsed mail."""
        return message_from_bytes(self.raw, policy=policy.SMTP)

    def archive(self) -> bytes:
        """The bytes of IHE_XDM.ZIP; raises `LookupError` without one."""
        return self._attachment("application/zip")

    def documents(self) -> dict[str, bytes]:
        """The files of the archive by name, folders left out."""
        with zipfile.ZipFile(io.BytesIO(self.archive())) as archive:
            return {i.filename: archive.read(i) for i in archive.infolist() if not i.is_dir()}

    def pdf(self) -> bytes:
        """The first PDF copy; raises `LookupError` without one."""
        return self._attachment("application/pdf")

    def text(self) -> str:
        """The body's text."""
        body = self.message.get_body(("plain",))
        return str(body.get_content()) if body is not None else ""

    def _attachment(self, mime_type: str) -> bytes:
        for part in self.message.iter_attachments():
            if part.get_content_type() == mime_type:
                return cast(bytes, part.get_payload(decode=True))
        raise LookupError(f"no {mime_type} in the mail")


class OperatorSimulator:
    """A submission server (`connectors.simulator_port.Simulator`)."""

    name = "mss"

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: str = "none",
        client_certificate: bool = False,
        auth: str = "none",
        dsn: bool = True,
        size_limit: int = 40_000_000,
        keep: bool = False,
    ) -> None:
        self.directory = directory
        self.host = host
        self.port = port
        self.tls = tls
        self.auth = auth
        self.dsn = dsn
        self.user = USER
        self.password = PASSWORD
        self.size_limit = size_limit
        self.mails: list[Mail] = []
        self.sessions = 0
        """Connections accepted since the start."""
        self._client_certificate = client_certificate or auth == "external"
        self._keep = keep
        self._plans: defaultdict[str, deque[Verdict]] = defaultdict(deque)
        self._under_way: dict[str, Verdict] = {}
        self._history: list[str] = []
        self._server: asyncio.Server | None = None
        self._connections: list[DsnSmtp] = []

    def plan(self, address: str, *verdicts: Verdict | str) -> None:
        """Answers for the next mails to `address`, one each; then every mail is accepted."""
        self._plans[address.lower()].extend(Verdict(v) for v in verdicts)

    # --- Simulator
    # --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; the port is known afterwards."""
        # aiosmtpd logs every command and every line of a mail: addresses and documents
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        context = self._tls_context()
        self._context = context
        loop = asyncio.get_running_loop()
        implicit = context if self.tls == "implicit" else None
        self._server = await loop.create_server(self._connection, self.host, self.port, ssl=implicit)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        dialogues = [c.dialogue for c in self._connections if c.dialogue is not None]
        for connection in self._connections:
            connection.cut()
        self._connections.clear()
        # each dialogue is cancelled by the loss of its connection: wait until it really ended
        await asyncio.gather(*dialogues, return_exceptions=True)

    async def down(self) -> None:
        """The operator is stopped: connections are refused."""
        await self.stop()

    async def up(self) -> None:
        """The operator is back on the same port."""
        await self.start()

    def address(self) -> str:
        """`smtp://host:port` or `smtps://host:port`."""
        return f"{'smtps' if self.tls == 'implicit' else 'smtp'}://{self.host}:{self.port}"

    def connector_settings(self) -> dict[str, Any]:
        """A `[connectors.mss]` table for this operator (all values fit TOML)."""
        table: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "tls": self.tls,
            "auth": self.auth,
            "from_address": "passerelle@test-hopital.mssante.fr",
            "from_name": "Hôpital fictif de l'Essai",
            "product_reference": "NIL-DE-TEST",
            "source_oid": "1.2.250.1.999.1.1",
            "organisation": {"name": "Hôpital fictif de l'Essai", "id": "1990000010"},
        }
        if self.tls != "none":
            pki = make_pki(self.directory / "pki")
            table["ca_bundle"] = str(pki.authority.absolute())
            if self._client_certificate:
                table["client_cert"] = str(pki.client.cert.absolute())
                table["client_key"] = str(pki.client.key.absolute())
        if self.auth in ("plain", "login"):
            secret = self.directory / "secret"
            secret.touch(mode=0o600)
            secret.write_text(self.password, encoding="utf-8")
            table |= {"user": self.user, "secret_file": str(secret.absolute())}
        return table

    def history(self) -> list[str]:
        """What it received, without address nor subject."""
        return list(self._history)

    # --- answers
    # ----------------------------------------------------------------------------------------------

    async def on_rcpt(self, address: str) -> str:
        """The answer to RCPT for the next mail to `address`."""
        planned = self._plans[address.lower()]
        verdict = planned.popleft() if planned else Verdict.ACCEPT
        self._under_way[address.lower()] = verdict
        if verdict is Verdict.SILENT_RCPT:
            await silence()
        answer = _RCPT_ANSWERS.get(verdict, "250 2.1.5 OK")
        if not answer.startswith("2"):
            self._history.append(f"destinataire refusé ({answer[:3]})")
        return answer

    async def on_data(self, server: DsnSmtp, envelope: DsnEnvelope) -> str:
        """The answer to the final dot."""
        raw = bytes(envelope.original_content or b"")
        verdicts = [self._under_way.pop(a.lower(), Verdict.ACCEPT) for a in envelope.rcpt_tos]
        verdict = next((v for v in verdicts if v is not Verdict.ACCEPT), Verdict.ACCEPT)
        if verdict in _DATA_ANSWERS:
            self._history.append(f"courriel refusé ({_DATA_ANSWERS[verdict][:3]})")
            return _DATA_ANSWERS[verdict]
        if verdict is Verdict.CUT_BEFORE:
            self._history.append("courriel perdu, connexion coupée")
            await server.vanish()
        for recipient in envelope.rcpt_tos:
            mail = Mail(
                envelope.mail_from or "",
                recipient,
                raw,
                envelope.mail_dsn,
                envelope.rcpt_dsn.get(recipient, {}),
            )
            self.mails.append(mail)
            number = len(self.mails)
            box = f"…@{recipient.rpartition('@')[2]}"
            self._history.append(f"courriel n° {len(self.mails)} pour {box} gardé ({len(raw)} octets)")
            if self._keep:
                await asyncio.to_thread(self._write, number, raw)
        if verdict is Verdict.CUT_AFTER:
            await server.vanish()
        if verdict is Verdict.SILENT:
            await silence()
        return "250 2.0.0 queued"

    # --- inside
    # -----------------------------------------------------------------------------------------------

    def _connection(self) -> DsnSmtp:
        self.sessions += 1
        made = DsnSmtp(
            self,
            hostname="operateur.test.mssante.fr",
            ident="operateur simule",
            data_size_limit=self.size_limit,
            enable_SMTPUTF8=False,
            tls_context=self._context if self.tls == "starttls" else None,
            require_starttls=self.tls == "starttls",
            loop=asyncio.get_running_loop(),
        )
        self._connections = [c for c in self._connections if c.transport is not None]
        self._connections.append(made)
        return made

    def _tls_context(self) -> ssl.SSLContext | None:
        if self.tls == "none":
            return None
        pki = make_pki(self.directory / "pki")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(pki.server.cert, pki.server.key)
        if self._client_certificate:
            context.load_verify_locations(pki.authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _write(self, number: int, raw: bytes) -> None:
        folder = self.directory / "mails"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06d}.eml").write_bytes(raw)


def create(directory: Path, **options: Any) -> OperatorSimulator:
    """A simulated operator that keeps its files in `directory` (options: see the module)."""
    directory.mkdir(parents=True, exist_ok=True)
    return OperatorSimulator(directory, **options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run alone until interrupted: `segur-gateway simulator mss`."""
    parser = argparse.ArgumentParser(
        prog="segur-gateway simulator mss", description="Opérateur MSSanté simulé (SMTP)"
    )
    parser.add_argument("--directory", type=Path, default=Path("var/simulator-mss"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2525)
    parser.add_argument("--tls", choices=("none", "starttls", "implicit"), default="none")
    parser.add_argument("--auth", choices=("none", "plain", "login", "external"), default="none")
    parser.add_argument("--no-dsn", dest="dsn", action="store_false")
    options = vars(parser.parse_args(argv))

    directory = options.pop("directory")
    return serve("Opérateur MSSanté simulé", lambda: create(directory, keep=True, **options))
