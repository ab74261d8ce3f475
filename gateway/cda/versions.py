"""Version rules: may this document be submitted, may it replace, may it delete, given what is already known?

Purpose: architecture §7 and §7a as one pure function over a register. Source: V01–V03 of spec/cda.md §4
(AMA, volet Transmission), table 0533 (900 wrong version, 901 author not allowed).

Guarantee: pure; the register is only asked. One cause gives one finding. The same identifier with other
bytes is refused whatever the settings.

Words: the *set* is the chain of versions of one document, named by setId; a document without setId (interop)
belongs to the set of the document it replaces; the key of a set that began without setId is `id:` and the
identifier of its first document, and stays so even if a later version brings a setId. The *latest* version
is the one with the highest versionNumber; without numbers, the last registered.

After a deletion of the latest version, the set is closed for replacement (the DMP does not replace a deleted
document, and the earlier versions are deprecated there): a new version is accepted as a first transmission
only, with a versionNumber above all known ones.

Fails: never; everything is a finding at `place`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.cda.document import Document
from gateway.errors import Place
from gateway.hl7.transmission import Action
from gateway.rules import Findings, RuleBook

CHAIN = "id:"
"""Prefix of the key of a set without setId."""


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A document that was accepted here before."""

    uid: str
    set_key: str
    """As `VersionDecision.set_key` gave it."""
    version: int | None
    sha256: str
    author_organisations: frozenset[str]
    action: Action
    """SUBMIT or REPLACE: how it came."""
    deleted: bool = False
    """A deletion was accepted and did not fail everywhere since (a deletion that failed may be asked
    again).
    """
    patient: str = ""
    """`patient_key` of the document; empty: not compared."""


class Register(Protocol):
    """What the journal knows. Read inside the same transaction as the registration that follows (two senders
    may race with the same document)."""

    def by_uid(self, uid: str) -> KnownDocument | None:
        """The accepted document with this identifier (`root` or `root^extension`)."""
        ...

    def by_set(self, set_key: str) -> Sequence[KnownDocument]:
        """Every accepted version of the set, in order of registration, deleted ones included."""
        ...

    def brought_with(self, uid: str) -> Sequence[KnownDocument]:
        """The other documents of the message that brought the accepted document `uid` (ORU with two documents)."""
        ...


@dataclass(frozen=True, slots=True)
class VersionDecision:
    """The findings and how to register the document.

    `predecessor_uid` is the replaced document, or the deleted document itself; None for a first transmission.
    `predecessor_known` tells whether the register has it. `same_document` (submission, replacement): same id
    and same bytes as a known document; the heart decides which destinations remain.
    """

    findings: Findings
    set_key: str
    predecessor_uid: str | None
    predecessor_known: bool
    same_document: bool


def check_versions(
    action: Action,
    document: Document,
    register: Register,
    book: RuleBook,
    place: Place,
    unknown_predecessor: Literal["accept", "refuse"] = "accept",
) -> VersionDecision:
    """Apply the version rules to one document (its id must be present: rule CDA-H08)."""
    findings = Findings(book)
    known = register.by_uid(document.uid)
    set_key = _set_key(document, known, register)
    versions = register.by_set(set_key)
    others = [k for k in versions if k.uid != document.uid]
    if action is Action.DELETE:
        rule = _deletion(document, known, versions, findings, place)
        if rule:
            findings.add(rule, place)
        elif known is None:
            _unknown(findings, place, unknown_predecessor)
        return VersionDecision(findings, set_key, document.uid, known is not None, False)
    replaced = str(document.header.replaced_id) if document.header.replaced_id else None
    parent = register.by_uid(replaced) if replaced else None
    same = known is not None and known.sha256 == document.sha256
    rule = _already_known(document, known, versions)
    if rule:
        findings.add(rule, place)
    if action is Action.SUBMIT:
        if not rule and known is None:
            _submission(latest(others), replaced, parent, findings, place)
        return VersionDecision(findings, set_key, None, False, same)
    if replaced is not None and rule != "CDA-V-SAME-ID":
        _replacement(
            document, set_key, others, replaced, parent, findings, place, unknown_predecessor, bool(rule)
        )
    return VersionDecision(findings, set_key, replaced, parent is not None, same)


def check_pair_versions(
    action: Action,
    decisions: Sequence[VersionDecision],
    register: Register,
    book: RuleBook,
    places: Sequence[Place],
) -> Findings:
    """Documents that came together (N1 and N3 of an ORU) are replaced or deleted together, or not at all.

    `decisions` and their `places` are those of one message. A companion that was deleted, or whose set went on alone
    (another gateway, a severity lowered), is no longer asked for.
    """
    findings = Findings(book)
    if action is Action.SUBMIT:
        return findings
    sets = {d.set_key for d in decisions}
    for decision, place in zip(decisions, places, strict=True):
        if decision.predecessor_uid is None or not decision.predecessor_known:
            continue
        for companion in register.brought_with(decision.predecessor_uid):
            end = latest(register.by_set(companion.set_key))
            alive = not companion.deleted and end is not None and end.uid == companion.uid
            if alive and companion.set_key not in sets:
                findings.add("CDA-V-PAIR", place)
                break
    return findings


def patient_key(document: Document) -> str:
    """`OID^matricule` of the document's national identity, or the empty string."""
    patient = document.header.patient
    return str(patient.ins) if patient is not None and patient.ins is not None else ""


def known_document(document: Document, decision: VersionDecision, action: Action) -> KnownDocument:
    """What to register once `document` is accepted (submission or replacement)."""
    return KnownDocument(
        uid=document.uid,
        set_key=decision.set_key,
        version=document.header.version,
        sha256=document.sha256,
        author_organisations=document.header.author_organisations,
        action=action,
        patient=patient_key(document),
    )


def latest(versions: Sequence[KnownDocument]) -> KnownDocument | None:
    """The version with the highest number; without numbers or at equality, the last registered."""
    best: KnownDocument | None = None
    for candidate in versions:
        if (
            best is None
            or candidate.version is None
            or best.version is None
            or candidate.version >= best.version
        ):
            best = candidate
    return best


def structure(number: str) -> str:
    """A structure identifier without the type prefix: `1` + FINESS and FINESS alone are the same
    establishment.
    """
    return number[1:] if len(number) == 10 and number.startswith("1") else number


def _set_key(document: Document, known: KnownDocument | None, register: Register) -> str:
    """The key of the document's set: what was registered, else setId, else the chain of relatedDocument."""
    if known is not None:
        return known.set_key
    replaced = document.header.replaced_id
    parent = register.by_uid(str(replaced)) if replaced is not None else None
    if parent is not None and (document.header.set_id is None or parent.set_key.startswith(CHAIN)):
        return parent.set_key
    if document.header.set_id is not None:
        return str(document.header.set_id)
    return CHAIN + (str(replaced) if replaced is not None else document.uid)


def _already_known(
    document: Document, known: KnownDocument | None, versions: Sequence[KnownDocument]
) -> str | None:
    """The rule that forbids any publication of this id and version, or None; `versions` is the whole set."""
    version = document.header.version
    if known is not None and known.sha256 != document.sha256:
        return "CDA-V-SAME-ID"
    if known is not None and known.deleted:
        return "CDA-V-DELETED"
    if known is not None:
        # the same document again (a new recipient, a failure): unless the set went on without it
        end = latest(versions)
        return "CDA-V-OBSOLETE" if end is not None and end.uid != document.uid else None
    if version is None:
        return None
    if any(k.version == version for k in versions):
        return "CDA-V-SAME-VERSION"
    if any(k.version is not None and k.version > version for k in versions):
        return "CDA-V-OBSOLETE"
    return None


def _submission(
    end: KnownDocument | None,
    replaced: str | None,
    parent: KnownDocument | None,
    findings: Findings,
    place: Place,
) -> None:
    """A first transmission must not be a replacement in disguise; `end` is the latest version of its set."""
    if parent is not None and not parent.deleted:
        findings.add("CDA-V-RPLC-ON-SUBMIT", place)
    elif end is not None and not end.deleted:
        findings.add("CDA-V-NOT-A-REPLACEMENT", place)
    elif replaced is not None and parent is None:
        findings.add("CDA-V-RPLC-UNKNOWN", place)


def _replacement(
    document: Document,
    set_key: str,
    others: Sequence[KnownDocument],
    replaced: str,
    parent: KnownDocument | None,
    findings: Findings,
    place: Place,
    unknown_predecessor: Literal["accept", "refuse"],
    version_refused: bool,
) -> None:
    """The named parent: known, of this set, its latest version, not deleted, of the same organisation."""
    if replaced == document.uid:
        findings.add("CDA-V-SELF", place)
        return
    end = latest(others)
    if parent is None:
        _unknown_parent(document, end, findings, place, unknown_predecessor, version_refused)
        return
    if parent.set_key != set_key:
        findings.add("CDA-V-OTHER-SET", place)
    elif parent.deleted:
        findings.add("CDA-V-PARENT-DELETED", place)
    elif end is not None and end.uid != parent.uid and not version_refused:
        findings.add("CDA-V-NOT-LATEST", place)
    _check_before(document, parent, findings, place)


def _unknown_parent(
    document: Document,
    end: KnownDocument | None,
    findings: Findings,
    place: Place,
    unknown_predecessor: Literal["accept", "refuse"],
    version_refused: bool,
) -> None:
    """The parent was never seen here: what relatedDocument itself says is all there is to check."""
    related = next(r for r in document.header.related if r.type_code == "RPLC")
    version, set_id = document.header.version, document.header.set_id
    if end is not None:
        # the set is known here and its latest version is another document
        if not version_refused:
            findings.add("CDA-V-PARENT-DELETED" if end.deleted else "CDA-V-NOT-LATEST", place)
        return
    if related.parent_set_id is not None and set_id is not None and related.parent_set_id != set_id:
        findings.add("CDA-V-OTHER-SET", place)
    if related.parent_version is not None and version is not None and version <= related.parent_version:
        findings.add("CDA-V-NOT-GREATER", place)
    _unknown(findings, place, unknown_predecessor)


def _deletion(
    document: Document,
    known: KnownDocument | None,
    versions: Sequence[KnownDocument],
    findings: Findings,
    place: Place,
) -> str | None:
    """The rule that forbids this deletion, or None; adds what does not forbid it."""
    version = document.header.version
    end = latest(versions)
    if known is None:
        if end is None or (version is not None and end.version is not None and version > end.version):
            return None  # newer than all that is known here: another gateway sent it
        return "CDA-V-NOT-LATEST"
    _check_before(document, known, findings, place)
    if known.sha256 != document.sha256:
        findings.add("CDA-V-DELETE-BYTES", place)
    if known.deleted:
        return "CDA-V-DELETED"
    return "CDA-V-NOT-LATEST" if end is not None and end.uid != known.uid else None


def _another_patient(now: str, before: str) -> bool:
    """Two national identities of one authority that differ (a NIA that became a NIR is not a
    contradiction).
    """
    return bool(now and before) and now != before and now.partition("^")[0] == before.partition("^")[0]


def _check_before(document: Document, before: KnownDocument, findings: Findings, place: Place) -> None:
    """904 and 901: same patient, and an author of the organisation, as in the document replaced or
    deleted.
    """
    now = {structure(n) for n in document.header.author_organisations}
    then = {structure(n) for n in before.author_organisations}
    if _another_patient(patient_key(document), before.patient):
        findings.add("CDA-V-PATIENT", place)
    if not then:
        findings.add("CDA-V-AUTHOR-UNKNOWN", place)
    elif now.isdisjoint(then):
        findings.add("CDA-V-AUTHOR", place)


def _unknown(findings: Findings, place: Place, setting: Literal["accept", "refuse"]) -> None:
    findings.add("CDA-V-UNKNOWN" if setting == "accept" else "CDA-V-UNKNOWN-REFUSED", place)
