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
    _appending: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)

    def changed(self, *messages: Message) -> None:
        """Keep the flags of `messages` on disk and tell the watchers."""
        if self.path is not None:
            for message in messages:
                self._describe(message)
        for watcher in list(self.watchers):
            watcher()

    async def append(self, head: bytes, body: bytes, flags: Iterable[str], date: datetime) -> Message:
        """Keep one more message. One at a time: a UID is never seen before a lower one (RFC 3501 §2.3.1.1), a client
        that asks for what is above the last would miss it."""
        async with self._appending:
            uid, self.uidnext = self.uidnext, self.uidnext + 1
            message = Message(uid, head, body, set(flags), date)
            if self.path is not None:
                self.save()
                await asyncio.to_thread(self._write, message)
            self.messages.append(message)
        self.changed()
        return message

    def remove(self, uids: Iterable[int]) -> None:
        """Forget messages; unknown UIDs are left out."""
        gone = set(uids)
        self.messages = [m for m in self.messages if m.uid not in gone]
        if self.path is not None:
            for uid in gone:
                # without its description a message is not there any more
                self._file(uid, "json").unlink(missing_ok=True)
                self._file(uid, "eml").unlink(missing_ok=True)
        self.changed()

    def invalidate(self) -> None:
        """Number everything anew under another UIDVALIDITY, as after a restore of the operator's."""
        self.uidvalidity = max(self.uidvalidity + 1, int(time.time()))
        for new, message in enumerate(self.messages, 1):  # ascending: the new name is always free
            if self.path is not None and message.uid != new:
                for kind in ("eml", "json"):
                    self._file(message.uid, kind).rename(self._file(new, kind))
            message.uid = new
        self.uidnext = len(self.messages) + 1
        self.save()
        self.changed()

    def save(self) -> None:
        """UIDVALIDITY and UIDNEXT to disk."""
        if self.path is not None:
            self._replace(
                self.path / _INDEX, json.dumps({"uidvalidity": self.uidvalidity, "uidnext": self.uidnext})
            )

    def _file(self, uid: int, kind: str) -> Path:
        assert self.path is not None
        return self.path / f"{uid}.{kind}"

    def _write(self, message: Message) -> None:
        with self._file(message.uid, "eml").open("wb") as file:
            file.write(message.head)
            file.write(message.body)
        self._describe(message)

    def _describe(self, message: Message) -> None:
        table = {
            "flags": sorted(message.flags),
            "date": message.date.isoformat(),
            "head": len(message.head),
        }
        self._replace(self._file(message.uid, "json"), json.dumps(table))

    @staticmethod
    def _replace(path: Path, text: str) -> None:
        made = path.with_name(f"{path.name}.new")
        made.write_text(text, encoding="utf-8")
        made.replace(path)

    @classmethod
    def load(cls, name: str, path: Path) -> Folder:
        """The folder kept in `path`."""
        table: dict[str, int] = json.loads((path / _INDEX).read_text(encoding="utf-8"))
        folder = cls(name, table["uidvalidity"], path, table["uidnext"])
        for uid in sorted(int(p.stem) for p in path.glob("*.json") if p.stem.isdecimal()):
            kept: dict[str, Any] = json.loads(folder._file(uid, "json").read_text(encoding="utf-8"))
            data = folder._file(uid, "eml").read_bytes()
            head, date = int(kept["head"]), datetime.fromisoformat(kept["date"])
            folder.messages.append(
                Message(uid, data[:head], data[head:], set(kept["flags"]), date, recent=False)
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
        folders[name].save()
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
