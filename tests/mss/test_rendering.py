"""PDF copies laid out by the real worker, read again by another library. Skipped where the extra `pdf` is not usable.

Source: spec/mssante.md §1.8 (PDF/A-1b, faithful, no network), ECO.2.1.5.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from connectors.mss import rendering
from connectors.mss.connector import MssConnector
from connectors.mss.narrative import page
from connectors.mss.plan import PdfCopy, from_json
from connectors.mss.rendering import Renderer
from connectors.mss.simulator import create
from connectors.port import OutcomeClass
from fixtures import build
from tests.mss import samples
from tests.mss.samples import MARTIN, accepted, job, party, preparation, transmission
from tests.mss.test_narrative import PNG, everything_is_there, media, n3, narratives, section, squeezed

pypdf = pytest.importorskip("pypdf", reason="pypdf reads the PDF copies (extra dev)")
ABSENT = (
    "PDF copies cannot be rendered here: pip install .[pdf], apt-get install libpango-1.0-0 libpangoft2-1.0-0"
)


async def usable(made: Renderer) -> bool:
    """`ready`, with all the time that a busy machine needs to start a worker."""
    while not await made.ready():
        if not made._installed or made._usable is False:
            return False
    return True


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    made = Renderer(20.0, 1500)
    made.start()
    if not await usable(made):
        pytest.skip(ABSENT)
    yield made
    await made.stop()


def read(pdf: bytes) -> str:
    """The text of all pages, blanks and page numbers left out."""
    pages = [p.extract_text() for p in pypdf.PdfReader(io.BytesIO(pdf)).pages]
    return squeezed("".join(re.sub(r"Page \d+ / \d+", "", p) for p in pages))


async def pdf_of(renderer: Renderer, document: bytes) -> bytes:
    made = await renderer.render(str(hash(document)), page(document))
    assert made is not None
    return made


async def test_the_copy_is_pdf_a_1b_with_its_fonts(renderer: Renderer) -> None:
    """XMP pdfaid part 1 conformance B, an output intent, every font embedded, no transparency, no action."""
    image = section(
        '<renderMultiMedia referencedObject="i"/>',
        "T",
        media("i", "image/png", base64.b64encode(PNG).decode()),
    )
    pdf = await pdf_of(renderer, n3(section("<paragraph styleCode='Bold'>é µ ≥</paragraph>") + image))
    assert pdf.startswith(b"%PDF-1.4")
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    root: Any = reader.trailer["/Root"]
    xmp = root["/Metadata"].get_data().decode()
    assert 'pdfaid:part="1"' in xmp and 'pdfaid:conformance="B"' in xmp
    assert "/OutputIntents" in root
    fonts: list[Any] = [f.get_object() for p in reader.pages for f in p["/Resources"]["/Font"].values()]
    assert fonts
    for font in fonts:
        descriptor = font["/DescendantFonts"][0].get_object()["/FontDescriptor"].get_object()
        assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(descriptor)
    images = [o.get_object() for p in reader.pages for o in p["/Resources"].get("/XObject", {}).values()]
    assert images and all("/SMask" not in i for i in images)
    for word in (b"/JavaScript", b"/Launch", b"/URI", b"/EmbeddedFile"):
        assert word not in pdf


async def test_everything_is_in_the_copy(renderer: Renderer) -> None:
    """Many pages, wide tables, long words: every text node of every section is in the PDF's text."""
    rows = "".join(
        f"<tr><td>Analyse n° {n}</td><td>{n},5 µmol/L</td><td>≥ {n} &lt; 900</td></tr>" for n in range(300)
    )
    wide = "<tr>" + "".join(f"<td>colonne{n}</td>" for n in range(30)) + "</tr>"
    inside = f"<table><caption>Résultats</caption><tbody>{rows}{wide}</tbody></table><paragraph>{'x' * 400}</paragraph>"
    document = n3(
        section(inside)
        + section("<list><item>œdème</item><item>l’été</item></list>", "Suite & fin".replace("&", "&amp;"))
    )
    pdf = await pdf_of(renderer, document)
    assert len(pypdf.PdfReader(io.BytesIO(pdf)).pages) > 5
    everything_is_there(document, read(pdf), in_order=False)
    everything_is_there(build.cda_n3(), read(await pdf_of(renderer, build.cda_n3())))
    assert build.PATIENT.ins in read(await pdf_of(renderer, build.cda_n3()))


def test_generated_narratives_are_whole_in_the_copy() -> None:
    """Property: every text node of every `section/text` is in the PDF's text."""
    loop = asyncio.new_event_loop()
    renderer = Renderer(20.0, 1500)
    renderer.start()

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(narratives)
    def check(inside: str) -> None:
        document = n3(section(inside) + section("fin"))
        pdf = loop.run_until_complete(renderer.render(inside, page(document)))
        assert pdf is not None
        everything_is_there(document, read(pdf), in_order=False)

    try:
        if not loop.run_until_complete(usable(renderer)):
            pytest.skip(ABSENT)
        check()
    finally:
        loop.run_until_complete(renderer.stop())
        loop.close()


async def test_the_same_page_is_the_same_bytes_in_another_process(renderer: Renderer) -> None:
    """A repetition of a mail is the same bytes, after a restart too."""
    other = Renderer(20.0, 1500)
    other.start()
    html = page(build.cda_n3())
    assert await other.render("a", html) == await renderer.render("a", html)
    await other.stop()


@pytest.mark.parametrize(
    "markup",
    [
        '<img src="file:///etc/hostname">',
        '<img src="http://127.0.0.1:{port}/x.png">',
        '<link rel="stylesheet" href="http://127.0.0.1:{port}/x.css">',
        '<p style="background: url(http://127.0.0.1:{port}/x.png)">x</p>',
        '<img src="data:image/png;base64,AAAA">',
        '<img src="data:image/svg+xml,<svg xmlns=%22http://www.w3.org/2000/svg%22/>">',
    ],
)
async def test_nothing_is_fetched_and_a_picture_that_fails_is_no_copy(
    renderer: Renderer, markup: str
) -> None:
    """No network, no file: only `data:` images that can be shown."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        html = f"<body>{markup.replace('{port}', str(server.sockets[0].getsockname()[1]))}</body>"
        assert await renderer.render(html, html) is None
    assert asked == []
    assert await renderer.render("good", "<p>x</p>") is not None


async def test_a_page_that_takes_too_long_or_too_much_is_given_up_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The worker is replaced; the next page is rendered; the same one is not tried again."""
    made = Renderer(1.0, 600)
    made.start()
    if not await usable(made):
        pytest.skip(ABSENT)
    slow = "<table>" + "<tr><td>x<td>y</tr>" * 60_000 + "</table>"
    with caplog.at_level(logging.WARNING, "connectors.mss"):
        assert await made.render("slow", slow) is None
        assert await made.render("slow", slow) is None
        assert len(caplog.records) == 1
        assert await made.render("good", "<p>x</p>") is not None
        assert await made.render("many", "<p style='break-after: page'>x</p>" * 400) is None
    await made.stop()
    assert all("<p" not in r.getMessage() for r in caplog.records)


async def test_a_worker_that_is_killed_is_replaced(renderer: Renderer) -> None:
    process = renderer._process
    assert process is not None
    os.kill(process.pid, 9)
    await process.wait()
    assert await renderer.render("a", "<p>a</p>") is None
    assert await renderer.render("b", "<p>b</p>") is not None


async def test_an_ack_waits_little_for_a_worker_that_is_slow_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Absent until it is there; then it is, without a restart."""
    monkeypatch.setattr(rendering, "READY_WITHIN", 0.01)
    made = Renderer(20.0, 1500)
    assert not await made.ready()
    made.start()
    assert not await made.ready()
    async with asyncio.timeout(30):
        while made._usable is None:
            await asyncio.sleep(0.05)
    if made._usable is False:
        pytest.skip(ABSENT)
    assert await made.ready()
    await made.stop()
    assert not await made.ready()
    # stopped in the middle of its start: no process is left
    other = Renderer(20.0, 1500)
    other.start()
    assert not await other.ready()
    await other.stop()
    assert other._process is None


async def test_a_worker_that_says_what_is_missing_is_not_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Too little memory for its libraries: one warning, then nothing is started any more."""
    made = Renderer(20.0, 20)
    made.start()
    with caplog.at_level(logging.WARNING, "connectors.mss"):
        assert not await made.ready()
        async with asyncio.timeout(30):
            while made._probe is not None:
                await asyncio.sleep(0.05)
        first = len(caplog.records)
        assert not await made.ready()
        assert await made.render("x", "<p>x</p>") is None
    assert 1 <= first <= 2
    await made.stop()


async def test_a_worker_does_not_serve_for_ever(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "PAGES_OF_A_WORKER", 2)
    seen = []
    for n in range(5):
        assert await renderer.render(str(n), f"<p>{n}</p>") is not None
        assert renderer._process is not None
        seen.append(renderer._process.pid)
    assert [seen.index(pid) for pid in seen] == [0, 0, 2, 2, 4]


# --- the connector ------------------------------------------------------------------------------------------------


async def started(directory: Path, **table: Any) -> tuple[Any, MssConnector]:
    operator = create(directory)
    await operator.start()
    connector = samples.connector({**operator.connector_settings(), **table})
    await connector.start()
    if table.get("render_pdf") != "never" and not await usable(connector._renderer):
        await connector.stop()
        await operator.stop()
        pytest.skip(ABSENT)
    return operator, connector


async def test_an_n3_without_copy_goes_with_a_rendered_one(tmp_path: Path) -> None:
    """§1.8, 3: the ACK has no warning; the mail has the copy, named as ECO.2.1.6 says; a repetition is the same."""
    operator, connector = await started(tmp_path)
    prepared = preparation(transmission(recipients=(party(MARTIN, 2),)), build.cda_n3())
    verdict = accepted(await connector.prepare(prepared))
    assert verdict.warnings == ()
    delivery = verdict.deliveries[0]
    assert [d.pdf for d in from_json(delivery.plan).documents] == [PdfCopy.RENDERED]
    for _ in range(2):
        outcome = await connector.deliver(job(delivery, prepared))
        assert outcome.outcome is OutcomeClass.SUCCESS
        assert "pdf_copy" not in outcome.details
    first, second = operator.mails
    assert first.raw == second.raw
    assert "140mmol/L" in read(first.pdf())
    (copy,) = [p for p in first.message.iter_attachments() if p.get_content_type() == "application/pdf"]
    assert copy.get_filename() == "20260109_CR d'examens biologiques_TEST-DURAND_CAMILLE_26010007.pdf"
    await connector.stop()
    await operator.stop()


async def test_without_rendering_the_mail_goes_with_the_warning(tmp_path: Path) -> None:
    operator, connector = await started(tmp_path, render_pdf="never")
    prepared = preparation(transmission(recipients=(party(MARTIN, 2),)), build.cda_n3())
    verdict = accepted(await connector.prepare(prepared))
    assert [f.rule for f in verdict.warnings] == ["MSS-PDF-ABSENT"]
    assert (await connector.deliver(job(verdict.deliveries[0], prepared))).outcome is OutcomeClass.SUCCESS
    await connector.stop()
    await operator.stop()


async def test_a_copy_that_fails_after_the_ack_never_keeps_the_document_back(tmp_path: Path) -> None:
    """The mail goes without it, and the attempt says so."""
    operator, connector = await started(tmp_path)
    prepared = preparation(transmission(recipients=(party(MARTIN, 2),)), build.cda_n3())
    delivery = accepted(await connector.prepare(prepared)).deliveries[0]
    await connector._renderer.stop()
    outcome = await connector.deliver(job(delivery, prepared))
    assert outcome.outcome is OutcomeClass.SUCCESS
    assert outcome.details["pdf_copy"] == "not rendered"
    assert [p.get_content_type() for p in operator.mails[0].message.iter_attachments()] == ["application/zip"]
    await connector.stop()
    await operator.stop()


async def test_a_copy_that_would_make_the_mail_too_large_is_left_out(tmp_path: Path) -> None:
    """A document is not refused for what we add to it."""
    prepared = preparation(transmission(recipients=(party(MARTIN, 2),)), build.cda_n3())
    bare = await started(tmp_path / "a", render_pdf="never")
    delivery = accepted(await bare[1].prepare(prepared)).deliveries[0]
    await bare[1].deliver(job(delivery, prepared))
    limit = len(bare[0].mails[0].raw) + 1000
    operator, connector = await started(tmp_path / "b", default_size_limit=limit)
    delivery = accepted(await connector.prepare(prepared)).deliveries[0]
    outcome = await connector.deliver(job(delivery, prepared))
    assert outcome.outcome is OutcomeClass.SUCCESS
    assert outcome.details["pdf_copy"] == "not rendered"
    assert len(operator.mails[0].raw) <= limit
    for one in (*bare, operator, connector):
        await one.stop()


async def test_an_ack_does_not_wait_for_a_page_that_is_laid_out(renderer: Renderer) -> None:
    """`ready`, which is asked before the ACK, answers while the worker is busy."""
    busy = asyncio.create_task(renderer.render("x", "<p>x</p>" * 2000))
    await asyncio.sleep(0)
    assert renderer._turn.locked()
    assert await asyncio.wait_for(renderer.ready(), 0.05)
    assert not busy.done()
    assert await busy is not None
