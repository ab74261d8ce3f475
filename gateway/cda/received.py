"""Version rules of the way back: may this received document go to the DPI, given what went there before?

Purpose: architecture §7a and the AMA (spec/mssante.md §2.5) over the register of received documents. The DPI has the
last word; what it would certainly refuse is refused here, with the same code.

Guarantee: pure; the register is only asked. A version that arrives late is forwarded (it never becomes the latest), a
document that the DPI has is not sent to it twice, and nothing is refused because of a document that the DPI refused.
The register is asked about one DPI: what another one has says nothing about this one.

Fails: never; everything is a finding at `place`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.cda.document import Document
from gateway.cda.versions import CHAIN, patient_key
from gateway.errors import Place
from gateway.hl7.transmission import Action
from gateway.rules import Findings, RuleBook


class Known(Protocol):
    """A document that was received before. `integrated`: the DPI accepted it; `under_way`: it has not answered yet."""

    @property
    def uid(self) -> str: ...

    @property
    def set_key(self) -> str: ...

    @property
    def version(self) -> int | None: ...

    @property
    def sha256(self) -> str: ...

    @property
    def patient(self) -> str: ...

    @property
    def action(self) -> Action: ...

    @property
    def confidentiality(self) -> frozenset[str]: ...

    @property
    def integrated(self) -> bool: ...

    @property
    def under_way(self) -> bool: ...


class Again(StrEnum):
    """The same document for the same action, seen before."""

    NO = "no"
    INTEGRATED = "integrated"
    UNDER_WAY = "under-way"


@dataclass(frozen=True, slots=True)
class ReceivedDecision:
    """What to do with a document. `previous`: confidentiality codes of the version that it replaces, None when the
    register does not have it."""

    set_key: str
    findings: Findings
    again: Again
    previous: frozenset[str] | None


def check_received(
    action: Action,
    document: Document,
    by_uid: Callable[[str], Sequence[Known]],
    by_set: Callable[[str], Sequence[Known]],
    book: RuleBook,
    place: Place,
) -> ReceivedDecision:
    """Apply the rules to one document (its id is present). What the DPI refused does not count."""
    findings = Findings(book)
    replaced = str(document.header.replaced_id) if document.header.replaced_id else None
    mine = _standing(by_uid(document.uid))
    parents = _standing(by_uid(replaced)) if replaced else []
    set_key = _set_key(document, mine, parents, replaced)
    versions = [k for k in _standing(by_set(set_key)) if k.action is not Action.DELETE]
    others = [k for k in versions if k.uid != document.uid]
    same = [k for k in mine if (k.action is Action.DELETE) == (action is Action.DELETE)]
    previous = parents[-1].confidentiality if action is Action.REPLACE and parents else None
    if action is not Action.DELETE and any(k.sha256 != document.sha256 for k in same):
        findings.add("IN-V-SAME-ID", place)
        return ReceivedDecision(set_key, findings, Again.NO, previous)
    if action is not Action.DELETE and mine and mine[-1].action is Action.DELETE:
        # the DPI has it no more: it is neither "integrated already" nor to be brought back by a stray copy
        findings.add("IN-V-DELETED", place)
        return ReceivedDecision(set_key, findings, Again.NO, previous)
    if same:
        done = any(k.integrated for k in same)
        return ReceivedDecision(set_key, findings, Again.INTEGRATED if done else Again.UNDER_WAY, previous)
    number = document.header.version
    later = [k for k in others if number is not None and k.version is not None and k.version > number]
    if _another_patient(document, versions + parents):
        findings.add("IN-V-PATIENT", place)
    if action is Action.DELETE:
        if later:
            findings.add("IN-V-NOT-LATEST", place)
    elif any(number is not None and k.version == number for k in others):
        findings.add("IN-V-SAME-VERSION", place)
    elif later:
        findings.add("IN-V-LATE", place)
    elif action is Action.REPLACE and versions and replaced not in {_latest(versions).uid, document.uid}:
        findings.add("IN-V-NOT-LATEST", place)
    if action is not Action.SUBMIT and not (mine if action is Action.DELETE else parents):
        findings.add("IN-V-UNKNOWN", place)
    return ReceivedDecision(set_key, findings, Again.NO, previous)


def _standing(known: Sequence[Known]) -> list[Known]:
    return [k for k in known if k.integrated or k.under_way]


def _set_key(
    document: Document, mine: Sequence[Known], parents: Sequence[Known], replaced: str | None
) -> str:
    """As for documents that are sent: what was registered, else setId, else the chain of relatedDocument."""
    if mine:
        return mine[0].set_key
    if parents and (document.header.set_id is None or parents[0].set_key.startswith(CHAIN)):
        return parents[0].set_key
    if document.header.set_id is not None:
        return str(document.header.set_id)
    return CHAIN + (replaced or document.uid)


def _latest(versions: Sequence[Known]) -> Known:
    best = versions[0]
    for candidate in versions[1:]:
        if candidate.version is None or best.version is None or candidate.version >= best.version:
            best = candidate
    return best


def _another_patient(document: Document, known: Sequence[Known]) -> bool:
    """Two national identities of one authority that differ."""
    mine = patient_key(document)
    return any(
        mine and k.patient and mine != k.patient and mine.partition("^")[0] == k.patient.partition("^")[0]
        for k in known
    )
