"""The full circle over real Postfix and Dovecot: two gateways, their DPI, and an operator that nobody of us wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures import build
from tests.circle.hospitals import Hospital, hospital, until_rows
from tests.mailservers.servers import APPLICATIVE, PFI, MailServers

pytestmark = pytest.mark.mailservers
ROOT = "1.2.250.1.71.4.2.2.990000010.66"


@dataclass(frozen=True, slots=True)
class _Operator:
    """The servers as `hospital` asks for an operator."""

    servers: MailServers

    def connector_settings(self) -> dict[str, Any]:
        return self.servers.smtp_settings()

    def imap_settings(self, address: str) -> dict[str, Any]:
        return self.servers.imap_settings(address)


@asynccontextmanager
async def circle(directory: Path, servers: MailServers) -> AsyncIterator[tuple[Hospital, Hospital]]:
    """Hospital A writes from PFI, hospital B has APPLICATIVE. Mails of other tests in their mailboxes are theirs."""
    operator = _Operator(servers)
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(hospital(directory / "a", operator, PFI, "A"))
        b = await stack.enter_async_context(hospital(directory / "b", operator, APPLICATIVE, "B"))
        yield a, b


def message(control_id: str, number: int, recipient: str) -> bytes:
    cda = build.cda_n1(uid=f"{ROOT}.{number}.1", set_id=f"{ROOT}.{number}")
    return build.mdm(
        "T02",
        cda,
        control_id=control_id,
        recipients=(recipient,),
        ack_reading=True,
        flags={"DESTDMP": "N"},
    )


async def test_accepted_then_refused(mail_servers: MailServers, tmp_path: Path) -> None:
    """Z02 Y from Postfix's own report, T02 at B, then Z03 Y; and Z03 N 902 when B's DPI does not know the patient."""
    async with circle(tmp_path, mail_servers) as (a, b):
        assert (await a.send(message("REAL-1", 1, APPLICATIVE))).code == "AA"
        [z02] = await a.got("Z02", seconds=60)
        [z03] = await a.got("Z03", seconds=60)
        assert (z02.indicator, z03.indicator) == (True, True)
        assert len(b.of("T02")) == 1
        b.dpi.plan("AE:902")
        assert (await a.send(message("REAL-2", 2, APPLICATIVE))).code == "AA"
        told = await a.got("Z03", 2, seconds=60)
        refused = next(z for z in told if z.answered == "REAL-2")
        assert refused.indicator is False and refused.error[0] == "902"
        await until_rows(b, "SELECT flow, code FROM incident WHERE flow = 'inbound'", [("inbound", "902")])


async def test_a_mailbox_that_does_not_exist_is_told_at_once(
    mail_servers: MailServers, tmp_path: Path
) -> None:
    """Postfix refuses at RCPT: 550, Z02 N without any report."""
    async with circle(tmp_path, mail_servers) as (a, _b):
        assert (await a.send(message("REAL-3", 3, "personne@local.mssante.fr"))).code == "AA"
        [z02] = await a.got("Z02", seconds=60)
        assert z02.indicator is False and z02.error[0] == "550"
