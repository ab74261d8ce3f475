"""Facts as the folds take them: small typed objects instead of dictionaries, read in a microsecond.

Purpose: what a fact tells, without its instant, in a form that costs little to make and to ask. `of` makes it of a fact
that was checked (`indicators.facts`); `read` of its JSON, for facts that were checked when they came in and lie in the
journal since. Pure.

Guarantee: both give the same for the same fact (tests/figures/test_scenarios.py): there is one fold, so there is one
result. `read` looks at types and at nothing else: what has another shape is refused, rules are not checked again.
Fails: `GatewayBug` for a text that is not a stored fact.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Literal, get_args

import msgspec

from gateway.errors import GatewayBug
from indicators.facts import Fact

Outcome = Literal["success", "failure"]
"""A literal is always the same object: a million facts share a few texts."""


class Part(msgspec.Struct, gc=False):
    """What all of these are: no cycle can begin at one, so collections need not know them."""


class Ref(Part):
    """A stay or account number."""

    value: str
    authority: str | None = None


class Sent(Part):
    """The document of a delivery."""

    unique_id: str
    type_code: str
    set_id: str | None = None
    version: int | None = None
    date: Any = None
    """ISO 8601 text, or the `date` or `datetime` itself."""


class Seen(Part):
    """A document consulted or received."""

    unique_id: str | None = None
    type_code: str | None = None


class User(Part):
    """A user of the DPI."""

    rpps: str | None = None
    local_id: str | None = None
    profession: str | None = None


class Movement(Part):
    """ZBE."""

    action: Literal["INSERT", "UPDATE", "CANCEL"]
    id: str | None = None
    at: datetime | None = None
    trigger: str | None = None


class Told(Part, tag_field="fact"):
    """What every fact tells."""

    fact_id: str
    finess: str


class Delivery(Told, tag="delivery"):
    """`indicators.facts.Delivery`; so on below."""

    document: Sent
    destination: Literal["dmp", "mss"]
    outcome: Literal["success", "failure", "pending", "deleted"]
    recipient: str | None = None
    control_id: str | None = None
    code: str | None = None
    stay: Ref | None = None
    patient: str | None = None
    ins_qualified: bool | None = None
    historical: bool | None = None


class StayEvent(Told, tag="stay"):
    """What one message says of a stay."""

    event: str
    movement: Movement
    stay: Ref | None = None
    account: Ref | None = None
    patient: str | None = None
    patient_class: str | None = None
    kind: str | None = None
    admitted_at: datetime | None = None
    discharged_at: datetime | None = None
    occurred_at: datetime | None = None
    recorded_at: datetime | None = None


class Consent(Told, tag="consent"):
    """ZFA-9 and ZFA-11."""

    stay: Ref | None = None
    patient: str | None = None
    feeding: Literal["NA", "IO", "INO"] | None = None
    consulting: Literal["NA", "INC", "IC"] | None = None


class Identity(Told, tag="identity"):
    """A40, A44, A47."""

    event: Literal["A40", "A44", "A47"]
    patient: str
    prior_patient: str | None = None
    account: Ref | None = None


class Correspondent(Told, tag="correspondent"):
    """Who follows the patient of a stay."""

    stay: Ref | None = None
    rpps: str | None = None
    address: str | None = None


class DmpConsultation(Told, tag="dmp_consultation"):
    """A DMP transaction."""

    transaction: str
    outcome: Outcome
    user: User | None = None
    stay: Ref | None = None
    document: Seen | None = None
    trigger: Literal["user", "prefetch"] | None = None


class Integration(Told):
    """A document taken into the record."""

    outcome: Outcome
    user: User | None = None
    stay: Ref | None = None
    document: Seen | None = None
    mode: Literal["manual", "auto"] | None = None
    format: Literal["cda", "non_cda"] | None = None


class DmpIntegration(Integration, tag="dmp_integration"):
    """From the DMP."""


class MssIntegration(Integration, tag="mss_integration"):
    """From a mail."""

    message_id: str | None = None


class MssReception(Told, tag="mss_reception"):
    """A document that came by MSSanté."""

    message_id: str
    document: Seen | None = None


class BreakGlass(Told, tag="break_glass"):
    """An access in an emergency."""

    user: User | None = None
    stay: Ref | None = None


class UserCensus(Told, tag="user_census"):
    """Active accounts."""

    profession: str | None = None
    users: int | None = None
    user: User | None = None


class ConsultationVisit(Told, tag="consultation_visit"):
    """An outpatient consultation."""

    stay: Ref | None = None
    patient: str | None = None
    feeding: Literal["NA", "IO", "INO"] | None = None
    consulting: Literal["NA", "INC", "IC"] | None = None


Any_ = (
    Delivery
    | StayEvent
    | Consent
    | Identity
    | Correspondent
    | DmpConsultation
    | DmpIntegration
    | MssIntegration
    | MssReception
    | BreakGlass
    | UserCensus
    | ConsultationVisit
)
_KINDS: dict[str, Any] = {kind.__struct_config__.tag: kind for kind in get_args(Any_)}
_decode: Callable[[str | bytes], Any_] = msgspec.json.Decoder(Any_).decode


def of(fact: Fact) -> Any_:
    """Of a checked fact."""
    # by its kind: told only that it is one of twelve, msgspec takes ten times as long
    told: Any_ = msgspec.convert(fact, _KINDS[fact["fact"]])
    return told


def read(body: str | bytes) -> Any_:
    """Of the JSON of a fact that was checked when it was stored."""
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise GatewayBug(f"a stored fact cannot be read ({type(e).__name__})") from None


def instant_of(told: object) -> float | None:
    """Seconds since 1970 of the date of a document. A date without a time is taken at noon UTC: the same civil day in
    all establishments.
    """
    if told is None:
        return None
    if isinstance(told, str):
        told = datetime.fromisoformat(told) if len(told) > _DAY else date.fromisoformat(told)
    if isinstance(told, datetime):
        return told.timestamp()
    assert isinstance(told, date)
    return (told.toordinal() - _EPOCH) * 86_400.0 + 43_200.0


_DAY = len("2025-02-10")
_EPOCH = date(1970, 1, 1).toordinal()
