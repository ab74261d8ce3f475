"""The SMTP dialogue: a small pool of sessions, one transaction per mail. I/O at the edge.

Purpose: give a ready message to the operator and say what became of it.
Guarantee: after a session reports anything but an answer to the final dot, it is known whether that dot was
sent: a fault before it is TRANSIENT (nothing can have been accepted), a fault after it is UNCERTAIN. A
session that saw any fault is never used again. The event loop is never held: the body goes out in slices,
with flow control.
Fails: never for a fault of the network or of the server; it returns an `Outcome`.
Source: RFC 5321, 3207 (STARTTLS), 3461 (DSN), 4954 (AUTH), 6152 (8BITMIME); spec/mssante.md §1.3, §1.9.

aiosmtplib speaks the dialogue. Only the upload after 354 is done here: the library's `data()` cannot tell a
cut before the final dot from one after it, drops a refusal that comes during the upload, and writes the whole
body at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from connectors.port import Outcome, OutcomeClass
from connectors.smtp.access import Access, utc_now
from connectors.smtp.replies import Phase, of_reply, of_tls_fault, outcome
from connectors.smtp.settings import SmtpTransport
from gateway.errors import ConfigurationFault

_SLICE = 65536
_SEARCHED = 1 << 22
_XTEXT = re.compile(r"[^!-*,-<>-~]")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who, to whom, and the reports asked for. Addresses are the caller's to check: printable ASCII, no blank."""

    sender: str
    """"": the empty return path of a report, which nobody answers (RFC 5321 §4.5.5)."""
    recipient: str
    envid: str = ""
    """"": none is sent."""
    notify: str = ""
    """NOTIFY of RFC 3461: `SUCCESS,FAILURE,DELAY`, `FAILURE`, `NEVER`…; "": none is asked for."""
    body: Literal["8BITMIME", "7BIT"] = "8BITMIME"
    """What the content may hold, declared where the server lists 8BITMIME."""


@dataclass(slots=True)
class _Session:
    """An open, greeted and authenticated session, of the certificates numbered `generation`."""

    smtp: aiosmtplib.SMTP
    protocol: SMTPProtocol
    writer: asyncio.StreamWriter
    """Kept as long as the session: a StreamWriter closes its transport when it is collected."""
    generation: int
    last_used: float = 0.0


class _Broken(Exception):
    """The session cannot go on; `outcome` says what that means for the mail."""

    def __init__(self, result: Outcome) -> None:
        super().__init__(result.code)
        self.outcome = result


def xtext(text: str) -> str:
    """RFC 3461 §4: `+`, `=`, blanks and anything outside printable ASCII as `+HH`."""
    return _XTEXT.sub(lambda m: "".join(f"+{byte:02X}" for byte in m[0].encode("utf-8")), text)


def transparent(message: bytes) -> bytes:
    """RFC 5321 §4.5.2: a dot before every line that starts with one. Our mails have none, so nothing is
    copied."""
    if message.startswith(b"."):
        message = b"." + message
    # looked for in slices that overlap: 136 MB in one go would hold all other threads for 50 ms
    dots = any(message.find(b"\r\n.", i, i + _SEARCHED + 2) >= 0 for i in range(0, len(message), _SEARCHED))
    return message.replace(b"\r\n.", b"\r\n..") if dots else message


class SmtpPool:
    """At most `transport.connections` sessions with the server, kept open for `transport.idle` seconds.

    `name` stands in logs. `start` before the first `send`, unless there is neither TLS nor authentication.
    """

    def __init__(
        self, transport: SmtpTransport, name: str = "smtp", clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._transport = transport
        self._name = name
        self._access = Access(transport, name, clock)
        self._slots = asyncio.Semaphore(transport.connections)
        self._idle: list[_Session] = []
        self._generation = 0
        self._watcher: asyncio.Task[None] | None = None
        self.announced_size: int | None = None
        """Largest mail in bytes that the server said it takes (SIZE of its last EHLO, RFC 1870); None: not known."""

    async def start(self) -> None:
        """Read certificate and secret, then watch them. Raises `ConfigurationFault` with all problems."""
        await self._access.load()
        if self._transport.tls != "none":
            watching = self._access.watch(self._renewed)
            self._watcher = asyncio.create_task(watching, name=f"{self._name}-certificates")

    def certificates(self) -> Mapping[str, datetime]:
        """`connectors.port.WithCertificates`: the end of our certificate; empty without one."""
        leaf = self._access.leaf
        return {} if leaf is None else {"client_cert": leaf.not_valid_after_utc}

    def valid_at(self, now: datetime) -> bool:
        """False when our certificate is out of its days at `now` (aware)."""
        leaf = self._access.leaf
        return leaf is None or leaf.not_valid_before_utc <= now.astimezone(UTC) <= leaf.not_valid_after_utc

    def _renewed(self) -> None:
        # sessions under the former certificate end with their transaction
        self._generation += 1
        while self._idle:
            _abort(self._idle.pop())

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """The right to one session. Taken before a mail is built, so that waiting mails hold no memory."""
        async with self._slots:
            yield

    async def close(self) -> None:
        """Stop watching; end the idle sessions politely."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        while self._idle:
            session = self._idle.pop()
            try:
                await session.smtp.quit(timeout=1.0)
            except (aiosmtplib.SMTPException, OSError):
                pass
            finally:
                _abort(session)

    async def send(self, envelope: Envelope, message: bytes) -> Outcome:
        """One transaction, inside a `slot`. `message` is in its wire form (`transparent`), ends with CRLF."""
        session = self._take()
        if session is not None:
            result = await self._run(session, envelope, message, reused=True)
            if result is not None:
                return result
            # the operator had closed it meanwhile: nothing of this mail was said yet
        opened = await self._open()
        if isinstance(opened, Outcome):
            return opened
        result = await self._run(opened, envelope, message, reused=False)
        assert result is not None
        return result

    # --- sessions
    # ---------------------------------------------------------------------------------------------

    def _take(self) -> _Session | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            session = self._idle.pop()
            if session.smtp.is_connected and now - session.last_used < self._transport.idle:
                return session
            _abort(session)
        return None

    def _give_back(self, session: _Session) -> None:
        if session.generation != self._generation:
            _abort(session)
            return
        session.last_used = asyncio.get_running_loop().time()
        self._idle.append(session)

    async def _open(self) -> _Session | Outcome:
        """A new session, or the outcome of not getting one."""
        s = self._transport
        generation = self._generation
        smtp = aiosmtplib.SMTP(
            hostname=s.host,
            port=s.port,
            use_tls=s.tls == "implicit",
            start_tls=False,
            tls_context=self._access.context,
            timeout=s.timeouts.connect,
            local_hostname=s.helo,
        )
        try:
            await smtp.connect()
            await smtp.ehlo()
            if s.tls == "starttls":
                if not smtp.supports_extension("starttls"):
                    smtp.close()
                    # never in clear: an operator always has it, so somebody stands between or the port is
                    # wrong
                    return outcome(
                        OutcomeClass.CONFIGURATION, "502", phase=Phase.CONNECT.value, missing="STARTTLS"
                    )
                await smtp.starttls()
                await smtp.ehlo()
            await self._authenticate(smtp)
            self.announced_size = _size(smtp)
            protocol, transport = smtp.protocol, smtp.transport
            if protocol is None or not isinstance(transport, asyncio.WriteTransport):
                raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        except ConfigurationFault as e:
            smtp.close()
            return outcome(OutcomeClass.CONFIGURATION, "530", phase=Phase.CONNECT.value, problem=str(e))
        except (aiosmtplib.SMTPException, OSError) as e:
            smtp.close()
            return _of_open_fault(e)
        except BaseException:
            smtp.close()
            raise
        writer = asyncio.StreamWriter(transport, protocol, None, asyncio.get_running_loop())
        return _Session(smtp, protocol, writer, generation)

    async def _authenticate(self, smtp: aiosmtplib.SMTP) -> None:
        """Raises `ConfigurationFault` when the secret cannot be read, aiosmtplib's errors for a refusal."""
        s = self._transport
        if s.auth == "plain":
            await smtp.auth_plain(s.user, await self._access.secret())
        elif s.auth == "login":
            await smtp.auth_login(s.user, await self._access.secret())
        elif s.auth == "xoauth2":
            await smtp.auth_xoauth2(s.user, await self._access.secret())
        elif s.auth == "external":
            reply = await smtp.execute_command(b"AUTH", b"EXTERNAL", b"=")
            if reply.code != 235:
                raise aiosmtplib.SMTPAuthenticationError(reply.code, reply.message)

    # --- one transaction
    # --------------------------------------------------------------------------------------

    async def _run(
        self, session: _Session, envelope: Envelope, message: bytes, *, reused: bool
    ) -> Outcome | None:
        """The transaction on `session`; None when a reused session proves dead before MAIL was answered."""
        usable = False
        try:
            result, usable = await self._transaction(session, envelope, message)
        except _Stale as e:
            return None if reused else e.outcome
        except _Broken as e:
            return e.outcome
        finally:
            if usable and session.smtp.is_connected:
                self._give_back(session)
            else:
                _abort(session)
        return result

    async def _transaction(
        self, session: _Session, envelope: Envelope, message: bytes
    ) -> tuple[Outcome, bool]:
        """The outcome, and whether the session can serve again. Raises `_Broken`."""
        extensions = session.smtp.esmtp_extensions
        limit = _size(session.smtp)
        if limit is not None and limit < len(message):
            return outcome(OutcomeClass.PERMANENT, "523", phase=Phase.MAIL.value, limit=limit), True
        dsn = "dsn" in extensions
        mail = [b"FROM:<" + envelope.sender.encode("ascii") + b">"]
        rcpt = [b"TO:<" + envelope.recipient.encode("ascii") + b">"]
        if "size" in extensions:
            mail.append(b"SIZE=%d" % len(message))
        if "8bitmime" in extensions:
            mail.append(b"BODY=" + envelope.body.encode("ascii"))
        elif envelope.body == "8BITMIME" and not message.isascii():
            # RFC 6152 §3: it may not be given to a server that takes seven bits
            return outcome(OutcomeClass.PERMANENT, "554", phase=Phase.MAIL.value, missing="8BITMIME"), True
        if dsn and (envelope.envid or envelope.notify):
            mail.append(b"RET=HDRS")
            if envelope.envid:
                mail.append(b"ENVID=" + xtext(envelope.envid).encode("ascii"))
            if envelope.notify:
                original = b"ORCPT=rfc822;" + xtext(envelope.recipient).encode("ascii")
                rcpt += [b"NOTIFY=" + envelope.notify.encode("ascii"), original]
        for phase, words in (
            (Phase.MAIL, (b"MAIL", *mail)),
            (Phase.RCPT, (b"RCPT", *rcpt)),
            (Phase.DATA, (b"DATA",)),
        ):
            reply = await self._command(session, phase, *words)
            if phase is Phase.DATA and reply.code == 354:
                break
            if phase is Phase.DATA or not 200 <= reply.code < 300:
                return of_reply(phase, reply.code, reply.message), await self._reset(session)
        reply = await self._upload(session, message)
        result = of_reply(Phase.BODY, reply.code, reply.message)
        if result.outcome is OutcomeClass.SUCCESS:
            result = Outcome(result.outcome, result.code, result.label, {**result.details, "dsn": dsn})
        return result, result.outcome is not OutcomeClass.UNCERTAIN

    async def _command(self, session: _Session, phase: Phase, *words: bytes) -> aiosmtplib.SMTPResponse:
        try:
            return await session.smtp.execute_command(*words, timeout=self._transport.timeouts.command)
        except aiosmtplib.SMTPServerDisconnected as e:
            fault = of_tls_fault(e) or outcome(OutcomeClass.TRANSIENT, "442", phase=phase.value)
            raise (_Stale if phase is Phase.MAIL else _Broken)(fault) from e
        except aiosmtplib.SMTPTimeoutError as e:
            raise _Broken(outcome(OutcomeClass.TRANSIENT, "441", phase=phase.value)) from e
        except aiosmtplib.SMTPResponseException as e:
            # a line that is no SMTP reply
            raise _Broken(of_reply(phase, e.code)) from e

    async def _reset(self, session: _Session) -> bool:
        """Forget the transaction under way; True when the session can serve again."""
        if not session.smtp.is_connected:
            return False
        try:
            return (await self._command(session, Phase.RCPT, b"RSET")).code == 250
        except _Broken:
            return False

    async def _upload(self, session: _Session, message: bytes) -> aiosmtplib.SMTPResponse:
        """The body, the final dot and its answer. Raises `_Broken` with TRANSIENT before the dot, UNCERTAIN
        after."""
        timeouts = self._transport.timeouts
        # reading starts before writing: a server may refuse and close in the middle of the body
        reply = asyncio.ensure_future(session.protocol.read_response())
        dot_sent = False
        code = "442"
        try:
            await asyncio.sleep(0)
            async with asyncio.timeout(timeouts.body):
                view = memoryview(message)
                for start in range(0, len(view), _SLICE):
                    if reply.done():
                        break
                    session.writer.write(view[start : start + _SLICE])
                    await session.writer.drain()
                else:
                    dot_sent = True
                    session.writer.write(b".\r\n")
                    await session.writer.drain()
        except TimeoutError:
            code = "420"
        except OSError:
            pass  # the reply, if one came before the cut, is read below
        else:
            try:
                async with asyncio.timeout(timeouts.reply):
                    await asyncio.wait([reply])
            except TimeoutError:
                code = "441"
        finally:
            if not reply.done():
                reply.cancel()
            elif not reply.cancelled():
                reply.exception()  # seen: asyncio must not report it again
        if reply.done() and not reply.cancelled() and reply.exception() is None:
            answer = reply.result()
            if dot_sent or answer.code >= 400:
                if not dot_sent:
                    # the answer stands, but the session is in the middle of a body
                    raise _Broken(of_reply(Phase.BODY, answer.code, answer.message))
                return answer
        kind = OutcomeClass.UNCERTAIN if dot_sent else OutcomeClass.TRANSIENT
        raise _Broken(outcome(kind, code, phase=Phase.BODY.value))


class _Stale(_Broken):
    """The session was closed by the server before MAIL was answered."""


def _abort(session: _Session) -> None:
    """Close at once: what is still in the buffer must not go out."""
    transport = session.smtp.transport
    if isinstance(transport, asyncio.WriteTransport) and not transport.is_closing():
        transport.abort()
    session.smtp.close()


def _size(smtp: aiosmtplib.SMTP) -> int | None:
    """SIZE of the EHLO answer in bytes; None when it has none or says 0 (no fixed limit, RFC 1870 §4)."""
    words = smtp.esmtp_extensions.get("size", "").split()
    return int(words[0]) if words and words[0].isdigit() and int(words[0]) > 0 else None


def _of_open_fault(fault: Exception) -> Outcome:
    """The outcome of a session that could not be opened."""
    phase = Phase.CONNECT.value
    tls = of_tls_fault(fault)
    if tls is not None:
        return tls
    if isinstance(fault, aiosmtplib.SMTPResponseException):
        return of_reply(Phase.CONNECT, fault.code, fault.message)
    if isinstance(fault, aiosmtplib.SMTPConnectError):
        cause = fault.__cause__
        refused = isinstance(cause, ConnectionRefusedError) or "refused" in fault.message.lower()
        return outcome(OutcomeClass.TRANSIENT, "111" if refused else "101", phase=phase)
    if isinstance(fault, aiosmtplib.SMTPTimeoutError):
        return outcome(OutcomeClass.TRANSIENT, "441", phase=phase)
    if isinstance(fault, aiosmtplib.SMTPServerDisconnected):
        return outcome(OutcomeClass.TRANSIENT, "442", phase=phase)
    return outcome(OutcomeClass.TRANSIENT, "101", phase=phase)
