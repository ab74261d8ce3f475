"""What the simulated operator does with a mail that it took: mailboxes, reports, answers of the readers.

Purpose: `take` puts a mail into its mailbox before the 250; reports and answers follow in tasks of their own.
Guarantee: no report about a mail without a return path, no report that NOTIFY does not ask for (RFC 3461 §5.2).
Fails: `OSError` when a mailbox folder cannot be written. Reports still to come are lost with the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from connectors.mss.simulator import readers, reports
from connectors.mss.simulator.events import EventLog
from connectors.mss.simulator.faults import Fault
from connectors.mss.simulator.readers import Reader
from connectors.mss.simulator.received import Mail, message_id_of
from connectors.mss.simulator.reports import HOST, Returned, Status
from connectors.mss.simulator.store import Mailboxes


class Delivery:
    """The mails under way. `knows` tells whether an address has a mailbox here; `say` takes lines of the history."""

    def __init__(
        self,
        boxes: Mailboxes,
        log: EventLog,
        rules: list[Reader],
        knows: Callable[[str], bool],
        say: Callable[[str], None],
        success: reports.Action = "delivered",
    ) -> None:
        self._boxes, self._log, self._rules, self._knows = boxes, log, rules, knows
        self._say = say
        self._success: reports.Action = success
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0

    async def take(self, mail: Mail, fault: Fault | None) -> None:
        """Deliver `mail` as its fault says; what comes later is under way when this returns."""
        kind = fault.kind if fault is not None else "accept"
        if kind == "lost":
            return
        if fault is not None and kind == "bounce":
            self._later(self._told(mail, Status("failed", fault.status, fault.reply), fault.seconds))
            return
        if fault is not None and kind == "delayed":
            self._later(self._delayed(mail, fault))
            return
        await self._deliver(mail)
        if kind == "twice":
            await self._deliver(mail)
        if kind != "no_dsn":
            action: reports.Action = "relayed" if kind == "relayed" else self._success
            self._later(self._told(mail, Status(action, "2.0.0", "250 2.0.0 OK")))

    async def inject(
        self, action: str, result: str, sender: str, recipient: str, raw: bytes, about: str
    ) -> None:
        """A mail of the operator or of a reader into a mailbox. `about`: the Message-ID that it is about."""
        known = self._knows(recipient)
        if known:
            await self._deliver(Mail(sender, recipient, raw), answered=False)
            words = {"dsn": "avis de remise", "mdn": "accusé de lecture"}.get(action, "courriel d'erreur")
            self._say(f"{words} ({result}) pour …@{recipient.rpartition('@')[2]}")
        self._log.add(
            action, result, box=recipient, sender=sender, message_id=about, size=len(raw), kept=known
        )

    async def settle(self) -> None:
        """Wait until nothing more is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Forget the reports and answers under way."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """Forget what is under way, and wait until it ended."""
        tasks = list(self._tasks)
        self.drop()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- inside
    # -----------------------------------------------------------------------------------------------

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, mail: Mail, *, answered: bool = True) -> None:
        """Into the mailbox, with the traces of a final delivery (RFC 5321 §4.4)."""
        self._number += 1
        now = datetime.now(UTC)
        head = reports.crlf(
            f"Return-Path: <{mail.sender}>\n"
            f"Delivered-To: {mail.recipient}\n"
            f"Received: by {HOST} (operateur simule) id {self._number:06d}; {format_datetime(now)}\n"
        )
        await self._boxes.deliver(mail.recipient, head, mail.raw)
        if answered:
            self._later(self._answer(mail))

    async def _answer(self, mail: Mail) -> None:
        """What the software behind the mailbox answers."""
        rule = next((r for r in self._rules if r.matches(mail.recipient)), None)
        if rule is None:
            return
        number = self._next()
        now = datetime.now(UTC)
        rule.hits += 1
        made = await asyncio.to_thread(
            readers.answer, rule, mail.sender, mail.recipient, mail.raw, number, now
        )
        if made is None:
            rule.hits -= 1
            return
        await asyncio.sleep(rule.seconds)
        action = "error_mail" if rule.kind == "error_mail" else "mdn"
        result = made.disposition if rule.kind != "error" else f"{made.disposition}/error {rule.code}"
        about = message_id_of(mail.raw)
        await self.inject(action, result or rule.code, made.sender, made.recipient, made.raw, about)

    async def _told(self, mail: Mail, status: Status, seconds: float = 0.0) -> None:
        """A report to the sender, where it asked for one."""
        notify = mail.rcpt_dsn.get("NOTIFY", "")
        if not mail.sender or not reports.wanted(notify, status.action):
            return
        await asyncio.sleep(seconds)
        returned = Returned(
            sender=mail.sender,
            recipient=mail.recipient,
            raw=mail.raw,
            envid=mail.mail_dsn.get("ENVID", ""),
            orcpt=mail.rcpt_dsn.get("ORCPT", ""),
            # without RET the operator chooses (RFC 3461 §4.3): the whole message, as most do
            full=mail.mail_dsn.get("RET", "FULL").upper() == "FULL",
        )
        made = reports.delivery_report(returned, status, self._next(), datetime.now(UTC))
        await self.inject("dsn", status.action, "", mail.sender, made, mail.message_id)

    async def _delayed(self, mail: Mail, fault: Fault) -> None:
        await self._told(mail, Status("delayed", "4.4.1", "451 4.4.1 no answer from host"))
        await asyncio.sleep(fault.seconds)
        await self._deliver(mail)
        await self._told(mail, Status(self._success, "2.0.0", "250 2.0.0 OK"))

    def _next(self) -> int:
        self._number += 1
        return self._number
