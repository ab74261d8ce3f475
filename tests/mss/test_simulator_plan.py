"""The operator simulator's plan at the SMTP dialogue, its events, its control, its command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from connectors.mss.simulator import Fault, Reader
from connectors.mss.simulator.faults import read_fault, read_plan, read_reader
from gateway.errors import ConfigurationFault
from tests.mss.simulator_client import DOCTOR, ENVID, PFI, asking, mail, received, running, send

PATIENT = "279035121518989@patient.mssante.fr"


@pytest.mark.parametrize(
    ("fault", "answers", "kept"),
    [
        (Fault("rcpt", DOCTOR), ["450 4.2.1", "250"], 1),
        (Fault("rcpt", DOCTOR, code=550, times=2), ["550 5.1.1", "550 5.1.1", "250"], 1),
        (
            Fault("rcpt", "@hopital-b.mssante.fr", code=452, words="4.5.3 too many"),
            ["452 4.5.3 too many", "250"],
            1,
        ),
        (Fault("mail", sender=PFI, code=421), ["421 4.3.2", "250"], 1),
        (Fault("data", DOCTOR, code=554), ["554 5.7.1", "250"], 1),
        (Fault("cut_rcpt", DOCTOR), ["cut", "250"], 1),
        (Fault("drop", DOCTOR), ["cut", "250"], 1),
        (Fault("commit_then_drop", DOCTOR), ["cut", "250"], 2),
        (Fault("lost", DOCTOR), ["250", "250"], 1),
        (Fault("twice", DOCTOR), ["250", "250"], 3),
        (Fault("no_dsn", DOCTOR), ["250", "250"], 2),
        (Fault("rcpt", "autre@hopital-b.mssante.fr"), ["250"], 1),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
async def test_each_effect_then_as_usual(tmp_path: Path, fault: Fault, answers: list[str], kept: int) -> None:
    """What the client is told, and what is in the mailbox in the end."""
    async with running(tmp_path) as operator:
        operator.plan(fault)
        for number, expected in enumerate(answers):
            assert (await send(operator, mail(number))).startswith(expected)
        assert len(await received(operator, DOCTOR)) == kept
        if fault.kind == "no_dsn":
            assert len(await received(operator)) == 1


async def test_slow_and_delay(tmp_path: Path) -> None:
    """The client has to wait: for its body to be read, or for the answer to the final dot."""
    async with running(tmp_path) as operator:
        operator.plan(Fault("slow", DOCTOR, rate=100_000))
        operator.plan(Fault("delay", DOCTOR, seconds=0.3))
        body = mail() + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 400
        for _ in range(2):
            start = time.monotonic()
            assert (await send(operator, body)).startswith("250")
            assert time.monotonic() - start >= 0.25
        assert [m.raw for m in operator.mails] == [body, body]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("MAIL FROM:<a@b.fr> RET=TOUT", "501"),
        ("MAIL FROM:<a@b.fr> ENVID=a=b", "501"),
        ("MAIL FROM:<a@b.fr> NOTIFY=NEVER", "501"),
        ("MAIL FROM:<a@b.fr> ENVID=" + "x" * 101, "501"),
        ("MAIL FROM:<a@b.fr> SIZE=99999999", "552"),
        ("MAIL FROM:<> RET=hdrs ENVID=a+2Bb SIZE=10 BODY=8BITMIME", "250"),
        ("RCPT TO:<c@d.fr> NOTIFY=NEVER,SUCCESS", "501"),
        ("RCPT TO:<c@d.fr> NOTIFY=TOUJOURS", "501"),
        ("RCPT TO:<c@d.fr> ORCPT=c@d.fr", "501"),
        ("RCPT TO:<c@d.fr> NOTIFY=success,Failure ORCPT=rfc822;c+2Bx@d.fr", "250"),
    ],
)
async def test_dsn_parameters_are_checked(tmp_path: Path, command: str, answer: str) -> None:
    """RFC 3461 §4: a client that writes them wrongly is told."""
    async with running(tmp_path) as operator:
        reader, writer = await asyncio.open_connection(operator.host, operator.port)
        try:
            await reader.readline()
            writer.write(b"EHLO essai\r\n")
            extensions = []
            while (line := await reader.readline())[3:4] == b"-":
                extensions.append(line[4:].strip())
            assert {b"DSN", b"8BITMIME"} <= set(extensions)
            if command.startswith("RCPT"):
                writer.write(b"MAIL FROM:<a@b.fr>\r\n")
                assert (await reader.readline()).startswith(b"250")
            writer.write(command.encode() + b"\r\n")
            assert (await reader.readline()).decode()[:3] == answer
        finally:
            writer.close()


async def test_events_tell_everything_and_no_address(tmp_path: Path) -> None:
    """One JSON line per event: outcome, ENVID, Message-ID, fault; no address, subject or INS."""
    log = tmp_path / "events.jsonl"
    options = {"events_file": log, "readers": [Reader("processed")]}
    async with running(tmp_path, **options) as operator:
        operator.plan(Fault("commit_then_drop", PATIENT))
        raw = mail(recipient=PATIENT, **asking()).replace(b"<m1@", b"<279035121518989.m1@")
        await send(operator, raw, recipients=[PATIENT])
        await received(operator)
        events = operator.events
        lines = log.read_text(encoding="utf-8")
    assert [asdict(e) for e in events] == [json.loads(line) for line in lines.splitlines()]
    assert events[0].action == "mail"
    assert {(e.action, e.result) for e in events} >= {
        ("mail", "cut"),
        ("dsn", "delivered"),
        ("mdn", "processed"),
        ("login", "OK"),
        ("fetch", "OK"),
    }
    first = events[0]
    assert (first.envid, first.fault, first.kept, first.size) == (ENVID, "commit_then_drop", True, len(raw))
    assert first.message_id == "<….m1@hopital-a.mssante.fr>"
    assert first.sender == next(e.box for e in events if e.action == "mdn")
    for secret in ("279035121518989", "@patient", PFI, "NOM", "essai"):
        assert secret not in lines
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "text",
    [
        "[[fault]]\nkind = 'rien'",
        "[[fault]]\nkind = 'rcpt'\ncode = 250",
        "[[fault]]\nkind = 'rcpt'\nrecipent = 'x'",
        "[[fault]]\nkind = 'data'\nwords = \"a\\r\\nb\"",
        "[[fault]]\nkind = 'slow'\nrate = 0",
        "[[fault]]\nkind = 'mail'\nrecipient = 'x@y.fr'",
        "[[reader]]\nkind = 'error'\nform = 'D'",
        "[[reader]]\nkind = 'displayed'\nhits = 1",
        "[autre]",
        "fault = 1",
        "pas du TOML",
    ],
)
def test_a_plan_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    """ConfigurationFault, never a guess."""
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationFault):
        read_plan(path)
    with pytest.raises(ConfigurationFault):
        read_plan(tmp_path / "absent.toml")


def test_the_status_of_a_reply() -> None:
    """The enhanced status is in the words, or made of the code's class."""
    assert Fault("bounce", code=552).status == "5.2.2"
    assert Fault("bounce", code=550, words="5.4.4 unable to route").status == "5.4.4"
    assert Fault("bounce", code=554, words="boite pleine").status == "5.0.0"


def test_a_plan_file(tmp_path: Path) -> None:
    """Both tables, in order."""
    path = tmp_path / "plan.toml"
    path.write_text(
        f"[[fault]]\nkind = 'rcpt'\nrecipient = '{DOCTOR}'\ntimes = 2\n"
        "[[fault]]\nkind = 'bounce'\ncode = 552\nseconds = 1.5\n"
        "[[reader]]\nkind = 'error'\ncode = '904'\nform = 'A'\n",
        encoding="utf-8",
    )
    assert read_plan(path) == (
        [
            read_fault({"kind": "rcpt", "recipient": DOCTOR, "times": 2}),
            Fault("bounce", code=552, seconds=1.5),
        ],
        [read_reader({"kind": "error", "code": "904", "form": "A"})],
    )


async def test_the_control(tmp_path: Path) -> None:
    """Faults, readers, events, down, up, restore and reset over HTTP; loopback and JSON alone."""
    async with (
        running(tmp_path, control_port=0) as operator,
        httpx.AsyncClient(base_url=operator.control_address(), trust_env=False) as http,
    ):
        made = await http.post("/faults", json={"kind": "rcpt", "recipient": DOCTOR, "code": 550})
        assert made.status_code == 201 and DOCTOR not in made.text
        assert (await send(operator)).startswith("550")
        assert (await http.get("/faults")).json()[0]["hits"] == 1
        assert (await http.delete("/faults")).status_code == 204
        assert (await http.post("/readers", json={"kind": "displayed"})).status_code == 201
        await send(operator, mail(**asking()))
        assert len(await received(operator)) == 2
        events = (await http.get("/events", params={"since": 1})).json()
        assert events[0]["action"] == "mail"
        before = operator.boxes.folder(PFI, "INBOX").uidvalidity
        assert (await http.post("/restore", json={"address": PFI})).status_code == 204
        assert operator.boxes.folder(PFI, "INBOX").uidvalidity > before
        assert (await http.post("/restore", json={"address": "x@y.fr"})).status_code == 422
        assert (await http.post("/faults", json={"kind": "rien"})).status_code == 422
        assert (await http.post("/faults", content=b'{"kind": "drop"}')).status_code == 415
        assert (await http.get("/events", headers={"Host": "attaque.example"})).status_code == 400
        # a page of any site may post a form without a body
        assert (await http.post("/reset", headers={"origin": "https://attaque.example"})).status_code == 403
        await http.post("/down")
        with pytest.raises(ConnectionRefusedError):
            await send(operator)
        await http.post("/up")
        assert (await send(operator)).startswith("250")
        operator.plan(Fault("bounce", DOCTOR, seconds=0.2))
        await send(operator)
        await http.post("/reset")
        await asyncio.sleep(0.3)
        assert await received(operator) == []
        await http.post("/reset")
        assert operator.mails == [] and operator.events == []
        assert await received(operator, DOCTOR) == []


async def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    """OSError at the start, and nothing left listening."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError):
            async with running(tmp_path, imap_port=port) as operator:
                raise AssertionError(operator)
        with pytest.raises(OSError):
            async with running(tmp_path, control_port=port) as operator:
                raise AssertionError(operator)


async def test_a_mailbox_that_cannot_be_written_is_a_circumstance(tmp_path: Path) -> None:
    """451, nothing kept; as usual when the folder is back."""
    async with running(tmp_path, keep=True, mailboxes=[DOCTOR]) as operator:
        folder = tmp_path / "mailboxes" / DOCTOR / "INBOX"
        folder.rename(tmp_path / "away")
        assert (await send(operator)).startswith("451")
        assert operator.mails == []
        (tmp_path / "away").rename(folder)
        assert (await send(operator)).startswith("250")
        assert len(await received(operator, DOCTOR)) == 1


@pytest.mark.slow
def test_alone(tmp_path: Path) -> None:
    """`segur-gateway simulator mss`: says where it listens, serves, ends on SIGTERM; a bad plan is one line."""
    (tmp_path / "plan.toml").write_text("[[fault]]\nkind = 'rcpt'\ncode = 452\n", encoding="utf-8")
    command = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]
    command += ["simulator", "mss", "--port", "0", "--imap-port", "0", "--directory", str(tmp_path / "d")]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--plan", str(tmp_path / "plan.toml")], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while not lines or not lines[-1].startswith("port = "):
                lines.append(process.stdout.readline())
                assert lines[-1], lines
            with smtplib.SMTP("127.0.0.1", int(lines[-1].split()[2]), timeout=10) as client:
                client.ehlo()
                assert client.mail("a@b.fr")[0] == 250
                assert client.rcpt("c@d.fr")[0] == 452
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    (tmp_path / "plan.toml").write_text("[[fault]]\nkind = 'rien'\n", encoding="utf-8")
    done = subprocess.run(
        [*command, "--plan", str(tmp_path / "plan.toml")], capture_output=True, text=True, timeout=30, env=env
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "fault 1: kind" in done.stderr
