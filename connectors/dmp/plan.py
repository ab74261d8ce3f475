"""What a DMP delivery carries from its preparation to its attempts, as JSON.

Purpose: everything that `deliver` needs besides the document's bytes. Pure.
Guarantee: `load(dump(plan)) == plan`; a plan of another version is refused rather than misread.
Fails: `GatewayBug` for a plan that this code did not make.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from connectors.dmp.vihf import VihfSubject
from connectors.xds.model import DocumentEntry, SubmissionSet
from gateway.errors import GatewayBug

VERSION = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """One final transaction."""

    version: int
    unique_id: str
    """uniqueId of the document submitted, or of the document to delete."""
    subject: VihfSubject
    lot: SubmissionSet
    """uniqueId and submissionTime are set at each attempt."""
    entry: DocumentEntry | None
    """None for a deletion; hash and size are set on the bytes sent."""
    replaces: str = ""
    """uniqueId of the version replaced."""


_PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)


def dump(plan: Plan) -> bytes:
    """UTF-8 JSON."""
    return _PLAN.dump_json(plan)


def load(data: bytes) -> Plan:
    """The plan of a delivery."""
    try:
        plan = _PLAN.validate_json(data)
    except ValidationError as e:
        # the text of the error would quote the plan
        raise GatewayBug(f"unreadable DMP plan: {e.error_count()} problem(s)") from None
    if plan.version != VERSION:
        raise GatewayBug(f"DMP plan of version {plan.version}")
    return plan
