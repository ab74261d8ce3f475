"""The worker process: killed, hung, greedy, worn; an answer always comes in time and is never "passed"."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cda.package.folder import Package
from gateway.cda.package.reports import DocumentReport, Family, SchematronInput
from gateway.errors import ConfigurationFault, Place
from gateway.schematron import pool as pools
from gateway.schematron.pool import Limits, SchematronPool, Worker
from tests.package import mini

pytest.importorskip("saxonche")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return Package.open(mini.make(tmp_path_factory.mktemp("mini")))


@asynccontextmanager
async def pool(package: Package, **limits: float) -> AsyncIterator[SchematronPool]:
    made = SchematronPool(package, [Family.STRUCMIN], replace(Limits(), **limits))  # type: ignore[arg-type]
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        assert not made._all


def given(key: str = "k", *templates: str, **words: str) -> SchematronInput:
    xml = mini.document(templates="".join(map(mini.template, templates)), **words)  # type: ignore[arg-type]
    return SchematronInput(Place("OBX", 1, 5), xml.encode(), 3, ((mini.MODEL_ROOT, "2024.01"),), key)


def only(reports: list[DocumentReport]) -> tuple[bool, bool, int, str]:
    """(ran, unavailable, failed, reason) of the one family of the one document."""
    ((family,),) = (r.families for r in reports)
    return family.ran, family.unavailable, family.failed, family.reason


def workers(p: SchematronPool) -> list[Worker]:
    return [w for w in p._all if not w.retired]


async def until_back(p: SchematronPool, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while p.state != "on" or p._idle.empty():
            await asyncio.sleep(0.02)


async def test_documents_of_one_message_are_judged_together(package: Package) -> None:
    async with pool(package) as p:
        reports = await p.check([given("a"), given("b", realm="XX")])
        assert [r.families[0].failed for r in reports] == [0, 1]
        assert [r.complete for r in reports] == [True, True]


async def test_a_hang_ends_in_time_and_the_next_document_gets_a_new_worker(package: Package) -> None:
    async with pool(package, timeout=1.0) as p:
        (before,) = workers(p)
        started = time.monotonic()
        assert only(await p.check([given("hang", mini.SLOW)])) == (False, True, 0, "délai dépassé")
        assert time.monotonic() - started < 2.0
        await until_back(p)
        assert workers(p) != [before]
        assert before.process.returncode == -signal.SIGKILL
        assert only(await p.check([given("good")])) == (True, False, 0, "")
        assert p.replaced == 1


async def test_a_document_that_hung_twice_harms_no_third_worker(package: Package) -> None:
    async with pool(package, timeout=0.7) as p:
        for _ in range(2):
            assert only(await p.check([given("hang", mini.SLOW)]))[3] == "délai dépassé"
            await until_back(p)
        replaced = p.replaced
        started = time.monotonic()
        ran, unavailable, _, reason = only(await p.check([given("hang", mini.SLOW)]))
        assert (ran, unavailable, reason) == (False, True, "ce document a déjà interrompu le contrôle")
        assert time.monotonic() - started < 0.2
        assert p.replaced == replaced


async def test_a_worker_killed_in_the_middle_is_replaced(package: Package) -> None:
    async with pool(package, timeout=20) as p:
        (worker,) = workers(p)
        asked = asyncio.create_task(p.check([given("slow", mini.SLOW)]))
        await asyncio.sleep(0.3)
        os.kill(worker.process.pid, signal.SIGKILL)
        assert only(await asyncio.wait_for(asked, 5)) == (False, True, 0, "contrôle interrompu")
        await until_back(p)
        assert only(await p.check([given("good")])) == (True, False, 0, "")


async def test_a_worker_killed_while_idle_costs_nothing(package: Package) -> None:
    async with pool(package, timeout=20) as p:
        (worker,) = workers(p)
        os.kill(worker.process.pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while p.replaced < 1:
                await asyncio.sleep(0.02)
        assert only(await p.check([given("good")])) == (True, False, 0, "")


async def test_memory_is_bounded_in_the_middle_of_a_document(package: Package) -> None:
    async with pool(package, timeout=60, memory_mb=400) as p:
        ran, unavailable, _, reason = only(await p.check([given("greedy", mini.GREEDY)]))
        assert (ran, unavailable) == (False, True)
        assert reason in ("mémoire insuffisante pour ce document", "contrôle interrompu")
        await until_back(p)
        assert only(await p.check([given("good")])) == (True, False, 0, "")


async def test_a_worn_worker_is_replaced_by_a_warm_one(package: Package) -> None:
    async with pool(package, documents=3, timeout=20) as p:
        (first,) = workers(p)
        for n in range(4):
            assert only(await p.check([given(str(n))]))[0]
        assert first.worn
        async with asyncio.timeout(30):
            while not (first.retired and p.state == "on"):
                assert only(await p.check([given("meanwhile")]))[0]
        assert p.replaced >= 1


async def test_no_worker_free_in_time(package: Package) -> None:
    async with pool(package, timeout=1.0) as p:
        (a, b) = await p.check([given("hang", mini.SLOW), given("good")])
        assert not a.complete
        assert b.families[0].unavailable
        await until_back(p)
        # the one that only waited is not to blame
        assert list(p._strikes) == ["hang"]


async def test_a_document_that_began_late_does_not_cost_the_worker(package: Package) -> None:
    """A queue must not end in killed workers: that would make the queue longer."""
    async with pool(package, timeout=1.0) as p:
        worker = await p._take()
        asked = asyncio.create_task(p.check([given("late")]))
        await asyncio.sleep(0.98)
        p._give_back(worker)
        assert only(await asked)[2] == 0
        await until_back(p)
        assert (workers(p), p.replaced, p._strikes) == ([worker], 0, {})


async def test_level_1_asks_only_what_applies(package: Package) -> None:
    document = replace(given(level=1), level=1)
    async with pool(package, timeout=0.001) as p:
        p.families = (Family.STRUCMIN, Family.VOLET, Family.IHE)
        (report,) = await p.check([document])
        assert [f.family for f in report.families] == [Family.STRUCMIN]
        p.families = (Family.VOLET,)
        (report,) = await p.check([document])
        assert report.families == ()


async def test_too_long_a_document_is_said_and_not_run(package: Package) -> None:
    async with pool(package, max_bytes=100) as p:
        assert only(await p.check([given()])) == (False, False, 0, "document trop long")


async def test_a_package_that_changed_since_the_start_is_not_used(tmp_path: Path) -> None:
    changed = Package.open(mini.make(tmp_path))
    (tmp_path / mini.ANS).write_text(mini.schema(""))
    with pytest.raises(ConfigurationFault, match="changed since"):
        await SchematronPool(changed, [Family.STRUCMIN], Limits()).start()


async def test_without_saxonche_it_is_a_fault_of_configuration(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "available", lambda: False)
    with pytest.raises(ConfigurationFault, match="saxonche is not installed"):
        await SchematronPool(package, [Family.STRUCMIN], Limits()).start()


async def test_the_worker_says_nothing_of_the_document(
    package: Package, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saxon's own messages quote values of the document; a worker gets none of our settings."""
    monkeypatch.setenv("SEGUR_SECRET_FILE", "x")
    async with pool(package) as p:
        (worker,) = workers(p)
        environment = Path(f"/proc/{worker.process.pid}/environ").read_bytes()
        assert b"SEGUR_" not in environment
        document = given("typed", mini.TYPED, more='<id root="DURAND-SECRET"/>')
        ran, unavailable, failed, reason = only(await p.check([document]))
        assert (ran, unavailable, failed) == (False, False, 1)
        assert "XPTY0004" in reason
        standard_error = Path(f"/proc/{worker.process.pid}/fd/2").resolve()
        assert standard_error == Path(os.devnull)
    out, err = capfd.readouterr()
    assert "DURAND" not in out + err


async def test_the_worker_ends_with_its_gateway(package: Package) -> None:
    """Also when the gateway was killed: end of input, or the kernel's word while a document is judged."""
    worker = await Worker.start(package, [Family.STRUCMIN])
    worker._input.close()
    async with asyncio.timeout(60):
        assert await worker.process.wait() == 0


async def test_stopping_in_the_middle_of_a_document(package: Package) -> None:
    async with pool(package, timeout=30) as p:
        asked = asyncio.create_task(p.check([given("slow", mini.SLOW)]))
        await asyncio.sleep(0.3)
        (worker,) = workers(p)
    assert not (await asked)[0].complete
    assert worker.process.returncode is not None
