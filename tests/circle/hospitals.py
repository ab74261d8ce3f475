"""Two hospitals, each with its DPI and its gateway, on one operator: real sockets, real TLS, one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.dpi import simulator as dpi_simulator
from connectors.dpi.simulator.received import Received
from connectors.dpi.simulator.server import DpiSimulator
from connectors.mss import simulator as mss_simulator
from gateway.app import Gateway
from gateway.hl7.acknowledgement import Acknowledgement, read
from gateway.mllp import send
from gateway.settings import Settings

A, B = "pfi@hopital-a.mssante.fr", "urologie_auto@hopital-b.mssante.fr"


@dataclass(slots=True)
class Hospital:
    """One of them."""

    gateway: Gateway
    dpi: DpiSimulator
    address: str

    async def send(self, message: bytes) -> Acknowledgement:
        """From its DPI to its gateway."""
        return read(await send("127.0.0.1", self.gateway.mllp_port, message))

    async def got(self, event: str, count: int = 1, seconds: float = 60) -> list[Received]:
        """What its DPI received of this event, once there are `count`."""
        await until(lambda: len(self.of(event)) >= count, seconds)
        return self.of(event)

    def of(self, event: str) -> list[Received]:
        """What its DPI received of this event (Z02, T02…)."""
        return [r for r in self.dpi.received if r.event == event]

    async def rows(self, sql: str) -> list[Any]:
        """Rows of its journal."""
        return await self.gateway.journal.read(lambda s: s.connection().exec_driver_sql(sql).all())


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for `condition`; fails the test after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def until_rows(hospital: Hospital, sql: str, wanted: object, seconds: float = 60) -> None:
    """Wait until a query of the journal gives `wanted`."""
    found: object = None
    try:
        async with asyncio.timeout(seconds):
            while (found := [tuple(r) for r in await hospital.rows(sql)]) != wanted:
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{sql}: {found}, not {wanted}") from None


@asynccontextmanager
async def hospital(
    directory: Path, operator: Any, address: str, facility: str, **tables: Any
) -> AsyncIterator[Hospital]:
    """A gateway and its DPI; `tables` replace or add keys: of the connectors `mss` and `dpi`, of its `mailbox`."""
    directory.mkdir(parents=True)
    dpi = dpi_simulator.create(directory / "dpi", consumer=True)
    await dpi.start()
    mailbox = {
        **operator.imap_settings(address),
        "name": "bal",
        "address": address,
        "retry_first": 0.1,
        "dpi": {"application": "DPI", "facility": facility, "our_facility": facility},
    }
    mss = {
        **operator.connector_settings(),
        "from_address": address,
        "mailboxes": [mailbox | tables.pop("mailbox", {})],
    }
    mss |= tables.pop("mss", {})
    settings = Settings(
        listener={"port": 0, "drain_timeout": 5},
        web={"port": 0},
        journal={"path": "journal.sqlite"},
        engine={"retry": {"first": 0.05, "longest": 0.2, "jitter": 0, "circuit_probe": 0.1}},
        connectors={
            "mss": mss,
            "dpi": dpi.connector_settings() | tables.pop("dpi", {}),
            **tables.pop("connectors", {}),
        },
        # tests count (MSH-11 T), of a site that the numbers do not name: neither is a warning here
        indicators=tables.pop(
            "indicators", {"processing_ids": ["P", "T", "D"], "facilities": {facility: "750000001"}}
        ),
        **tables,
    )
    gateway = Gateway(settings, directory)
    await gateway.start()
    try:
        yield Hospital(gateway, dpi, address)
    finally:
        await gateway.stop()
        await dpi.stop()


@asynccontextmanager
async def circle(directory: Path, **tables: Any) -> AsyncIterator[tuple[Hospital, Hospital, Any]]:
    """Hospital A, hospital B, their operator."""
    operator = mss_simulator.create(directory / "operator")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(operator.running())
        a = await stack.enter_async_context(hospital(directory / "a", operator, A, "HOPITAL-A", **tables))
        b = await stack.enter_async_context(hospital(directory / "b", operator, B, "HOPITAL-B"))
        yield a, b, operator


@asynccontextmanager
async def hospital_b(directory: Path, **tables: Any) -> AsyncIterator[tuple[Hospital, Any]]:
    """Hospital B and the operator: mails are put into its mailbox by the test."""
    operator = mss_simulator.create(directory / "operator")
    async with operator.running(), hospital(directory / "b", operator, B, "HOPITAL-B", **tables) as b:
        yield b, operator


def mdns(operator: Any, to: str = A) -> list[Any]:
    """The MDN that the operator took for `to`."""
    return [
        m
        for m in operator.mails
        if m.recipient == to and m.message.get_param("report-type") == "disposition-notification"
    ]


def disposition(mdn: Any) -> tuple[str, str]:
    """Disposition, and the code of the field Error."""
    notification = mdn.message.get_payload()[1].get_payload()[0]
    return str(notification["Disposition"]).rpartition(";")[2].strip(), str(notification["Error"] or "")[:3]
