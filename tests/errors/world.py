"""A running gateway whose error mailbox is at a simulated operator over TLS; DMP, MSSanté and DPI are scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.errors.connector import ErrorsConnector, create
from connectors.mss import simulator as mss_simulator
from connectors.mss.inbound.reading import InboundDocument, read_documents
from connectors.mss.simulator import Mail, OperatorSimulator
from connectors.port import ConnectorContext
from gateway.app import Gateway
from gateway.rules import Findings, load_rulebook
from tests.exchange.harness import Running, settings
from tests.exchange.scripted import Scripted

REPOSITORY = Path(__file__).resolve().parents[2]
BOX = "erreurs@test-hopital.mssante.fr"
FROM = "passerelle-erreurs@test-hopital.mssante.fr"
OID = "1.2.250.1.999.1.1"
QUICK = {"retry": {"first": 0.05, "longest": 0.2, "jitter": 0, "circuit_probe": 0.1, "lifetime": 600}}
COUNTED = {"processing_ids": ["P", "T", "D"]}
"""`[indicators]`: the messages of these tests are tests (MSH-11 T), of which `/readyz` warns otherwise."""
INBOUND_RULES = REPOSITORY / "connectors" / "mss" / "inbound" / "rules.toml"


def table(operator: OperatorSimulator, **more: Any) -> dict[str, Any]:
    """`[connectors.errors]` towards a simulated operator."""
    transport = (
        "host",
        "port",
        "tls",
        "ca_bundle",
        "auth",
        "user",
        "secret_file",
        "client_cert",
        "client_key",
    )
    found = {k: v for k, v in operator.connector_settings().items() if k in transport}
    return found | {"from_address": FROM, "to": [BOX], "source_oid": OID} | more


def made(settings_table: dict[str, Any], base: Path) -> ErrorsConnector:
    """The connector, with the complete rule book."""
    connector = create(ConnectorContext(settings_table, base, "1.2.3"))
    connector.use(load_rulebook([INBOUND_RULES]))
    return connector


@dataclass(slots=True)
class World:
    """What a test has in hand."""

    running: Running
    operator: OperatorSimulator

    @property
    def mails(self) -> list[Mail]:
        """Error mails taken by the operator."""
        return [m for m in self.operator.mails if m.sender == FROM]

    async def got(self, count: int, seconds: float = 60) -> list[Mail]:
        """The error mails, once there are `count`."""
        await until(lambda: len(self.mails) >= count, seconds)
        return self.mails

    async def rows(self, sql: str) -> list[Any]:
        """Rows of the journal."""
        return await self.running.gateway.journal.read(lambda s: s.connection().exec_driver_sql(sql).all())

    async def until_rows(self, sql: str, wanted: object, seconds: float = 60) -> None:
        """Wait until a query gives `wanted`."""
        found: object = None
        try:
            async with asyncio.timeout(seconds):
                while (found := [tuple(r) for r in await self.rows(sql)]) != wanted:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{found!r} and not {wanted!r}") from None


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for `condition`; fails the test after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def operating(directory: Path, **options: Any) -> AsyncIterator[OperatorSimulator]:
    """A simulated operator, STARTTLS unless told otherwise."""
    operator = mss_simulator.create(directory / "operator", **({"tls": "starttls"} | options))
    await operator.start()
    try:
        yield operator
    finally:
        await operator.stop()


@asynccontextmanager
async def world(
    directory: Path,
    operator: OperatorSimulator,
    *,
    own: dict[str, Any] | None = None,
    scripted: dict[str, Scripted] | None = None,
    **tables: Any,
) -> AsyncIterator[World]:
    """The gateway, running. `own`: keys of `[connectors.errors]`; `tables`: of the gateway's settings."""
    mailbox = table(operator, **(own or {}))
    connectors = scripted or {name: Scripted(name) for name in ("dmp", "mss", "dpi")}
    names: dict[str, Any] = {"dmp": {}, "mss": {}, "dpi": {}, "errors": mailbox}
    asked = {"connectors": names, "engine": QUICK, "web": {"port": 0}, "indicators": COUNTED} | tables
    gateway = Gateway(settings(**asked), directory, {**connectors, "errors": made(mailbox, directory)})
    await gateway.start()
    try:
        yield World(Running(gateway, connectors), operator)
    finally:
        await gateway.stop()


def attachments(mail: Mail) -> dict[str, bytes]:
    """Files of a mail by name; a mail that is enclosed as its bytes."""
    found = {}
    for part in mail.message.iter_attachments():
        if part.get_content_type() == "message/rfc822":
            content = part.get_payload(0).as_bytes()  # type: ignore[union-attr]
        else:
            content = part.get_payload(decode=True)
        found[part.get_filename() or ""] = content
    return found


def documents(archive: bytes) -> tuple[InboundDocument, ...]:
    """What our own reading of received mails makes of an archive; nothing may reject it."""
    findings = Findings(load_rulebook([INBOUND_RULES]))
    found = read_documents(archive, findings.book, findings)
    assert [f.rule for f in findings if f.rejects] == []
    return found


__all__ = ["BOX", "FROM", "World", "attachments", "documents", "operating", "table", "until", "world"]
