"""The SMTP side of the simulated operator: aiosmtpd, with delivery status notification (RFC 3461).

Purpose: what aiosmtpd lacks: DSN parameters kept as sent (it upper-cases every parameter and refuses those it
does not know) and checked, AUTH EXTERNAL, answers on order, a body that is read slowly.
"""

from __future__ import annotations

import asyncio
import collections
import re
import ssl
from typing import Any, NoReturn, Protocol, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from connectors.mss.simulator.faults import Fault

_DSN = frozenset({"RET", "ENVID", "NOTIFY", "ORCPT"})
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_FORMS = {
    "RET": re.compile(r"FULL|HDRS", re.IGNORECASE),
    "ENVID": re.compile(_XTEXT + r"{1,100}"),
    "NOTIFY": re.compile(
        r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}", re.IGNORECASE
    ),
    "ORCPT": re.compile(r"[A-Za-z0-9-]{1,40};" + _XTEXT + r"{1,459}"),
}
"""RFC 3461 §4: what each parameter may be."""
_PARAMETERS = re.compile(r"(?P<address>[^>]*>)(?P<parameters>.*)", re.DOTALL)


class DsnEnvelope(Envelope):
    """An envelope with its DSN parameters: of MAIL, and of RCPT by address. Names in upper case, values as
    sent."""

    def __init__(self) -> None:
        super().__init__()
        self.mail_dsn: dict[str, str] = {}
        self.rcpt_dsn: dict[str, dict[str, str]] = {}
        self.pending_dsn: dict[str, str] = {}
        self.faults: dict[str, Fault] = {}
        """Fault of each recipient."""

    @property
    def sender(self) -> str:
        """MAIL FROM, "" for the empty path."""
        return "" if self.mail_from in (None, "<>") else str(self.mail_from)


class Answers(Protocol):
    """What decides the answers (the simulator)."""

    auth: str
    dsn: bool

    def login(self, user: str, password: str) -> str | None: ...

    async def on_mail(self, sender: str) -> str | None:
        """A refusal of MAIL; None to go on."""
        ...

    async def on_rcpt(self, server: DsnSmtp, envelope: DsnEnvelope, address: str) -> str: ...

    async def on_data(self, server: DsnSmtp, envelope: DsnEnvelope) -> str: ...


class DsnSmtp(SMTP):
    """One connection."""

    def __init__(self, answers: Answers, **options: Any) -> None:
        handler = Handler(answers)
        super().__init__(handler, authenticator=handler.authenticate, auth_require_tls=False, **options)
        # set here, because aiosmtpd's constructor warns: it does not see TLS from the first byte as TLS
        self._auth_required = answers.auth != "none"
        # an ORCPT alone may have 500 characters (RFC 3461 §4.2); aiosmtpd's own limit is 512 for the line
        self.command_size_limits = collections.defaultdict(lambda: 2048)
        self._answers = answers

    @property
    def dialogue(self) -> asyncio.Task[None] | None:
        """The task that serves this connection."""
        return self._handler_coroutine

    def cut(self) -> None:
        """Drop the connection at once."""
        if self.transport is not None:
            cast(asyncio.WriteTransport, self.transport).abort()

    def _create_envelope(self) -> DsnEnvelope:
        return DsnEnvelope()

    def _split(self, arg: str | None) -> tuple[str | None, dict[str, str]]:
        """`arg` without its DSN parameters, and these."""
        found = _PARAMETERS.match(arg or "")
        if found is None or not self._answers.dsn:
            return arg, {}
        kept: list[str] = []
        dsn: dict[str, str] = {}
        for parameter in found["parameters"].split():
            name, _, value = parameter.partition("=")
            if name.upper() in _DSN:
                dsn[name.upper()] = value
            else:
                kept.append(parameter)
        return " ".join([found["address"], *kept]), dsn

    async def smtp_MAIL(self, arg: str | None) -> None:
        """MAIL with RET and ENVID."""
        arg, dsn = self._split(arg)
        if not _well_formed(dsn, ("RET", "ENVID")):
            await self.push("501 5.5.4 RET or ENVID")
            return
        await super().smtp_MAIL(arg)
        envelope = cast(DsnEnvelope, self.envelope)
        if envelope.mail_from:
            envelope.mail_dsn = dsn

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RCPT with NOTIFY and ORCPT."""
        arg, dsn = self._split(arg)
        if not _well_formed(dsn, ("NOTIFY", "ORCPT")):
            await self.push("501 5.5.4 NOTIFY or ORCPT")
            return
        cast(DsnEnvelope, self.envelope).pending_dsn = dsn
        await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str | None) -> None:
        """DATA, read slowly where a fault says so."""
        faults = cast(DsnEnvelope, self.envelope).faults.values()
        rates = [f.rate for f in faults if f.kind == "slow"]
        if not rates:
            await super().smtp_DATA(arg)
            return
        usual = self._reader
        self._reader = cast(asyncio.StreamReader, SlowReader(usual, min(rates)))
        try:
            await super().smtp_DATA(arg)
        finally:
            self._reader = usual

    def peer_certificate(self) -> bool:
        """True when the client gave a certificate over TLS."""
        tls: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object") if self.transport else None
        return tls is not None and tls.getpeercert() not in (None, {})

    async def vanish(self) -> NoReturn:
        """Cut the connection without a word; never returns (aiosmtpd cancels the dialogue)."""
        self.cut()
        await silence()


class SlowReader:
    """A stream read at `rate` bytes a second: its small buffer fills, and the client has to wait."""

    def __init__(self, reader: asyncio.StreamReader, rate: int) -> None:
        self._reader, self._rate = reader, rate
        self._due = 0.0

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """As `StreamReader.readuntil`."""
        return await self._wait(await self._reader.readuntil(separator))

    async def read(self, n: int = -1) -> bytes:
        """As `StreamReader.read`."""
        return await self._wait(await self._reader.read(n))

    async def _wait(self, data: bytes) -> bytes:
        self._due += len(data) / self._rate
        if self._due >= 0.01:
            wait, self._due = self._due, 0.0
            await asyncio.sleep(wait)
        return data


def _well_formed(dsn: dict[str, str], allowed: tuple[str, ...]) -> bool:
    return all(name in allowed and _FORMS[name].fullmatch(value) is not None for name, value in dsn.items())


async def silence() -> NoReturn:
    """Say nothing until the client gives up: aiosmtpd then cancels the dialogue."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody sets this future")


class Handler:
    """Hooks of aiosmtpd: extensions, authentication, recipients, mails."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def handle_EHLO(
        self, server: DsnSmtp, session: Session, envelope: DsnEnvelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Add DSN to the extensions and show only the mechanism in force."""
        session.host_name = hostname
        shown = [r for r in responses if not r.startswith("250-AUTH")]
        extra = ["250-DSN"] if self._answers.dsn else []
        if self._answers.auth != "none":
            extra.append(f"250-AUTH {self._answers.auth.upper()}")
        return [*shown[:-1], *extra, shown[-1]]

    async def handle_MAIL(
        self, server: DsnSmtp, session: Session, envelope: DsnEnvelope, address: str, options: list[str]
    ) -> str:
        """Ask the plan."""
        refused = await self._answers.on_mail("" if address == "<>" else address)
        if refused is not None:
            return refused
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: DsnSmtp, session: Session, envelope: DsnEnvelope, address: str, options: list[str]
    ) -> str:
        """Ask the plan; keep the DSN parameters of an accepted recipient."""
        answer = await self._answers.on_rcpt(server, envelope, address)
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
            envelope.rcpt_dsn[address] = envelope.pending_dsn
        return answer

    async def handle_DATA(self, server: DsnSmtp, session: Session, envelope: DsnEnvelope) -> str:
        """Hand the mail over."""
        return await self._answers.on_data(server, envelope)

    async def auth_EXTERNAL(self, server: DsnSmtp, args: list[str]) -> AuthResult:
        """RFC 4422 appendix A: who the client certificate says."""
        return AuthResult(success=server.peer_certificate(), handled=False)

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        """PLAIN and LOGIN against the accounts."""
        given = cast(LoginPassword, data)
        try:
            user, password = given.login.decode("utf-8"), given.password.decode("utf-8")
        except UnicodeDecodeError:
            return AuthResult(success=False, handled=False)
        return AuthResult(success=self._answers.login(user, password) is not None, handled=False)
