"""The event log of the simulator: one event for each call, for assertions.

Purpose: a Python list, and a file of JSON lines when one is asked for.
Guarantee: no patient data: a patient is `patient-1`, `patient-2`… in order of appearance; a line is written whole
before the call is answered, so that what was committed before a cut is in the log.
Fails: `OSError` at the start when the file cannot be opened.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Event:
    """One call received."""

    number: int
    action: str
    """`submit`, `query`, `retrieve`, `update`, `exist`, or "" for what could not be read."""
    unique_id: str
    """uniqueId, or entryUUID where the call names that; never a patient."""
    result: str
    """`Success`, `PartialSuccess`, a code, or the kind of the fault that answered in its place."""
    time: str = ""
    """UTC, ISO 8601."""
    transaction: str = ""
    message_id: str = ""
    patient: str = ""
    check: str = ""
    """The step of §8.2 that refused the call: message, addressing, vihf, rights, patient, metadata, documents,
    replacement, update or query; "" when none did."""
    fault: str = ""
    """Kind of the planned fault that hit it."""
    kept: bool = False
    """True when the call changed the registry, whatever the client was told."""


class EventLog:
    """The events, and the file. Safe to use from several threads."""

    def __init__(self, path: Path | None = None) -> None:
        self.events: list[Event] = []
        self._lock = threading.Lock()
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)

    def add(self, make: Callable[[int, str], Event]) -> Event:
        """Keep the event that `make` gives for its number and time."""
        with self._lock:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            made = make(len(self.events) + 1, now)
            self.events.append(made)
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(made), ensure_ascii=False) + "\n")
            return made

    def clear(self) -> None:
        """Forget the events of the list; the file keeps its lines."""
        with self._lock:
            self.events.clear()
