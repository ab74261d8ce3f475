"""Which delivery a receipt speaks of, and what the DPI is told of it. Pure.

Purpose: from a `Reading` and what we know of our own mails to facts, each with its ZAM^Z02 or ZAM^Z03 where the DPI
asked for one.
Guarantee: a delivery is found by identifiers of our own making only (ENVID, Message-ID: random, one per mail and
recipient), never by a subject, a name or a date; all the identifiers that we know must name the same delivery, and a
DSN must also name its recipient. Anything else is quarantine.
Fails: never for what a receipt says.
Source: spec/mssante.md §3.1 (order of the keys, actions), §3.2, §3.3; spec/hl7-transmission.md §3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from typing import Protocol

from connectors.mss.addresses import same_mailbox_key
from connectors.mss.plan import MailPlan
from connectors.mss.receipts.identifiers import OTHER, message_id
from connectors.mss.receipts.model import (
    Action,
    Disposition,
    Dsn,
    DsnRecipient,
    ErrorMail,
    Mdn,
    Quarantined,
    Reading,
    Reason,
)
from connectors.port import Report
from connectors.smtp.replies import label_of
from gateway.hl7.tables import APPLICATION_ERRORS, label


@dataclass(frozen=True, slots=True)
class Sent:
    """One of our deliveries: its number in the journal, and of its plan what a receipt may give back."""

    delivery: int
    message_id: str = field(repr=False)
    """With or without its brackets."""
    envid: str = field(repr=False)
    recipient: str = field(repr=False)
    recipient_id: str = field(default="", repr=False)
    ask_reception: bool = True
    """ACK_RECEPTION was Y: Z02 is wanted."""
    ask_reading: bool = True
    """ACK_LECTURE_MSS was Y: Z03 is wanted."""

    @classmethod
    def of(cls, delivery: int, plan: MailPlan) -> Sent:
        """The delivery of that number, sent by `plan`."""
        return cls(
            delivery,
            plan.message_id,
            plan.envid,
            plan.recipient,
            plan.recipient_id,
            plan.ask_reception,
            plan.ask_reading,
        )


class Lookup(Protocol):
    """What is known of the mails sent. Keys are compared without case (ours are hexadecimal); unknown: empty."""

    def by_envid(self, envid: str) -> Sequence[Sent]:
        """The deliveries sent with that ENVID."""
        ...

    def by_message_id(self, message_id: str) -> Sequence[Sent]:
        """The deliveries sent with that Message-ID (given without brackets)."""
        ...


class Known:
    """A `Lookup` over deliveries in memory: those that a query for `keys_of(reading)` brought."""

    def __init__(self, sent: Iterable[Sent]) -> None:
        self._by_envid: dict[str, list[Sent]] = {}
        self._by_message_id: dict[str, list[Sent]] = {}
        for one in sent:
            if one.envid:
                self._by_envid.setdefault(one.envid.casefold(), []).append(one)
            self._by_message_id.setdefault(message_id(one.message_id).casefold(), []).append(one)

    def by_envid(self, envid: str) -> Sequence[Sent]:
        """As `Lookup`."""
        return self._by_envid.get(envid.casefold(), ())

    def by_message_id(self, message_id: str) -> Sequence[Sent]:
        """As `Lookup`."""
        return self._by_message_id.get(message_id.casefold(), ())


@dataclass(frozen=True, slots=True)
class Keys:
    """The identifiers that `match` will look up, so that they can be fetched before."""

    envids: tuple[str, ...] = field(default=(), repr=False)
    message_ids: tuple[str, ...] = field(default=(), repr=False)


def keys_of(reading: Reading) -> Keys:
    """What to ask the journal before `match(reading, …)`; empty for what is no receipt."""
    if isinstance(reading, Dsn):
        return Keys(_given(reading.envid), _given(reading.message_id))
    if isinstance(reading, Mdn):
        return Keys(message_ids=_given(*reading.message_ids))
    if isinstance(reading, ErrorMail):
        return Keys(message_ids=_given(reading.message_id, *reading.references))
    return Keys()


class Fact(StrEnum):
    """What a receipt establishes of a delivery."""

    RECEIVED = "received"
    """Z02 Y: the recipient's mail server has it."""
    NOT_RECEIVED = "not-received"
    """Z02 N."""
    DELAYED = "delayed"
    """Nothing is told yet; `code` is for the Z02 N of a delivery of which this stays the last news."""
    READ = "read"
    """Z03 Y: read, or integrated."""
    NOT_INTEGRATED = "not-integrated"
    """Z03 N."""
    NO_NEWS = "no-news"
    """Deleted unread, or the reader refuses to tell: nothing is told."""


@dataclass(frozen=True, slots=True)
class Matched:
    """A fact of one delivery. `code`: SMTPERRORCODE or table 0533, "" for a success. `report` is what to tell the DPI,
    None when it did not ask or there is nothing to tell."""

    sent: Sent
    fact: Fact
    code: str = ""
    report: Report | None = field(default=None, repr=False)


def match(
    reading: Reading, sent: Lookup, *, deleted_is_error: bool = False
) -> tuple[Matched | Quarantined, ...]:
    """The facts of `reading`: for each delivery it speaks of at most one, and a quarantine for what it says of none.

    Documents and automatic mail establish nothing: (). With `deleted_is_error` a mail deleted unread is told N, 906.
    """
    if isinstance(reading, Dsn):
        return _of_dsn(reading, sent)
    if isinstance(reading, Mdn):
        return (_of_mdn(reading, sent, deleted_is_error),)
    if isinstance(reading, ErrorMail):
        return (_of_error_mail(reading, sent),)
    return (reading,) if isinstance(reading, Quarantined) else ()


# --- DSN -----------------------------------------------------------------------------------------------------------

_FACTS: Mapping[Action, Fact] = {
    Action.DELIVERED: Fact.RECEIVED,
    Action.RELAYED: Fact.RECEIVED,
    Action.EXPANDED: Fact.RECEIVED,
    Action.FAILED: Fact.NOT_RECEIVED,
    Action.DELAYED: Fact.DELAYED,
}


def _of_dsn(dsn: Dsn, sent: Lookup) -> tuple[Matched | Quarantined, ...]:
    keys = [sent.by_envid(dsn.envid)] if dsn.envid else []
    if dsn.message_id:
        keys.append(sent.by_message_id(dsn.message_id))
    found = _agreed(keys)
    if isinstance(found, Quarantined):
        return (found,)
    told: dict[int, tuple[Sent, list[DsnRecipient]]] = {}
    others = False
    for block in dsn.recipients:
        # the original recipient is the one that we named; without it, the final one must be
        named = [one for one in found if _same(one.recipient, block.original or block.final)]
        if len(named) == 1:
            told.setdefault(named[0].delivery, (named[0], []))[1].append(block)
        else:
            others = True
    results: list[Matched | Quarantined] = [_of_blocks(one, blocks) for one, blocks in told.values()]
    return (*results, Quarantined(Reason.OTHER_RECIPIENT)) if others else tuple(results)


def _of_blocks(sent: Sent, blocks: Sequence[DsnRecipient]) -> Matched | Quarantined:
    """One fact from all the blocks of a recipient: a final one counts more than a delay, two that differ are none."""
    final = [block for block in blocks if block.action is not Action.DELAYED] or list(blocks)
    facts = {_FACTS[block.action] for block in final}
    if len(facts) > 1:
        return Quarantined(Reason.CONTRADICTION)
    fact, code = facts.pop(), final[0].code
    if fact is Fact.DELAYED or not sent.ask_reception:
        return Matched(sent, fact, code)
    accepted = fact is Fact.RECEIVED
    words = "" if accepted else label_of(code)
    return Matched(sent, fact, code, Report("Z02", accepted, sent.recipient, sent.recipient_id, code, words))


# --- MDN and error mails ---------------------------------------------------------------------------------------------


def _of_mdn(mdn: Mdn, sent: Lookup, deleted_is_error: bool) -> Matched | Quarantined:
    original, returned, answered = mdn.message_ids
    keys = [sent.by_message_id(one) for one in _given(original, returned, answered)]
    if keys and (original or returned) and not keys[0]:
        # it says which mail it answers, and that one is not ours: the rest is no better
        return Quarantined(Reason.UNKNOWN_DELIVERY)
    found = _agreed(keys)
    if isinstance(found, Quarantined):
        return found
    one = _one_of(found, mdn.original, mdn.final)
    if isinstance(one, Quarantined):
        return one
    error = mdn.error
    if error is None and mdn.disposition is Disposition.DELETED and deleted_is_error:
        error = OTHER
    if error is None and mdn.disposition in (Disposition.DELETED, Disposition.DENIED):
        return Matched(one, Fact.NO_NEWS)
    return _read_by(one, mdn.final, error)


def _of_error_mail(mail: ErrorMail, sent: Lookup) -> Matched | Quarantined:
    ids = _given(mail.message_id) or mail.references
    # a thread names several mails: all of ours among them must be the same
    found = _agreed([sent.by_message_id(one) for one in ids])
    if isinstance(found, Quarantined):
        return found
    one = _one_of(found)
    return one if isinstance(one, Quarantined) else _read_by(one, mail.sender, mail.error)


def _read_by(sent: Sent, reader: str, error: str | None) -> Matched:
    fact = Fact.READ if error is None else Fact.NOT_INTEGRATED
    code = error or ""
    if not sent.ask_reading:
        return Matched(sent, fact, code)
    address = reader or sent.recipient
    # the id is that of the person we wrote to; after a forward another one reads
    person = sent.recipient_id if _same(address, sent.recipient) else ""
    report = Report("Z03", error is None, address, person, code, label(APPLICATION_ERRORS, code))
    return Matched(sent, fact, code, report)


# --- keys ------------------------------------------------------------------------------------------------------------


def _given(*keys: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for key in keys if key))


def _agreed(keys: Iterable[Sequence[Sent]]) -> tuple[Sent, ...] | Quarantined:
    """The deliveries that every key that we know names. A key that we do not know says nothing against the others:
    a relay may have made it; two that name different deliveries do."""
    known = [found for found in keys if found]
    if not known:
        return Quarantined(Reason.UNKNOWN_DELIVERY)
    common = reduce(lambda a, b: a & b, ({one.delivery for one in found} for found in known))
    agreed = {one.delivery: one for one in known[0] if one.delivery in common}
    return tuple(agreed.values()) or Quarantined(Reason.CONTRADICTION)


def _one_of(found: Sequence[Sent], *addresses: str) -> Sent | Quarantined:
    """The only delivery, or among several recipients of one mail the one that the first known address names."""
    if len(found) == 1:
        return found[0]
    for address in addresses:
        named = [one for one in found if _same(one.recipient, address)]
        if len(named) == 1:
            return named[0]
    return Quarantined(Reason.OTHER_RECIPIENT)


def _same(recipient: str, address: str) -> bool:
    return bool(address) and same_mailbox_key(recipient) == same_mailbox_key(address)
