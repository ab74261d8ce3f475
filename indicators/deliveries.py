"""Deliveries: what became of each version of each document, for each destination and recipient.

Purpose: facts `delivery` → documents (one for each setId) with their attempts. Pure.

Guarantee: the same facts give the same attempts in any order and however often they are repeated. An attempt is
(message, version, destination, recipient); its last word wins (at the same instant: success, then failure), so a
negative DSN takes back the success that it follows; a failure of another message takes nothing back. `pending` never
takes anything back.

Fails: never.
Source: spec/indicators.md R1, R2, R19, §1.4; deletions §7.8.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from enum import IntEnum

from indicators.facts import Delivery
from indicators.movements import ref_of
from indicators.patients import Ref

PATIENT_DOMAIN = "patient.mssante.fr"
_INDEXED_FROM = 32
_NOON = time(12, tzinfo=UTC)


class Channel(IntEnum):
    """Where a document goes. The names are those of the published rows."""

    DMP = 0
    MSS_PRO = 1
    MSS_CITOYENNE = 2


class Attempt:
    """One version sent to one destination. Instants are seconds since 1970."""

    __slots__ = (
        "channel",
        "code",
        "control_id",
        "date",
        "document",
        "finess",
        "first",
        "historical",
        "last",
        "outcome",
        "patient",
        "qualified",
        "recipient",
        "ref",
        "success",
        "type_code",
        "unique_id",
        "version",
    )

    document: Document
    control_id: str
    unique_id: str
    version: int
    channel: Channel
    recipient: str
    """Address in lower case; "" for the DMP."""
    type_code: str
    finess: str
    ref: Ref | None
    """Stay as the sender names it."""
    patient: str
    qualified: bool
    historical: bool
    date: float | None
    """Date of the document."""
    first: float
    """First word on it: when it was attempted."""
    last: float
    """Last decisive word; negative infinity while there is none."""
    outcome: str
    """`success`, `failure` or `pending`."""
    success: float | None
    """First success told, even if it was taken back."""
    code: str

    @property
    def ok(self) -> bool:
        """True when it succeeded, as far as is known."""
        return self.outcome == "success"

    @property
    def failed(self) -> bool:
        """True when it failed, as far as is known."""
        return self.outcome == "failure"

    @property
    def taken_back(self) -> bool:
        """True when it had succeeded and then failed."""
        return self.outcome == "failure" and self.success is not None


class Document:
    """All versions of a set."""

    __slots__ = ("_index", "attempts", "deletions", "set_id")

    def __init__(self, set_id: str) -> None:
        self.set_id = set_id
        self.attempts: list[Attempt] = []
        self.deletions: tuple[tuple[Channel, str, float], ...] = ()
        """(channel, recipient, instant)."""
        self._index: dict[tuple[str, str, Channel, str], Attempt] | None = None

    def attempt(self, control_id: str, unique_id: str, channel: Channel, recipient: str) -> Attempt | None:
        """The attempt of that message, version and recipient, if any fact told of it."""
        if self._index is None:
            if len(self.attempts) < _INDEXED_FROM:
                wanted = (unique_id, recipient, control_id)
                for a in self.attempts:
                    if a.channel is channel and (a.unique_id, a.recipient, a.control_id) == wanted:
                        return a
                return None
            self._index = {(a.control_id, a.unique_id, a.channel, a.recipient): a for a in self.attempts}
        return self._index.get((control_id, unique_id, channel, recipient))

    def add(self, attempt: Attempt) -> None:
        """One more."""
        self.attempts.append(attempt)
        if self._index is not None:
            key = (attempt.control_id, attempt.unique_id, attempt.channel, attempt.recipient)
            self._index[key] = attempt

    def deleted(self, attempt: Attempt) -> bool:
        """True when what the attempt brought was deleted there afterwards."""
        return any(
            channel is attempt.channel
            and recipient in ("", attempt.recipient)
            and at >= (attempt.success or at)
            for channel, recipient, at in self.deletions
        )


class DeliveryFold:
    """Tell it every `delivery` fact, in any order."""

    __slots__ = ("_refs", "_texts", "documents")

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self._texts: dict[str, str] = {}
        self._refs: dict[Ref, Ref] = {}

    def add(self, fact: Delivery) -> None:
        """One word on one delivery."""
        told = fact["document"]
        unique_id = told["unique_id"]
        set_id = told.get("set_id") or unique_id
        document = self.documents.get(set_id)
        if document is None:
            document = self.documents[set_id] = Document(set_id)
        at = fact["at"].timestamp()
        recipient = self._one((fact.get("recipient") or "").lower())
        channel = Channel.DMP if fact["destination"] == "dmp" else channel_of(recipient)
        if channel is Channel.DMP:
            recipient = ""
        outcome = fact["outcome"]
        if outcome == "deleted":
            document.deletions = tuple(sorted({*document.deletions, (channel, recipient, at)}))
            return
        control_id = fact.get("control_id") or ""
        attempt = document.attempt(control_id, unique_id, channel, recipient)
        if attempt is None:
            attempt = self._new(fact, document, control_id, channel, recipient, at)
        else:
            self._merge(attempt, fact)
        if at < attempt.first:
            attempt.first = at
        if outcome == "success" and (attempt.success is None or at < attempt.success):
            attempt.success = at
        # at the same instant a failure is believed
        code = self._one(fact.get("code") or "")
        if outcome != "pending" and (at, outcome == "failure", code) >= (
            attempt.last,
            attempt.failed,
            attempt.code,
        ):
            attempt.last, attempt.outcome, attempt.code = at, outcome, code
        if fact.get("ins_qualified"):
            attempt.qualified = True
        if fact.get("historical"):
            attempt.historical = True

    def _new(
        self, fact: Delivery, document: Document, control_id: str, channel: Channel, recipient: str, at: float
    ) -> Attempt:
        told = fact["document"]
        a = Attempt()
        a.document = document
        known = document.attempts
        # most attempts of a document belong to one message and one version: their texts are kept once
        a.control_id = known[0].control_id if known and known[0].control_id == control_id else control_id
        unique_id = told["unique_id"]
        a.unique_id = known[0].unique_id if known and known[0].unique_id == unique_id else unique_id
        a.version = told.get("version") or 0
        a.channel, a.recipient = channel, recipient
        a.type_code, a.finess = self._one(told["type_code"]), self._one(fact["finess"])
        a.ref = self._ref(fact)
        a.patient = self._one(fact.get("patient") or "")
        a.qualified = a.historical = False
        a.date = _instant(told.get("date"))
        a.first, a.last, a.outcome, a.success, a.code = at, float("-inf"), "pending", None, ""
        document.add(a)
        return a

    def _merge(self, a: Attempt, fact: Delivery) -> None:
        """What another fact says of the same attempt: what was missing is filled in; of two values the smaller one is
        kept, so that the order does not matter.
        """
        told = fact["document"]
        ref, patient, date_told = self._ref(fact), fact.get("patient") or "", _instant(told.get("date"))
        a.version = max(a.version, told.get("version") or 0)
        if a.type_code != told["type_code"]:
            a.type_code = min(a.type_code, self._one(told["type_code"]))
        if a.finess != fact["finess"]:
            a.finess = min(a.finess, self._one(fact["finess"]))
        if ref is not None and ref != a.ref:
            a.ref = ref if a.ref is None else min(a.ref, ref)
        if patient and patient != a.patient:
            a.patient = min(a.patient, self._one(patient)) if a.patient else self._one(patient)
        if date_told is not None:
            a.date = date_told if a.date is None else min(a.date, date_told)

    def _ref(self, fact: Delivery) -> Ref | None:
        ref = ref_of(fact.get("stay"), fact["finess"])
        return None if ref is None else self._refs.setdefault(ref, ref)

    def _one(self, text: str) -> str:
        return self._texts.setdefault(text, text)

    def __iter__(self) -> Iterator[Document]:
        return iter(self.documents.values())


def channel_of(address: str) -> Channel:
    """The MSSanté channel of an address: patients' domain (and its sub-domains) or professionals."""
    domain = address.rpartition("@")[2]
    patient = domain == PATIENT_DOMAIN or domain.endswith("." + PATIENT_DOMAIN)
    return Channel.MSS_CITOYENNE if patient else Channel.MSS_PRO


def _instant(told: datetime | date | None) -> float | None:
    """A date without a time is taken at noon: the same civil day in all establishments."""
    if told is None:
        return None
    if isinstance(told, datetime):
        return told.timestamp()
    return datetime.combine(told, _NOON).timestamp()
