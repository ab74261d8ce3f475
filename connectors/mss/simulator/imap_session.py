"""One IMAP4rev1 session: login, folders, messages, IDLE.

Guarantee: a session sees and changes its own account alone; passwords only inside TLS when TLS is on; a malformed or
endless command is answered BAD or closed, never kept in memory.
Fails: `Closed` when the client is gone.
Source: RFC 3501, 2177 (IDLE), 4959 (SASL-IR), 4315 (UIDPLUS), 6851 (MOVE), 7888 (LITERAL+), 3691 (UNSELECT),
2971 (ID).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol

from connectors.mss.simulator import imap_fetch
from connectors.mss.simulator.faults import Fault
from connectors.mss.simulator.imap_folders import Folders
from connectors.mss.simulator.imap_selected import No, View
from connectors.mss.simulator.imap_syntax import (
    Closed,
    Syntax,
    read_command,
    read_line,
    tokens,
)
from connectors.mss.simulator.store import Mailboxes, Message

_CAPABILITIES = "IMAP4rev1 LITERAL+ SASL-IR IDLE UIDPLUS MOVE UNSELECT ID NAMESPACE"
_TAG = re.compile(r"[^\s(){%*\"\\+]{1,64}")
_UID_COMMANDS = ("FETCH", "STORE", "SEARCH", "COPY", "MOVE", "EXPUNGE")


class Accounts(Protocol):
    """What the sessions need of the operator."""

    boxes: Mailboxes
    size_limit: int

    def login(self, user: str, password: str) -> str | None:
        """The address of the mailbox; None when refused."""
        ...

    def login_external(self, authzid: str) -> str | None: ...

    def imap_fault(self, kind: str, address: str) -> Fault | None: ...

    def note(self, action: str, result: str, address: str, message: Message | None = None) -> None: ...


class Session:
    """One connection."""

    def __init__(
        self,
        accounts: Accounts,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tls: str,
        context: ssl.SSLContext | None,
    ) -> None:
        self._accounts = accounts
        self._context = context
        self._reader, self._writer = reader, writer
        self._address = ""
        self._folders = Folders(accounts.boxes, "", self)
        self._view: View | None = None
        self._changed = asyncio.Event()
        self._over = False
        self._secure = tls != "starttls"
        self._upgrade = False

    # --- Told
    # -------------------------------------------------------------------------------------------------

    def say(self, data: bytes) -> None:
        """Send, without waiting."""
        self._writer.write(data)

    def note(self, action: str, message: Message) -> None:
        """An event of the log."""
        self._accounts.note(action, "OK", self._address, message)

    def leave(self) -> None:
        """Leave the selected folder."""
        if self._view is not None:
            self._view.leave()
            self._view = None

    # --- dialogue
    # ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """The whole session."""
        self.say(f"* OK [CAPABILITY {self._capabilities()}] operateur simule\r\n".encode())
        while not self._over:
            await self._writer.drain()
            tag = "*"
            try:
                pieces = await read_command(self._reader, self._writer, self._accounts.size_limit)
                first, _, rest = (pieces[0] if isinstance(pieces[0], bytes) else b"").partition(b" ")
                found = _TAG.fullmatch(first.decode("ascii", "replace"))
                if found is None:
                    raise Syntax("tag")
                tag = found[0]
                words = tokens([rest, *pieces[1:]])
                if not words or not isinstance(words[0], str):
                    raise Syntax("command")
                done = await self._command(words[0].upper(), words[1:])
                self.say(f"{tag} {done}\r\n".encode())
                if self._upgrade:
                    await self._start_tls()
            except Syntax as e:
                self.say(f"{tag} BAD {e}\r\n".encode())
            except No as e:
                self.say(f"{tag} NO {e}\r\n".encode())
        await self._writer.drain()

    async def _command(self, name: str, arguments: list[object]) -> str:
        """Run a command; its tagged answer without the tag."""
        uid = name == "UID"
        if uid:
            name = str(arguments[0]).upper() if arguments else ""
            arguments = arguments[1:]
            if name not in _UID_COMMANDS:
                raise Syntax("UID command")
        if name in _ANY:
            return await _ANY[name](self, arguments)
        if not self._address:
            if name not in _BEFORE:
                raise (
                    Syntax("not before login")
                    if name not in _AFTER.keys() | _ON_MESSAGES
                    else No("log in first")
                )
            return await _BEFORE[name](self, arguments)
        if name in _AFTER:
            return await _AFTER[name](self, arguments)
        if name not in _ON_MESSAGES:
            raise Syntax("unknown command")
        if self._view is None:
            raise Syntax("select a folder first")
        self._still_valid(self._view)
        done = await self._on_messages(self._view, name, arguments, uid=uid)
        if self._view is not None:
            self._view.sync(expunge=uid or name not in ("FETCH", "STORE", "SEARCH"))
        return done

    async def _start_tls(self) -> None:
        """After the tagged answer, the last thing in clear."""
        assert self._context is not None
        self._upgrade = False
        await self._writer.drain()
        await self._writer.start_tls(self._context)
        self._secure = True

    def _capabilities(self) -> str:
        made = [_CAPABILITIES]
        if not self._secure:
            return f"{made[0]} STARTTLS LOGINDISABLED"
        made.append("AUTH=PLAIN")
        if self._certificate():
            made.append("AUTH=EXTERNAL")
        return " ".join(made)

    def _certificate(self) -> bool:
        tls: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
        return tls is not None and tls.getpeercert() not in (None, {})

    def _still_valid(self, view: View) -> None:
        """After a change of UIDVALIDITY the session cannot go on (RFC 3501 §2.3.1.1)."""
        if view.folder.uidvalidity != view.uidvalidity:
            self.say(b"* BYE folder was restored, select it again\r\n")
            raise Closed

    # --- in any state
    # -----------------------------------------------------------------------------------------

    async def _capability(self, _arguments: list[object]) -> str:
        self.say(f"* CAPABILITY {self._capabilities()}\r\n".encode())
        return "OK done"

    async def _noop(self, _arguments: list[object]) -> str:
        if self._view is not None:
            self._still_valid(self._view)
            self._view.sync()
        return "OK done"

    async def _logout(self, _arguments: list[object]) -> str:
        self.say(b"* BYE\r\n")
        self._over = True
        return "OK done"

    async def _id(self, _arguments: list[object]) -> str:
        self.say(b'* ID ("name" "operateur simule")\r\n')
        return "OK done"

    # --- before login
    # -----------------------------------------------------------------------------------------

    async def _starttls(self, _arguments: list[object]) -> str:
        if self._secure or self._context is None:
            raise Syntax("TLS is on already, or not offered")
        self._upgrade = True
        return "OK begin"

    async def _login(self, arguments: list[object]) -> str:
        if not self._secure:
            raise No("[PRIVACYREQUIRED] STARTTLS first")
        if len(arguments) != 2:
            raise Syntax("LOGIN user password")
        return self._open(self._accounts.login(str(arguments[0]), str(arguments[1])), str(arguments[0]))

    async def _authenticate(self, arguments: list[object]) -> str:
        if not self._secure:
            raise No("[PRIVACYREQUIRED] STARTTLS first")
        mechanism = str(arguments[0]).upper() if arguments else ""
        if mechanism not in ("PLAIN", "EXTERNAL") or (mechanism == "EXTERNAL" and not self._certificate()):
            raise No("[CANNOT] mechanism not offered")
        if len(arguments) > 1:
            given = str(arguments[1]).encode("utf-8")
        else:
            self.say(b"+ \r\n")
            await self._writer.drain()
            given = await read_line(self._reader)
        if given == b"*":
            raise Syntax("given up")
        try:
            plain = b"" if given == b"=" else base64.b64decode(given, validate=True)
            words = plain.decode("utf-8").split("\0")
        except (binascii.Error, UnicodeDecodeError):
            raise Syntax("base64") from None
        if mechanism == "EXTERNAL":
            return self._open(self._accounts.login_external(words[0]), words[0])
        if len(words) != 3:
            raise Syntax("PLAIN")
        return self._open(self._accounts.login(words[1], words[2]), words[1])

    def _open(self, address: str | None, user: str) -> str:
        if address is None or self._accounts.imap_fault("imap_login", address) is not None:
            self._accounts.note("login", "NO", address or "")
            raise No("[AUTHENTICATIONFAILED] refused")
        self._address = address
        self._folders = Folders(self._accounts.boxes, address, self)
        self._accounts.note("login", "OK", address)
        return f"OK [CAPABILITY {self._capabilities()}] done"

    # --- folders
    # ----------------------------------------------------------------------------------------------

    async def _select(self, arguments: list[object], *, read_only: bool = False) -> str:
        self.leave()
        if self._accounts.imap_fault("imap_busy", self._address) is not None:
            raise No("[UNAVAILABLE] later")
        folder = self._folders.named(arguments)
        self._changed.clear()
        self._view = View(folder, self, read_only=read_only, wake=self._changed.set)
        self._view.welcome()
        return f"OK [{'READ-ONLY' if read_only else 'READ-WRITE'}] done"

    async def _examine(self, arguments: list[object]) -> str:
        return await self._select(arguments, read_only=True)

    async def _create(self, arguments: list[object]) -> str:
        return await self._folders.create(arguments)

    async def _delete(self, arguments: list[object]) -> str:
        if self._view is not None and self._folders.named(arguments) is self._view.folder:
            self.leave()
        return await self._folders.delete(arguments)

    async def _list(self, arguments: list[object]) -> str:
        return await self._folders.list_(arguments)

    async def _lsub(self, arguments: list[object]) -> str:
        return await self._folders.list_(arguments, "LSUB")

    async def _status(self, arguments: list[object]) -> str:
        return await self._folders.status(arguments)

    async def _append(self, arguments: list[object]) -> str:
        done = await self._folders.append(arguments)
        if self._view is not None:
            self._view.sync()
        return done

    async def _nothing(self, _arguments: list[object]) -> str:
        return "OK done"

    async def _namespace(self, _arguments: list[object]) -> str:
        self.say(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
        return "OK done"

    async def _idle(self, _arguments: list[object]) -> str:
        """RFC 2177: changes are told at once, until DONE."""
        self.say(b"+ idling\r\n")
        done = asyncio.ensure_future(read_line(self._reader))
        try:
            while not done.done():
                self._changed.clear()
                if self._view is not None:
                    self._still_valid(self._view)
                    self._view.sync()
                await self._writer.drain()
                waiting = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({done, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            if done.result().upper() != b"DONE":
                raise Syntax("DONE expected")
        finally:
            done.cancel()
        return "OK done"

    # --- messages
    # ---------------------------------------------------------------------------------------------

    async def _on_messages(self, view: View, name: str, arguments: list[object], *, uid: bool) -> str:
        code = ""
        match name:
            case "SEARCH":
                view.search(arguments, uid=uid)
            case "FETCH":
                await self._fetch(view, arguments, uid=uid)
            case "STORE":
                view.store(arguments, uid=uid)
            case "COPY" | "MOVE":
                code = await view.copy(arguments, self._folders.get, uid=uid, move=name == "MOVE")
            case "EXPUNGE":
                if uid and len(arguments) != 1:
                    raise Syntax("UID EXPUNGE set")
                view.expunge(arguments[0] if uid else None)
            case "CLOSE" | "UNSELECT":
                if name == "CLOSE" and not view.read_only:
                    view.expunge(tell=False)
                self.leave()
        return f"OK {code} done" if code else "OK done"

    async def _fetch(self, view: View, arguments: list[object], *, uid: bool) -> None:
        if self._accounts.imap_fault("imap_busy", self._address) is not None:
            raise No("[UNAVAILABLE] later")
        body = len(arguments) == 2 and any(i.section is not None for i in imap_fetch.items(arguments[1]))
        cut = self._accounts.imap_fault("imap_cut", self._address) if body else None
        for response in view.fetch(arguments, uid=uid):
            if cut is not None:
                self.say(response[: len(response) // 2])
                raise Closed
            self.say(response)
            await self._writer.drain()


_Command = Callable[[Session, list[object]], Awaitable[str]]
_ANY: dict[str, _Command] = {
    "CAPABILITY": Session._capability,
    "NOOP": Session._noop,
    "CHECK": Session._noop,
    "LOGOUT": Session._logout,
    "ID": Session._id,
}
_BEFORE: dict[str, _Command] = {
    "STARTTLS": Session._starttls,
    "LOGIN": Session._login,
    "AUTHENTICATE": Session._authenticate,
}
_AFTER: dict[str, _Command] = {
    "SELECT": Session._select,
    "EXAMINE": Session._examine,
    "CREATE": Session._create,
    "DELETE": Session._delete,
    "SUBSCRIBE": Session._nothing,
    "UNSUBSCRIBE": Session._nothing,
    "LIST": Session._list,
    "LSUB": Session._lsub,
    "NAMESPACE": Session._namespace,
    "STATUS": Session._status,
    "APPEND": Session._append,
    "IDLE": Session._idle,
}
_ON_MESSAGES = frozenset(("SEARCH", "FETCH", "STORE", "COPY", "MOVE", "EXPUNGE", "CLOSE", "UNSELECT"))
