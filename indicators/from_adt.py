"""From an ADT message to facts: movement, consent, identity, correspondents.

Purpose: `AdtEvent` → lines of the published fact model. Pure: the establishment, its time zone and the way to make a
patient's key come in as values.
Guarantee: the same message gives the same facts with the same ids, whenever and however often it comes. An id is made
of the content and of the establishment, not of MSH-10, which is used twice in the field. Facts hold no name and no
national identifier: patients are opaque keys.
Fails: never for an event that was read without rejection.
Source: spec/indicators.md §2.1, §2.2, §8.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Literal, cast
from zoneinfo import ZoneInfo

from gateway.hl7.adt_event import MERGE_EVENTS, STAY_EVENTS, AdtEvent
from gateway.hl7.transmission import PatientId
from indicators.facts import (
    END,
    FIRST,
    UNKNOWN_FINESS,
    Consent,
    Consulting,
    Correspondent,
    Fact,
    Feeding,
    Identity,
    Movement,
    StayEvent,
    StayRef,
)

PatientKey = Callable[[Iterable[PatientId]], str | None]
_LOCAL = ("PI", "PN", "PT", "NH")


def establishment_of(event: AdtEvent, facilities: Mapping[str, str]) -> str:
    """FINESS of an event: its own numbers, else what the settings say of MSH-4, else `UNKNOWN`."""
    return event.establishment or facilities.get(event.sending_facility) or UNKNOWN_FINESS


def keyed_by(secret: bytes) -> PatientKey:
    """How patients are named in facts: HMAC of the hospital's own identifier (PI), else of the INS, else of the first.
    32 hexadecimal digits; the same for ADT and MDM of one hospital.
    """

    def key(identifiers: Iterable[PatientId]) -> str | None:
        told = list(identifiers)
        if not told:
            return None
        chosen = min(told, key=lambda i: _LOCAL.index(i.type) if i.type in _LOCAL else 8 + (not i.is_ins))
        text = f"{chosen.authority or chosen.authority_name}\n{chosen.value}"
        return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:32]

    return key


def stay_ref(number: PatientId | None) -> StayRef | None:
    """A visit or account number as facts name it."""
    if number is None:
        return None
    authority = number.authority or number.authority_name
    return {"authority": authority, "value": number.value} if authority else {"value": number.value}


def instant(text: str, zone: ZoneInfo) -> datetime | None:
    """An HL7 TS of at least 8 digits; without an offset it is local time. None for "", and for a date that stands for
    none (`00010101`, `99991231`)."""
    if not text:
        return None
    digits, offset = text, None
    for sign in "+-":
        if sign in text:
            digits, _, told = text.partition(sign)
            minutes = int(told[:2]) * 60 + int(told[2:])
            offset = timezone(timedelta(minutes=minutes if sign == "+" else -minutes))
    whole, _, fraction = digits.partition(".")
    parsed = datetime.strptime(whole.ljust(14, "0"), "%Y%m%d%H%M%S")
    micro = int(fraction[:6].ljust(6, "0")) if fraction else 0
    moment = parsed.replace(microsecond=micro, tzinfo=offset or zone)
    return moment if FIRST <= moment < END else None


def facts_of(
    event: AdtEvent,
    finess: str,
    zone: ZoneInfo,
    patient_key: PatientKey,
    known_at: datetime | None = None,
) -> list[Fact]:
    """The facts of one message, in no special order; none for an event that says nothing the indicators need."""
    at = instant(event.sent_at, zone)
    if at is None:
        return []
    patient = patient_key(event.patient)
    content = f"{finess}\n{replace(event, control_id='')!r}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:24]
    maker = _Maker(f"adt-{digest}", at, known_at, finess, zone, patient)
    found: list[Fact] = []
    if event.event in STAY_EVENTS and (event.visit or event.account):
        found.append(maker.stay(event))
        found += [maker.correspondent(event, rpps) for rpps in event.correspondents]
    if event.consent is not None:
        found.append(maker.consent(event))
    if event.event in MERGE_EVENTS and patient is not None:
        identity = maker.identity(event, patient_key(event.prior_patient))
        if identity is not None:
            found.append(identity)
    return found


class _Maker:
    def __init__(
        self,
        stem: str,
        at: datetime,
        known_at: datetime | None,
        finess: str,
        zone: ZoneInfo,
        patient: str | None,
    ) -> None:
        self.stem, self.at, self.known_at, self.finess = stem, at, known_at, finess
        self.zone, self.patient = zone, patient

    def stay(self, event: AdtEvent) -> StayEvent:
        told = event.movement
        movement: Movement = {"action": "INSERT"}
        if told is not None:
            movement = {
                "id": told.id or None,
                "action": cast(Literal["INSERT", "UPDATE", "CANCEL"], told.action),
                "at": instant(told.at, self.zone),
                "trigger": told.trigger or None,
            }
        return {
            "fact": "stay",
            "fact_id": f"{self.stem}-stay",
            "at": self.at,
            "known_at": self.known_at,
            "finess": self.finess,
            "event": event.event,
            "control_id": event.control_id or None,
            "stay": stay_ref(event.visit),
            "account": stay_ref(event.account),
            "patient": self.patient,
            "patient_class": event.patient_class or None,
            "kind": event.kind[:8] or None,
            "movement": movement,
            "admitted_at": instant(event.admitted_at, self.zone),
            "discharged_at": instant(event.discharged_at, self.zone),
            "occurred_at": instant(event.occurred_at, self.zone),
            "recorded_at": instant(event.recorded_at, self.zone),
        }

    def consent(self, event: AdtEvent) -> Consent:
        told = event.consent
        assert told is not None
        # an A28 or A31 that names no visit is about the patient: PID-18 alone names no open stay there
        number = event.visit or (event.account if event.event in STAY_EVENTS else None)
        return {
            "fact": "consent",
            "fact_id": f"{self.stem}-consent",
            "at": self.at,
            "known_at": self.known_at,
            "finess": self.finess,
            "stay": stay_ref(number),
            "patient": self.patient,
            "feeding": cast(Feeding | None, told.feeding or None),
            "consulting": cast(Consulting | None, told.consulting or None),
        }

    def identity(self, event: AdtEvent, prior: str | None) -> Identity | None:
        account = stay_ref(event.account or event.prior_account) if event.event == "A44" else None
        if (event.event == "A44" and account is None) or (event.event != "A44" and prior is None):
            return None
        assert self.patient is not None
        return {
            "fact": "identity",
            "fact_id": f"{self.stem}-identity",
            "at": self.at,
            "known_at": self.known_at,
            "finess": self.finess,
            "event": cast(Literal["A40", "A44", "A47"], event.event),
            "patient": self.patient,
            "prior_patient": prior,
            "account": account,
        }

    def correspondent(self, event: AdtEvent, rpps: str) -> Correspondent:
        return {
            "fact": "correspondent",
            "fact_id": f"{self.stem}-correspondent-{rpps}"[:256],
            "at": self.at,
            "known_at": self.known_at,
            "finess": self.finess,
            "stay": stay_ref(event.visit or event.account),
            "rpps": rpps,
        }
