"""A selected folder as one IMAP client sees it: its numbers, what it was told, the commands on messages.

Guarantee: a sequence number changes only when the client was told (RFC 3501 §7.4.1: no EXPUNGE during FETCH, STORE
and SEARCH); what other clients and deliveries change is told at the next command, or at once during IDLE.
Fails: `Syntax` for arguments that cannot be read, `No` for what cannot be done.
Source: RFC 3501 §6.4, 4315 (UIDPLUS), 6851 (MOVE).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from connectors.mss.simulator import imap_fetch, imap_search
from connectors.mss.simulator.imap_syntax import Syntax, sequence
from connectors.mss.simulator.store import DELETED, SEEN, Folder, Message

SYSTEM_FLAGS = ("\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen")


class No(Exception):
    """Answered NO; the text is for the client, with its response code."""


class Told(Protocol):
    """Where responses go, and what is noted."""

    def say(self, data: bytes) -> None: ...

    def note(self, action: str, message: Message) -> None: ...


class View:
    """The selected folder of one session."""

    def __init__(self, folder: Folder, told: Told, *, read_only: bool, wake: Callable[[], None]) -> None:
        self.folder = folder
        self.read_only = read_only
        self.uidvalidity = folder.uidvalidity
        self._told = told
        self._wake = wake
        self._messages: list[Message] = list(folder.messages)
        self._flags: dict[int, frozenset[str]] = {m.uid: frozenset(m.flags) for m in self._messages}
        folder.watchers.add(wake)

    def leave(self) -> None:
        """The folder is not watched any more; what was recent is no longer."""
        self.folder.watchers.discard(self._wake)
        if not self.read_only:
            for message in self._messages:
                message.recent = False

    def welcome(self) -> None:
        """The untagged responses of SELECT."""
        say = self._told.say
        say(f"* FLAGS ({' '.join(SYSTEM_FLAGS)})\r\n".encode())
        say(f"* OK [PERMANENTFLAGS ({' '.join(SYSTEM_FLAGS)} \\*)] kept\r\n".encode())
        say(b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(self._messages), self._recent()))
        unseen = next((n for n, m in enumerate(self._messages, 1) if SEEN not in m.flags), None)
        if unseen is not None:
            say(b"* OK [UNSEEN %d] first\r\n" % unseen)
        say(b"* OK [UIDVALIDITY %d] valid\r\n" % self.uidvalidity)
        say(b"* OK [UIDNEXT %d] next\r\n" % self.folder.uidnext)

    def sync(self, *, expunge: bool = True) -> None:
        """Tell what changed since the last time; `expunge`: also what went away."""
        say = self._told.say
        here = set(self.folder.messages)
        if expunge:
            for number in range(len(self._messages), 0, -1):
                if self._messages[number - 1] not in here:
                    gone = self._messages.pop(number - 1)
                    self._flags.pop(gone.uid, None)
                    say(b"* %d EXPUNGE\r\n" % number)
        known = set(self._messages)
        new = [m for m in self.folder.messages if m not in known]
        if new:
            self._messages += new
            self._flags.update((m.uid, frozenset(m.flags)) for m in new)
            say(b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(self._messages), self._recent()))
        for number, message in enumerate(self._messages, 1):
            if message in here and self._flags.get(message.uid) != frozenset(message.flags):
                self._tell_flags(number, message, uid=False)

    # --- commands
    # ---------------------------------------------------------------------------------------------

    def search(self, arguments: list[object], *, uid: bool) -> None:
        """SEARCH, UID SEARCH."""
        numbered = list(enumerate(self._messages, 1))
        test = imap_search.criteria(arguments, [n for n, _ in numbered], [m.uid for m in self._messages])
        found = [m.uid if uid else n for n, m in numbered if test(n, m)]
        self._told.say(b"* SEARCH" + b"".join(b" %d" % n for n in found) + b"\r\n")

    def fetch(self, arguments: list[object], *, uid: bool) -> Iterator[bytes]:
        """FETCH, UID FETCH: one response at a time."""
        if len(arguments) != 2:
            raise Syntax("FETCH set items")
        asked = imap_fetch.items(arguments[1])
        if uid and all(item.label != "UID" for item in asked):
            asked.insert(0, imap_fetch.Item("UID"))
        here = set(self.folder.messages)
        for number, message in self._chosen(arguments[0], uid=uid):
            if message not in here:
                continue
            changed = any(i.marks_seen for i in asked) and not self.read_only and SEEN not in message.flags
            if changed:
                message.flags.add(SEEN)
                self._flags[message.uid] = frozenset(message.flags)
                self.folder.changed(message)
            if any(i.section is not None for i in asked):
                self._told.note("fetch", message)
            flagged = changed and all(i.label != "FLAGS" for i in asked)
            yield imap_fetch.render(number, message, [*asked, imap_fetch.Item("FLAGS")] if flagged else asked)

    def store(self, arguments: list[object], *, uid: bool) -> None:
        """STORE, UID STORE."""
        self._writable()
        if len(arguments) < 3:
            raise Syntax("STORE set action flags")
        action = str(arguments[1]).upper()
        silent = action.endswith(".SILENT")
        action = action.removesuffix(".SILENT")
        if action not in ("FLAGS", "+FLAGS", "-FLAGS"):
            raise Syntax("STORE action")
        given = arguments[2] if isinstance(arguments[2], list) else arguments[2:]
        flags = {_flag(f) for f in given} - {"\\Recent"}
        chosen = self._chosen(arguments[0], uid=uid)
        # what another session removed must not come back on disk
        here = set(self.folder.messages)
        for number, message in chosen:
            if message not in here:
                continue
            if action == "FLAGS":
                message.flags = set(flags)
            elif action == "+FLAGS":
                message.flags |= flags
            else:
                message.flags -= flags
            self._told.note("store", message)
            if silent:
                self._flags[message.uid] = frozenset(message.flags)
            else:
                self._tell_flags(number, message, uid=uid)
        self.folder.changed(*(m for _, m in chosen if m in here))

    async def copy(
        self, arguments: list[object], target: Callable[[str], Folder], *, uid: bool, move: bool
    ) -> str:
        """COPY, MOVE and their UID forms; the response code COPYUID ("" when nothing was copied)."""
        if move:
            self._writable()
        if len(arguments) != 2:
            raise Syntax("COPY set folder")
        chosen = [m for _, m in self._chosen(arguments[0], uid=uid) if m in set(self.folder.messages)]
        try:
            folder = target(str(arguments[1]))
        except LookupError:
            raise No("[TRYCREATE] no such folder") from None
        if not chosen:
            return ""
        made = [await folder.append(m.head, m.body, m.flags, m.date) for m in chosen]
        code = f"[COPYUID {folder.uidvalidity} {_set(m.uid for m in chosen)} {_set(m.uid for m in made)}]"
        for message in chosen:
            self._told.note("move" if move else "copy", message)
        if move:
            self._told.say(f"* OK {code} moved\r\n".encode())
            self.folder.remove(m.uid for m in chosen)
            return ""
        return code

    def expunge(self, only: object | None = None, *, tell: bool = True) -> None:
        """EXPUNGE; UID EXPUNGE with `only`."""
        self._writable()
        uids = [m.uid for m in self.folder.messages if DELETED in m.flags]
        if only is not None:
            uids = sequence(str(only), uids) if uids else []
        for message in self.folder.messages:
            if message.uid in uids:
                self._told.note("expunge", message)
        if uids:
            self.folder.remove(uids)
        if tell:
            self.sync()

    # --- inside
    # -----------------------------------------------------------------------------------------------

    def _chosen(self, text: object, *, uid: bool) -> list[tuple[int, Message]]:
        if not isinstance(text, str):
            raise Syntax("sequence set")
        numbered = list(enumerate(self._messages, 1))
        if uid:
            uids = set(sequence(text, [m.uid for m in self._messages]))
            return [(n, m) for n, m in numbered if m.uid in uids]
        numbers = set(sequence(text, [n for n, _ in numbered]))
        return [(n, m) for n, m in numbered if n in numbers]

    def _tell_flags(self, number: int, message: Message, *, uid: bool) -> None:
        self._flags[message.uid] = frozenset(message.flags)
        asked = [imap_fetch.Item("UID")] if uid else []
        self._told.say(imap_fetch.render(number, message, [*asked, imap_fetch.Item("FLAGS")]))

    def _recent(self) -> int:
        return sum(m.recent for m in self._messages)

    def _writable(self) -> None:
        if self.read_only:
            raise No("[READ-ONLY] opened with EXAMINE")


def _flag(token: object) -> str:
    """A flag, system flags in their usual case."""
    text = str(token)
    usual = {f.lower(): f for f in (*SYSTEM_FLAGS, "\\Recent")}
    if text.startswith("\\") and text.lower() not in usual:
        raise Syntax("flag")
    return usual.get(text.lower(), text)


def _set(uids: Iterable[int]) -> str:
    return ",".join(str(u) for u in uids)
