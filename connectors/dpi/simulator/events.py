"""The event log of the simulated DPI: one event for each message, for assertions.

Purpose: a Python list, and a file of JSON lines when one is asked for.
Guarantee: no patient data: identifiers of messages and documents, codes, sizes; an INS inside an identifier is masked.
A line is written whole before the sender is answered.
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


def masked(identifier: str) -> str:
    """An identifier without the INS that it may hold."""
    return _INS.sub("…", identifier)


@dataclass(frozen=True, slots=True)
class Event:
    """One message."""

    number: int
    type: str
    """`MDM^T02`, `ZAM^Z02`."""
    control_id: str
    """MSH-10."""
    answer: str
    """AA, AE, AR, `silence`, `cut`, `garbage`, `other`, `late`, `drop`."""
    time: str = ""
    """UTC, ISO 8601."""
    errors: tuple[str, ...] = ()
    """ERR-3, with ERR-5 after a slash."""
    places: tuple[str, ...] = ()
    """ERR-2 of each error."""
    uid: str = ""
    """Identifier of the document."""
    version: int | None = None
    kept: bool = False
    """The document was integrated (or deleted, for T04), whatever the sender was told."""
    again: bool = False
    """The same MSH-10 with the same bytes was answered before: the same answer was given."""
    size: int = 0


class EventLog:
    """The events, and the file. For one event loop."""

    def __init__(self, path: Path | None = None) -> None:
        self.events: list[Event] = []
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)

    def add(self, **values: Any) -> Event:
        """Keep an event."""
        for name in ("control_id", "uid"):
            values[name] = masked(values.get(name, ""))
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        made = Event(number=len(self.events) + 1, time=now, **values)
        self.events.append(made)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(made), ensure_ascii=False) + "\n")
        return made

    def clear(self) -> None:
        """Forget the events of the list; the file keeps its lines."""
        self.events.clear()
