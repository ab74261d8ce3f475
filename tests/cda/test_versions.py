"""Version rules (architecture §7, §7a; V01–V03; table 0533), case by case.

A register is told as a short story: the documents that were accepted before, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.build import PATIENT, cda_n1, ins_key
from gateway.cda.document import CdaHeader, Document, RelatedDocument
from gateway.cda.versions import (
    KnownDocument,
    VersionDecision,
    check_pair_versions,
    check_versions,
    known_document,
    latest,
    patient_key,
)
from gateway.errors import Severity
from gateway.hl7.transmission import Action, InstanceId
from tests.cda.support import BOOK, BOOKS, OBX, document_of, rejecting, rules

SUBMIT, REPLACE, DELETE = Action.SUBMIT, Action.REPLACE, Action.DELETE
SET = "1.2.100"
BASE = document_of(cda_n1())


def doc(
    uid: str,
    version: int | None = 1,
    *,
    replaces: str | None = None,
    set_id: str | None = SET,
    sha: str = "",
    finess: Sequence[str] = ("1990000010",),
    parent_version: int | None = None,
    parent_set: str | None = None,
    ins: str = PATIENT.ins,
) -> Document:
    """A document of our establishment; its bytes are known by `sha` (by default one per uid)."""
    header = BASE.header
    author = header.authors[0]
    assert author.organisation is not None
    assert header.patient is not None
    authors = tuple(
        replace(author, organisation=replace(author.organisation, ids=(InstanceId("1.2", number),)))
        for number in finess
    )
    related: tuple[RelatedDocument, ...] = ()
    if replaces:
        parent = InstanceId(parent_set) if parent_set else None
        related = (RelatedDocument("RPLC", InstanceId(replaces), parent, parent_version),)
    changed: CdaHeader = replace(
        header,
        id=InstanceId(uid),
        set_id=InstanceId(set_id) if set_id else None,
        version=version,
        related=related,
        authors=authors,
        patient=replace(header.patient, ids=(InstanceId(PATIENT.ins_oid, ins),)),
    )
    return Document(changed, b"", sha or f"sha of {uid}")


@dataclass
class Register:
    """A register in memory, in order of registration."""

    documents: list[KnownDocument] = field(default_factory=list)
    messages: list[tuple[str, ...]] = field(default_factory=list)
    """The ids that came together."""

    def by_uid(self, uid: str) -> KnownDocument | None:
        return next((d for d in self.documents if d.uid == uid), None)

    def by_set(self, set_key: str) -> Sequence[KnownDocument]:
        return [d for d in self.documents if d.set_key == set_key]

    def brought_with(self, uid: str) -> Sequence[KnownDocument]:
        together = next((m for m in self.messages if uid in m), ())
        return [d for other in together if other != uid and (d := self.by_uid(other))]

    def ask_pair(self, action: Action, *documents: Document) -> list[str]:
        """The rules of the pair for one message of `documents`."""
        decisions = [self.ask(action, d) for d in documents]
        return rules(check_pair_versions(action, decisions, self, BOOK, [OBX] * len(decisions)))

    def ask(
        self, action: Action, document: Document, unknown: Literal["accept", "refuse"] = "accept"
    ) -> VersionDecision:
        return check_versions(action, document, self, BOOK, OBX, unknown)

    def accept(self, action: Action, document: Document) -> VersionDecision:
        """Ask, and register as the heart does; the story must be acceptable."""
        decision = self.ask(action, document)
        assert rejecting(decision.findings) == [], rules(decision.findings)
        if action is DELETE:
            self.documents = [
                replace(d, deleted=True) if d.uid == document.uid else d for d in self.documents
            ]
        elif not decision.same_document:
            self.documents.append(known_document(document, decision, action))
        return decision


A, B, C, D = "1.2.1", "1.2.2", "1.2.3", "1.2.4"
V1 = doc(A, 1)
V2 = doc(B, 2, replaces=A)
V3 = doc(C, 3, replaces=B)
STORIES: dict[str, list[tuple[Action, Document]]] = {
    "nothing": [],
    "v1": [(SUBMIT, V1)],
    "v1 v2": [(SUBMIT, V1), (REPLACE, V2)],
    "v1 v2 v3": [(SUBMIT, V1), (REPLACE, V2), (REPLACE, V3)],
    "v1 deleted": [(SUBMIT, V1), (DELETE, V1)],
    "v2 deleted": [(SUBMIT, V1), (REPLACE, V2), (DELETE, V2)],
    "v2 of unknown": [(REPLACE, V2)],
    "first at 4": [(SUBMIT, doc(D, 4))],
    "no set": [(SUBMIT, doc(A, None, set_id=None))],
    "no set, two": [(SUBMIT, doc(A, None, set_id=None)), (REPLACE, doc(B, None, replaces=A, set_id=None))],
    "no set, set": [(SUBMIT, doc(A, None, set_id=None)), (REPLACE, doc(B, 2, replaces=A))],
    "other set": [(SUBMIT, V1), (SUBMIT, doc("1.2.9", 1, set_id="1.2.900"))],
}


def story(name: str) -> Register:
    register = Register()
    for action, document in STORIES[name]:
        register.accept(action, document)
    return register


CASES: list[tuple[str, Action, Document, list[str]]] = [
    # first transmission
    ("nothing", SUBMIT, V1, []),
    ("nothing", SUBMIT, doc(D, 4), []),  # a DPI may start above 1
    ("nothing", SUBMIT, doc(A, None, set_id=None), []),
    ("nothing", SUBMIT, V2, ["CDA-V-RPLC-UNKNOWN"]),  # IMG example: RPLC in a first transmission
    ("other set", SUBMIT, doc(D, 1, set_id="1.2.901"), []),
    # same id
    ("v1", SUBMIT, V1, []),
    ("v1", SUBMIT, doc(A, 1, sha="other bytes"), ["CDA-V-SAME-ID"]),
    ("v1", SUBMIT, doc(A, 2, sha="other bytes"), ["CDA-V-SAME-ID"]),
    ("v1", REPLACE, doc(A, 2, replaces=A, sha="other bytes"), ["CDA-V-SAME-ID"]),
    ("v1 v2", REPLACE, V2, []),
    ("v1 v2", REPLACE, doc(B, 2, replaces=A, sha="other bytes"), ["CDA-V-SAME-ID"]),
    ("v1 deleted", SUBMIT, V1, ["CDA-V-DELETED"]),
    ("v2 deleted", REPLACE, V2, ["CDA-V-DELETED"]),
    # same setId and version, lower version
    ("v1", SUBMIT, doc(B, 1), ["CDA-V-SAME-VERSION"]),
    ("v1", REPLACE, doc(B, 1, replaces=A), ["CDA-V-SAME-VERSION"]),
    ("v1 v2", REPLACE, doc(C, 2, replaces=A), ["CDA-V-SAME-VERSION"]),
    ("v1 v2", SUBMIT, doc(C, 1), ["CDA-V-SAME-VERSION"]),
    ("first at 4", SUBMIT, doc(C, 3), ["CDA-V-OBSOLETE"]),
    ("first at 4", REPLACE, doc(C, 3, replaces=B), ["CDA-V-OBSOLETE"]),
    ("first at 4", REPLACE, doc(C, 3, replaces=D), ["CDA-V-OBSOLETE"]),
    ("v1 v2", SUBMIT, V1, ["CDA-V-OBSOLETE"]),  # the same V1 again: obsolete, not published
    ("v1 v2 v3", REPLACE, V2, ["CDA-V-OBSOLETE"]),
    ("v2 deleted", SUBMIT, V1, ["CDA-V-OBSOLETE"]),
    # a replacement sent as a first transmission
    ("v1", SUBMIT, doc(B, 2), ["CDA-V-NOT-A-REPLACEMENT"]),
    ("v1", SUBMIT, V2, ["CDA-V-RPLC-ON-SUBMIT"]),
    ("other set", SUBMIT, doc(D, 1, replaces=A, set_id="1.2.901"), ["CDA-V-RPLC-ON-SUBMIT"]),
    # replacement
    ("v1", REPLACE, V2, []),
    ("v1", REPLACE, doc(B, 5, replaces=A), []),  # greater, not necessarily by one
    ("v1 v2", REPLACE, V3, []),
    ("v1 v2", REPLACE, doc(C, 3, replaces=A), ["CDA-V-NOT-LATEST"]),
    ("v1", REPLACE, doc(B, 2, replaces="1.2.77"), ["CDA-V-NOT-LATEST"]),
    ("v1", REPLACE, doc(B, 2, replaces=B), ["CDA-V-SELF"]),
    ("v1", REPLACE, doc(B, 2, replaces=A, set_id="1.2.901"), ["CDA-V-OTHER-SET"]),
    ("other set", REPLACE, doc(B, 2, replaces="1.2.9"), ["CDA-V-OTHER-SET"]),
    ("v1", REPLACE, doc(B, 2), []),  # no relatedDocument: CDA-V03-RPLC has spoken
    # author
    ("v1", REPLACE, doc(B, 2, replaces=A, finess=["1990000028"]), ["CDA-V-AUTHOR"]),
    ("v1", REPLACE, doc(B, 2, replaces=A, finess=[]), ["CDA-V-AUTHOR"]),
    ("v1", REPLACE, doc(B, 2, replaces=A, finess=["1990000028", "1990000010"]), []),
    ("v1", REPLACE, doc(B, 2, replaces=A, finess=["990000010"]), []),  # FINESS without its type prefix
    ("v1", DELETE, doc(A, 1, finess=["1990000028"], sha="x"), ["CDA-V-AUTHOR", "CDA-V-DELETE-BYTES"]),
    # patient
    ("v1", REPLACE, doc(B, 2, replaces=A, ins="2841275123987" + ins_key("2841275123987")), ["CDA-V-PATIENT"]),
    ("v1", DELETE, doc(A, 1, ins="2841275123987" + ins_key("2841275123987")), ["CDA-V-PATIENT"]),
    # never seen here
    ("nothing", REPLACE, V2, ["CDA-V-UNKNOWN"]),
    ("nothing", DELETE, V1, ["CDA-V-UNKNOWN"]),
    ("nothing", REPLACE, doc(B, 2, replaces=A, parent_version=1, parent_set=SET), ["CDA-V-UNKNOWN"]),
    ("nothing", REPLACE, doc(B, 2, replaces=A, parent_version=2), ["CDA-V-NOT-GREATER", "CDA-V-UNKNOWN"]),
    ("nothing", REPLACE, doc(B, 2, replaces=A, parent_set="1.2.8"), ["CDA-V-OTHER-SET", "CDA-V-UNKNOWN"]),
    ("v2 of unknown", REPLACE, V2, ["CDA-V-UNKNOWN"]),
    ("v2 of unknown", REPLACE, V3, []),
    ("v2 of unknown", SUBMIT, V1, ["CDA-V-OBSOLETE"]),
    # deletion
    ("v1", DELETE, V1, []),
    ("v1 v2", DELETE, V2, []),
    ("v1 v2", DELETE, V1, ["CDA-V-NOT-LATEST"]),
    ("v1", DELETE, doc(A, 1, sha="re-serialised"), ["CDA-V-DELETE-BYTES"]),
    ("v1 deleted", DELETE, V1, ["CDA-V-DELETED"]),
    ("v2 deleted", DELETE, V1, ["CDA-V-NOT-LATEST"]),
    ("v1", DELETE, doc(B, 1), ["CDA-V-NOT-LATEST"]),
    ("v1", DELETE, doc(B, None), ["CDA-V-NOT-LATEST"]),
    ("v1", DELETE, doc(B, 2), ["CDA-V-UNKNOWN"]),  # newer than all that is known here
    # after a deletion
    ("v2 deleted", SUBMIT, doc(C, 3), []),
    ("v2 deleted", SUBMIT, V3, []),
    ("v2 deleted", SUBMIT, doc(C, 2), ["CDA-V-SAME-VERSION"]),
    ("v2 deleted", REPLACE, V3, ["CDA-V-PARENT-DELETED"]),
    ("v2 deleted", REPLACE, doc(C, 3, replaces=A), ["CDA-V-NOT-LATEST"]),
    ("v2 deleted", REPLACE, doc(C, 3, replaces="1.2.77"), ["CDA-V-PARENT-DELETED"]),
    ("v1 deleted", SUBMIT, doc(B, 2), []),
    # without setId the chain stands for the set
    ("no set", SUBMIT, doc(A, None, set_id=None), []),
    ("no set", SUBMIT, doc(B, None, set_id=None), []),  # another document altogether
    ("no set", REPLACE, doc(B, None, replaces=A, set_id=None), []),
    ("no set", REPLACE, doc(B, 2, replaces=A), []),  # a setId appears on the way
    ("no set, set", REPLACE, V3, []),
    ("no set, set", REPLACE, doc(C, 3, replaces=A), ["CDA-V-NOT-LATEST"]),
    ("no set, two", REPLACE, doc(C, None, replaces=B, set_id=None), []),
    ("no set, two", REPLACE, doc(C, None, replaces=A, set_id=None), ["CDA-V-NOT-LATEST"]),
    ("no set, two", SUBMIT, doc(A, None, set_id=None), ["CDA-V-OBSOLETE"]),
    ("no set, two", DELETE, doc(A, None, set_id=None), ["CDA-V-NOT-LATEST"]),
    ("no set, two", DELETE, doc(B, None, replaces=A, set_id=None), []),
    ("v1", REPLACE, doc(B, 2, replaces=A, set_id=None), []),  # setId lost on the way
]


@pytest.mark.parametrize(
    ("before", "action", "document", "expected"),
    CASES,
    ids=[f"{b}-{a}-{d.uid}-v{d.header.version}-{i}" for i, (b, a, d, _) in enumerate(CASES)],
)
def test_version_rules(before: str, action: Action, document: Document, expected: list[str]) -> None:
    decision = story(before).ask(action, document)
    assert sorted(rules(decision.findings)) == sorted(expected)
    assert all(f.place == OBX for f in decision.findings)
    for finding in decision.findings:
        warning = finding.rule in ("CDA-V-UNKNOWN", "CDA-V-RPLC-UNKNOWN", "CDA-V-DELETE-BYTES")
        assert finding.rejects is not warning


def test_codes_of_table_0533() -> None:
    """900 wrong version, 901 author, 904 another patient, 906 same id with other bytes."""
    register = story("v1 v2")
    intruder = "2841275123987" + ins_key("2841275123987")
    cases = {
        "900": doc(C, 2, replaces=B),
        "901": doc(C, 3, replaces=B, finess=["x"]),
        "904": doc(C, 3, replaces=B, ins=intruder),
        "906": doc(B, 2, replaces=A, sha="y"),
    }
    for code, document in cases.items():
        (finding,) = register.ask(REPLACE, document).findings
        assert (finding.err3, finding.err5) == ("207", code)


def test_same_id_with_other_bytes_is_refused_whatever_the_settings() -> None:
    assert BOOK.rules["CDA-V-SAME-ID"].invariant
    assert BOOKS["interop"].severity("CDA-V-SAME-ID") is Severity.REJECT


@pytest.mark.parametrize("action", [REPLACE, DELETE])
def test_unknown_predecessor_follows_the_setting(action: Action) -> None:
    """§7a: accepted with a warning or refused."""
    assert rejecting(Register().ask(action, V2, "accept").findings) == []
    assert rejecting(Register().ask(action, V2, "refuse").findings) == ["CDA-V-UNKNOWN-REFUSED"]


def test_same_document_is_told_to_the_heart() -> None:
    register = story("v1 v2")
    assert register.ask(REPLACE, V2).same_document
    assert not register.ask(REPLACE, V3).same_document
    assert not register.ask(REPLACE, doc(B, 2, replaces=A, sha="other")).same_document
    assert not register.ask(DELETE, V2).same_document


def test_predecessor_of_each_action() -> None:
    register = story("v1")
    assert (register.ask(SUBMIT, V1).predecessor_uid, register.ask(SUBMIT, V1).predecessor_known) == (
        None,
        False,
    )
    replaced = register.ask(REPLACE, V2)
    assert (replaced.predecessor_uid, replaced.predecessor_known) == (A, True)
    deleted = register.ask(DELETE, V1)
    assert (deleted.predecessor_uid, deleted.predecessor_known) == (A, True)
    unknown = Register().ask(REPLACE, V2)
    assert (unknown.predecessor_uid, unknown.predecessor_known) == (A, False)


def test_set_keys() -> None:
    """setId; else the predecessor's set; else a chain named by the first identifier."""
    assert Register().ask(SUBMIT, V1).set_key == SET
    assert Register().ask(SUBMIT, doc(A, set_id=None)).set_key == f"id:{A}"
    assert Register().ask(REPLACE, doc(B, replaces=A, set_id=None)).set_key == f"id:{A}"
    assert story("v1").ask(REPLACE, doc(B, 2, replaces=A, set_id=None)).set_key == SET
    assert story("no set, two").ask(REPLACE, doc(C, None, replaces=B, set_id=None)).set_key == f"id:{A}"
    assert story("no set, set").ask(REPLACE, V3).set_key == f"id:{A}"


def test_a_deletion_that_failed_may_be_asked_again() -> None:
    """The register says `deleted` only while a deletion stands; the row of an unknown document may be a deletion."""
    failed = KnownDocument(A, SET, 1, V1.sha256, frozenset({"1990000010"}), DELETE, deleted=False)
    assert rules(Register([failed]).ask(DELETE, V1).findings) == []


def test_a_predecessor_without_organisation_cannot_be_compared() -> None:
    before = KnownDocument(A, SET, 1, "x", frozenset(), SUBMIT)
    assert rules(Register([before]).ask(REPLACE, V2).findings) == ["CDA-V-AUTHOR-UNKNOWN"]


def test_another_national_authority_is_not_another_patient() -> None:
    """A NIA that became a NIR between two versions: cannot be compared, must not block the correction."""
    before = KnownDocument(
        A, SET, 1, "x", frozenset({"1990000010"}), SUBMIT, patient=f"1.2.250.1.213.1.4.9^{PATIENT.ins}"
    )
    assert rules(Register([before]).ask(REPLACE, V2).findings) == []
    assert patient_key(V2) == f"{PATIENT.ins_oid}^{PATIENT.ins}"


def test_latest_without_numbers_is_the_last_registered() -> None:
    known = [KnownDocument(u, SET, v, "", frozenset(), SUBMIT) for u, v in ((A, 2), (B, 1), (C, None))]
    end = latest(known)
    assert end is not None
    assert end.uid == C
    end = latest(known[:2])
    assert end is not None
    assert end.uid == A
    assert latest([]) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Action)),
            st.integers(1, 4),
            st.integers(1, 4),
            st.one_of(st.none(), st.integers(1, 4)),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_whatever_is_asked_the_register_stays_sound(
    asked: list[tuple[Action, int, int, int | None, bool]],
) -> None:
    """Invariant over any sequence: in a set one document per version, one set of bytes per id, and each accepted
    version is above all those accepted before it."""
    register = Register()
    for action, number, version, parent, changed in asked:
        uid = f"1.2.{number}"
        document = doc(uid, version, replaces=f"1.2.{parent}" if parent else None, sha="x" if changed else "")
        before = register.by_set(SET)
        decision = register.ask(action, document)
        if decision.findings.rejects or decision.same_document:
            continue
        if action is not DELETE:
            assert register.by_uid(uid) is None
            assert all(k.version is not None and k.version < version for k in before)
            if action is SUBMIT and before:
                end = latest(before)
                assert end is not None
                assert end.deleted
        register.accept(action, document)
    uids = [d.uid for d in register.documents]
    assert len(uids) == len(set(uids))


# --- ORU with two documents -----------------------------------------------------------------------------------

N3_SET = "1.2.300"
W1 = doc("1.2.31", 1, set_id=N3_SET)
W2 = doc("1.2.32", 2, replaces="1.2.31", set_id=N3_SET)
W3 = doc("1.2.33", 3, replaces="1.2.32", set_id=N3_SET)


def together(*messages: tuple[Action, tuple[Document, ...]]) -> Register:
    """A register after messages of one or two documents."""
    register = Register()
    for action, documents in messages:
        for document in documents:
            register.accept(action, document)
        if action is not DELETE:
            register.messages.append(tuple(d.uid for d in documents))
    return register


PAIR = (SUBMIT, (V1, W1))


@pytest.mark.parametrize(
    ("before", "action", "documents", "expected"),
    [
        ([], SUBMIT, (V1, W1), []),
        ([PAIR], REPLACE, (V2, W2), []),
        ([PAIR], REPLACE, (W2, V2), []),
        ([PAIR], REPLACE, (V2,), ["CDA-V-PAIR"]),
        ([PAIR], REPLACE, (W2,), ["CDA-V-PAIR"]),
        ([PAIR], REPLACE, (V2, doc("1.2.77", 1, set_id="1.2.78")), ["CDA-V-PAIR"]),
        ([PAIR], DELETE, (V1, W1), []),
        ([PAIR], DELETE, (V1,), ["CDA-V-PAIR"]),
        ([PAIR], DELETE, (W1,), ["CDA-V-PAIR"]),
        ([PAIR, (REPLACE, (V2, W2))], REPLACE, (V3, W3), []),
        ([PAIR, (REPLACE, (V2, W2))], REPLACE, (V3,), ["CDA-V-PAIR"]),
        ([PAIR, (REPLACE, (V2, W2))], DELETE, (W2,), ["CDA-V-PAIR"]),
        # sent apart: each lives alone
        ([(SUBMIT, (V1,)), (SUBMIT, (W1,))], REPLACE, (V2,), []),
        ([(SUBMIT, (V1,))], DELETE, (V1,), []),
        # the companion was deleted or went on alone
        ([PAIR, (DELETE, (W1,))], REPLACE, (V2,), []),
        ([PAIR, (DELETE, (W1,))], DELETE, (V1,), []),
        ([PAIR, (REPLACE, (W2,))], REPLACE, (V2,), []),
        # never seen here
        ([], REPLACE, (V2,), []),
        ([], DELETE, (V1, W1), []),
    ],
)
def test_what_came_together_is_replaced_or_deleted_together(
    before: list[tuple[Action, tuple[Document, ...]]],
    action: Action,
    documents: tuple[Document, ...],
    expected: list[str],
) -> None:
    """ORU with two documents: both or none; replacing or deleting one requires the other (900)."""
    assert together(*before).ask_pair(action, *documents) == expected


def test_each_document_of_a_pair_is_judged_by_the_version_rules() -> None:
    register = together(PAIR)
    assert rules(register.ask(REPLACE, V2).findings) == []
    late = doc("1.2.34", 1, replaces="1.2.31", set_id=N3_SET)
    assert rules(register.ask(REPLACE, late).findings) == ["CDA-V-SAME-VERSION"]
    assert (BOOK.rules["CDA-V-PAIR"].err3, BOOK.rules["CDA-V-PAIR"].err5) == ("207", "900")
