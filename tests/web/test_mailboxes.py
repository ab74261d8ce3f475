"""The page of mailboxes and received mails, its API, receipts of a message, the warning of a mailbox that is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.mss.mailbox.model import Reason as MailboxReason
from connectors.mss.receipts.matching import Fact
from connectors.mss.receipts.model import Reason
from connectors.mss.simulator import Fault
from gateway.exchange.inbox.mailroom import AWAY
from gateway.web import mail_wording
from tests.circle.hospitals import A, B, Hospital, circle, hospital_b, until, until_rows
from tests.circle.mails import ASKING, cda, give, mail
from tests.circle.test_circle import message
from tests.mss.inbound.test_archive import HOSTILE
from tests.web.test_web import PATIENT_WORDS


async def get(hospital: Hospital, path: str) -> httpx.Response:
    address = f"http://127.0.0.1:{hospital.gateway.web_port}"
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as client:
        return await client.get(path)


async def test_what_came_and_what_became_of_it(tmp_path: Path) -> None:
    async with hospital_b(tmp_path) as (b, operator):
        assert "Aucun courriel reçu" in (await get(b, "/boites")).text
        b.dpi.plan("AA", "AE:902")
        await give(operator, await mail(cda(1)))
        await b.got("T02")
        await give(operator, await mail(cda(2), ask=False))
        await b.got("T02", 2)
        await give(operator, await mail(archive_bytes=HOSTILE["IN-ZIP-ENCRYPTED"]))
        plain = (
            f"From: {A}\r\nSubject: Bonjour\r\nMessage-ID: <b@a.fr>\r\n{ASKING.strip()}\r\n\r\nBonjour\r\n"
        )
        await give(operator, plain.encode())
        await until_rows(b, "SELECT count(*) FROM received_mail WHERE state = 'treated'", [(4,)])
        sent = "SELECT count(*) FROM delivery WHERE destination = 'mss' AND state = 'succeeded'"
        await until_rows(b, sent, [(2,)])

        api: list[dict[str, Any]] = (await get(b, "/api/v1/mails")).json()["mails"]
        assert [(m["kind"], m["reason"], m["mdn"]) for m in api] == [
            ("quarantine", "NOT-A-DOCUMENT", None),
            ("inbound", "906", "succeeded"),
            ("inbound", "902", None),
            ("inbound", "", "succeeded"),
        ]
        assert [d["errors"] for d in api[2]["documents"]] == [["207/902"]]
        assert [d["state"] for d in api[3]["documents"]] == ["succeeded"]
        [aside] = (await get(b, "/api/v1/mails?set_aside=true")).json()["mails"]
        assert aside["reason"] == "NOT-A-DOCUMENT"
        assert len((await get(b, "/api/v1/mails?set_aside=false&limit=2")).json()["mails"]) == 2
        assert [m["id"] for m in (await get(b, "/api/v1/mails?before=2")).json()["mails"]] == [1]
        assert (await get(b, "/api/v1/mails?mailbox=autre")).json() == {"mails": []}
        assert (await get(b, "/api/v1/mails?limit=100000")).status_code == 422
        [state] = (await get(b, "/api/v1/mailboxes")).json()["mailboxes"]
        assert (state["name"], state["connected"], state["person"]) == ("bal", True, False)

        page = await get(b, "/boites")
        for words in ("Mis de côté", "refusé par le DPI (AE 207/902)", "intégré par le DPI (AA)", "relevée"):
            assert words in page.text
        assert "ni document ni accusé" in page.text and "902 : Identifiant" in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert "<script" not in page.text
        everything = page.text + str(api) + (await get(b, "/api/v1/mailboxes")).text
        for secret in (*PATIENT_WORDS, A, B, "@", "Bonjour", "XDM/1.0"):
            assert secret not in everything


async def test_receipts_stand_beside_the_delivery_that_they_are_about(tmp_path: Path) -> None:
    async with circle(tmp_path) as (a, b, _operator):
        b.dpi.plan("AE:902")
        await a.send(message("PAGE-1"))
        await a.got("Z03")
        [found] = (await get(a, "/api/v1/messages/PAGE-1")).json()["messages"]
        mss = next(d for d in found["deliveries"] if d["destination"] == "mss")
        seen = sorted((r["event"], r["fact"], r["accepted"], r["code"], r["told"]) for r in mss["receipts"])
        assert seen == [("Z02", "received", True, "", True), ("Z03", "not-integrated", False, "902", True)]
        page = (await get(a, "/")).text
        assert (
            "reçu par la messagerie du destinataire" in page
            and "non intégré par le destinataire (902)" in page
        )


async def test_a_mailbox_that_needs_a_person_is_a_warning_and_no_reason(tmp_path: Path) -> None:
    """Messages are accepted all the same: /readyz stays 200."""
    async with hospital_b(tmp_path, mailbox={"retry_configuration": 600}) as (b, operator):
        await until(lambda: b.gateway.mailboxes()["bal"].connected)
        assert (await get(b, "/readyz")).json()["warnings"] == {}
        operator.plan(Fault("imap_login", B, times=0))
        await operator.down()
        await operator.up()
        await until(lambda: b.gateway.mailboxes()["bal"].configuration)
        ready = await get(b, "/readyz")
        assert ready.status_code == 200 and "mailbox_bal" in ready.json()["warnings"]
        page = (await get(b, "/boites")).text
        assert "identifiants refusés" in page and "une personne doit intervenir" in page


async def test_a_mailbox_that_is_away_becomes_a_warning_with_time(tmp_path: Path) -> None:
    async with hospital_b(tmp_path) as (b, operator):
        await until(lambda: b.gateway.mailboxes()["bal"].connected)
        await operator.down()
        await until(lambda: not b.gateway.mailboxes()["bal"].connected)
        first = b.gateway.mailboxes()["bal"].since
        assert (await get(b, "/readyz")).json()["warnings"] == {}
        b.gateway.mailboxes()["bal"].since = first - AWAY - 1
        assert "mailbox_bal" in (await get(b, "/readyz")).json()["warnings"]
        await operator.up()
        await until(lambda: b.gateway.mailboxes()["bal"].connected)
        assert (await get(b, "/readyz")).json()["warnings"] == {}


@pytest.mark.parametrize(
    ("codes", "words"),
    [(MailboxReason, mail_wording.MAILBOXES), (Reason, mail_wording.REASONS), (Fact, mail_wording.FACTS)],
)
def test_every_code_has_its_french_words(codes: Any, words: dict[str, str]) -> None:
    assert {c.value for c in codes} <= set(words)


def test_a_document_that_waits_says_for_what() -> None:
    """A route that nobody set needs a person; a DPI that is away does not."""
    assert "connectors.dpi.routes" in mail_wording.dpi_answer("ready", "route", [])
    assert "nouvel essai automatique" in mail_wording.dpi_answer("ready", "connect", [])
    assert mail_wording.dpi_answer("ready", "", []) == "en attente du DPI"
