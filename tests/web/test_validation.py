"""The validation page and its API, over real HTTP."""

from __future__ import annotations

import asyncio
import html
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from fixtures import build
from gateway.web import validation
from tests.exchange.harness import Running, cda, running, submit
from tests.package import mini
from tests.validation.test_report import MESSAGES, SCHEMA

WEB: dict[str, Any] = {"web": {"enabled": True, "port": 0}}
BAD = MESSAGES["several"]


def client(r: Running) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{r.gateway.web_port}", timeout=30)


async def post(r: Running, content: bytes | None = None, text: str = "", **options: str) -> httpx.Response:
    """The form as a browser sends it."""
    files = {"file": ("message.er7" if content is not None else "", content or b"")}
    async with client(r) as c:
        return await c.post("/valider", files=files, data={"text": text, **options})


def plain(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page))


async def test_the_form(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r, client(r) as c:
        answer = await c.get("/valider")
        assert answer.status_code == 200
        assert '<html lang="fr">' in answer.text
        assert 'href="/valider"' in (await c.get("/")).text
        for name in ("file", "text", "action", "destinations", "processing", "conformance"):
            assert f'for="{name}"' in answer.text and f'id="{name}"' in answer.text
        assert (await c.get("/static/validation.css")).status_code == 200


async def test_no_script_and_a_policy_that_lets_the_form_post_to_us_only(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        answer = await post(r, BAD)
        policy = answer.headers["content-security-policy"]
        assert "form-action 'self'" in policy and policy.startswith("default-src 'none'")
        assert answer.headers["cache-control"] == "no-store"
        for text in (answer.text, (await post(r, cda())).text):
            assert not re.search(r"<script|\son\w+=|style=|javascript:", text)
            assert not re.search(r"""(?:src|href|action)=["'](?!/|#)""", text)
        async with client(r) as c:
            other = (await c.get("/")).headers["content-security-policy"]
            assert "form-action 'self'" in other and "script-src 'self'" in other


@pytest.mark.parametrize("name", ["accepted", "several", "type", "not a CDA", "control character in MSH"])
async def test_every_error_is_in_the_summary_and_beside_its_place(tmp_path: Path, name: str) -> None:
    async with running(tmp_path, **WEB) as r:
        page = (await post(r, MESSAGES[name].replace(b"\r", b"\n"))).text
        async with client(r) as c:
            body = (await c.post("/api/v1/validate", content=MESSAGES[name].replace(b"\r", b"\n"))).json()
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "ids are unique"
    for index, error in enumerate(body["errors"]):
        assert page.count(f'id="m1c{index}"') == 1
        assert page.count(f'href="#m1c{index}"') == 1
        assert plain(page).count(error["text"]) >= 2
    for target in re.findall(r'href="#([^"]+)"', page):
        assert target in ids, target


async def test_the_page_says_what_did_not_run(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        text = plain((await post(r, MESSAGES["type"])).text)
    assert re.search(r"Règles du document CDA\s*NON EXÉCUTÉ", text)
    assert re.search(r"Schéma XSD officiel\s*NON CONFIGURÉ", text)


async def test_a_pasted_text_is_read_when_there_is_no_file(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        answer = await post(r, text=submit("M1").decode().replace("\r", "\r\n"))
        assert '<h2 id="verdict" class="verdict accept">' in answer.text
        answer = await post(r, text=cda().decode())
        assert "Document CDA (dépôt)" in answer.text
        nothing = await post(r)
        assert nothing.status_code == 422
        assert "Choisissez un fichier" in nothing.text


async def test_what_the_user_gave_is_escaped(tmp_path: Path) -> None:
    evil = b"<script>alert(1)</script>"
    async with running(tmp_path, **WEB) as r:
        for content in (submit("M1").replace(b"BIOCHIMIE", evil), evil, b"MSH|^~\\&|" + evil):
            text = (await post(r, content)).text
            assert "<script>" not in text
        assert "&lt;script&gt;" in text


async def test_options_are_applied_and_kept_in_the_form(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        page = (await post(r, cda(), destinations="dmp", processing="P", action="delete")).text
    assert "verdict reject" in page and "CDA-I01-DOMAIN" in page
    for value in ("dmp", "P", "delete"):
        assert f'<option value="{value}" selected>' in page


async def test_another_preset_does_not_ask_the_connectors(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        page = plain((await post(r, submit("M1"), conformance="interop")).text)
        assert "Jeu de sévérités : interop" in page
        assert re.search(r"Vérification préalable DMP\s*NON EXÉCUTÉ", page)
        assert "n’ont pas été interrogés" in page
        assert r.dmp.prepared == 0
        await post(r, submit("M1"))
        assert r.dmp.prepared == 1


@pytest.mark.parametrize("name, value", [("action", "send"), ("destinations", "fax"), ("conformance", "x")])
async def test_an_option_that_is_not_offered_is_refused(tmp_path: Path, name: str, value: str) -> None:
    async with running(tmp_path, **WEB) as r:
        assert (await post(r, cda(), **{name: value})).status_code == 422
        async with client(r) as c:
            answer = await c.post("/api/v1/validate", params={name: value}, content=cda())
            assert answer.status_code == 422


async def test_a_parameter_that_does_not_exist_is_refused_and_those_that_do_are_listed(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, **WEB) as r, client(r) as c:
        answer = await c.post("/api/v1/validate", params={"destination": "dmp"}, content=cda())
        assert answer.status_code == 422
        for name in ("action", "destinations", "processing", "conformance"):
            assert name in answer.json()["detail"]


async def test_the_report_says_that_msh_10_is_not_compared(tmp_path: Path) -> None:
    """A message that was received before is judged as if it came for the first time: no replayed ACK."""
    async with running(tmp_path, **WEB) as r, client(r) as c:
        body = (await c.post("/api/v1/validate", content=submit("M1"))).json()
        assert any("MSH-10" in note for note in body["notes"])
        body = (await c.post("/api/v1/validate", content=cda())).json()
        assert not any("MSH-10" in note for note in body["notes"])


async def test_failed_assertions_stand_beside_their_lines(tmp_path: Path) -> None:
    pytest.importorskip("saxonche")
    wants = mini.schema(
        '<pattern id="p"><rule context="cda:languageCode"><assert id="A" test="false()">langue refusée</assert></rule>'
        '<rule context="cda:title"><assert test="false()">titre <value-of select="."/></assert></rule></pattern>'
    )
    package = mini.make(tmp_path / "package", {mini.STRUCMIN: wants})
    layers = {"package": str(package), "schematron": ["strucmin"], "schematron_timeout": 8}
    async with running(tmp_path / "r", **WEB, cda=layers) as r:
        page = (await post(r, cda(title="SECRET"))).text
    source = page[page.index('<ol class="source"') :]
    beside = [plain(line) for line in source.split('<li class="line')]
    assert any("<languageCode" in line and "langue refusée (A)" in line for line in beside)
    assert any("<title" in line and "titre … (p)" in line for line in beside)
    summary = plain(page[: page.index('<ol class="source"')])
    assert "Écarts des schematrons (2)" in summary and "SECRET" not in summary


async def test_several_messages_have_a_report_each(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        page = (await post(r, submit("M1") + MESSAGES["type"])).text
    assert "Message n° 1 : ACCEPTÉ" in page and "Message n° 2 : REFUSÉ" in page


# --- API ------------------------------------------------------------------------------------------------------------


async def test_the_api_gives_the_json_of_the_command(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r, client(r) as c:
        for content in (*MESSAGES.values(), cda(), b"", submit("M1") + BAD):
            answer = await c.post("/api/v1/validate", content=content)
            assert answer.status_code == 200
            jsonschema.Draft202012Validator(SCHEMA).validate(answer.json())
        answer = await c.post(
            "/api/v1/validate",
            content=cda(),
            params={
                "action": "replace",
                "destinations": "dmp,mss",
                "processing": "P",
                "conformance": "interop",
            },
        )
        body = answer.json()
        assert (body["action"], body["destinations"], body["processing"], body["conformance"]) == (
            "replace",
            ["dmp", "mss"],
            "P",
            "interop",
        )


async def test_a_body_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, listener={"port": 0, "max_message_bytes": 5000}, **WEB) as r, client(r) as c:
        answer = await c.post("/api/v1/validate", content=b"x" * 5001)
        assert answer.status_code == 413

        async def pieces() -> Any:
            for _ in range(10):
                yield b"x" * 1000

        assert (await c.post("/api/v1/validate", content=pieces())).status_code == 413
        answer = await post(r, b"x" * 30_000)
        assert answer.status_code == 413 and "0,005 Mo" in answer.text
        # the form itself does not count
        assert (await post(r, b"x" * 5000)).status_code == 200


@pytest.mark.parametrize(
    "content_type, body",
    [
        ("application/x-www-form-urlencoded", b"text=MSH"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"not a part"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx'),
    ],
)
async def test_a_body_that_is_no_form_is_refused(tmp_path: Path, content_type: str, body: bytes) -> None:
    async with running(tmp_path, **WEB) as r, client(r) as c:
        answer = await c.post("/valider", content=body, headers={"content-type": content_type})
        assert answer.status_code in (400, 422)
        assert "Rien n’a été vérifié" in answer.text


async def test_few_validations_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "AT_ONCE", 1)
    async with running(tmp_path, **WEB) as r, client(r) as c:
        gate = asyncio.Event()

        async def slow() -> Any:
            yield b"MSH|"
            await gate.wait()

        first = asyncio.create_task(c.post("/api/v1/validate", content=slow()))
        # the server has the first request's head long before the test asks again
        await asyncio.sleep(0.5)
        full = await c.post("/api/v1/validate", content=b"")
        assert (full.status_code, full.headers["retry-after"]) == (503, "5")
        assert (await post(r, cda())).status_code == 503
        gate.set()
        assert (await first).status_code == 200
        assert (await post(r, cda())).status_code == 200


async def test_a_large_file_waits_for_memory_like_a_message(tmp_path: Path) -> None:
    large = build.mdm("T02", build.cda_n1(payload=build.pdf(1_500_000)), control_id="M9")
    async with running(tmp_path, ack={"deadline": 0.3}, **WEB) as r, client(r) as c:
        working = r.gateway.overloads.budget.working
        assert working.try_take(working.capacity)
        full = await c.post("/api/v1/validate", content=large)
        assert (full.status_code, full.headers["retry-after"]) == (503, "5")
        assert (await post(r, large)).status_code == 503
        assert (await c.post("/api/v1/validate", content=submit("M1"))).status_code == 200
        working.give(working.capacity)
        assert (await post(r, large)).status_code == 200
        assert working.used == 0


async def test_nothing_is_stored_logged_nor_spooled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("DEBUG")

    def no_file(*_: object, **__: object) -> None:
        raise AssertionError("a document went to a temporary file")

    async with running(tmp_path, **WEB) as r, client(r) as c:
        monkeypatch.setattr(tempfile, "TemporaryFile", no_file)
        large = build.mdm("T02", build.cda_n1(payload=build.pdf(2_000_000)), control_id="M9")
        assert len(large) > 2_000_000
        assert (await post(r, large)).status_code == 200
        await c.post("/api/v1/validate", content=BAD)
        assert (await c.get("/api/v1/messages/M9")).status_code == 404
        metrics = (await c.get("/metrics")).text
        assert "segur_messages_total{" not in metrics
        for word in ("TEST-DURAND", "AUTRE-NOM", build.PATIENT.ins, "CAMILLE"):
            assert word not in caplog.text + metrics + json.dumps((await c.get("/readyz")).json())


async def test_acks_go_on_while_a_large_file_is_validated(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        large = build.mdm("T02", build.cda_n1(payload=build.pdf(10_000_000)), control_id="M9")
        task = asyncio.create_task(post(r, large))
        await asyncio.sleep(0)
        assert (await r.send(submit("M1"))).code == "AA"
        assert (await task).status_code == 200
