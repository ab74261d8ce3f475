"""Findings (what is wrong with a message) and the one exception tree.

Purpose: two different things are kept apart. A *finding* is data: something wrong in what a DPI sent,
collected with all the others and answered in the ACK. An *exception* is control flow: something that stops
the work at hand.

Guarantee: no text built here may carry patient data; places, codes and rule identifiers only.

    GatewayError
    ├── BadInput                  the sender's fault: answered, never retried
    │   ├── FramingError          bytes that are not MLLP, or too long
    │   └── MessageUnreadable     no MSH, or separators that cannot be read
    ├── EnvironmentFault          the world's fault: retried, or the connector stops; never the listener
    │   ├── JournalUnavailable    the journal cannot commit (disk full, locked, stopped)
    │   │   └── JournalLate       it does not commit in time, or too much waits for it
    │   ├── Overload              a limit of our own is reached (memory, deliveries): the message may come again
    │   └── ConfigurationFault    a setting, certificate or file is wrong; raises one alert
    └── GatewayBug                our own fault: logged with a correlation id, answered AR, the message stays
        └── AnsweredAlready       not ours when several nodes share a journal: the other one's answer is given
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class GatewayError(Exception):
    """Root of the tree. `str()` of any of these is safe to log: it never carries patient data."""


class BadInput(GatewayError):
    """What was received cannot be used; sending it again unchanged is useless."""


class FramingError(BadInput):
    """The bytes break MLLP framing (size, missing end) so that no message can be read from them."""


class MessageUnreadable(BadInput):
    """There is no MSH segment, or its separators cannot be read: no ACK can be addressed."""


class EnvironmentFault(GatewayError):
    """Something outside the message failed; the same work may succeed later."""


class JournalUnavailable(EnvironmentFault):
    """The journal could not commit: nothing was accepted."""


class JournalLate(JournalUnavailable):
    """The journal does not commit in time, or too much waits for it: nothing was accepted."""


class Overload(EnvironmentFault):
    """A limit of our own is reached. `rule` is the `EXC-OVERLOAD-…` rule that says which."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


class ConfigurationFault(EnvironmentFault):
    """A setting, a certificate or a data file is missing or wrong; a person must act."""


class GatewayBug(GatewayError):
    """An invariant of ours does not hold."""


class ContentGone(GatewayError):
    """Bytes that retention emptied: they are not damaged, they are no more."""


class AnsweredAlready(GatewayBug):
    """A message has its one answer: another node worked on it too, or took it for left behind. Nothing was written."""

    def __init__(self, code: str, ack: bytes) -> None:
        super().__init__("a message was answered twice")
        self.code, self.ack = code, ack


class Severity(StrEnum):
    """What a rule does to a message. `OFF` findings are never built."""

    REJECT = "reject"
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding stands in the message: the ERL data type of ERR-2.

    `segment` is the segment's name; `occurrence` counts the segments of that name from 1 in the order of the
    message (so `OBX^3^5` is the fifth field of the third OBX, whatever its OBX-1 says).
    """

    segment: str
    occurrence: int = 1
    field: int | None = None
    repetition: int | None = None
    component: int | None = None
    subcomponent: int | None = None

    def erl(self) -> str:
        """`segment^occurrence^field^repetition^component^subcomponent`, trailing empty parts left out."""
        parts = [self.segment, str(self.occurrence)]
        rest = (self.field, self.repetition, self.component, self.subcomponent)
        if self.repetition is None and (self.component is not None or self.subcomponent is not None):
            rest = (self.field, 1, self.component, self.subcomponent)
        for value in rest:
            parts.append("" if value is None else str(value))
        return "^".join(parts).rstrip("^")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong (severity `reject`) or tolerated (severity `warn`).

    `rule` is the rule's identifier (ERR-7); `err3` a code of table 0357; `err5` a code of table 0533, only
    when `err3` is 207; `text` the French sentence of ERR-8, without patient data.
    """

    rule: str
    severity: Severity
    err3: str
    err5: str | None
    text: str
    place: Place | None = None
    path: str | None = None
    """Where inside the document (a CDA), for reports only: `recordTarget/patientRole/patient/name`."""
    line: int | None = None
    """Line of that element in the document, from 1."""

    @property
    def rejects(self) -> bool:
        """True when this finding makes the ACK an AE."""
        return self.severity is Severity.REJECT


def rejected(findings: Iterable[Finding]) -> bool:
    """True when at least one finding rejects the message."""
    return any(f.rejects for f in findings)
