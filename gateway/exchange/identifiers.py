"""Identifiers and times of our own making, injected so that tests can fix them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def control_id() -> str:
    """A new MSH-10 of ours: 20 characters (the limit of HL7 2.5), unique."""
    return uuid.uuid4().hex[:20].upper()


def correlation_id() -> str:
    """A new correlation identifier: random, says nothing."""
    return uuid.uuid4().hex[:16]


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from."""

    now: Callable[[], float] = time.time

    def utc(self) -> datetime:
        """The present instant, aware, UTC."""
        return datetime.fromtimestamp(self.now(), UTC)
