"""The mailboxes of the simulated operator: accounts, folders, messages with UIDs and flags.

Purpose: one store that SMTP delivers into and IMAP reads; in memory, or also in a folder that survives a restart.
Guarantee: a UID is never given twice under one UIDVALIDITY (RFC 3501 §2.3.1.1); with a folder, a message and its UID
are on disk before `append` returns. The bytes of a message are held once.
Fails: `OSError` when the folder cannot be read or written; `LookupError` for a folder that is not there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

INBOX = "INBOX"
SEEN, DELETED = "\\Seen", "\\Deleted"
_INDEX = "index.json"


@dataclass(slots=True, eq=False)
class Message:
    """One message of a folder. Its bytes are `head` (traces of the delivery) then `body` (as sent)."""

    uid: int
    head: bytes
    body: bytes
    flags: set[str]
    date: datetime
    """INTERNALDATE, aware."""
    recent: bool = True

    @property
    def size(self) -> int:
        """RFC822.SIZE, bytes."""
        return len(self.head) + len(self.body)

    @property
    def content(self) -> bytes:
        """All its bytes."""
        return self.head + self.body


@dataclass(eq=False)
class Folder:
    """A folder of an account. `watchers` are called at each change."""

    name: str
    uidvalidity: int
    path: Path | None = None
    uidnext: int = 1
    messages: list[Message] = field(default_factory=list)
    """By ascending UID."""
    watchers: set[Callable[[], None]] = field(default_factory=set)

    def changed(self, *, save: bool = True) -> None:
        """Write the index and tell the watchers."""
        if save:
            self._save()
        for watcher in list(self.watchers):
            watcher()

    async def append(self, head: bytes, body: bytes, flags: Iterable[str], date: datetime) -> Message:
        """Keep one more message."""
        uid, self.uidnext = self.uidnext, self.uidnext + 1
        message = Message(uid, head, body, set(flags), date)
        if self.path is not None:
            await asyncio.to_thread(self._write, message)
        # others may have been appended while this one was written
        self.messages.append(message)
        self.messages.sort(key=lambda m: m.uid)
        self.changed()
        return message

    def remove(self, uids: Iterable[int]) -> None:
        """Forget messages; unknown UIDs are left out."""
        gone = set(uids)
        self.messages = [m for m in self.messages if m.uid not in gone]
        self.changed()
        if self.path is not None:
            for uid in gone:
                (self.path / f"{uid}.eml").unlink(missing_ok=True)

    def invalidate(self) -> None:
        """Number everything anew under another UIDVALIDITY, as after a restore of the operator's."""
        self.uidvalidity = max(self.uidvalidity + 1, int(time.time()))
        moved = [(m, m.uid, rank) for rank, m in enumerate(self.messages, 1)]
        for message, old, new in moved:  # ascending: the new name is always free
            if self.path is not None and old != new:
                (self.path / f"{old}.eml").rename(self.path / f"{new}.eml")
            message.uid = new
        self.uidnext = len(self.messages) + 1
        self.changed()

    def _write(self, message: Message) -> None:
        assert self.path is not None
        with (self.path / f"{message.uid}.eml").open("wb") as file:
            file.write(message.head)
            file.write(message.body)

    def _save(self) -> None:
        if self.path is None:
            return
        table = {
            "uidvalidity": self.uidvalidity,
            "uidnext": self.uidnext,
            "messages": {
                str(m.uid): {"flags": sorted(m.flags), "date": m.date.isoformat(), "head": len(m.head)}
                for m in self.messages
            },
        }
        made = self.path / f"{_INDEX}.new"
        made.write_text(json.dumps(table), encoding="utf-8")
        made.replace(self.path / _INDEX)

    @classmethod
    def load(cls, name: str, path: Path) -> Folder:
        """The folder kept in `path`."""
        table: dict[str, Any] = json.loads((path / _INDEX).read_text(encoding="utf-8"))
        folder = cls(name, int(table["uidvalidity"]), path, int(table["uidnext"]))
        # a message written whose index was not: its UID was never told to anybody
        for uid, kept in sorted(table["messages"].items(), key=lambda item: int(item[0])):
            data = (path / f"{uid}.eml").read_bytes()
            date, head = datetime.fromisoformat(kept["date"]), int(kept["head"])
            folder.messages.append(
                Message(int(uid), data[:head], data[head:], set(kept["flags"]), date, recent=False)
            )
        return folder


class Mailboxes:
    """All accounts, by address in lower case. With `directory`, each is a folder of folders there."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._accounts: dict[str, dict[str, Folder]] = {}
        if directory is not None and directory.is_dir():
            for account in sorted(p for p in directory.iterdir() if p.is_dir()):
                folders = self._accounts.setdefault(unquote(account.name), {})
                for path in sorted(account.iterdir()):
                    if (path / _INDEX).is_file():
                        folders[unquote(path.name)] = Folder.load(unquote(path.name), path)

    @property
    def addresses(self) -> list[str]:
        """Who has a mailbox."""
        return list(self._accounts)

    def open(self, address: str) -> dict[str, Folder]:
        """The folders of an account, made with its INBOX when there is none."""
        key = address.lower()
        if INBOX not in self._accounts.get(key, {}):
            self._accounts.setdefault(key, {})
            self.create(key, INBOX)
        return self._accounts[key]

    def has(self, address: str) -> bool:
        """True when the account exists."""
        return address.lower() in self._accounts

    def folder(self, address: str, name: str) -> Folder:
        """A folder; raises `LookupError`."""
        return self.open(address)[canonical(name)]

    def create(self, address: str, name: str) -> Folder:
        """A new folder; raises `LookupError` when it is there already."""
        folders = self._accounts.setdefault(address.lower(), {})
        name = canonical(name)
        if name in folders:
            raise LookupError("folder exists")
        path = None
        if self._directory is not None:
            path = self._directory / _safe(address.lower()) / _safe(name)
            path.mkdir(parents=True, exist_ok=True)
        folders[name] = Folder(name, int(time.time()), path)
        folders[name].changed()
        return folders[name]

    def delete(self, address: str, name: str) -> None:
        """Drop a folder and its messages; raises `LookupError`."""
        folder = self.open(address).pop(canonical(name))
        if folder.path is not None:
            for path in folder.path.iterdir():
                path.unlink()
            folder.path.rmdir()

    def clear(self) -> None:
        """Empty every folder; folders and UIDVALIDITY stay."""
        for folders in self._accounts.values():
            for folder in folders.values():
                folder.remove([m.uid for m in folder.messages])

    async def deliver(self, address: str, head: bytes, body: bytes) -> Message:
        """A mail into an INBOX."""
        return await self.open(address)[INBOX].append(head, body, (), datetime.now(UTC))


def canonical(name: str) -> str:
    """INBOX in any case is INBOX (RFC 3501 §5.1)."""
    return INBOX if name.upper() == INBOX else name


def _safe(name: str) -> str:
    """A file name that cannot lead elsewhere."""
    return quote(name, safe="@+-_").replace(".", "%2E") if name.startswith(".") else quote(name, safe="@+-_")
