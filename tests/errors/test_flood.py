"""Floods, an error mailbox that is away, and a person who must learn of both: real SMTP over TLS."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest
from sqlmodel import Session

from connectors.mss.simulator import Fault
from connectors.port import Outcome, OutcomeClass
from fixtures import build
from gateway.exchange import incidents
from gateway.exchange.reporter import UNREACHABLE
from tests.errors.world import BOX, COUNTED, World, attachments, documents, operating, until, world
from tests.exchange.harness import submit

ONE = "SELECT id FROM message ORDER BY id LIMIT 1"
REFUSED = Outcome(OutcomeClass.PERMANENT, "DMPInvalidDocument", "Document refusé")


async def fail(w: World, count: int, first: int = 0) -> None:
    """Note `count` failures in one commit, as a destination that refuses everything does."""
    ((message_id,),) = await w.rows(ONE)

    def operation(session: Session) -> None:
        for n in range(first, first + count):
            incidents.note(
                session,
                flow="outbound",
                family="dmp 500",
                code="500",
                route="SIL-ESSAI|HOPITAL-ESSAI",
                now=w.running.gateway.reporter._clock.now(),
                message_id=message_id,
                destination="dmp",
                control_id=f"FLOOD{n}",
                action="submit",
                uids=["1.2.3"],
                state="refused",
                label="Le DMP ne répond pas",
            )

    await w.running.gateway.journal.write(operation)
    w.running.gateway.reporter.wake()


async def get(w: World, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{w.running.gateway.web_port}") as client:
        return await client.get(path)


async def test_two_hundred_failures_at_once_are_six_mails(tmp_path: Path) -> None:
    """burst 5: five mails, then one with the 195 others, their number, and attachments while they fit."""
    own = {"max_bytes": 200_000}
    async with (
        operating(tmp_path) as operator,
        world(tmp_path, operator, own=own, errors={"burst": 5, "window": 4}) as w,
    ):
        assert (await w.running.send(submit("BASE"))).code == "AA"
        await fail(w, 200)
        mails = await w.got(6)
        await w.until_rows("SELECT count(*) FROM incident WHERE report_id IS NULL", [(0,)])
        await w.until_rows(
            "SELECT state, count(*) FROM delivery WHERE destination = 'errors' GROUP BY state",
            [("succeeded", 6)],
        )
        group = next(m for m in mails if "195 erreurs" in str(m.message["Subject"]))
        assert len(mails) == 6
        text = group.text()
        told = {n for n in range(200) if any(f"FLOOD{n} " in m.text().replace("\r\n", " ") for m in mails)}
        assert told == set(range(200)), "every MSH-10 is in a mail"
        assert "Pièces qui ne tiennent pas" in text and len(group.raw) <= own["max_bytes"]
        archives = [c for name, c in attachments(group).items() if name.endswith("_IHE_XDM.ZIP")]
        assert archives, "attachments while they fit"
        assert documents(archives[0])
        metrics = (await get(w, "/metrics")).text
        assert 'segur_incidents_total{flow="outbound"} 200.0' in metrics


async def test_an_error_mailbox_that_is_away_is_never_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """/readyz (200, a warning), the home page, the page « erreurs », one alert; then every mail, and the end of it."""
    caplog.set_level(logging.WARNING)
    async with operating(tmp_path) as operator:
        operator.plan(Fault("rcpt", BOX, times=0, code=451))
        async with world(tmp_path, operator, errors={"window": 1}) as w:
            w.running.dmp.outcomes = [REFUSED, REFUSED]
            for n in (1, 2):
                assert (await w.running.send(submit(f"AWAY{n}", n))).code == "AA", (
                    "messages are served all the same"
                )
            await w.until_rows(
                "SELECT count(*) FROM delivery WHERE destination='errors' AND attempts > 1", [(2,)]
            )
            ready = await get(w, "/readyz")
            assert ready.status_code == 200
            assert ready.json()["ready"] and list(ready.json()["warnings"]) == [UNREACHABLE]
            home, page = (await get(w, "/")).text, (await get(w, "/erreurs")).text
            sentence = "ne parviennent pas à la boîte d’erreurs : 2 en attente"
            assert sentence in home and sentence in page
            for shown in ("AWAY1", "AWAY2", "DMPInvalidDocument", "…@test-hopital.mssante.fr"):
                assert shown in page
            for word in ("TEST-DURAND", "CAMILLE", build.PATIENT.ins, BOX):
                assert word not in page and word not in (await get(w, "/api/v1/incidents")).text
            assert "segur_error_mailbox_unreachable 1.0" in (await get(w, "/metrics")).text
            api = (await get(w, "/api/v1/incidents")).json()
            assert [i["report"]["state"] in ("ready", "sending") for i in api["incidents"]] == [True, True]
            operator.faults.clear()
            await w.got(2)
            await w.until_rows(
                "SELECT count(*) FROM delivery WHERE state='succeeded' AND destination='errors'", [(2,)]
            )
            await until(lambda: sum("reachable again" in r.message for r in caplog.records) == 1)
            assert (await get(w, "/readyz")).json()["warnings"] == {}
            assert "segur_error_mailbox_unreachable 0.0" in (await get(w, "/metrics")).text
            assert "ne parviennent pas" not in (await get(w, "/")).text
            alerts = [r.levelno for r in caplog.records if "error mailbox" in r.message]
            assert alerts == [logging.CRITICAL, logging.CRITICAL]
            # a report that fails is no incident
            assert await w.rows("SELECT count(*) FROM incident") == [(2,)]


async def test_a_wrong_address_is_told_to_the_right_one_once_the_settings_are(tmp_path: Path) -> None:
    """A report that the operator refuses: a warning until its errors are told, to the mailbox that is set then."""
    right = "cellule-ins@test-hopital.mssante.fr"
    async with operating(tmp_path) as operator:
        operator.plan(Fault("rcpt", BOX, times=0, code=550))
        async with world(tmp_path, operator, errors={"repeat": 3600}) as w:
            w.running.dmp.outcomes = [REFUSED]
            await w.running.send(submit("WRONG"))
            await w.until_rows("SELECT state FROM delivery WHERE destination='errors'", [("refused",)])
            assert UNREACHABLE in await w.running.gateway.warnings()
        async with world(tmp_path, operator, own={"to": [right]}, errors={"repeat": 0.1}) as w:
            (mail,) = await w.got(1)
            assert mail.recipient == right and "WRONG" in mail.text()
            await w.until_rows("SELECT count(*) FROM error_report WHERE resolved_at IS NOT NULL", [(1,)])
            assert await w.running.gateway.warnings() == {}
            assert await w.rows("SELECT count(*) FROM incident") == [(1,)]


async def test_of_two_mailboxes_only_the_one_that_failed_is_written_to_again(tmp_path: Path) -> None:
    other = "dim@test-hopital.mssante.fr"
    async with operating(tmp_path) as operator:
        operator.plan(Fault("rcpt", other, times=1, code=550))
        async with world(tmp_path, operator, own={"to": [BOX, other]}, errors={"repeat": 0.5}) as w:
            w.running.dmp.outcomes = [REFUSED]
            await w.running.send(submit("TWO"))
            mails = await w.got(2)
            await w.until_rows(
                "SELECT state, count(*) FROM delivery WHERE destination='errors' GROUP BY state ORDER BY state",
                [("refused", 1), ("succeeded", 2)],
            )
            assert sorted(m.recipient for m in mails) == sorted([BOX, other])
            await w.until_rows("SELECT count(*) FROM incident WHERE report_id IS NULL", [(0,)])
            assert await w.running.gateway.warnings() == {}


async def test_a_mailbox_that_the_settings_name_no_more_is_not_waited_for(tmp_path: Path) -> None:
    gone = "ancienne@test-hopital.mssante.fr"
    async with operating(tmp_path) as operator:
        operator.plan(Fault("rcpt", gone, times=0, code=550))
        async with world(tmp_path, operator, own={"to": [BOX, gone]}) as w:
            w.running.dmp.outcomes = [REFUSED]
            await w.running.send(submit("GONE"))
            await w.until_rows(
                "SELECT state FROM delivery WHERE destination='errors' ORDER BY state",
                [("refused",), ("succeeded",)],
            )
            assert UNREACHABLE in await w.running.gateway.warnings()
        async with world(tmp_path, operator, errors={"repeat": 0.1}) as w:
            await w.until_rows("SELECT count(*) FROM error_report WHERE resolved_at IS NOT NULL", [(1,)])
            await w.until_rows("SELECT count(*) FROM incident WHERE report_id IS NULL", [(0,)])
            assert await w.running.gateway.warnings() == {}
            assert len(w.mails) == 1, "the mailbox that knows it is not written to again"


async def test_without_an_error_mailbox_errors_are_visible_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.exchange.harness import running

    async with running(tmp_path, web={"port": 0}, indicators=COUNTED) as r:
        r.dmp.outcomes = [REFUSED, REFUSED]
        for n in (1, 2):
            await r.send(submit(f"NONE{n}", n))
            await r.settled(f"NONE{n}")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{r.gateway.web_port}") as client:
            page = (await client.get("/erreurs")).text
            assert "NONE1" in page and "pas encore envoyé" in page
            await until(lambda: any("told to nobody" in x.message for x in caplog.records))
            assert (await client.get("/readyz")).json()["warnings"] == {}
        assert sum("told to nobody" in x.message for x in caplog.records) == 1


async def test_a_mailbox_whose_password_is_wrong_is_a_warning_until_it_is_right(tmp_path: Path) -> None:
    """A configuration fault: the circuit of `errors` is open, nobody else's is, nothing expires."""
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    async with (
        operating(tmp_path, auth="plain") as operator,
        world(tmp_path, operator, own={"secret_file": str(secret)}) as w,
    ):
        w.running.dmp.outcomes = [REFUSED]
        assert (await w.running.send(submit("PASS"))).code == "AA"
        await w.until_rows("SELECT state FROM delivery WHERE destination='errors'", [("suspended",)])
        assert UNREACHABLE in await w.running.gateway.warnings()
        assert await w.running.gateway.readiness() == {}
        secret.write_text(operator.password)
        (mail,) = await w.got(1)
        assert "PASS" in mail.text()
        await w.until_rows("SELECT state FROM delivery WHERE destination='errors'", [("succeeded",)])
        assert await w.running.gateway.warnings() == {}


async def test_the_api_is_bounded(tmp_path: Path) -> None:
    async with operating(tmp_path) as operator, world(tmp_path, operator) as w:
        assert (await get(w, "/api/v1/incidents?limit=1001")).status_code == 422
        assert (await get(w, "/api/v1/incidents")).json() == {"warnings": {}, "incidents": []}
        page = await get(w, "/erreurs")
        assert "Aucune erreur." in page.text and "<script" not in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_flood_of_one_family_does_not_hide_the_errors_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.exchange.reporter.READ", 20)
    async with operating(tmp_path) as operator, world(tmp_path, operator, errors={"window": 600}) as w:
        assert (await w.running.send(submit("BASE"))).code == "AA"
        await fail(w, 60)
        await w.got(5)
        w.running.dmp.outcomes = [REFUSED]
        assert (await w.running.send(submit("OTHER", 2))).code == "AA"
        mails = await w.got(6)
        assert any("OTHER" in m.text() for m in mails)
        await w.until_rows("SELECT count(*) FROM incident WHERE report_id IS NULL", [(55,)])
