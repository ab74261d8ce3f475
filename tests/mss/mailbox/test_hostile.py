"""The mailbox client against servers that do little, late or wrong. A server here is a script of its answers.

Source: RFC 3501, 4315, 4959, 5530, 6851.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.mss.mailbox import Fetched, ImapSettings, Settled, TooLarge, Where
from connectors.mss.simulator.pki import make_pki
from tests.mss.mailbox.watching import Kept, connected, until, watching

GREETING = b"* OK [CAPABILITY IMAP4rev1] bonjour\r\n"


class Script:
    """One mailbox with mails by UID. `answers` overrides commands: a regular expression → the whole answer, `%t` its
    tag; None: no answer; an empty one cuts the connection."""

    def __init__(self, *, capabilities: str = "IMAP4rev1", greeting: bytes | None = None) -> None:
        self.capabilities = capabilities
        self.greeting = greeting or f"* OK [CAPABILITY {capabilities}] bonjour\r\n".encode()
        self.mails: dict[int, bytes] = {1: b"Subject: un\r\n\r\n1\r\n"}
        self.answers: list[tuple[str, bytes | None]] = []
        self.commands: list[str] = []
        self.connections = 0

    def answer(self, tag: str, command: str) -> bytes | None:
        for pattern, text in self.answers:
            if re.fullmatch(pattern, command):
                return text if text is None else text.replace(b"%t", tag.encode())
        ok = f"{tag} OK fait\r\n".encode()
        if command == "CAPABILITY":
            return f"* CAPABILITY {self.capabilities}\r\n".encode() + ok
        if command.startswith("SELECT"):
            return b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n" % len(self.mails) + ok
        if command.startswith("UID SEARCH"):
            return b"* SEARCH " + b" ".join(b"%d" % u for u in self.mails) + b"\r\n" + ok
        if command.startswith("UID FETCH"):
            uids = [int(n) for n in re.findall(r"\d+", command.split()[2])]
            made = b""
            for uid in range(uids[0], uids[-1] + 1):
                raw = self.mails.get(uid)
                if raw is None:
                    continue
                if "HEADER" in command:
                    made += b"* 1 FETCH (UID %d BODY[HEADER]<0> {%d}\r\n%b)\r\n" % (uid, len(raw), raw)
                elif "BODY" in command:
                    made += b"* 1 FETCH (BODY[] {%d}\r\n%b UID %d)\r\n" % (len(raw), raw, uid)
                else:
                    made += (
                        b'* 1 FETCH (UID %d RFC822.SIZE %d INTERNALDATE "01-Nov-2026 10:00:00 +0100")\r\n'
                        % (
                            uid,
                            len(raw),
                        )
                    )
            return made + ok
        return ok

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            writer.write(self.greeting)
            while line := await reader.readline():
                tag, _, command = line.decode().rstrip("\r\n").partition(" ")
                self.commands.append(command or tag)
                made = self.answer(tag, command or tag)
                if made == b"":
                    return
                if made is not None:
                    writer.write(made)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(
    script: Script, tmp_path: Path, serve: Callable[..., Awaitable[None]] | None = None, **options: Any
) -> AsyncIterator[tuple[ImapSettings, Kept]]:
    secret = tmp_path / "secret"
    secret.write_text("jeton")
    server = await asyncio.start_server(serve or script.serve, "127.0.0.1", 0)
    made = {
        "host": "127.0.0.1",
        "port": server.sockets[0].getsockname()[1],
        "tls": "none",
        "user": "u",
        "secret_file": secret,
        "poll": 0.1,
        "retry_first": 0.05,
        "retry_longest": 0.1,
        "retry_configuration": 0.1,
        "timeouts": {"connect": 0.3, "command": 0.3, "body": 0.5},
        **options,
    }
    try:
        yield ImapSettings.model_validate(made), Kept()
    finally:
        server.close()
        await server.wait_closed()


async def test_a_server_with_nothing_but_imap4rev1(tmp_path: Path) -> None:
    """No IDLE, no MOVE, no UIDPLUS, no SASL-IR: polled; put away by COPY and `\\Deleted`, never by a plain EXPUNGE."""
    script = Script()
    async with served(script, tmp_path, processed="Fait") as (made, kept), watching(made, kept) as client:
        await until(lambda: kept.mails)
        script.mails[2] = b"Subject: deux\r\n\r\n"
        script.answers.append(("NOOP", b"* 2 EXISTS\r\n%t OK x\r\n"))
        await until(lambda: len(kept.mails) == 2)
        assert await client.settle(7, 1, Where.PROCESSED) is Settled.MOVED
    assert 'UID COPY 1 "Fait"' in script.commands
    assert "UID STORE 1 +FLAGS.SILENT (\\Deleted)" in script.commands
    assert not [c for c in script.commands if "EXPUNGE" in c or c == "IDLE"]


async def test_copy_then_uid_expunge_with_uidplus(tmp_path: Path) -> None:
    """RFC 4315: that UID alone."""
    script = Script(capabilities="IMAP4rev1 UIDPLUS")
    async with served(script, tmp_path, processed="Fait") as (made, kept), watching(made, kept) as client:
        await until(lambda: kept.mails)
        assert await client.settle(7, 1, Where.PROCESSED) is Settled.MOVED
    assert script.commands[-3:] == [
        'UID COPY 1 "Fait"',
        "UID STORE 1 +FLAGS.SILENT (\\Deleted)",
        "UID EXPUNGE 1",
    ]


async def test_a_folder_that_is_refused(tmp_path: Path) -> None:
    """The mail stays, said once; the mailbox goes on."""
    script = Script()
    script.answers += [("UID COPY.*", b"%t NO [NOPERM] non\r\n"), ("CREATE.*", b"%t NO [NOPERM] non\r\n")]
    async with served(script, tmp_path, processed="Fait") as (made, kept), watching(made, kept) as client:
        await until(lambda: kept.mails)
        assert await client.settle(7, 1, Where.PROCESSED) is Settled.REFUSED
        assert kept.told == ["connected"]


async def test_flags_that_are_refused(tmp_path: Path) -> None:
    """A folder for reading alone: mails are kept all the same."""
    script = Script()
    script.answers.append(("UID STORE.*", b"%t NO [READ-ONLY] non\r\n"))
    async with served(script, tmp_path) as (made, kept), watching(made, kept) as client:
        await until(lambda: kept.mails)
        assert await client.settle(7, 1, Where.PROCESSED) is Settled.REFUSED
        assert kept.told == ["connected"]


@pytest.mark.parametrize(
    "body",
    [
        b"* 1 FETCH (UID 1 BODY[] NIL)\r\n",
        b'* 1 FETCH (UID 1 BODY[] "")\r\n',
        b"* 1 FETCH (BODY[] {0}\r\n UID 1)\r\n",
    ],
)
async def test_an_empty_mail_in_three_spellings(tmp_path: Path, body: bytes) -> None:
    """RFC 3501 nstring."""
    script = Script()
    script.answers.append((r"UID FETCH 1 \(UID BODY.*", body + b"%t OK x\r\n"))
    async with served(script, tmp_path) as (made, kept), watching(made, kept):
        await until(lambda: kept.mails)
    assert kept.raws == [b""]


async def test_what_is_told_unasked(tmp_path: Path) -> None:
    """Flags of others, a quoted body, answers in another order, alerts: the right bytes for the right UID."""
    script = Script()
    script.answers.append(
        (
            r"UID FETCH 1 \(UID BODY.*",
            b"* 9 FETCH (FLAGS (\\Seen))\r\n* OK [ALERT] entretien\r\n* 3 EXISTS\r\n* 9 FETCH (UID 44 FLAGS ())\r\n"
            b'* 1 FETCH (UID 1 FLAGS (\\Recent) BODY[] "a \\"b\\" (c")\r\n* 2 FETCH (FLAGS ())\r\n%t OK x\r\n',
        )
    )
    async with served(script, tmp_path) as (made, kept), watching(made, kept):
        await until(lambda: kept.mails)
    assert kept.raws == [b'a "b" (c']


async def test_a_mail_that_goes_away_meanwhile(tmp_path: Path) -> None:
    """Removed by somebody between SEARCH and FETCH: the others come."""
    script = Script()
    script.mails = {1: b"un", 2: b"deux", 3: b"trois"}
    script.answers += [
        (r"UID FETCH 2 \(UID BODY.*", b"%t OK x\r\n"),
        (
            r"UID FETCH 1:3 .*",
            b"* 2 FETCH (UID 2 RFC822.SIZE 4)\r\n* 3 FETCH (UID 3 RFC822.SIZE 5)\r\n%t OK x\r\n",
        ),
    ]
    async with served(script, tmp_path) as (made, kept), watching(made, kept) as client:
        await until(lambda: kept.mails)
        await until(lambda: client.waiting == 0)
    assert kept.raws == [b"trois"] and kept.mails[0].internal_date is None


async def test_a_size_that_lies(tmp_path: Path) -> None:
    """RFC822.SIZE is small, the literal is not: never read into memory, then told as too large with its true size."""
    script = Script()
    script.mails = {1: b"x" * 5000, 2: b"court"}
    script.answers.append(
        (
            r"UID FETCH 1:2 .*",
            b"* 1 FETCH (UID 1 RFC822.SIZE 10)\r\n* 2 FETCH (UID 2 RFC822.SIZE 5)\r\n%t OK x\r\n",
        )
    )
    async with served(script, tmp_path, max_mail_bytes=4000) as (made, kept), watching(made, kept):
        await until(lambda: len(kept.mails) == 2)
    large = next(m for m in kept.mails if isinstance(m, TooLarge))
    assert large.uid == 1 and large.size == 5000
    assert "disconnected:protocol" in kept.told


async def test_a_mail_that_is_always_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """NO to its FETCH: others come, it is tried ever more rarely, a person is told once."""
    script = Script()
    script.mails = {1: b"un", 2: b"deux"}
    script.answers.append((r"UID FETCH 1 \(UID BODY.*", b"%t NO corrompu DUPONT\r\n"))
    async with served(script, tmp_path, retry_first=0.01) as (made, kept), watching(made, kept) as client:
        await until(lambda: client.stuck == 1)
        assert kept.raws == [b"deux"] and client.waiting == 1
        script.answers.clear()
        await until(lambda: len(kept.mails) == 2)
        await until(lambda: client.stuck == 0)
    assert caplog.text.count("somebody should look") == 1 and "DUPONT" not in caplog.text


@pytest.mark.parametrize(
    ("pattern", "text", "told"),
    [
        ("LOGIN.*", b"%t NO [AUTHENTICATIONFAILED] non\r\n", "configuration:login"),
        ("LOGIN.*", b"%t NO non\r\n", "configuration:login"),
        ("LOGIN.*", b"%t NO [UNAVAILABLE] annuaire\r\n", "disconnected:busy"),
        ("LOGIN.*", b"%t BAD non\r\n", "disconnected:protocol"),
        ("LOGIN.*", None, "disconnected:timeout"),
        ("LOGIN.*", b"", "disconnected:cut"),
        ("LOGIN.*", b"* BYE trop de connexions\r\n", "disconnected:bye"),
        ("SELECT.*", b"%t NO [NONEXISTENT] non\r\n", "configuration:folder"),
        ("SELECT.*", b"%t NO [NOPERM] non\r\n", "configuration:folder"),
        ("SELECT.*", b"%t NO absent\r\n", "configuration:folder"),
        ("SELECT.*", b"%t NO [UNAVAILABLE] plus tard\r\n", "disconnected:busy"),
        ("SELECT.*", b"%t OK sans UIDVALIDITY\r\n", "disconnected:protocol"),
        ("SELECT.*", b"autre OK fait\r\n", "disconnected:protocol"),
        ("SELECT.*", b"* LIST ({99999999999}\r\n", "disconnected:protocol"),
    ],
)
async def test_refusals_before_the_folder_is_open(
    tmp_path: Path, pattern: str, text: bytes | None, told: str
) -> None:
    """What passes is a disconnection, what a person must repair is a configuration fault (RFC 5530); told once."""
    script = Script()
    script.answers.append((pattern, text))
    async with served(script, tmp_path) as (made, kept), watching(made, kept):
        await until(lambda: script.connections > 2)
        assert kept.told == [told]


async def test_a_folder_that_is_refused_without_a_code(tmp_path: Path) -> None:
    """Dovecot says none: a folder that LIST shows is busy, another one is absent (tested above)."""
    script = Script()
    script.answers += [("SELECT.*", b"%t NO x\r\n"), ("LIST.*", b'* LIST () "/" INBOX\r\n%t OK x\r\n')]
    async with served(script, tmp_path) as (made, kept), watching(made, kept):
        await until(lambda: kept.told)
        assert kept.told == ["disconnected:busy"]


@pytest.mark.parametrize(
    ("pattern", "text", "told"),
    [
        ("UID SEARCH.*", b"* SEARCH x\r\n%t OK x\r\n", "disconnected:protocol"),
        ("UID SEARCH.*", b"%t NO non\r\n", "disconnected:busy"),
        ("UID SEARCH.*", None, "disconnected:timeout"),
        ("UID FETCH.*", b"* 1 FETCH (UID\r\n%t OK x\r\n", "disconnected:protocol"),
        ("UID FETCH.*", b'* 1 FETCH "\r\n%t OK x\r\n', "disconnected:protocol"),
        ("UID FETCH.*BODY.*", b"* 1 FETCH (UID 1 BODY[] {50}\r\nabc", "disconnected:timeout"),
    ],
)
async def test_nonsense_in_the_folder(tmp_path: Path, pattern: str, text: bytes | None, told: str) -> None:
    """The session ends, the next one begins; nothing is kept of a half mail."""
    script = Script()
    script.answers.append((pattern, text))
    async with served(script, tmp_path) as (made, kept), watching(made, kept):
        await until(lambda: script.connections > 1)
        assert told in kept.told and not kept.mails


async def test_a_session_that_never_gets_to_its_mails_is_not_called_connected(tmp_path: Path) -> None:
    """One alert, not one at each try."""
    script = Script()
    script.answers.append(("UID SEARCH.*", b"%t NO [UNAVAILABLE] x\r\n"))
    async with served(script, tmp_path) as (made, kept), watching(made, kept):
        await until(lambda: script.connections > 3)
        assert kept.told == ["disconnected:busy"]


async def test_more_bodies_than_were_asked_for(tmp_path: Path) -> None:
    """Many literals in one answer, each within the limit: bounded in all."""
    script = Script()
    one = b"* 9 FETCH (UID 9 BODY[] {1000000}\r\n" + b"x" * 1_000_000 + b")\r\n"
    script.answers.append((r"UID FETCH 1 \(UID BODY.*", one * 20 + b"%t OK x\r\n"))
    limits = {"connect": 5, "command": 5, "body": 60}
    async with (
        served(script, tmp_path, max_mail_bytes=2_000_000, timeouts=limits) as (made, kept),
        watching(made, kept),
    ):
        await until(lambda: "disconnected:protocol" in kept.told)
        assert not kept.mails


@pytest.mark.parametrize(
    ("greeting", "told"),
    [
        (b"* PREAUTH bonjour\r\n", "disconnected:protocol"),
        (b"* BYE complet\r\n", "disconnected:bye"),
        (b"220 smtp.example ESMTP\r\n", "disconnected:protocol"),
        (b"", "disconnected:timeout"),
        (b"x" * 3_000_000, "disconnected:timeout"),
    ],
)
async def test_greetings(tmp_path: Path, greeting: bytes, told: str) -> None:
    """PREAUTH (whose mailbox?), another protocol, silence, a line without end."""
    script = Script()
    script.greeting = greeting
    async with served(script, tmp_path) as (made, kept), watching(made, kept):
        await until(lambda: kept.told)
        assert kept.told == [told]


async def test_a_line_without_end(tmp_path: Path) -> None:
    """Bounded: the session ends before memory does."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(GREETING)
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    limits = {"connect": 5, "command": 5, "body": 5}
    async with served(Script(), tmp_path, endless, timeouts=limits) as (made, kept), watching(made, kept):
        await until(lambda: kept.told)
        assert kept.told == ["disconnected:protocol"]


async def test_answers_slipped_in_before_tls(tmp_path: Path) -> None:
    """What came in clear behind the OK of STARTTLS is never read (whoever stands between could say anything)."""
    pki = make_pki(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.cert, pki.server.key)
    after: list[bytes] = []

    async def injecting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] x\r\n")
            assert (await reader.readline()).endswith(b" STARTTLS\r\n")
            writer.write(
                b"G1 OK x\r\n* CAPABILITY IMAP4rev1\r\nG2 OK x\r\nG3 OK [CAPABILITY IMAP4rev1] x\r\n"
            )
            await writer.start_tls(context)
            while line := await reader.readline():
                after.append(line)
        except OSError:
            pass
        finally:
            writer.close()

    options = {"tls": "starttls", "host": "localhost", "ca_bundle": pki.authority}
    async with served(Script(), tmp_path, injecting, **options) as (made, kept), watching(made, kept):
        await until(lambda: kept.told)
        assert kept.told == ["disconnected:timeout"]
    assert after[0] == b"G2 CAPABILITY\r\n" and not [line for line in after if b"LOGIN" in line]


async def test_a_body_is_in_memory_once(tmp_path: Path) -> None:
    """20 MB, told in pieces by a server that never holds them: one copy and its slack."""
    script, piece, count = Script(), b"x" * 9_998 + b"\r\n", 2_000
    size = count * len(piece)

    async def streaming(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(GREETING)
            while line := await reader.readline():
                tag, _, command = line.decode().rstrip("\r\n").partition(" ")
                if "BODY" in command:
                    writer.write(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n" % size)
                    for _ in range(count):
                        writer.write(piece)
                        await writer.drain()
                    writer.write(b")\r\n%b OK x\r\n" % tag.encode())
                elif "RFC822.SIZE" in command:
                    writer.write(b"* 1 FETCH (UID 1 RFC822.SIZE %d)\r\n%b OK x\r\n" % (size, tag.encode()))
                else:
                    writer.write(script.answer(tag, command) or b"")
        except OSError:
            pass
        finally:
            writer.close()

    limits = {"connect": 5, "command": 5, "body": 60}
    async with served(script, tmp_path, streaming, timeouts=limits) as (made, kept):
        tracemalloc.start()
        try:
            async with watching(made, kept):
                await until(lambda: kept.mails, 60)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert kept.raws == [piece * count]
    assert peak < 1.3 * size


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize(
    ("auth", "said"),
    [("plain", b"\0u\0jeton"), ("xoauth2", b"user=u\1auth=Bearer jeton\1\1")],
)
async def test_sasl(tmp_path: Path, auth: str, said: bytes, initial: bool) -> None:
    """With and without SASL-IR (RFC 4959)."""
    script = Script(capabilities=f"IMAP4rev1 AUTH={auth.upper()}{' SASL-IR' if initial else ''}")
    wanted = base64.b64encode(said).decode()
    if not initial:
        script.answers.append((f"AUTHENTICATE {auth.upper()}", b"+ \r\n"))
        script.answers.append((re.escape(wanted), b"G1 OK x\r\n"))
    async with served(script, tmp_path, auth=auth) as (made, kept), watching(made, kept):
        await until(lambda: kept.mails)
    assert (f"AUTHENTICATE {auth.upper()} {wanted}" if initial else wanted) in script.commands


async def test_a_token_that_is_refused(tmp_path: Path) -> None:
    """XOAUTH2: the server tells why and waits for an empty line, then says NO."""
    script = Script(capabilities="IMAP4rev1 AUTH=XOAUTH2 SASL-IR")
    script.answers.append(("AUTHENTICATE.*", b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n"))
    script.answers.append(("", b"G1 NO [AUTHENTICATIONFAILED] x\r\n"))
    async with served(script, tmp_path, auth="xoauth2") as (made, kept), watching(made, kept):
        await until(lambda: kept.told)
    assert kept.told == ["configuration:login"] and script.commands[-1] == ""


@pytest.mark.parametrize("idle", [b"%t NO non\r\n", b"%t BAD non\r\n"])
async def test_idle_that_is_refused(tmp_path: Path, idle: bytes) -> None:
    """Looked for from time to time instead."""
    script = Script(capabilities="IMAP4rev1 IDLE")
    script.answers.append(("IDLE", idle))
    async with served(script, tmp_path) as (made, kept), watching(made, kept):
        await until(lambda: script.commands.count("NOOP") > 2)
    assert script.commands.count("IDLE") == 1


async def test_a_connection_that_dies_silently_in_idle(tmp_path: Path) -> None:
    """DONE is never answered: found at the next renewal."""
    script = Script(capabilities="IMAP4rev1 IDLE")
    script.answers += [("IDLE", b"+ x\r\n"), ("DONE", None)]
    async with served(script, tmp_path, idle_renew=0.2) as (made, kept), watching(made, kept):
        await until(lambda: "disconnected:timeout" in kept.told)


async def test_a_body_may_be_slower_than_a_command(tmp_path: Path) -> None:
    """Its own time-out; and a silence in the middle ends with it."""
    script = Script()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        try:
            while line := await reader.readline():
                tag, _, command = line.decode().rstrip("\r\n").partition(" ")
                made = script.answer(tag, command) or b""
                if "BODY" in command:
                    for at in range(0, len(made), 8):
                        writer.write(made[at : at + 8])
                        await asyncio.sleep(0.05)
                else:
                    writer.write(made)
        except OSError:
            pass
        finally:
            writer.close()

    limits = {"connect": 1, "command": 0.2, "body": 5}
    async with served(script, tmp_path, slow, timeouts=limits) as (made, kept), watching(made, kept):
        await connected(kept)
        await until(lambda: kept.mails)
    assert isinstance(kept.mails[0], Fetched) and kept.told == ["connected"]
