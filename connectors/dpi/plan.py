"""The plan of one message to a DPI: `{"control_id", "er7", "charset", "integration"}`. Pure.

Purpose: the heart makes it (`make`) when a ZAM or an MDM is due; `deliver` sends exactly these bytes every
time. The plan of an MDM has no `er7`: its bytes stand beside it in the journal (`DeliveryJob.content`).
Fails: `GatewayBug` when the plan is not one, or its text does not fit its charset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from gateway.errors import GatewayBug

Charset = Literal["utf-8", "iso8859-15", "iso8859-1", "ascii"]
"""The codecs of `gateway.hl7.message.CHARSETS`: a DPI is answered in the charset it wrote in."""


@dataclass(frozen=True, slots=True)
class DpiPlan:
    """A message for a DPI. `er7` has CR segment ends; `control_id` is its MSH-10."""

    control_id: str
    er7: str = ""
    charset: Charset = "utf-8"
    integration: bool = False
    """A document: only an answer about its integration (AA, AE, AR) ends it."""

    def message(self) -> bytes:
        """The bytes to send."""
        try:
            return self.er7.encode(self.charset)
        except UnicodeEncodeError:
            raise GatewayBug("a message for the DPI does not fit its charset") from None


_ADAPTER = TypeAdapter(DpiPlan)


def make(control_id: str, message: bytes, charset: Charset = "utf-8") -> bytes:
    """The plan of `message` (ER7 bytes in `charset`)."""
    return _ADAPTER.dump_json(DpiPlan(control_id, message.decode(charset), charset))


def read(plan: bytes) -> DpiPlan:
    """The plan of its JSON."""
    try:
        return _ADAPTER.validate_json(plan)
    except ValidationError as e:
        raise GatewayBug(f"not a plan of the dpi connector: {e.error_count()} errors") from None


def route_key(application: str, facility: str) -> str:
    """`DeliveryJob.recipient` of the application that listens under these names (its MSH-3 and MSH-4)."""
    return f"{application}|{facility}"
