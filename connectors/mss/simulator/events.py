"""The event log of the simulated operator: one event for each thing that happened, for assertions.

Purpose: a Python list, and a file of JSON lines when one is asked for.
Guarantee: no patient data: an address is `box-1`, `box-2`… in order of appearance; an INS inside an identifier is
masked; no subject, no body. A line is written whole before the client is answered.
Fails: `OSError` at the start when the file cannot be opened.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_INS = re.compile(r"(?<![0-9A-Za-z])[1-478]\d{4}(?:2[ABab]|\d{2})\d{8}(?!\d)")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    number: int
    action: str
    """`mail` (one recipient of one transaction), `dsn`, `mdn`, `error_mail`, `login`, `fetch`, `store`, `move`."""
    result: str
    """The SMTP reply code, `cut`, `silent`; the Action of a DSN; the disposition of an MDN; OK or NO at IMAP."""
    time: str = ""
    """UTC, ISO 8601."""
    box: str = ""
    """Recipient, or mailbox at IMAP."""
    sender: str = ""
    message_id: str = ""
    """Message-ID of the mail that it is about, with its brackets."""
    envid: str = ""
    """ENVID as sent."""
    notify: str = ""
    """NOTIFY as sent."""
    size: int = 0
    """Bytes of the mail."""
    fault: str = ""
    """Kind of the planned fault that hit it."""
    kept: bool = False
    """True when the mail was taken, whatever the client was told."""
    uid: int = 0
    """IMAP UID."""


class EventLog:
    """The events, and the file. For one event loop."""

    def __init__(self, path: Path | None = None) -> None:
        self.events: list[Event] = []
        self._names: dict[str, str] = {}
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)

    def alias(self, address: str) -> str:
        """`box-N` of an address; "" for the empty one."""
        return self._names.setdefault(address.lower(), f"box-{len(self._names) + 1}") if address else ""

    def add(self, action: str, result: str, **values: Any) -> Event:
        """Keep an event; `box` and `sender` are given as addresses."""
        for name in ("box", "sender"):
            values[name] = self.alias(values.get(name, ""))
        for name in ("message_id", "envid"):
            values[name] = _INS.sub("…", values.get(name, ""))
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        made = Event(len(self.events) + 1, action, result, now, **values)
        self.events.append(made)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(made), ensure_ascii=False) + "\n")
        return made

    def clear(self) -> None:
        """Forget the events of the list; the file keeps its lines, the addresses their names."""
        self.events.clear()
