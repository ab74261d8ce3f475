"""What can be made to go wrong in the simulator, and when.

Purpose: a plan of faults, each matched by action, document or call number, used up after `times` calls.
Guarantee: the first fault that matches is taken; faults never change what is checked, only what happens
around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "delay",
    "code",
    "soap_fault",
    "http",
    "html",
    "drop",
    "commit_then_drop",
    "wrong_relates_to",
    "cut_body",
    "warning",
    "partial",
]
Action = Literal["submit", "query", "update"]


@dataclass(slots=True)
class Fault:
    """One thing to go wrong.

    * delay: wait `seconds`, then go on as usual
    * code: RegistryError `code` with `words`, nothing kept
    * soap_fault: SOAP fault of subcode `code`
    * http: bare HTTP `status`; html: HTML page with HTTP 500
    * drop: cut the connection, nothing kept; commit_then_drop: keep, then cut without answering
    * wrong_relates_to: keep, answer to another MessageID; cut_body: keep, send half an answer
    * warning: keep, Success with a warning; partial: keep, PartialSuccess
    """

    kind: Kind
    action: Action | None = None
    unique_id: str | None = None
    call: int | None = None
    """Number of the call among those of its action, from 1."""
    times: int = 1
    """How many calls it hits; 0: all."""
    code: str = "XDSRepositoryBusy"
    words: str = ""
    status: int = 503
    seconds: float = 0.0
    hits: int = 0


class FaultPlan:
    """The faults still to come."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults

    def take(self, action: str, unique_id: str, call: int) -> Fault | None:
        """The fault for this call, counted as used; None when there is none."""
        for fault in self.faults:
            if fault.times and fault.hits >= fault.times:
                continue
            if fault.action is not None and fault.action != action:
                continue
            if fault.unique_id is not None and fault.unique_id != unique_id:
                continue
            if fault.call is not None and fault.call != call:
                continue
            fault.hits += 1
            return fault
        return None
