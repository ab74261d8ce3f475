"""The simulated operator: SMTP, IMAP, mailboxes, plan and control, wired.

Purpose: `OperatorSimulator(directory, **options)`; its servers run in the current event loop.
Guarantee: a mail is kept byte for byte as it came over SMTP (transparency undone), before its 250.
Fails: `OSError` when a port is taken or a folder cannot be written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connectors.mss.simulator.access import FROM_ADDRESS, PASSWORD, USER, Access
from connectors.mss.simulator.control import Control
from connectors.mss.simulator.delivery import Delivery
from connectors.mss.simulator.events import Event, EventLog
from connectors.mss.simulator.faults import Fault, FaultPlan, Verdict
from connectors.mss.simulator.imap import ImapServer
from connectors.mss.simulator.readers import Reader
from connectors.mss.simulator.received import Mail, message_id_of
from connectors.mss.simulator.reports import HOST, Action
from connectors.mss.simulator.server import DsnEnvelope, DsnSmtp, silence
from connectors.mss.simulator.store import Mailboxes, Message
from connectors.simulator_control import LOOPBACK


class OperatorSimulator:
    """An operator (`connectors.simulator_port.Simulator`).

    Options: `host`, `port`, `imap_port` (0: any free one); `tls` of both (none, starttls, implicit);
    `client_certificate` (ask for one); `auth` of SMTP (none, plain, login, external); `dsn` (False: an operator
    without DSN); `success` (Action of its success reports); `size_limit` (bytes of SIZE); `keep` (True: mailboxes in
    `directory`/mailboxes, each mail as it came in `directory`/mails); `mailboxes` (addresses that exist from the
    start), `closed` (True: no others do); `faults`, `readers`; `events_file`; `control_port`.
    """

    name = "mss"

    def __init__(
        self,
        directory: Path,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        imap_port: int = 0,
        tls: str = "none",
        client_certificate: bool = False,
        auth: str = "none",
        dsn: bool = True,
        success: Action = "delivered",
        size_limit: int = 40_000_000,
        keep: bool = False,
        mailboxes: Iterable[str] = (),
        closed: bool = False,
        faults: Iterable[Fault] = (),
        readers: Iterable[Reader] = (),
        events_file: Path | None = None,
        control_port: int | None = None,
    ) -> None:
        self.directory = directory
        self.host, self.port = host, port
        self.tls, self.auth, self.dsn = tls, auth, dsn
        self.user, self.password = USER, PASSWORD
        self.size_limit = size_limit
        self.mails: list[Mail] = []
        self._taken = 0
        self.sessions = 0
        """SMTP connections accepted since the start."""
        self.boxes = Mailboxes(directory / "mailboxes" if keep else None)
        self.readers = list(readers)
        self._keep, self._closed = keep, closed
        self._plan = FaultPlan(faults)
        self._log = EventLog(events_file)
        self._history: list[str] = []
        self._server: asyncio.Server | None = None
        self._connections: list[DsnSmtp] = []
        self._delivery = Delivery(
            self.boxes, self._log, self.readers, self._exists, self._history.append, success
        )
        for address in (FROM_ADDRESS, *mailboxes):
            self.boxes.open(address)
        self._access = Access(directory, tls, client_certificate=client_certificate or auth == "external")
        self._context = self._access.context()
        self._imap = ImapServer(self, host, imap_port, tls, self._context)
        self._control = Control(self, control_port) if control_port is not None else None

    # --- plan and what happened
    # -------------------------------------------------------------------------------

    def plan(self, what: str | Fault, *verdicts: Verdict | str) -> None:
        """Plan a fault; or, for an address, short answers to the next mails, one each. Then all is accepted."""
        if isinstance(what, Fault):
            self._plan.faults.append(what)
        else:
            self._plan.faults.extend(Verdict(v).fault(what) for v in verdicts)

    @property
    def faults(self) -> list[Fault]:
        """The plan, with the hits of each fault."""
        return self._plan.faults

    @property
    def events(self) -> list[Event]:
        """What happened, in order."""
        return self._log.events

    @property
    def imap_port(self) -> int:
        """Where IMAP listens."""
        return self._imap.port

    def restore(self, address: str, folder: str = "INBOX") -> None:
        """Give a folder another UIDVALIDITY and new UIDs. Raises `LookupError`."""
        if not self.boxes.has(address):
            raise LookupError("no such mailbox")
        self.boxes.folder(address, folder).invalidate()

    def reset(self) -> None:
        """Forget mails, events, faults, readers and what is still to come; mailboxes are emptied."""
        self._delivery.drop()
        for kept in (self.mails, self._plan.faults, self.readers, self._history):
            kept.clear()
        self._log.clear()
        self.boxes.clear()

    async def settle(self) -> None:
        """Wait until every report and answer that is due has been delivered."""
        await self._delivery.settle()

    # --- Simulator
    # --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen: SMTP, IMAP, and the control when it is asked for; the ports are known afterwards."""
        await self.up()
        if self._control is not None:
            try:
                await self._control.start()
            except OSError:
                await self.down()
                raise

    async def stop(self) -> None:
        """Stop listening, cut what is open, drop the reports still to come."""
        if self._control is not None:
            await self._control.stop()
        await self.down()
        await self._delivery.stop()

    async def down(self) -> None:
        """The operator is stopped: connections are refused (the control stays)."""
        await self._imap.stop()
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

    async def up(self) -> None:
        """The operator is back on the same ports."""
        if self._server is not None:
            return
        # aiosmtpd logs every command and every line of a mail: addresses and documents
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        implicit = self._context if self.tls == "implicit" else None
        self._server = await loop.create_server(self._connection, self.host, self.port, ssl=implicit)
        self.port = self._server.sockets[0].getsockname()[1]
        try:
            await self._imap.start()
        except OSError:
            await self.down()
            raise

    @asynccontextmanager
    async def running(self) -> AsyncIterator[OperatorSimulator]:
        """`async with simulator.running():`."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    def address(self) -> str:
        """`smtp://host:port` or `smtps://host:port`."""
        return f"{'smtps' if self.tls == 'implicit' else 'smtp'}://{self.host}:{self.port}"

    def imap_address(self) -> str:
        """`imap://host:port` or `imaps://host:port`."""
        return f"{'imaps' if self.tls == 'implicit' else 'imap'}://{self.host}:{self.imap_port}"

    def control_address(self) -> str:
        """Where the control answers, "" without one."""
        return f"http://{LOOPBACK}:{self._control.port}" if self._control is not None else ""

    def connector_settings(self) -> dict[str, Any]:
        """A `[connectors.mss]` table for this operator (all values fit TOML)."""
        table: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "tls": self.tls,
            "auth": self.auth,
            "from_address": FROM_ADDRESS,
            "from_name": "Hôpital fictif de l'Essai",
            "product_reference": "NIL-DE-TEST",
            "source_oid": "1.2.250.1.999.1.1",
            "organisation": {"name": "Hôpital fictif de l'Essai", "id": "1990000010"},
        }
        table |= self._access.files()
        if self.auth in ("plain", "login"):
            table |= {"user": self.user, "secret_file": self._access.secret_file()}
        return table

    def imap_settings(self, address: str = FROM_ADDRESS) -> dict[str, Any]:
        """How a client reads the mailbox of `address`: host, port, tls, user, secret_file, TLS files."""
        return {
            "host": self.host,
            "port": self.imap_port,
            "tls": self.tls,
            "user": address,
            "secret_file": self._access.secret_file(),
            **self._access.files(),
        }

    def history(self) -> list[str]:
        """What happened, one French line each, without address nor subject."""
        return list(self._history)

    def notes(self) -> list[str]:
        """What a person who starts it should know (French)."""
        made = [f"boîtes : {self.imap_address()}, utilisateur = adresse de la boîte, mot de passe {PASSWORD}"]
        if self._closed:
            made.append("seules les boîtes nommées existent (--closed)")
        if self._control is not None:
            made.append(f"commande : {self.control_address()}")
        return made

    # --- accounts
    # ---------------------------------------------------------------------------------------------

    def login(self, user: str, password: str) -> str | None:
        """The mailbox that `user` (its address, or `USER`) opens; None when refused."""
        address = FROM_ADDRESS if user == self.user else user
        if password != self.password or "@" not in address or not self._exists(address):
            return None
        return address

    def login_external(self, authzid: str) -> str | None:
        """The mailbox of a client certificate: the one named, else the gateway's own."""
        return self.login(authzid or self.user, self.password)

    def imap_fault(self, kind: str, address: str) -> Fault | None:
        """The fault of an IMAP command, counted as used."""
        return self._plan.take("", address, (kind,))

    def note(self, action: str, result: str, address: str, message: Message | None = None) -> None:
        """An event of IMAP."""
        if message is None:
            self._log.add(action, result, box=address)
            return
        self._log.add(
            action,
            result,
            box=address,
            uid=message.uid,
            size=message.size,
            message_id=message_id_of(message.body),
        )

    # --- answers
    # ----------------------------------------------------------------------------------------------

    async def on_mail(self, sender: str) -> str | None:
        """The refusal of MAIL that is planned."""
        fault = self._plan.take(sender, "", ("mail",))
        if fault is None:
            return None
        await asyncio.sleep(fault.seconds)
        self._event("", sender, fault.reply[:3], fault)
        return fault.reply

    async def on_rcpt(self, server: DsnSmtp, envelope: DsnEnvelope, address: str) -> str:
        """The answer to RCPT for the next mail to `address`."""
        fault = self._plan.take(envelope.sender, address)
        if fault is not None:
            envelope.faults[address] = fault
            if fault.kind in ("rcpt", "cut_rcpt", "silent_rcpt"):
                await asyncio.sleep(fault.seconds)
                told = {"cut_rcpt": "cut", "silent_rcpt": "silent"}.get(fault.kind, fault.reply[:3])
                self._event(address, envelope.sender, told, fault)
                if fault.kind == "silent_rcpt":
                    await silence()
                if fault.kind == "cut_rcpt":
                    await server.vanish()
                self._history.append(f"destinataire refusé ({told})")
                return fault.reply
        if not self._exists(address):
            self._event(address, envelope.sender, "550")
            self._history.append("destinataire refusé (550)")
            return "550 5.1.1 no such mailbox"
        return "250 2.1.5 OK"

    async def on_data(self, server: DsnSmtp, envelope: DsnEnvelope) -> str:
        """The answer to the final dot."""
        raw = bytes(envelope.original_content or b"")
        sender = envelope.sender
        faults = envelope.faults
        # one answer for all recipients: that of the first fault that is about the dialogue
        said = next((f for a in envelope.rcpt_tos if (f := faults.get(a)) and f.kind in _DIALOGUE), None)
        if said is not None:
            await asyncio.sleep(said.seconds)
        if said is not None and said.kind in ("data", "drop"):
            told = said.reply[:3] if said.kind == "data" else "cut"
            for recipient in envelope.rcpt_tos:
                self._event(recipient, sender, told, said, envelope, raw)
            if said.kind == "data":
                self._history.append(f"courriel refusé ({told})")
                return said.reply
            self._history.append("courriel perdu, connexion coupée")
            await server.vanish()
        told = _TOLD.get(said.kind, "250") if said is not None else "250"
        for recipient in envelope.rcpt_tos:
            mail = Mail(sender, recipient, raw, envelope.mail_dsn, envelope.rcpt_dsn.get(recipient, {}))
            try:
                await self._keep_mail(mail, faults.get(recipient))
            except OSError:
                self._event(recipient, sender, "451", None, envelope, raw)
                return "451 4.3.0 mailbox cannot be written"
            self._event(recipient, sender, told, faults.get(recipient) or said, envelope, raw, kept=True)
        if told == "cut":
            await server.vanish()
        if told == "silent":
            await silence()
        return "250 2.0.0 queued"

    # --- inside
    # -----------------------------------------------------------------------------------------------

    async def _keep_mail(self, mail: Mail, fault: Fault | None) -> None:
        self._taken += 1
        number = self._taken
        if self._keep:
            await asyncio.to_thread(self._write, number, mail.raw)
        await self._delivery.take(mail, fault)
        self.mails.append(mail)
        box = f"…@{mail.recipient.rpartition('@')[2]}"
        self._history.append(f"courriel n° {number} pour {box} gardé ({len(mail.raw)} octets)")

    def _exists(self, address: str) -> bool:
        return not self._closed or self.boxes.has(address)

    def _event(
        self,
        recipient: str,
        sender: str,
        result: str,
        fault: Fault | None = None,
        envelope: DsnEnvelope | None = None,
        raw: bytes = b"",
        *,
        kept: bool = False,
    ) -> None:
        self._log.add(
            "mail",
            result,
            box=recipient,
            sender=sender,
            message_id=message_id_of(raw),
            envid=envelope.mail_dsn.get("ENVID", "") if envelope is not None else "",
            notify=envelope.rcpt_dsn.get(recipient, {}).get("NOTIFY", "") if envelope is not None else "",
            size=len(raw),
            fault=fault.kind if fault is not None else "",
            kept=kept,
        )

    def _connection(self) -> DsnSmtp:
        self.sessions += 1
        made = DsnSmtp(
            self,
            hostname=HOST,
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

    def _write(self, number: int, raw: bytes) -> None:
        folder = self.directory / "mails"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06d}.eml").write_bytes(raw)


_TOLD = {"commit_then_drop": "cut", "silent": "silent"}
_DIALOGUE = ("data", "drop", "commit_then_drop", "silent", "delay", "slow")
