"""The plan of an MDN: what the answer to a received mail needs besides that mail's bytes.

Purpose: decided once, when the fate of the mail's documents is known, so that a repetition is the same
bytes. Pure data.
Fails: `GatewayBug` when bytes of the journal are no plan of this connector.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from connectors.mss.inbound.answers import IntegrationError
from connectors.mss.inbound.reports import MdnForm
from connectors.mss.plan import MailPlan, from_json
from gateway.errors import GatewayBug

_MARK = b'{"mdn_to":'


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """One MDN. `error` None: the documents were integrated. `created` is aware, UTC, whole seconds."""

    mdn_to: str = field(repr=False)
    sender: str
    """The address of the applicative mailbox that answers."""
    message_id: str
    """With its angle brackets."""
    envid: str
    created: datetime
    error: IntegrationError | None
    displayed: bool
    form: MdnForm


_ADAPTER = TypeAdapter(AnswerPlan)


def answer_to_json(plan: AnswerPlan) -> bytes:
    """UTF-8 JSON of `plan`."""
    return _ADAPTER.dump_json(plan)


def any_plan(data: bytes) -> MailPlan | AnswerPlan:
    """The plan of a mail with documents, or of an MDN."""
    if not data.startswith(_MARK):
        return from_json(data)
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError as e:
        raise GatewayBug(f"not a plan of the mss connector: {e.error_count()} errors") from None
