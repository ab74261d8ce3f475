"""Deliveries: what became of each version of each document, for each destination and recipient.

Purpose: facts `delivery` → documents (one for each setId) with their submissions, and the attempts of these. Pure.

Guarantee: the same facts give the same documents and attempts in any order and however often they are repeated. An
attempt is (message, version, destination, recipient); its last word wins, so a negative DSN takes back the success that
it follows; a failure of another message takes nothing back (`indicators.attempts`).

Fails: never.
Source: spec/indicators.md R1, R2, R19, §1.4; deletions §7.8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from indicators.attempts import NONE, Attempt, Channel, Words, channel_of
from indicators.patients import Numbers, Ref
from indicators.told import Delivery, instant_of

__all__ = ["Attempt", "Channel", "DeliveryFold", "Document", "Submission", "channel_of"]
_MADE = 50_000
"""Submissions whose attempts are kept between two months."""


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
    newest: int
    """The word on it that was told last (`indicators.attempts`)."""
    made: list[Attempt] | None = None
    """Its attempts, once they were asked for."""

    @property
    def date(self) -> float | None:
        """Date of the document, in seconds since 1970."""
        return instant_of(self.dated)

    @property
    def attempts(self) -> list[Attempt]:
        """What became of it: kept until `DeliveryFold.forget`."""
        if self.made is None:
            self.made = self.document.fold.keep(self)
        return self.made


class Document(msgspec.Struct, eq=False):
    """All versions of a set."""

    set_id: str
    fold: DeliveryFold
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

    __slots__ = ("_made", "_numbers", "_texts", "_words", "documents", "finesses")

    def __init__(self, numbers: Numbers | None = None) -> None:
        self.documents: dict[str, Document] = {}
        self.finesses: set[str] = set()
        """Establishments that words named, those too of which an earlier word left nothing."""
        self._texts: dict[str, str] = {"": ""}
        self._numbers = numbers or Numbers()
        self._words = Words()
        self._made: list[Submission] = []

    def add(self, told: Delivery, at: float) -> None:
        """One word on one delivery. (Called a million times: what is usual is done here, without calls.)"""
        brought = told.document
        unique_id, outcome = brought.unique_id, told.outcome
        set_id = brought.set_id or unique_id
        words = self._words
        target = 0 if told.destination == "dmp" else words.target(told.recipient or "")
        document = self.documents.get(set_id)
        if document is None:
            document = self.documents[set_id] = Document(set_id, self)
        if outcome == "deleted":
            deletion = (*words.at(target), at)
            document.deletions = tuple(sorted({*document.deletions, deletion}))
            return
        self.finesses.add(told.finess)
        control_id = told.control_id or ""
        for submission in document.submissions:
            if submission.unique_id == unique_id and submission.control_id == control_id:
                # the earliest word describes the submission, whatever the order in which words come
                if at <= submission.at:
                    self._earlier(submission, told, at)
                submission.made = None
                break
        else:
            submission = Submission(document, control_id, unique_id, *self._described(told), at, NONE)
            document.submissions = (*document.submissions, submission)
        submission.newest = words.add(target, at, outcome, told.code or "", submission.newest)

    def attempts(self, submission: Submission) -> list[Attempt]:
        """Those of a submission, made anew: for who looks at all of them once."""
        return submission.made or self._words.attempts(submission)

    def keep(self, submission: Submission) -> list[Attempt]:
        """Those of a submission, which keeps them: for who looks at some of them again and again."""
        self._made.append(submission)
        return self._words.attempts(submission)

    def forget(self) -> None:
        """Between two months: attempts of many submissions are not kept. They are made again when asked for."""
        if len(self._made) > _MADE:
            for submission in self._made:
                submission.made = None
            self._made.clear()

    def _described(self, told: Delivery) -> tuple[int, str, str, Ref | None, str, bool, bool, Any]:
        """What a word says of its submission, in the order of the fields from `version` on."""
        brought, one = told.document, self._texts.setdefault
        type_code, finess, patient = brought.type_code, told.finess, told.patient or ""
        return (
            brought.version or 0,
            one(type_code, type_code),
            one(finess, finess),
            self._numbers.one(told.stay, finess),
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
