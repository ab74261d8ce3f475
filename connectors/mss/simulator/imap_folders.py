"""IMAP commands on folders: CREATE, DELETE, LIST, STATUS, APPEND.

Fails: `Syntax` for arguments that cannot be read, `No` for what cannot be done. Source: RFC 3501 §6.3.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from connectors.mss.simulator.imap_selected import No, Told
from connectors.mss.simulator.imap_syntax import Syntax, Text, quoted
from connectors.mss.simulator.store import Folder, Mailboxes


class Folders:
    """The folders of one account, for one session. Methods answer the tagged response without its tag."""

    def __init__(self, boxes: Mailboxes, address: str, told: Told) -> None:
        self._boxes, self._address, self._told = boxes, address, told

    def get(self, name: str) -> Folder:
        """A folder; raises `LookupError`."""
        return self._boxes.folder(self._address, name)

    def named(self, arguments: list[object]) -> Folder:
        """The folder of the first argument."""
        if not arguments:
            raise Syntax("folder")
        try:
            return self.get(str(arguments[0]))
        except LookupError:
            raise No("[NONEXISTENT] no such folder") from None

    async def create(self, arguments: list[object]) -> str:
        if not arguments or not str(arguments[0]).strip("/"):
            raise Syntax("folder")
        try:
            self._boxes.create(self._address, str(arguments[0]).rstrip("/"))
        except LookupError:
            raise No("[ALREADYEXISTS] it is there") from None
        return "OK done"

    async def delete(self, arguments: list[object]) -> str:
        folder = self.named(arguments)
        if folder.name == "INBOX":
            raise No("[CANNOT] INBOX stays")
        self._boxes.delete(self._address, folder.name)
        return "OK done"

    async def list_(self, arguments: list[object], word: str = "LIST") -> str:
        if len(arguments) != 2:
            raise Syntax(f"{word} reference pattern")
        pattern = str(arguments[0]) + str(arguments[1])
        if not pattern:
            self._told.say(f'* {word} (\\Noselect) "/" ""\r\n'.encode())
            return "OK done"
        parts = re.split(r"([*%])", pattern)
        wild = {"*": ".*", "%": "[^/]*"}
        wanted = re.compile("".join(wild.get(p, re.escape(p)) for p in parts), re.IGNORECASE | re.DOTALL)
        for name in self._boxes.open(self._address):
            if wanted.fullmatch(name):
                self._told.say(f'* {word} () "/" '.encode() + quoted(name) + b"\r\n")
        return "OK done"

    async def lsub(self, arguments: list[object]) -> str:
        return await self.list_(arguments, "LSUB")

    async def status(self, arguments: list[object]) -> str:
        folder = self.named(arguments)
        if len(arguments) != 2 or not isinstance(arguments[1], list):
            raise Syntax("STATUS folder (items)")
        values = {
            "MESSAGES": len(folder.messages),
            "RECENT": sum(m.recent for m in folder.messages),
            "UIDNEXT": folder.uidnext,
            "UIDVALIDITY": folder.uidvalidity,
            "UNSEEN": sum("\\Seen" not in m.flags for m in folder.messages),
        }
        asked = [str(w).upper() for w in arguments[1]]
        if not set(asked) <= set(values):
            raise Syntax("STATUS item")
        told = " ".join(f"{w} {values[w]}" for w in asked)
        self._told.say(b"* STATUS " + quoted(folder.name) + f" ({told})\r\n".encode())
        return "OK done"

    async def append(self, arguments: list[object]) -> str:
        if len(arguments) < 2 or not isinstance(arguments[-1], Text):
            raise Syntax("APPEND folder (flags) date message")
        try:
            folder = self.get(str(arguments[0]))
        except LookupError:
            raise No("[TRYCREATE] no such folder") from None
        flags = next((w for w in arguments[1:] if isinstance(w, list)), [])
        made = await folder.append(b"", arguments[-1].value, (str(f) for f in flags), datetime.now(UTC))
        return f"OK [APPENDUID {folder.uidvalidity} {made.uid}] done"
