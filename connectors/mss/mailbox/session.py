"""One IMAP session: greeting, login, one folder, its mails. I/O.

Purpose: `async with Session.opened(settings) as session`, `select`, then the few commands that the client needs.
Guarantee: one command at a time; mails are read with PEEK and taken away by MOVE or by UID EXPUNGE of their own UID
alone, never by a plain EXPUNGE (it would remove what somebody else marked). Every wait is bounded.
Fails: `MailboxFault` (the session is over); `No` for a command that the server refuses.
Source: RFC 3501, 2177 (IDLE), 4315 (UIDPLUS), 6851 (MOVE), 3503 ($MDNSent), 5530 (response codes).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from imapclient.imap_utf7 import encode as utf7

from connectors.mss.mailbox.answers import Facts, Status, fetched, first_line, numbered, searched, status
from connectors.mss.mailbox.model import MailboxFault, Reason
from connectors.mss.mailbox.settings import ImapSettings
from connectors.mss.mailbox.wire import LINE, LONGEST_ANSWER, Answer, Wire

SEEN = "\\Seen"
FLAGGED = "\\Flagged"
MDN_SENT = "$MDNSent"
_PASSING = frozenset(("UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "OVERQUOTA", "EXPUNGEISSUED"))
"""RFC 5530: codes of a NO that will pass."""
_ABSENT = frozenset(("NONEXISTENT", "TRYCREATE"))
_PARSED_HERE = 65_536
"""Bytes of a SEARCH response read in the event loop (5 ms); a longer one is read in a thread."""


class No(Exception):
    """The server refuses one command; the session goes on. `code` is its RFC 5530 code or ""."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code

    @property
    def passing(self) -> bool:
        """True for a refusal that the server calls temporary."""
        return self.code in _PASSING


@dataclass(frozen=True, slots=True)
class Selected:
    """The folder that is read."""

    uidvalidity: int
    permanent: frozenset[str]
    """PERMANENTFLAGS in lower case; `\\*`: any keyword."""

    def keeps(self, flag: str) -> bool:
        """`flag` would be kept by the server."""
        return flag.lower() in self.permanent or (flag[:1] != "\\" and "\\*" in self.permanent)


class Session:
    """A connection that is greeted; logged in and in a folder once `log_in` and `select` were called."""

    def __init__(self, settings: ImapSettings, wire: Wire) -> None:
        self._settings = settings
        self._wire = wire
        self._tags = 0
        self._exists = 0
        self._end_idle = _nothing
        self.capabilities: frozenset[str] = frozenset()
        self.news = False
        """A mail came since this was last made False (EXISTS grew)."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: ImapSettings) -> AsyncIterator[Session]:
        """A connected session; the greeting and STARTTLS are done. Cut at the end, whatever happened."""
        wire = await Wire.open(settings)
        try:
            session = cls(settings, wire)
            await session._greet()
            yield session
        finally:
            wire.abort()

    async def select(self) -> Selected:
        """Open the folder to read. Raises `MailboxFault(FOLDER)` when it is not there for us."""
        self._exists = 0
        try:
            answers, _ = await self.command(b"SELECT", _folder(self._settings.folder))
        except No as e:
            absent = e.code in _ABSENT | {"NOPERM", "CANNOT"}
            # Dovecot says no code
            if absent or (not e.code and not await self._listed(self._settings.folder)):
                raise MailboxFault(Reason.FOLDER) from None
            raise MailboxFault(Reason.BUSY) from None
        codes = {
            s.code: s.argument for a in answers if (s := status(first_line(a))) is not None and s.word == "OK"
        }
        uidvalidity = codes.get("UIDVALIDITY", "")
        if not uidvalidity.isdecimal():
            raise MailboxFault(Reason.PROTOCOL)
        self.news = True
        return Selected(
            int(uidvalidity), frozenset(codes.get("PERMANENTFLAGS", "").strip("()").lower().split())
        )

    async def search(self, criteria: str) -> list[int]:
        """UIDs in ascending order."""
        answers, _ = await self.command(b"UID SEARCH", criteria.encode())
        found: list[int] = []
        for answer in answers:
            line = first_line(answer)
            if len(line) < _PARSED_HERE:
                numbers = searched(line)
            else:
                numbers = await asyncio.to_thread(searched, line)
            found += numbers or ()
        return sorted(set(found))

    async def facts(self, uids: Iterable[int]) -> dict[int, Facts]:
        """Size and date of the mails that are still there."""
        return await self._fetch(
            uids, b"(UID RFC822.SIZE INTERNALDATE)", LINE, self._settings.timeouts.command
        )

    async def body(self, uid: int, longest: int) -> bytes | None:
        """The whole mail, at most `longest` bytes (`LiteralTooLong`: the session is over); None when it is gone."""
        made = await self._fetch((uid,), b"(UID BODY.PEEK[])", longest, self._settings.timeouts.body)
        return made[uid].body if uid in made else None

    async def header(self, uid: int, longest: int) -> bytes | None:
        """The first `longest` bytes of the header; None when the mail is gone."""
        asked = b"(UID BODY.PEEK[HEADER]<0.%d>)" % longest
        made = await self._fetch((uid,), asked, longest, self._settings.timeouts.command)
        return made[uid].body if uid in made else None

    async def flag(self, uids: Iterable[int], flags: Iterable[str]) -> None:
        """Add flags. UIDs that are gone are fine. Raises `No` (a folder for reading alone)."""
        await self.command(b"UID STORE", _set(uids), b"+FLAGS.SILENT", f"({' '.join(flags)})".encode())

    async def move(self, uid: int, folder: str) -> bool:
        """Take one mail to another folder, made when it is missing. False: refused, the mail stays."""
        how = self._move if "MOVE" in self.capabilities else self._copy_and_remove
        try:
            await how(uid, folder)
        except No as e:
            if e.passing:
                return False
            try:
                # a server that does not say TRYCREATE refuses to create what exists: then that was not it
                await self.command(b"CREATE", _folder(folder))
                await how(uid, folder)
            except No:
                return False
        return True

    async def idle(self, seconds: float) -> bool:
        """Wait for news, for `wake`, or for `seconds`. False: the server refuses IDLE."""
        tag = self._tag()
        said = self._settings.timeouts.command
        loop = asyncio.get_running_loop()
        going = ended = wanted = False
        timer: asyncio.TimerHandle | None = None
        try:
            async with asyncio.timeout(said) as limit:

                def end() -> None:
                    nonlocal ended, wanted
                    wanted = True
                    if going and not ended:
                        ended = True
                        self._wire.push(b"DONE")
                        limit.reschedule(loop.time() + said)

                # before the first wait: a wake-up in between must not be lost
                self._end_idle = end
                await self._wire.send(tag + b" IDLE")
                while True:
                    answer = await self._wire.read(LINE)
                    line = first_line(answer)
                    if line.startswith(b"+"):
                        going = True
                        limit.reschedule(loop.time() + seconds + said)
                        timer = loop.call_later(seconds, end)
                        if wanted or self.news:
                            end()
                    elif (done := self._taken(answer, tag)) is not None:
                        return done.word == "OK" and going
                    elif self.news:
                        end()
        except TimeoutError:
            raise MailboxFault(Reason.TIMEOUT) from None
        finally:
            self._end_idle = _nothing
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """End an IDLE under way."""
        self._end_idle()

    async def look(self) -> None:
        """Let the server tell what is new (for those without IDLE)."""
        await self.command(b"NOOP")

    # --- the dialogue
    # ---------------------------------------------------------------------------------------------

    async def command(
        self,
        *words: bytes,
        seconds: float | None = None,
        literal: int = LINE,
        replies: tuple[bytes, ...] = (),
    ) -> tuple[list[Answer], Status]:
        """Run one command: its untagged responses without `* `, and its OK. Raises `No`; BAD is PROTOCOL.

        `replies`: said one by one when the server asks for more (SASL); then, and without one, `*` gives up.
        """
        tag = self._tag()
        more = iter(replies)
        answers: list[Answer] = []
        room = LONGEST_ANSWER + literal
        try:
            async with asyncio.timeout(seconds or self._settings.timeouts.command):
                await self._wire.send(b" ".join((tag, *words)))
                while True:
                    answer = await self._wire.read(literal)
                    line = first_line(answer)
                    if line.startswith(b"+"):
                        await self._wire.send(next(more, b"*"))
                        continue
                    done = self._taken(answer, tag)
                    if done is not None:
                        break
                    room -= sum(len(r) if isinstance(r, bytes) else len(r[0]) + len(r[1]) for r in answer)
                    if room < 0:
                        raise MailboxFault(Reason.PROTOCOL)
                    answers.append(
                        [line[2:], *answer[1:]] if isinstance(answer[0], bytes) else _untagged(answer)
                    )
        except TimeoutError:
            raise MailboxFault(Reason.TIMEOUT) from None
        if done.word == "NO":
            raise No(done.code)
        if done.word != "OK":
            raise MailboxFault(Reason.PROTOCOL)
        return answers, done

    def _taken(self, answer: Answer, tag: bytes) -> Status | None:
        """Note what a response says of the session. The status when it is the tagged one."""
        line = first_line(answer)
        if not line.startswith(b"* "):
            name, _, rest = line.partition(b" ")
            done = status(rest)
            if name != tag or done is None:
                raise MailboxFault(Reason.PROTOCOL)
            if done.code == "CAPABILITY":
                self._can(done.argument)
            return done
        told = status(line[2:])
        count = numbered(line[2:])
        if told is not None and told.word == "BYE":
            raise MailboxFault(Reason.BYE)
        if told is not None and told.code == "CAPABILITY":
            self._can(told.argument)
        elif line[2:13].upper() == b"CAPABILITY ":
            self._can(line[13:].decode("ascii", "replace"))
        elif count is not None and count[1] == "EXISTS":
            self.news = self.news or count[0] > self._exists
            self._exists = count[0]
        elif count is not None and count[1] == "EXPUNGE":
            self._exists -= 1
        return None

    def _can(self, words: str) -> None:
        self.capabilities = frozenset(words.upper().split())

    def _tag(self) -> bytes:
        self._tags += 1
        return b"G%d" % self._tags

    async def _greet(self) -> None:
        settings = self._settings
        try:
            async with asyncio.timeout(settings.timeouts.connect):
                line = first_line(await self._wire.read(0))
        except TimeoutError:
            raise MailboxFault(Reason.TIMEOUT) from None
        told = status(line[2:]) if line.startswith(b"* ") else None
        if told is None or told.word not in ("OK", "BYE"):
            # PREAUTH: logged in as whom? and STARTTLS is not possible any more
            raise MailboxFault(Reason.PROTOCOL)
        if told.word == "BYE":
            raise MailboxFault(Reason.BYE)
        if told.code == "CAPABILITY":
            self._can(told.argument)
        else:
            await self._ask_capabilities()
        if settings.tls == "starttls":
            if "STARTTLS" not in self.capabilities:
                # never in clear: an operator always has it, so somebody stands between or the port is wrong
                raise MailboxFault(Reason.STARTTLS)
            try:
                await self.command(b"STARTTLS")
            except No:
                raise MailboxFault(Reason.STARTTLS) from None
            await self._wire.start_tls(settings)
            # what was said in clear proves nothing
            await self._ask_capabilities()

    async def _ask_capabilities(self) -> None:
        self.capabilities = frozenset()
        try:
            await self.command(b"CAPABILITY")
        except No:
            raise MailboxFault(Reason.PROTOCOL) from None

    async def ask_capabilities_after_login(self, done: Status) -> None:
        """What can be done changes with the login (RFC 3501 §6.2.2); many servers tell with their OK."""
        if done.code != "CAPABILITY":
            await self._ask_capabilities()

    # --- mails
    # -----------------------------------------------------------------------------------------------

    async def _fetch(
        self, uids: Iterable[int], items: bytes, literal: int, seconds: float
    ) -> dict[int, Facts]:
        wanted = set(uids)
        answers, _ = await self.command(b"UID FETCH", _set(wanted), items, literal=literal, seconds=seconds)
        made: dict[int, Facts] = {}
        for answer in answers:
            count = numbered(first_line(answer))
            if count is None or count[1] != "FETCH":
                continue
            facts = fetched(answer)
            # a server may tell flags of any mail at any moment: that is not what was asked for
            if (
                facts is not None
                and facts.uid in wanted
                and (facts.size is not None or facts.body is not None)
            ):
                made[facts.uid] = facts
        return made

    async def has(self, uid: int) -> bool:
        """The mail is in the folder."""
        return uid in await self.search(f"UID {uid}")

    async def _listed(self, folder: str) -> bool:
        try:
            answers, _ = await self.command(b"LIST", b'""', _folder(folder))
        except No:
            return True
        return any(first_line(a)[:5].upper() == b"LIST " for a in answers)

    async def _move(self, uid: int, folder: str) -> None:
        await self.command(b"UID MOVE", _set((uid,)), _folder(folder))

    async def _copy_and_remove(self, uid: int, folder: str) -> None:
        await self.command(b"UID COPY", _set((uid,)), _folder(folder))
        await self.flag((uid,), ("\\Deleted",))
        if "UIDPLUS" in self.capabilities:
            await self.command(b"UID EXPUNGE", _set((uid,)))


def quoted(text: bytes) -> bytes:
    """A quoted string of RFC 3501 §4.3; `text` is printable ASCII."""
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _nothing() -> None:
    """No IDLE under way."""


def _folder(name: str) -> bytes:
    return quoted(utf7(name))


def _set(uids: Iterable[int]) -> bytes:
    """A sequence set, runs as ranges: `1:3,7`."""
    runs: list[list[int]] = []
    for uid in sorted(uids):
        if runs and uid == runs[-1][1] + 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(str(a) if a == b else f"{a}:{b}" for a, b in runs).encode()


def _untagged(answer: Answer) -> Answer:
    first = answer[0]
    assert isinstance(first, tuple)
    return [(first[0][2:], first[1]), *answer[1:]]
