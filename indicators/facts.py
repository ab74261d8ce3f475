"""Facts: the only input of the indicators, one JSON object a line.

Purpose: the published model of every kind of fact, read strictly from JSON, its JSON Schema
(`docs/schemas/facts.schema.json`), its canonical form and the digest by which two facts are the same. Pure.

Guarantee: what `read` gives has the keys and types below and no others; instants are aware. A fact is a plain dict (a
`TypedDict`): a million of them are read in seconds. Absent and null are the same thing for whatever may be null.
Facts are append-only: a correction is another fact, later. `fact_id` is the idempotence key: the same id with the same
`digest` is a repetition and changes nothing; the same id with another digest is a conflict, for the store to refuse.

Fails: `FactError` (bad input) with every fault of the line: the places of the keys, never their values.
Source: spec/indicators.md §2.1, §2.2, §8; the line format of the import of past facts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Required, cast

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    with_config,
)
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

from gateway.errors import BadInput

UNKNOWN_FINESS = "UNKNOWN"
"""Establishment of a fact whose sender is in no mapping."""

_STRICT = ConfigDict(extra="forbid", strict=True)

FIRST, END = datetime(1800, 1, 1, tzinfo=UTC), datetime(2500, 1, 1, tzinfo=UTC)
"""Instants that a fact may have. `00010101` and `99991231` are written for "none": they have no year before or after
them, and in some time zones no day either, so that one of them would stop the figures of everybody for ever."""


class _Written:
    """In JSON, a date as ISO 8601 writes it with hyphens: `20250210` would be read as seconds since 1970."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        told = handler(source)
        text = core_schema.str_schema(pattern=r"^[0-9]{4}-")
        read = cast(CoreSchema, {**told, "strict": False})  # of that text; of Python values nothing is read
        return core_schema.json_or_python_schema(core_schema.chain_schema([text, read]), told)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema["python_schema"]) if schema["type"] == "json-or-python" else handler(schema)


Instant = Annotated[AwareDatetime, Field(ge=FIRST, lt=END), _Written()]
Day = Annotated[date, Field(ge=FIRST.date(), lt=END.date()), _Written()]
_OTHER_DAY = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)([T ]?\d\d:?\d\d(:?\d\d([.,]\d+)?)?([+-]\d\d:?\d\d|Z)?)?", re.ASCII
)


def _day_of(told: object) -> object:
    """The civil day of a date as a CDA or an HL7 message writes it (`20250210`, `20250210093000+0100`), or that has a
    time and no offset: of the date of a document nothing finer is ever asked.
    """
    found = _OTHER_DAY.fullmatch(told) if isinstance(told, str) else None
    if found is None:
        return told
    try:
        return date(*map(int, found.group(1, 2, 3)))
    except ValueError:
        return told


OtherDay = Annotated[
    date,
    Field(ge=FIRST.date(), lt=END.date()),
    BeforeValidator(_day_of),
    WithJsonSchema({"type": "string", "pattern": rf"^{_OTHER_DAY.pattern}$"}),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=256, strip_whitespace=True)]
Version = Annotated[int, Field(strict=False, ge=0, le=1_000_000)]
Finess = Annotated[str, StringConstraints(pattern=r"^([0-9][0-9AB][0-9]{7}|UNKNOWN)$")]
Outcome = Literal["success", "failure"]
Feeding = Literal["NA", "IO", "INO"]
Consulting = Literal["NA", "INC", "IC"]


class FactError(BadInput):
    """A line that is not a fact. `faults` are sentences in French, each with its place, without any value."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(" ; ".join(faults))
        self.faults = faults


@with_config(_STRICT)
class StayRef(TypedDict, total=False):
    """A stay as its sender names it: PV1-19, else PID-18. `authority` is CX-4 (its OID or FINESS, else its name)."""

    authority: Text | None
    value: Required[Text]


@with_config(_STRICT)
class DocumentRef(TypedDict, total=False):
    """A document: CDA id, setId, versionNumber, code, date (serviceEvent, else effectiveTime)."""

    unique_id: Required[Text]
    set_id: Text | None
    version: Version | None
    type_code: Required[Text]
    type_system: Text | None
    date: Annotated[Instant | Day | OtherDay | None, Field(union_mode="left_to_right")]


@with_config(_STRICT)
class SeenDocument(TypedDict, total=False):
    """A document consulted or received: all of it may be unknown."""

    unique_id: Text | None
    type_code: Text | None
    type_system: Text | None


@with_config(_STRICT)
class User(TypedDict, total=False):
    """A user of the DPI: `rpps`, else `local_id` (in the establishment); `profession` as the DPI codes it."""

    rpps: Text | None
    local_id: Text | None
    profession: Text | None


@with_config(_STRICT)
class Movement(TypedDict, total=False):
    """ZBE: `id` is ZBE-1 whole, `action` ZBE-4 (INSERT when it cannot be read), `at` ZBE-2, `trigger` ZBE-6 (the event
    that a Z99 corrects).
    """

    id: Text | None
    action: Required[Literal["INSERT", "UPDATE", "CANCEL"]]
    at: Instant | None
    trigger: Annotated[str, StringConstraints(pattern=r"^[A-Z][0-9]{2}$")] | None


@with_config(_STRICT)
class Common(TypedDict, total=False):
    """What every fact has. `at` is when it happened as its source said it (for an ADT: its own time, MSH-7);
    `known_at`, when it was known here, is `at` when it is left out: what `as_of` looks at.
    """

    fact_id: Required[Text]
    at: Required[Instant]
    known_at: Instant | None
    finess: Required[Finess]


@with_config(_STRICT)
class Delivery(Common, total=False):
    """How the delivery of one version to one destination (and recipient) stands. A later `failure` of the same
    delivery (same `control_id`) takes its success back; `deleted` says that the set was deleted there.
    """

    fact: Required[Literal["delivery"]]
    control_id: Text | None
    document: Required[DocumentRef]
    destination: Required[Literal["dmp", "mss"]]
    recipient: Text | None
    outcome: Required[Literal["success", "failure", "pending", "deleted"]]
    code: Text | None
    stay: StayRef | None
    patient: Text | None
    ins_qualified: bool | None
    historical: bool | None


@with_config(_STRICT)
class StayEvent(Common, total=False):
    """What one message says of a stay. `event` is the trigger (A01…); MDM and ORU are allowed for a PV1-45 that no ADT
    confirms. Times: `admitted_at` PV1-44, `discharged_at` PV1-45, `occurred_at` EVN-6, `recorded_at` EVN-2.
    """

    fact: Required[Literal["stay"]]
    event: Required[Annotated[str, StringConstraints(pattern=r"^([A-Z][0-9]{2}|MDM|ORU)$")]]
    control_id: Text | None
    stay: StayRef | None
    account: StayRef | None
    patient: Text | None
    patient_class: Annotated[str, StringConstraints(max_length=8)] | None
    kind: Annotated[str, StringConstraints(max_length=8)] | None
    movement: Required[Movement]
    admitted_at: Instant | None
    discharged_at: Instant | None
    occurred_at: Instant | None
    recorded_at: Instant | None


@with_config(_STRICT)
class Consent(Common, total=False):
    """What the patient was asked: `feeding` is ZFA-9, `consulting` ZFA-11; null leaves what was known. Without `stay`,
    it holds for all stays that are open for the patient at that time.
    """

    fact: Required[Literal["consent"]]
    stay: StayRef | None
    patient: Text | None
    feeding: Feeding | None
    consulting: Consulting | None


@with_config(_STRICT)
class Identity(Common, total=False):
    """Two keys are one patient (A40, A47), or an account goes to another patient (A44: `account`)."""

    fact: Required[Literal["identity"]]
    event: Required[Literal["A40", "A44", "A47"]]
    patient: Required[Text]
    prior_patient: Text | None
    account: StayRef | None


@with_config(_STRICT)
class Correspondent(Common, total=False):
    """A health professional who follows the patient of a stay: RPPS, MSSanté address, or both."""

    fact: Required[Literal["correspondent"]]
    stay: StayRef | None
    rpps: Text | None
    address: Text | None


@with_config(_STRICT)
class DmpConsultation(Common, total=False):
    """A DMP transaction of a user: TD0.9, TD0.10, TD3.1, TD3.2…"""

    fact: Required[Literal["dmp_consultation"]]
    transaction: Required[Annotated[str, StringConstraints(pattern=r"^TD[0-9]+\.[0-9]+[a-z]?$")]]
    outcome: Required[Outcome]
    user: User | None
    stay: StayRef | None
    patient: Text | None
    document: SeenDocument | None
    trigger: Literal["user", "prefetch"] | None


@with_config(_STRICT)
class DmpIntegration(Common, total=False):
    """A document of the DMP taken into the patient's record."""

    fact: Required[Literal["dmp_integration"]]
    outcome: Required[Outcome]
    user: User | None
    stay: StayRef | None
    patient: Text | None
    document: SeenDocument | None
    mode: Literal["manual", "auto"] | None
    format: Literal["cda", "non_cda"] | None


@with_config(_STRICT)
class MssReception(Common, total=False):
    """A document that came by MSSanté and waits to be integrated."""

    fact: Required[Literal["mss_reception"]]
    message_id: Required[Text]
    document: SeenDocument | None
    format: Literal["cda", "non_cda"] | None


@with_config(_STRICT)
class MssIntegration(Common, total=False):
    """A document that came by MSSanté taken into a patient's record, by hand or not."""

    fact: Required[Literal["mss_integration"]]
    outcome: Required[Outcome]
    mode: Required[Literal["manual", "auto"]]
    format: Required[Literal["cda", "non_cda"]]
    message_id: Text | None
    document: SeenDocument | None
    user: User | None
    stay: StayRef | None
    patient: Text | None


@with_config(_STRICT)
class BreakGlass(Common, total=False):
    """Access asked for in an emergency ("bris de glace")."""

    fact: Required[Literal["break_glass"]]
    user: User | None
    stay: StayRef | None
    patient: Text | None


@with_config(_STRICT)
class UserCensus(Common, total=False):
    """Active accounts of a profession on the day of `at`: their number (`users`), or one of them (`user`)."""

    fact: Required[Literal["user_census"]]
    profession: Text | None
    users: Annotated[int, Field(ge=0, le=10_000_000)] | None
    user: User | None


@with_config(_STRICT)
class ConsultationVisit(Common, total=False):
    """An outpatient consultation that took place at `at`, for establishments whose ADT do not say them."""

    fact: Required[Literal["consultation_visit"]]
    stay: StayRef | None
    patient: Text | None
    feeding: Feeding | None
    consulting: Consulting | None


Fact = (
    Delivery
    | StayEvent
    | Consent
    | Identity
    | Correspondent
    | DmpConsultation
    | DmpIntegration
    | MssReception
    | MssIntegration
    | BreakGlass
    | UserCensus
    | ConsultationVisit
)

_ADAPTER: TypeAdapter[Fact] = TypeAdapter(Annotated[Fact, Field(discriminator="fact")])
_SENTENCES = {
    "missing": "obligatoire et absent",
    "extra_forbidden": "champ inconnu",
    "json_invalid": "la ligne n'est pas un objet JSON",
    "union_tag_invalid": "nature de fait inconnue",
    "union_tag_not_found": "« fact » est absent",
    "timezone_aware": "date sans décalage horaire",
    "literal_error": "valeur hors de la liste",
    "string_pattern_mismatch": "forme inattendue",
    "date_type": "forme inattendue",
    "greater_than_equal": "date ou nombre hors des limites",
    "less_than": "date ou nombre hors des limites",
}


def read(line: bytes | str) -> Fact:
    """One line. Raises `FactError` with all its faults."""
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as e:
        raise FactError(_faults(e)) from None


def check(fact: dict[str, Any]) -> Fact:
    """A fact built in Python (instants as `datetime`), checked like a line. Raises `FactError`."""
    try:
        return _ADAPTER.validate_python(fact)
    except ValidationError as e:
        raise FactError(_faults(e)) from None


def _faults(e: ValidationError) -> list[str]:
    faults: list[str] = []
    dated = ""
    for error in e.errors(include_url=False, include_context=False, include_input=False):
        # the first step is the kind of fact, where one was recognised
        steps = [str(step) for step in error["loc"]][1:] if len(error["loc"]) > 1 else []
        if "date" in steps and error["type"] != "extra_forbidden":
            # one fault for the forms that were tried, that of the last one: they come one after the other
            steps = steps[: steps.index("date") + 1]
            if dated == ".".join(steps):
                faults.pop()
            dated = ".".join(steps)
        else:
            dated = ""
        # a name that is not ours may be anything: it is not repeated
        place = ".".join(steps[:-1] if error["type"] == "extra_forbidden" else steps)
        sentence = _SENTENCES.get(error["type"], "type ou valeur inattendus")
        faults.append(f"{place} : {sentence}" if place else sentence)
    return list(dict.fromkeys(faults))


def canonical(fact: Fact) -> str:
    """The one text of a fact: keys sorted, nulls left out, instants in UTC."""
    return _text(_plain(fact))


def digest(fact: Fact) -> str:
    """SHA-256 of the canonical form without `known_at`, in hexadecimal: the same for two tellings of one fact."""
    return told(fact)[0]


def told(fact: Fact) -> tuple[str, str]:
    """(digest, canonical form) of a fact, for half of what the two cost one by one."""
    plain = _plain(fact)
    known_at = plain.pop("known_at", None)
    text = _text(plain)
    said = hashlib.sha256(text.encode()).hexdigest()
    return said, text if known_at is None else _text(plain | {"known_at": known_at})


def _text(plain: dict[str, Any]) -> str:
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _plain(told: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in told.items():
        if isinstance(value, dict):
            if part := _plain(value):
                kept[key] = part
        elif isinstance(value, datetime):
            kept[key] = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        elif isinstance(value, date):
            kept[key] = value.isoformat()
        elif value is not None:
            kept[key] = value
    return kept


def schema() -> dict[str, Any]:
    """The JSON Schema of a line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A fact of the DSR indicators (one JSON object a line)",
        **_ADAPTER.json_schema(),
    }
