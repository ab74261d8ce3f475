"""Deliveries by hand: hold, release, retry now, cancel; who may; what is told and kept of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.port import Outcome, OutcomeClass
from gateway import cli
from gateway.access import local_file, read_local
from gateway.errors import ConfigurationFault
from gateway.settings import Settings
from tests.exchange import harness
from tests.exchange.harness import ROOT, Running, replace, running, submit

WEB = {"enabled": True, "port": 0}
TRANSIENT = Outcome(OutcomeClass.TRANSIENT, "503", "indisponible")
UNCERTAIN = Outcome(OutcomeClass.UNCERTAIN, "", "coupure")
CONFIGURATION = Outcome(OutcomeClass.CONFIGURATION, "DMPInvalidCertificate", "certificat")
SLOW = {"retry": {"first": 3600, "longest": 3600, "jitter": 0, "circuit_probe": 3600}}


class Desk:
    """Calls with the local token."""

    def __init__(self, r: Running, directory: Path) -> None:
        self.r = r
        self.access = read_local(local_file(r.gateway.settings, directory))

    async def __call__(
        self, path: str, body: dict[str, Any] | None = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.access.token}"} | headers
        async with httpx.AsyncClient(base_url=self.access.url, headers=headers, timeout=60) as client:
            answer = await (client.get(path) if body is None else client.post(path, json=body))
        return answer.status_code, answer.json()

    async def ids(self, destination: str) -> list[int]:
        _status, found = await self(f"/api/v1/deliveries?destination={destination}")
        return [d["id"] for d in found["deliveries"]]

    async def state(self, delivery_id: int) -> dict[str, Any]:
        return (await self(f"/api/v1/deliveries/{delivery_id}"))[1]

    async def do(self, delivery_id: int, deed: str, **more: Any) -> int:
        return (await self(f"/api/v1/deliveries/{delivery_id}/{deed}", {"reason": "essai", **more}))[0]


@contextlib.asynccontextmanager
async def desk(directory: Path, **tables: Any) -> AsyncIterator[Desk]:
    async with running(directory, **({"web": WEB, "engine": SLOW} | tables)) as r:
        r.dmp.outcomes = [TRANSIENT]
        yield Desk(r, directory)


async def waiting(d: Desk, control_id: str = "M1", number: int = 1, version: int = 1) -> int:
    """One delivery to the DMP whose first try failed; the next one is an hour away."""
    before = len(d.r.dmp.jobs)
    message = submit(control_id, number, version, recipients=())
    assert (await d.r.send(message)).code == "AA"
    await d.r.until(lambda: len(d.r.dmp.jobs) > before)
    while True:
        found = (await d.r.state(control_id))["deliveries"][0]
        if found["state"] != "sending" and found["outcome"]:
            return int(found["id"])
        await asyncio.sleep(0.01)


def facts(directory: Path) -> list[dict[str, Any]]:
    with harness.raw(directory) as db:
        rows = db.execute("SELECT kind, delivery_id, data FROM fact ORDER BY id").fetchall()
    return [{"kind": k, "delivery": d} | json.loads(data) for k, d, data in rows]


async def test_retry_now_does_not_wait_for_the_backoff(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        one = await waiting(d)
        assert await d.do(one, "retry") == 200
        assert (await d.r.settled("M1"))[0]["state"] == "succeeded"
    (fact,) = [f for f in facts(tmp_path) if f["kind"] == "delivery_retry_by_hand"]
    assert (fact["delivery"], fact["by"], fact["reason"]) == (one, "ligne de commande", "essai")


async def test_a_delivery_on_hold_is_not_sent_until_released_not_even_after_a_restart(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        one = await waiting(d)
        expires = (await d.state(one))["expires_at"]
        assert await d.do(one, "hold") == 200
        assert await d.do(one, "hold") == 409
        assert await d.do(one, "retry") == 409
        assert (await d.state(one))["on_hold"] is True
    with harness.raw(tmp_path) as db:  # it is due, and was kept back for a long time
        db.execute("UPDATE delivery SET due_at = due_at - 7200 WHERE id = ?", (one,))
    async with desk(tmp_path) as d:
        d.r.dmp.outcomes = []
        await asyncio.sleep(0.3)
        assert d.r.dmp.jobs == []
        _status, found = await d(f"/api/v1/deliveries/{one}")
        assert found["on_hold"] is True
        async with httpx.AsyncClient(base_url=d.access.url) as client:
            metrics = (await client.get("/metrics")).text
        assert 'segur_queue_depth{destination="dmp",state="on_hold"} 1.0' in metrics
        assert await d.do(one, "release") == 200
        assert (await d.r.settled("M1"))[0]["state"] == "succeeded"
        assert await d.do(one, "release") == 409
    with harness.raw(tmp_path) as db:
        (kept,) = db.execute("SELECT expires_at FROM delivery WHERE id = ?", (one,)).fetchone()
    from datetime import datetime

    assert kept - datetime.fromisoformat(expires).timestamp() > 7000  # the time on hold was given back


async def test_an_uncertain_delivery_on_hold_is_looked_into_before_it_is_sent(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        d.r.dmp.outcomes = [UNCERTAIN]
        d.r.dmp.reconciled = [Outcome(OutcomeClass.UNCERTAIN), Outcome(OutcomeClass.SUCCESS)]
        one = await waiting(d)
        await d.r.until(lambda: len(d.r.dmp.reconciliations) >= 1)
        while (await d.do(one, "hold")) != 200:
            await asyncio.sleep(0.01)
        assert (await d.state(one))["state"] == "uncertain"
        assert await d.do(one, "release") == 200
        assert (await d.r.settled("M1"))[0]["state"] == "succeeded"
        assert len(d.r.dmp.jobs) == 1 and len(d.r.dmp.reconciliations) >= 2


async def test_a_cancelled_delivery_tells_n_makes_no_incident_and_releases_its_order(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        one = await waiting(d)
        assert (await d.r.send(replace("M2", 1, 2, replaces=1, recipients=()))).code == "AA"
        (two,) = [i for i in await d.ids("dmp") if i != one]
        assert (await d.state(two))["state"] == "held" and (await d.state(two))["waits_for"] == [one]
        assert await d.do(two, "retry") == 409
        assert await d.do(one, "cancel") == 200
        ended = await d.r.settled("M2")
        assert ended[0]["state"] == "succeeded"
        told = [j.plan.decode() for j in d.r.dpi.jobs]
        assert any("|M1|N^^" in t and "Annulé par l'exploitant" in t for t in told)
        # V1 was never there: V2 went as a first submission
        assert d.r.dmp.jobs[-1].documents[0].uid == f"{ROOT}.1.2"
        assert d.r.dmp.jobs[-1].predecessor.value == "not_delivered"
        assert (await d(f"/api/v1/deliveries/{one}"))[1]["state"] == "cancelled"
        assert await d.do(one, "cancel") == await d.do(one, "retry") == 409
        # asked for again by the DPI, it is a new delivery
    (fact,) = [f for f in facts(tmp_path) if f["kind"] == "delivery_cancelled"]
    assert (fact["destination"], fact["uids"], fact["before"]) == ("dmp", [f"{ROOT}.1.1"], "ready")
    with harness.raw(tmp_path) as db:
        assert db.execute("SELECT count(*) FROM incident").fetchone()[0] == 0


async def test_what_may_have_happened_is_cancelled_only_by_saying_so(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        d.r.dmp.outcomes = [UNCERTAIN]
        d.r.dmp.reconciled = [Outcome(OutcomeClass.UNCERTAIN)] * 9
        one = await waiting(d)
        await d.r.until(lambda: len(d.r.dmp.reconciliations) >= 1)
        while True:
            status, answer = await d(f"/api/v1/deliveries/{one}/cancel", {"reason": "essai"})
            if answer["error"]["code"] != "IN_HAND":
                break
            await asyncio.sleep(0.01)
        assert (status, answer["error"]["code"]) == (409, "UNSURE")
        assert await d.do(one, "cancel", even_if_sent=True) == 200
        await d.r.settled("M1")
        assert "a pu aboutir" in d.r.dpi.jobs[0].plan.decode()
    # reconciled since, and to be sent again: it may be there all the same (a mail cannot be looked up)
    (fact,) = [f for f in facts(tmp_path) if f["kind"] == "delivery_cancelled"]
    assert fact["may_have_happened"] is True


async def test_what_is_being_sent_is_left_alone(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        d.r.dmp.outcomes, d.r.dmp.gate = [], asyncio.Event()
        assert (await d.r.send(submit("M1", recipients=()))).code == "AA"
        await d.r.until(lambda: len(d.r.dmp.jobs) == 1)
        (one,) = await d.ids("dmp")
        for deed in ("hold", "retry", "cancel"):
            status, answer = await d(
                f"/api/v1/deliveries/{one}/{deed}", {"reason": "essai", "even_if_sent": True}
            )
            assert (status, answer["error"]["code"]) == (409, "IN_HAND")
        d.r.dmp.gate.set()
        assert (await d.r.settled("M1"))[0]["state"] == "succeeded"


async def test_retry_of_a_suspended_delivery_probes_its_circuit_now(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        d.r.dmp.outcomes = [CONFIGURATION]
        one = await waiting(d)
        assert (await d.state(one))["state"] == "suspended"
        assert await d.do(one, "retry") == 200
        assert (await d.r.settled("M1"))[0]["state"] == "succeeded"


async def test_all_of_a_destination_and_all_of_a_message(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        d.r.dmp.outcomes = [TRANSIENT] * 9
        for n in (1, 2, 3):
            await waiting(d, f"M{n}", n)
        status, found = await d("/api/v1/deliveries/hold", {"reason": "panne annoncée", "destination": "dmp"})
        assert (status, len(found["done"]), found["refused"]) == (200, 3, [])
        assert all(row["on_hold"] for row in found["done"])
        status, found = await d("/api/v1/deliveries/cancel", {"reason": "doublon", "message": "M2"})
        assert (status, [row["state"] for row in found["done"]]) == (200, ["cancelled"])
        status, found = await d("/api/v1/deliveries/release", {"reason": "fin", "destination": "dmp"})
        assert len(found["done"]) == 2
        assert (await d("/api/v1/deliveries/hold", {"reason": "x"}))[0] == 422
        status, found = await d("/api/v1/deliveries/hold", {"reason": "x", "message": "INCONNU"})
        assert (status, found) == (200, {"done": [], "refused": []})


async def test_a_message_number_that_two_senders_used_is_not_guessed(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        d.r.dmp.outcomes = [TRANSIENT] * 9
        await waiting(d, "M1", 1)
        other = submit("M1", 2, recipients=()).replace(b"|DPI-TEST|", b"|AUTRE|", 1)
        if other == submit("M1", 2, recipients=()):
            fields = other.split(b"|", 4)
            fields[2] = b"AUTRE"
            other = b"|".join(fields)
        assert (await d.r.send(other)).code == "AA"
        await d.r.until(lambda: len(d.r.dmp.jobs) == 2)
        status, found = await d("/api/v1/deliveries/hold", {"reason": "x", "message": "M1"})
        assert (status, found["error"]["code"]) == (409, "AMBIGUOUS")


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201, "patient 1 84 12 75 123 456 78", "dr.x@hopital.fr"])
async def test_a_reason_is_compulsory_and_names_nobody(tmp_path: Path, reason: str) -> None:
    async with desk(tmp_path) as d:
        one = await waiting(d)
        status, answer = await d(f"/api/v1/deliveries/{one}/cancel", {"reason": reason})
        assert (status, answer["error"]["code"]) == (422, "REASON")
        assert (await d.state(one))["state"] == "ready"


# --- who may ------------------------------------------------------------------------------------------------


async def test_nothing_is_done_without_a_token_nor_for_a_web_page(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        one = await waiting(d)
        path = f"/api/v1/deliveries/{one}/cancel"
        for token in ("", "Bearer", "Bearer x", f"Basic {d.access.token}", f"Bearer {d.access.token[:-1]}"):
            assert (await d(path, {"reason": "x"}, Authorization=token))[0] == 401
        bearer = {"Authorization": f"Bearer {d.access.token}"}
        async with httpx.AsyncClient(base_url=d.access.url, headers=bearer) as client:
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                sent = await client.post(path, content=b'{"reason": "x"}', headers={"Content-Type": kind})
                assert sent.status_code == 415
            assert (
                await client.post(f"{path}?token={d.access.token}", json={"reason": " "})
            ).status_code == 422
            long = await client.post(path, json={"reason": "x" * 20_000})
            assert long.status_code == 413
            asked = await client.options(
                path, headers={"Origin": "http://x", "Access-Control-Request-Method": "POST"}
            )
            assert asked.status_code == 405 and "access-control-allow-origin" not in asked.headers
        assert (await d.state(one))["state"] == "ready"


async def test_the_local_token_is_its_owners_alone_and_dies_with_the_gateway(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        file = local_file(d.r.gateway.settings, tmp_path)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        first = d.access.token
    assert not file.exists()
    async with desk(tmp_path) as d:
        assert d.access.token != first
        assert (await d("/api/v1/deliveries/1/hold", {"reason": "x"}, Authorization=f"Bearer {first}"))[
            0
        ] == 401


async def test_callers_of_the_file_have_their_scopes_and_their_name_in_the_trace(tmp_path: Path) -> None:
    one_token, other_token = "a" * 40, "b" * 40
    rows = [("exploitation", one_token, '["deliveries"]'), ("courrier", other_token, '["mails"]')]
    lines = [
        f'[[token]]\nname = "{name}"\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\nscopes = {scopes}\n'
        for name, token, scopes in rows
    ]
    (tmp_path / "tokens.toml").write_text("\n".join(lines))
    async with desk(tmp_path, web=WEB | {"tokens": "tokens.toml"}) as d:
        one = await waiting(d)
        path = f"/api/v1/deliveries/{one}/hold"
        assert (await d(path, {"reason": "x"}, Authorization=f"Bearer {other_token}"))[0] == 403
        assert (await d(path, {"reason": "x"}, Authorization=f"Bearer {one_token}"))[0] == 200
        (tmp_path / "tokens.toml").write_text("nothing")
        assert (await d(path, {"reason": "x"}, Authorization=f"Bearer {one_token}"))[0] == 503
    (fact,) = [f for f in facts(tmp_path) if f["kind"] == "delivery_hold_by_hand"]
    assert fact["by"] == "exploitation"
    with pytest.raises(ConfigurationFault, match="tokens"):
        async with desk(tmp_path, web=WEB | {"tokens": "tokens.toml"}):
            pass


# --- the command line ---------------------------------------------------------------------------------------


def write_config(directory: Path, made: Settings) -> Path:
    path = directory / "gateway.toml"
    path.write_text('[journal]\npath = "journal.sqlite"\n[web]\nport = 0\n')
    return path


async def command(*argv: str) -> tuple[int, str]:
    """In a thread of its own: the gateway runs in this loop."""
    import io

    out, err, status = io.StringIO(), io.StringIO(), [99]

    def run() -> None:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status[0] = cli.main([*argv])
            except SystemExit as e:
                status[0] = int(str(e.code))

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.01)
    return status[0], out.getvalue() + err.getvalue()


@pytest.mark.sqlite
async def test_the_command_finds_the_running_gateway(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, harness.settings()))
    async with desk(tmp_path) as d:
        d.r.dmp.outcomes = [TRANSIENT] * 9
        one, two = await waiting(d), await waiting(d, "M2", 2)
        status, text = await command("delivery", "list", "--config", config)
        assert status == 0 and f"{one}" in text and "à envoyer" in text and "message M1" in text
        status, text = await command("delivery", "show", str(one), "--config", config)
        assert status == 0 and "essai 1 deliver" in text and "503" in text and f"{ROOT}.1.1" in text
        assert (await command("delivery", "hold", str(one), "--config", config))[0] == 2  # no reason
        assert (await command("delivery", "hold", str(one), "--reason", "panne", "--config", config))[0] == 0
        status, text = await command("delivery", "hold", str(one), "--reason", "panne", "--config", config)
        assert status == 1 and "déjà retenu" in text
        status, text = await command(
            "delivery", "hold", "--destination", "dmp", "--reason", "p", "--config", config
        )
        assert status == 1 and "1 envois : fait." in text and f"Envoi {one} : refusé" in text
        assert (await command("delivery", "show", "999", "--config", config))[0] == 1
        assert (await command("delivery", "cancel", "--reason", "x", "--config", config))[0] == 2
        assert (await command("delivery", "cancel", str(two), "--reason", "x", "--config", config))[0] == 0
        status, text = await command("mail", "list", "--config", config)
        assert (status, text) == (0, "Rien n'attend.\n")
        assert (await command("mail", "retry", "1", "--reason", "x", "--config", config))[0] == 1
    status, text = await command("delivery", "list", "--config", config)
    assert status == 2 and "ne tourne pas" in text
