"""Whatever is in the bytes of an original: never an exception, never a document that is not in it."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors.rebuilding import Making, of_mail, of_message
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


@given(broken(MAIL))
@settings(max_examples=100, deadline=None)
def test_a_broken_mail_never_raises(raw: bytes) -> None:
    of_mail(raw, BOOK)
