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
from enum import IntEnum
from typing import Any

import msgspec

from indicators.patients import Ref
from indicators.told import Delivery, instant_of

PATIENT_DOMAIN = "patient.mssante.fr"
_INDEXED_FROM = 32
_NOT_YET = float("-inf")


class Channel(IntEnum):
    """Where a document goes. The names are those of the published rows."""

    DMP = 0
    MSS_PRO = 1
    MSS_CITOYENNE = 2


_DMP = Channel.DMP


class Submission(msgspec.Struct, eq=False):
    """One version of a document as one message brought it: what all its attempts share."""

    document: Document
    control_id: str
    unique_id: str
    version: int
    type_code: str
    finess: str
    ref: Ref | None
    """Stay as the sender names it."""
    patient: str
    qualified: bool
    historical: bool
    dated: Any
    """Date of the document as told (ISO 8601): few are ever asked for it, and reading one costs as much as all else."""
    at: float
    """When the word that describes it was said."""
    attempts: list[Attempt]
    _index: dict[tuple[str, Channel], Attempt] | None = None

    @property
    def date(self) -> float | None:
        """Date of the document, in seconds since 1970."""
        return instant_of(self.dated)

    def add(self, attempt: Attempt) -> None:
        """One more."""
        self.attempts.append(attempt)
        if len(self.attempts) >= _INDEXED_FROM:
            if self._index is None:
                self._index = {(a.recipient, a.channel): a for a in self.attempts}
            self._index[attempt.recipient, attempt.channel] = attempt


class Attempt(msgspec.Struct, eq=False):
    """A submission sent to one destination. Instants are seconds since 1970. (A million are made: a plain class takes
    three times as long.)
    """

    submission: Submission
    channel: Channel
    recipient: str
    """Address in lower case; "" for the DMP."""
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
    def taken_back(self) -> bool:
        """True when it had succeeded and then failed."""
        return self.outcome == "failure" and self.success is not None


class Document(msgspec.Struct, eq=False):
    """All versions of a set."""

    set_id: str
    submissions: tuple[Submission, ...] = ()
    deletions: tuple[tuple[Channel, str, float], ...] = ()
    """(channel, recipient, instant)."""

    @property
    def attempts(self) -> list[Attempt]:
        """Those of all submissions."""
        if len(self.submissions) == 1:
            return self.submissions[0].attempts
        return [a for s in self.submissions for a in s.attempts]

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

    __slots__ = ("_channels", "_refs", "_texts", "documents")

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self._texts: dict[str, str] = {"": ""}
        self._refs: dict[Ref, Ref] = {}
        self._channels: dict[str, tuple[Channel, str]] = {}
        """Address as told → its channel, and the address as it is kept."""

    def add(self, told: Delivery, at: float) -> None:
        """One word on one delivery. (Called a million times: what is usual is done here, without calls.)"""
        brought = told.document
        unique_id, outcome = brought.unique_id, told.outcome
        set_id = brought.set_id or unique_id
        if told.destination == "dmp":
            channel, recipient = _DMP, ""
        else:
            address = told.recipient or ""
            channel, recipient = self._channels.get(address) or self._channel(address)
        document = self.documents.get(set_id)
        if document is None:
            document = self.documents[set_id] = Document(set_id)
        if outcome == "deleted":
            document.deletions = tuple(sorted({*document.deletions, (channel, recipient, at)}))
            return
        control_id, code = told.control_id or "", told.code or ""
        attempt: Attempt | None
        if code:
            code = self._texts.setdefault(code, code)
        for submission in document.submissions:
            if submission.unique_id == unique_id and submission.control_id == control_id:
                # the earliest word describes the submission, whatever the order in which words come
                if at <= submission.at:
                    self._earlier(submission, told, at)
                if submission._index is None:
                    for attempt in submission.attempts:
                        # addresses are kept once: the same one is the same object
                        if attempt.recipient is recipient and attempt.channel is channel:
                            break
                    else:
                        attempt = None
                else:
                    attempt = submission._index.get((recipient, channel))
                break
        else:
            submission = Submission(document, control_id, unique_id, *self._described(told), at, [])
            document.submissions = (*document.submissions, submission)
            attempt = None
        if attempt is None:
            submission.add(
                Attempt(
                    submission,
                    channel,
                    recipient,
                    at,
                    _NOT_YET if outcome == "pending" else at,
                    outcome,
                    at if outcome == "success" else None,
                    code,
                )
            )
            return
        if at < attempt.first:
            attempt.first = at
        if outcome == "success" and (attempt.success is None or at < attempt.success):
            attempt.success = at
        # at the same instant a failure is believed
        before = (attempt.last, attempt.outcome == "failure", attempt.code)
        if outcome != "pending" and (at, outcome == "failure", code) >= before:
            attempt.last, attempt.outcome, attempt.code = at, outcome, code

    def _channel(self, address: str) -> tuple[Channel, str]:
        lower = address.lower()
        found = self._channels[address] = channel_of(lower), self._texts.setdefault(lower, lower)
        return found

    def _described(self, told: Delivery) -> tuple[int, str, str, Ref | None, str, bool, bool, Any]:
        """What a word says of its submission, in the order of the fields from `version` on."""
        brought, one = told.document, self._texts.setdefault
        type_code, finess, patient = brought.type_code, told.finess, told.patient or ""
        stay = told.stay
        ref = None
        if stay is not None:
            ref = (stay.authority or finess, stay.value)
            ref = self._refs.setdefault(ref, ref)
        return (
            brought.version or 0,
            one(type_code, type_code),
            one(finess, finess),
            ref,
            one(patient, patient),
            bool(told.ins_qualified),
            bool(told.historical),
            brought.date,
        )

    def _earlier(self, s: Submission, told: Delivery, at: float) -> None:
        """An earlier word takes the place of the later one; of two of the same instant, the one that says more (then
        the smaller one).
        """
        if _same(s, told):
            s.at = at
            return
        known = s.version, s.type_code, s.finess, s.ref, s.patient, s.qualified, s.historical, s.dated
        said = self._described(told)
        before = _description(s)
        s.version, s.type_code, s.finess, s.ref, s.patient, s.qualified, s.historical, s.dated = said
        if at == s.at and before <= _description(s):
            s.version, s.type_code, s.finess, s.ref, s.patient, s.qualified, s.historical, s.dated = known
        s.at = at

    def __iter__(self) -> Iterator[Document]:
        return iter(self.documents.values())


def _same(s: Submission, told: Delivery) -> bool:
    """True when a word says of the submission what is known of it, as nearly all do."""
    brought, stay, ref = told.document, told.stay, s.ref
    return (
        s.type_code == brought.type_code
        and s.patient == (told.patient or "")
        and s.finess == told.finess
        and s.version == (brought.version or 0)
        and s.qualified is bool(told.ins_qualified)
        and s.historical is bool(told.historical)
        and (
            stay is None
            if ref is None
            else stay is not None and ref[1] == stay.value and ref[0] == (stay.authority or told.finess)
        )
        and s.dated == brought.date
    )


def _description(s: Submission) -> tuple[object, ...]:
    """Comparable; what says more comes first."""
    return (
        s.ref is None,
        not s.patient,
        s.date is None,
        not s.qualified,
        not s.historical,
        -s.version,
        s.type_code,
        s.finess,
        s.patient,
        s.ref or ("", ""),
        s.date or 0.0,
    )


def channel_of(address: str) -> Channel:
    """The MSSanté channel of an address: patients' domain (and its sub-domains) or professionals."""
    domain = address.rpartition("@")[2]
    patient = domain == PATIENT_DOMAIN or domain.endswith("." + PATIENT_DOMAIN)
    return Channel.MSS_CITOYENNE if patient else Channel.MSS_PRO
