"""The parties of a received mail, completed by the directory (Annuaire Santé, spec/mssante.md §4 and §2.3)."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from connectors.mss import simulator as mss_simulator
from connectors.mss.directory import simulator as directory_simulator
from gateway.hl7.message import Message
from tests.circle.hospitals import B, hospital
from tests.circle.test_circle import message
from tests.mss.directory.world import GATEWAY, HOSPITAL


async def test_the_sender_of_a_document_is_named_as_the_directory_knows_it(tmp_path: Path) -> None:
    """PRT SB: the structure behind the sending mailbox (PRT-8), in its own words."""
    annuaire = directory_simulator.create(tmp_path / "annuaire")
    operator = mss_simulator.create(tmp_path / "operator")
    async with AsyncExitStack() as stack:
        await annuaire.start()
        stack.push_async_callback(annuaire.stop)
        await stack.enter_async_context(operator.running())
        a = await stack.enter_async_context(hospital(tmp_path / "a", operator, GATEWAY, "A"))
        settings = annuaire.connector_settings()
        b = await stack.enter_async_context(
            hospital(tmp_path / "b", operator, B, "B", mss={"directory": settings})
        )
        assert (await a.send(message("DIRECTORY-1"))).code == "AA"
        [t02] = await b.got("T02")
        sender = next(p for p in Message.parse(t02.raw).all("PRT") if p.text(4) == "SB")
        assert sender.text(15, comp=4) == GATEWAY
        assert sender.text(8, comp=10) == HOSPITAL and sender.text(8)
        assert annuaire.asked


async def test_a_directory_that_is_down_holds_no_document_up(tmp_path: Path) -> None:
    annuaire = directory_simulator.create(tmp_path / "annuaire")
    await annuaire.start()
    settings = annuaire.connector_settings() | {"patience": 0.3}
    await annuaire.stop()
    operator = mss_simulator.create(tmp_path / "operator")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(operator.running())
        a = await stack.enter_async_context(hospital(tmp_path / "a", operator, GATEWAY, "A"))
        b = await stack.enter_async_context(
            hospital(tmp_path / "b", operator, B, "B", mss={"directory": settings})
        )
        assert (await a.send(message("DIRECTORY-2"))).code == "AA"
        [t02] = await b.got("T02")
        sender = next(p for p in Message.parse(t02.raw).all("PRT") if p.text(4) == "SB")
        assert sender.text(15, comp=4) == GATEWAY and not sender.text(8)
