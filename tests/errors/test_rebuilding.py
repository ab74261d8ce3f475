"""Whatever is in the bytes of an original: never an exception, never a document that is not in it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors.rebuilding import XML, Making, of_mail, of_message
from connectors.mss.mail import ARCHIVE_NAME
from fixtures import build
from gateway.rules import load_rulebook
from tests.errors.world import INBOUND_RULES, OID
from tests.mss.inbound import samples

BOOK = load_rulebook([INBOUND_RULES])
MAKING = Making("t", datetime(2026, 11, 20, tzinfo=UTC), OID, "Passerelle", "segur-gateway", "1")
MESSAGE = build.mdm("T02", build.cda_n1(payload=build.pdf(600)))
MAIL = samples.mail()


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` with pieces cut out, doubled or overwritten."""
    content = whole
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 1, 7, 200, 5000]))
        content = content[:start] + draw(st.binary(max_size=8)) + content[start + length :]
    return content


@given(broken(MESSAGE))
@settings(max_examples=150, deadline=None)
def test_a_broken_message_never_raises_and_gives_the_same_files_twice(raw: bytes) -> None:
    first, second = of_message(raw, BOOK, MAKING), of_message(raw, BOOK, MAKING)
    assert [(f.name, f.content) for f in first.files] == [(f.name, f.content) for f in second.files]


@pytest.mark.parametrize("control", [b"\x00", b"\x07", "\ufffe".encode()])
def test_a_text_that_metadata_cannot_carry_leaves_the_documents_alone(control: bytes) -> None:
    at = MESSAGE.index(b"|810100000016^") + 1  # PRT-5.1
    made = of_message(MESSAGE[:at] + control + MESSAGE[at:], BOOK, MAKING)
    assert [f.name for f in made.files if f.mime_type == XML] == ["document_1.xml"]
    assert not [f for f in made.files if f.name == ARCHIVE_NAME]
    whole = of_message(MESSAGE, BOOK, MAKING)
    assert whole.files[0].name == ARCHIVE_NAME


@given(broken(MAIL))
@settings(max_examples=100, deadline=None)
def test_a_broken_mail_never_raises(raw: bytes) -> None:
    of_mail(raw, BOOK)
