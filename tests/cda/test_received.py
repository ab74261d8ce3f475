"""Version rules of the way back (architecture §7a; AMA, spec/mssante.md §2.5), case by case.

A register is a short story: the documents that came before, in order, with what the DPI said.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.cda.document import Document
from gateway.cda.received import Again, Known, ReceivedDecision, check_received
from gateway.cda.versions import patient_key
from gateway.errors import Place
from gateway.hl7.transmission import Action
from tests.cda.support import BOOK, rejecting, rules
from tests.cda.test_versions import SET, doc

SUBMIT, REPLACE, DELETE = Action.SUBMIT, Action.REPLACE, Action.DELETE
YES, NOT_YET, NO = "integrated", "under way", "refused"
OTHER_PATIENT = "279035121518989"


@dataclass(frozen=True, slots=True)
class Before:
    """A document received before, and the DPI's answer."""

    document: Document
    said: str = YES
    action: Action = SUBMIT
    confidentiality: frozenset[str] = frozenset({"N"})

    @property
    def uid(self) -> str:
        return self.document.uid

    @property
    def set_key(self) -> str:
        header = self.document.header
        return str(header.set_id) if header.set_id else f"id:{self.uid}"

    @property
    def version(self) -> int | None:
        return self.document.header.version

    @property
    def sha256(self) -> str:
        return self.document.sha256

    @property
    def patient(self) -> str:
        return patient_key(self.document)

    @property
    def integrated(self) -> bool:
        return self.said == YES

    @property
    def under_way(self) -> bool:
        return self.said == NOT_YET


def decide(action: Action, document: Document, *story: Before) -> ReceivedDecision:
    known: tuple[Known, ...] = story
    return check_received(
        action,
        document,
        lambda uid: [k for k in known if k.uid == uid],
        lambda key: [k for k in known if k.set_key == key],
        BOOK,
        Place("DOC", 1),
    )


V1, V2, V3 = doc("1.1", 1), doc("1.2", 2, replaces="1.1"), doc("1.3", 3, replaces="1.2")


@pytest.mark.parametrize(
    ("action", "document", "story", "wanted"),
    [
        (SUBMIT, V1, [], []),
        (REPLACE, V2, [Before(V1)], []),
        (REPLACE, V3, [Before(V1), Before(V2, action=REPLACE)], []),
        (DELETE, V1, [Before(V1)], []),
        (DELETE, V2, [Before(V1), Before(V2, action=REPLACE)], []),
        # what was never seen here: the DPI decides
        (REPLACE, V2, [], ["IN-V-UNKNOWN"]),
        (DELETE, V1, [], ["IN-V-UNKNOWN"]),
        # the same id, other bytes
        (SUBMIT, doc("1.1", 1, sha="f" * 64), [Before(V1)], ["IN-V-SAME-ID"]),
        (SUBMIT, doc("1.1", 1, sha="f" * 64), [Before(V1, NOT_YET)], ["IN-V-SAME-ID"]),
        # the same version under another id
        (SUBMIT, doc("1.9", 1), [Before(V1)], ["IN-V-SAME-VERSION"]),
        (
            REPLACE,
            doc("1.9", 2, replaces="1.1"),
            [Before(V1), Before(V2, action=REPLACE)],
            ["IN-V-SAME-VERSION"],
        ),
        # late: forwarded, never the latest
        (SUBMIT, V1, [Before(V2, action=REPLACE)], ["IN-V-LATE"]),
        # replacement or deletion of what is not the latest
        (
            REPLACE,
            doc("1.3", 3, replaces="1.1"),
            [Before(V1), Before(V2, action=REPLACE)],
            ["IN-V-NOT-LATEST"],
        ),
        (DELETE, V1, [Before(V1), Before(V2, action=REPLACE)], ["IN-V-NOT-LATEST"]),
        # deleted: a stray copy of the mail does not bring it back
        (SUBMIT, V1, [Before(V1), Before(V1, action=DELETE)], ["IN-V-DELETED"]),
        (SUBMIT, V1, [Before(V1), Before(V1, NOT_YET, DELETE)], ["IN-V-DELETED"]),
        (SUBMIT, doc("1.1", 1, sha="f" * 64), [Before(V1, NO), Before(V1, action=DELETE)], ["IN-V-DELETED"]),
        # another patient in the same set
        (REPLACE, doc("1.2", 2, replaces="1.1", ins=OTHER_PATIENT), [Before(V1)], ["IN-V-PATIENT"]),
        # what the DPI refused does not count
        (SUBMIT, doc("1.1", 1, sha="f" * 64), [Before(V1, NO)], []),
        (SUBMIT, doc("1.9", 1), [Before(V1, NO)], []),
        (REPLACE, V2, [Before(V1, NO)], ["IN-V-UNKNOWN"]),
        (REPLACE, doc("1.3", 3, replaces="1.1"), [Before(V1), Before(V2, NO, REPLACE)], []),
    ],
)
def test_what_may_go_to_the_dpi(
    action: Action, document: Document, story: list[Before], wanted: list[str]
) -> None:
    assert rules(decide(action, document, *story).findings) == wanted


def test_only_a_late_or_unknown_version_is_let_through_with_a_warning() -> None:
    late = decide(SUBMIT, V1, Before(V2, action=REPLACE))
    unknown = decide(REPLACE, V2)
    assert rejecting(late.findings) == rejecting(unknown.findings) == []
    assert late.again is unknown.again is Again.NO


@pytest.mark.parametrize(
    ("said", "again"), [(YES, Again.INTEGRATED), (NOT_YET, Again.UNDER_WAY), (NO, Again.NO)]
)
def test_the_same_document_again_is_not_sent_to_the_dpi_twice(said: str, again: Again) -> None:
    decision = decide(SUBMIT, V1, Before(V1, said))
    assert decision.again is again and not decision.findings
    # a deletion of it is another thing
    assert decide(DELETE, V1, Before(V1, said)).again is Again.NO


def test_a_deletion_that_the_dpi_refused_deletes_nothing() -> None:
    decision = decide(SUBMIT, V1, Before(V1), Before(V1, NO, DELETE))
    assert decision.again is Again.INTEGRATED and not decision.findings


def test_the_codes_of_the_replaced_version_are_known_when_it_is() -> None:
    """MODIF_CONF_CODE: only against a version that was seen."""
    before = Before(V1, confidentiality=frozenset({"N", "INVISIBLE_PATIENT"}))
    assert decide(REPLACE, V2, before).previous == {"N", "INVISIBLE_PATIENT"}
    assert decide(REPLACE, V2).previous is None
    assert decide(SUBMIT, V1).previous is None


def test_a_set_without_set_id_is_the_chain_of_its_documents() -> None:
    first = doc("9.1", None, set_id=None)
    second = doc("9.2", None, set_id=None, replaces="9.1")
    assert decide(SUBMIT, first).set_key == "id:9.1"
    assert decide(REPLACE, second, Before(first)).set_key == "id:9.1"
    assert decide(SUBMIT, V1).set_key == SET
