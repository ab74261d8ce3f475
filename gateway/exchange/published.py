"""What the exchanges say to the indicators: outcomes of the journal → facts, as plain values.

Purpose: what is kept of a document when it is accepted (`about`), and the facts of its deliveries, of received mails
and of DMP consultations. Pure: the clock, the settings and the secret come in as values (`Names`).

Guarantee: the same outcome gives the same fact with the same id, at whatever node and however often it is told.
Patients are opaque keys; of an address of Mon espace santé, which holds an INS, only the domain is kept as it is.
Fails: never for what was accepted; a fact that would not be one raises `FactError` (`publisher` counts it).
Source: docs/indicators.md; spec/indicators.md R1, R10, §8; docs/decisions/0026, 0034.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from gateway.cda.document import Document
from gateway.exchange import opaque
from gateway.hl7.profile.datatypes import is_timestamp
from gateway.hl7.transmission import PatientId, Person, Transmission
from indicators.facts import END, FIRST, UNKNOWN_FINESS, Fact, read
from indicators.from_adt import PatientKey, instant, keyed_by, stay_ref

CHANNELS = ("dmp", "mss")
"""Destinations whose deliveries are facts."""
Outcome = Literal["success", "failure", "deleted"]
_FINESS = re.compile(r"\d[\dAB]\d{7}")
_STRUCTURE = re.compile(r"1(\d[\dAB]\d{7})")
"""Struct_IdNat: 1 and a FINESS number."""
_RPPS = re.compile(r"8(\d{11})")
"""PS_IdNat: 8 and an RPPS number."""
_NUMBER = re.compile(r"\d{11}")
_TRANSACTION = re.compile(r"TD\d+\.\d+[a-z]?")
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Names:
    """How establishments, times and patients are named. `processing_ids`: MSH-11 of the messages that count, None: all;
    `historical_days`: age of a document that is sent late, 0: none is historical.
    """

    secret: bytes = field(repr=False)
    facilities: Mapping[str, str]
    zone_of: Callable[[str], ZoneInfo]
    processing_ids: frozenset[str] | None
    historical_days: float

    @property
    def key(self) -> PatientKey:
        """Patients' keys."""
        return keyed_by(self.secret)

    def counts(self, processing_id: str) -> bool:
        """Messages of this MSH-11 count."""
        return self.processing_ids is None or processing_id in self.processing_ids

    def facility(self, facility: str) -> str:
        """FINESS of a sender (MSH-4), or `UNKNOWN`."""
        return self.facilities.get(facility) or UNKNOWN_FINESS

    def address(self, address: str) -> str | None:
        """A recipient as facts name it."""
        return _short(opaque.address(self.secret, address) or address.strip().lower())


# --- documents of a DPI -----------------------------------------------------------------------------------------------


def establishment_of(transmission: Transmission, names: Names) -> str:
    """FINESS géographique of a message: its numbers', its sender's (PRT-8), else what the settings say of MSH-4."""
    for stay in (transmission.visit_number, transmission.account_number):
        if stay is not None and (found := _finess(stay)):
            return found
    organisation = transmission.sender.organisation if transmission.sender is not None else None
    # a FINESS juridique (FINEJ) names the hospital, not its site
    if organisation is not None and organisation.id_type != "FINEJ":
        # the number itself (FINEG), or the national identifier of a structure (IDNST): 1 and the number
        named = _STRUCTURE.fullmatch(organisation.number.upper())
        number = named[1] if named else organisation.number.upper()
        if _FINESS.fullmatch(number):
            return number
    return names.facility(transmission.sending_facility)


def about(transmission: Transmission, document: Document, finess: str, names: Names, now: datetime) -> str:
    """JSON: what the facts of a document's deliveries will say of it, whenever they come."""
    zone = names.zone_of(finess)
    header = document.header
    event = header.principal_event or next(iter(header.events), None)
    service = (event.low or event.high) if event is not None else ""
    end = (event.high or event.low) if event is not None else ""
    patient = transmission.patient
    told: dict[str, Any] = {
        "finess": finess,
        "date": _day(service, zone) or _day(header.effective_time, zone),
        "type_system": _short(header.code.system) if header.code else None,
        "stay": stay_ref(transmission.visit_number or transmission.account_number),
        "patient": names.key(patient.identifiers),
        "ins_qualified": patient.ins is not None and patient.identity_status == "VALI",
        "historical": _historical(end or header.effective_time, transmission, zone, names, now),
    }
    if correspondents := _correspondents(transmission, names):
        told["correspondents"] = correspondents
    return json.dumps(told, ensure_ascii=False)


def _correspondents(transmission: Transmission, names: Names) -> dict[str, str]:
    """Address → RPPS of the professionals that a message is for (PRT-5, PRT-15)."""
    found = {}
    for party in transmission.recipients_ps:
        rpps, address = _rpps(party.person), names.address(party.address or "")
        if rpps and address:
            found[address] = rpps
    return found


def _rpps(person: Person | None) -> str:
    """The RPPS number of a professional, "" where PRT-5 has another identifier."""
    if person is None:
        return ""
    if person.id_type == "IDNPS":
        named = _RPPS.fullmatch(person.id)
        return named[1] if named else ""
    return person.id if person.id_type == "RPPS" and _NUMBER.fullmatch(person.id) else ""


def _historical(told: str, transmission: Transmission, zone: ZoneInfo, names: Names, now: datetime) -> bool:
    """Dated so long before it is sent that it was not sent in flux (R10)."""
    made = instant(told, zone) if is_timestamp(told, 8) else None
    if made is None or not names.historical_days:
        return False
    return _sent_at(transmission, zone, now) - made > timedelta(days=names.historical_days)


def _sent_at(transmission: Transmission, zone: ZoneInfo, now: datetime) -> datetime:
    told = instant(transmission.sent_at, zone) if is_timestamp(transmission.sent_at, 8) else None
    return told or now


def stay_of(transmission: Transmission, finess: str, names: Names, now: datetime) -> Fact | None:
    """The stay that an MDM or ORU says is over (PV1-45): a word for when no ADT says it."""
    zone = names.zone_of(finess)
    discharged = transmission.discharged_at
    if not is_timestamp(discharged, 8) or not (transmission.visit_number or transmission.account_number):
        return None
    admitted = transmission.admitted_at
    told: dict[str, Any] = {
        "fact": "stay",
        "at": _iso(_sent_at(transmission, zone, now)),
        "known_at": _iso(now),
        "finess": finess,
        "event": transmission.message_type,
        "stay": stay_ref(transmission.visit_number),
        "account": stay_ref(transmission.account_number),
        "patient": names.key(transmission.patient.identifiers),
        "patient_class": transmission.patient_class[:8] or None,
        "kind": transmission.stay_kind[:8] or None,
        "movement": {"action": "INSERT"},
        "admitted_at": _instant(admitted, zone),
        "discharged_at": _instant(discharged, zone),
    }
    content = json.dumps({k: v for k, v in told.items() if k != "known_at"}, sort_keys=True)
    told["fact_id"] = f"pv1-{hashlib.sha256(content.encode()).hexdigest()[:24]}-stay"
    return _fact(told)


@dataclass(frozen=True, slots=True)
class Delivered:
    """A document of a delivery, as the journal has it."""

    correlation: str
    """Of the message that asked for the delivery."""
    control_id: str
    position: int
    uid: str
    set_key: str
    version: int | None
    type_code: str
    about: Mapping[str, Any] = field(repr=False)


def delivery_fact_id(correlation: str, delivery_id: int, position: int, word: str) -> str:
    """Unique everywhere: the correlation id is random."""
    return f"dlv-{correlation}-{delivery_id}-{position}-{word}"


def delivery(
    delivery_id: int,
    word: str,
    documents: Sequence[Delivered],
    destination: str,
    recipient: str,
    outcome: Outcome,
    code: str,
    now: float,
    names: Names,
) -> list[Fact]:
    """One fact for each document of a delivery; none for documents that do not count. `word` tells apart what is said
    of one delivery (its end, a receipt)."""
    found: list[Fact] = []
    for d in documents:
        if destination not in CHANNELS or not d.about:
            continue
        told = {
            "fact": "delivery",
            "fact_id": delivery_fact_id(d.correlation, delivery_id, d.position, word),
            "at": _iso(datetime.fromtimestamp(now, UTC)),
            "finess": d.about["finess"],
            "control_id": _short(d.control_id),
            "document": {
                "unique_id": _named(d.uid),
                "set_id": _named(d.set_key),
                "version": d.version if d.version is not None and 0 <= d.version <= 1_000_000 else None,
                "type_code": _short(d.type_code) or "INCONNU",
                "type_system": d.about.get("type_system"),
                "date": d.about.get("date"),
            },
            "destination": destination,
            "recipient": names.address(recipient) if destination == "mss" else None,
            "outcome": outcome,
            "code": _short(code),
            "stay": d.about.get("stay"),
            "patient": d.about.get("patient"),
            "ins_qualified": d.about.get("ins_qualified"),
            "historical": d.about.get("historical"),
        }
        found.append(_fact(told))
    return found


def correspondent(
    delivery_id: int, word: str, documents: Sequence[Delivered], recipient: str, now: float, names: Names
) -> list[Fact]:
    """Who the recipient of a delivery is, for the stay that it is about: an ADT tells an RPPS without an address, and
    MSP-2 needs both. None when the message named no RPPS or no stay.
    """
    address = names.address(recipient)
    for d in documents:
        rpps = d.about.get("correspondents", {}).get(address)
        if rpps and d.about.get("stay"):
            told = {
                "fact": "correspondent",
                "fact_id": delivery_fact_id(d.correlation, delivery_id, d.position, f"{word}-recipient"),
                "at": _iso(datetime.fromtimestamp(now, UTC)),
                "finess": d.about["finess"],
                "stay": d.about["stay"],
                "rpps": rpps,
                "address": address,
            }
            return [_fact(told)]
    return []


# --- received mails, DMP consultations --------------------------------------------------------------------------------


def reception(
    finess: str, message_id: str, mail_sha256: str, uid: str, type_code: str, system: str, now: float
) -> Fact:
    """A document that came by MSSanté and is given to the DPI."""
    return _fact(_received("mss_reception", finess, message_id, mail_sha256, uid, type_code, system, now))


def integration(
    finess: str,
    message_id: str,
    mail_sha256: str,
    uid: str,
    type_code: str,
    system: str,
    ok: bool,
    now: float,
) -> Fact:
    """What the DPI answered: it took the document by itself, or not."""
    told = _received("mss_integration", finess, message_id, mail_sha256, uid, type_code, system, now)
    return _fact(told | {"outcome": "success" if ok else "failure", "mode": "auto"})


def _received(
    kind: str,
    finess: str,
    message_id: str,
    mail_sha256: str,
    uid: str,
    type_code: str,
    system: str,
    now: float,
) -> dict[str, Any]:
    identity = hashlib.sha256(f"{mail_sha256}\n{message_id}\n{uid}\n{finess}".encode()).hexdigest()[:24]
    return {
        "fact": kind,
        "fact_id": f"mss-{identity}-{'in' if kind == 'mss_reception' else 'dpi'}",
        "at": _iso(datetime.fromtimestamp(now, UTC)),
        "finess": finess,
        "message_id": _named(message_id) if message_id else f"sha256:{mail_sha256}",
        "document": {"unique_id": _named(uid), "type_code": _short(type_code), "type_system": _short(system)},
        "format": "cda",
    }


def consultation(entry: Mapping[str, Any], fact_id: str, names: Names, now: float) -> Fact | None:
    """A DMP transaction of a professional through our own API; None for what is none (or was not made)."""
    transaction, outcome = str(entry.get("transaction", "")), entry.get("outcome")
    if not _TRANSACTION.fullmatch(transaction) or outcome in ("asked", "refused"):
        return None
    if transaction.startswith("TD3.1"):
        transaction = "TD3.1"  # a and b are two ways to ask the same
    structure = _STRUCTURE.fullmatch(str(entry.get("structure", "")))
    user = str(entry.get("user", ""))
    rpps = _RPPS.fullmatch(user)
    documents = entry.get("documents") or [None]
    told = {
        "fact": "dmp_consultation",
        "fact_id": fact_id,
        "at": _iso(datetime.fromtimestamp(now, UTC)),
        "finess": structure[1] if structure else UNKNOWN_FINESS,
        "transaction": transaction,
        "outcome": "success" if outcome == "success" else "failure",
        "user": {
            "rpps": rpps[1] if rpps else None,
            "local_id": None if rpps else _short(user),
            "profession": _short(str(entry.get("profession") or "")),
        },
        "document": {
            "unique_id": _short(str(documents[0] or "")) if len(documents) == 1 else None,
            "type_code": _short(str(entry.get("type_code") or "")),
            "type_system": _short(str(entry.get("type_system") or "")),
        },
        "stay": entry.get("stay"),
        "trigger": entry.get("trigger"),
    }
    return _fact(told)


# --- forms ------------------------------------------------------------------------------------------------------------


def _fact(told: Mapping[str, Any]) -> Fact:
    return read(json.dumps(told))


def _finess(number: PatientId) -> str:
    for text in (number.authority, number.authority_name):
        if _FINESS.fullmatch(text.upper()):
            return text.upper()
    return ""


def _short(text: str) -> str | None:
    return text.strip()[:_LONGEST].strip() or None


def _named(text: str) -> str:
    """An identifier; a longer one than facts have is named by its sum, so that it stays one."""
    text = text.strip()
    return text if len(text) <= _LONGEST else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _instant(text: str, zone: ZoneInfo) -> str | None:
    found = instant(text, zone) if is_timestamp(text, 8) else None
    return None if found is None else _iso(found)


def _day(text: str, zone: ZoneInfo) -> str | None:
    """A date of a CDA: a day alone stays one."""
    if not is_timestamp(text, 8):
        return None
    if len(text) == 8:
        day = date(int(text[:4]), int(text[4:6]), int(text[6:]))
        return day.isoformat() if FIRST.date() <= day < END.date() else None
    return _instant(text, zone)
