"""Mails that come to hospital B: made by our own outbound side, asking for an MDN, and hostile ones."""

from __future__ import annotations

import asyncio
from typing import Any

from fixtures import build
from gateway.hl7.transmission import Action
from tests.circle.hospitals import A, B
from tests.mss import simulator_client
from tests.mss.inbound import samples

ROOT = "1.2.250.1.71.4.2.2.990000010.56"
ASKING = f"Disposition-Notification-To: <{A}>\n"


def cda(number: int = 1, version: int = 1, replaces: int | None = None, **more: Any) -> bytes:
    """Version `version` of document set `number`."""
    return build.cda_n1(
        uid=f"{ROOT}.{number}.{version}",
        set_id=f"{ROOT}.{number}",
        version=version,
        replaces=f"{ROOT}.{number}.{replaces}" if replaces else None,
        payload=samples.PDF,
        **more,
    )


async def mail(*contents: bytes, action: Action = Action.SUBMIT, ask: bool = True, **more: Any) -> bytes:
    """A mail with documents."""
    extra = more.pop("extra", "") + (ASKING if ask else "")
    return await asyncio.to_thread(samples.mail, action, *contents, extra=extra, **more)


async def archive(*contents: bytes, action: Action = Action.SUBMIT) -> bytes:
    """IHE_XDM.ZIP of documents."""
    return await asyncio.to_thread(samples.archive, action, *contents)


async def give(operator: Any, raw: bytes, sender: str = A) -> None:
    """Over SMTP, to hospital B's mailbox."""
    answer = await simulator_client.send(operator, raw, sender, [B], notify="NEVER", ret=None)
    assert answer.startswith("250"), answer
