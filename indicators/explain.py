"""Explain: the list behind a figure, and why each subject counts or not.

Purpose: for one row, all its subjects (stays, documents, attempts, users…) with what decided, ready for JSON. Pure.
Guarantee: the list is made by the same rule in the same pass as the figure: those that count add up to its numerator,
those that are below to its denominator (but for CON-3, whose denominator is a census). Subjects that a reader may look
for and that do not count (a cancelled stay, a failed attempt) are there with the reason.
Fails: `LookupError` when the month has no such row.
Care: the lists name stays and correspondents (never a patient's name): for authorised users only, and audited.
Source: spec/indicators.md §1.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from indicators import periods
from indicators.catalogue import Catalogue, default
from indicators.deliveries import Attempt, Channel, Document, channel_of
from indicators.engine import Row, ground_of, row_of
from indicators.movements import Stay
from indicators.rules import RULES
from indicators.sheet import Cell, Member, Sheet
from indicators.uses import Reception, Use
from indicators.view import Ground, View
from indicators.world import World


@dataclass(frozen=True, slots=True)
class Explained:
    """One subject. `subject` says what it is, `evidence` what decided; instants are ISO 8601 of the establishment."""

    numerator: bool
    denominator: bool
    why: str
    sentence: str
    subject: dict[str, Any]
    evidence: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A row and its list: what counts first."""

    row: Row
    title: str
    definition: dict[str, str]
    members: list[Explained]


def explain(
    world: World,
    month: str,
    finess: str,
    cell: Cell,
    *,
    catalogue: Catalogue | None = None,
    cutoff: datetime | None = None,
    revision: int = 1,
    ground: Ground | None = None,
) -> Explanation:
    """The list behind the row `cell` of that establishment and month. `ground`: as for `engine.compute`."""
    catalogue = catalogue or default()
    if cell.indicator not in RULES:
        raise LookupError(cell.indicator)
    ground = ground or ground_of(world, month, catalogue, cutoff)
    view = View(ground, finess, month, None if cutoff is None else cutoff.timestamp())
    sheet = Sheet(cell)
    RULES[cell.indicator](view, sheet)
    if cell not in sheet.tallies:
        raise LookupError("no such row")
    indicator = catalogue.indicators[cell.indicator]
    members = [_explained(view, m) for m in sheet.members]
    members.sort(key=lambda m: (not m.numerator, not m.denominator, m.why, str(m.subject)))
    return Explanation(
        row_of(view, cell, sheet.tallies[cell], world, revision),
        indicator.title,
        {
            "numerator": indicator.numerator,
            "denominator": indicator.denominator,
            "month": indicator.month,
            "source": indicator.source,
        },
        members,
    )


def _explained(view: View, member: Member) -> Explained:
    return Explained(
        member.numerator,
        member.denominator,
        member.why.value,
        member.why.sentence,
        _described(view, member.subject),
        sorted((_described(view, e) for e in member.evidence), key=str),
    )


def _described(view: View, subject: object) -> dict[str, Any]:
    """A subject in plain words; what is not known is left out."""

    def at(instant: float | None) -> str | None:
        return periods.iso(instant, view.zone)

    if isinstance(subject, Stay):
        told: dict[str, Any] = {
            "stay": subject.name,
            "authority": subject.key[1],
            "class": subject.patient_class,
            "kind": subject.kind,
            "opened": at(subject.opened),
            "closed": at(subject.closed),
            "feeding": subject.feeding,
            "consulting": subject.consulting,
            "told_by": subject.source,
        }
    elif isinstance(subject, Document):
        told = {
            "set_id": subject.set_id,
            "type_code": min((s.type_code for s in subject.submissions), default=""),
            "versions": sorted({s.version for s in subject.submissions}),
            "deleted": [at(instant) for _, _, instant in subject.deletions],
        }
    elif isinstance(subject, Attempt):
        sent = subject.submission
        told = {
            "control_id": sent.control_id,
            "unique_id": sent.unique_id,
            "set_id": sent.document.set_id,
            "version": sent.version or None,
            "type_code": sent.type_code,
            "channel": subject.channel.name,
            "recipient": _address(subject.recipient),
            "attempted": at(subject.first),
            "outcome": "taken_back" if subject.taken_back else subject.outcome,
            "success": at(subject.success),
            "code": subject.code,
            "why": view.standing(subject, view.cutoff).sentence,
        }
    elif isinstance(subject, Use):
        told = {
            "fact_id": subject.fact_id,
            "what": subject.what,
            "at": at(subject.at),
            "outcome": "success" if subject.ok else "failure",
            "user": subject.user,
            "profession": subject.profession,
            "type_code": subject.type_code,
            "unique_id": subject.unique_id,
            "message_id": subject.message_id,
            "prefetch": subject.prefetch or None,
        }
    elif isinstance(subject, Reception):
        told = {
            "fact_id": subject.fact_id,
            "message_id": subject.message_id,
            "unique_id": subject.unique_id,
            "at": at(subject.at),
        }
    else:
        told = {"name": str(subject)}
    return {key: value for key, value in told.items() if value not in (None, "", [])}


def _address(recipient: str) -> str:
    """An address as a list shows it: that of a patient is the national identifier, whoever told the fact."""
    if channel_of(recipient) is Channel.MSS_CITOYENNE:
        return f"…@{recipient.rpartition('@')[2]}"
    return recipient
