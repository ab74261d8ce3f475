"""The plan of one error mail: which errors, to whom, and what makes a repetition the same mail. Pure.

Purpose: `plan_reports` turns incidents into one delivery for each mailbox concerned; JSON with `to_json`/`from_json`.
Guarantee: Message-ID, ENVID and date are drawn once; a mail holds at most `MAX_LINES` errors in detail and says how
many there are in all.
Fails: `GatewayBug` when bytes of the journal are not a plan of ours.
Source: spec/mssante.md §2.6; RFC 3461 (ENVID).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from connectors.errors.settings import ErrorsSettings, Mailbox
from connectors.mailbox_port import IncidentReport
from connectors.mss.addresses import domain_of
from connectors.port import PlannedDelivery
from gateway.errors import GatewayBug

MAX_LINES = 1000
"""Errors that one mail lists."""


@dataclass(frozen=True, slots=True)
class Told:
    """One error as its mail tells it. Texts are ours or the destination's words, not the document's."""

    id: int
    at: datetime
    flow: str
    code: str
    label: str
    route: str
    destination: str = ""
    """`dmp`, `mss`, `dpi`; empty for a received mail."""
    recipient: str = field(default="", repr=False)
    control_id: str = ""
    action: str = ""
    uids: tuple[str, ...] = ()
    state: str = ""
    """`refused` or `expired`."""
    event: str = ""
    """`Z02` (not received) or `Z03` (not integrated), of a receipt."""
    mailbox: str = ""
    """The mailbox that received the mail."""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """One mail. `count` may be more than `told` lists. `created` is aware, whole seconds."""

    recipient: str
    message_id: str
    """With its angle brackets."""
    envid: str
    created: datetime
    count: int
    told: tuple[Told, ...]
    reattach: bool
    patient_in_subject: bool
    max_bytes: int
    mdn: bool = False
    """A disposition notification instead of the standard mail."""


_ADAPTER = TypeAdapter(ReportPlan)


def to_json(plan: ReportPlan) -> bytes:
    """UTF-8 JSON of `plan`."""
    return _ADAPTER.dump_json(plan)


def from_json(data: bytes) -> ReportPlan:
    """The plan of `to_json`'s bytes; raises `GatewayBug` (without the content) when they are not one."""
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError as e:
        raise GatewayBug(f"not a plan of the errors connector: {e.error_count()} errors") from None


def plan_reports(
    incidents: Sequence[IncidentReport],
    settings: ErrorsSettings,
    now: datetime,
    dpi: Mapping[str, str] = MappingProxyType({}),
) -> list[PlannedDelivery]:
    """One mail for each mailbox that `incidents` (of one family) concern. `now` is aware; `dpi`: the DPI of each
    mailbox that receives mail, by its name."""
    concerned: dict[str, tuple[Mailbox, list[IncidentReport]]] = {}
    for incident in incidents:
        row = settings.row(incident.route, incident.flow, dpi.get(incident.route, ""))
        for address in row.to:
            concerned.setdefault(address, (row, []))[1].append(incident)
    planned = []
    for address, (row, theirs) in concerned.items():
        token = uuid.uuid4().hex
        plan = ReportPlan(
            recipient=address,
            message_id=f"<{token}@{domain_of(settings.from_address)}>",
            envid=token,
            created=now.replace(microsecond=0),
            count=len(theirs),
            # the reasons of each are for its own mail: those of a flood would be megabytes
            told=tuple(_told(i, alone=len(theirs) == 1) for i in theirs[:MAX_LINES]),
            reattach=settings.reattaches(row),
            patient_in_subject=settings.names_patient(row, address),
            max_bytes=settings.max_bytes,
            # a notification is about one message; an alarm is about none
            mdn=settings.form_of(row) == "mdn" and len(theirs) == 1 and theirs[0].flow != "alarm",
        )
        # of no document's order: a report never waits for another
        planned.append(PlannedDelivery(address, (), to_json(plan), (token,)))
    return planned


def _told(incident: IncidentReport, *, alone: bool) -> Told:
    words = incident.words
    return Told(
        id=incident.id,
        at=incident.at.replace(microsecond=0),
        flow=incident.flow,
        code=incident.code,
        label=_word(words, "label"),
        route=incident.route,
        destination=_word(words, "destination"),
        recipient=_word(words, "recipient"),
        control_id=_word(words, "control_id"),
        action=_word(words, "action"),
        uids=tuple(map(str, words.get("uids") or ())),
        state=_word(words, "state"),
        event=_word(words, "event"),
        mailbox=_word(words, "mailbox"),
        reasons=tuple(map(str, words.get("reasons") or ())) if alone else (),
    )


def _word(words: Mapping[str, Any], name: str) -> str:
    return str(words.get(name) or "")
