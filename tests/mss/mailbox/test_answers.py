"""Responses of servers, read without a socket (RFC 3501 §7)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mss.mailbox.answers import Facts, Status, fetched, numbered, searched, status
from connectors.mss.mailbox.model import MailboxFault
from connectors.mss.mailbox.wire import Answer


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b"OK fait", Status("OK", "", "")),
        (b"ok [UIDVALIDITY 42] x", Status("OK", "UIDVALIDITY", "42")),
        (b"OK [PERMANENTFLAGS (\\Seen \\*)] x", Status("OK", "PERMANENTFLAGS", "(\\Seen \\*)")),
        (b"NO [authenticationfailed]", Status("NO", "AUTHENTICATIONFAILED", "")),
        (b"BYE", Status("BYE", "", "")),
        (b"OKAY x", None),
        (b"3 EXISTS", None),
    ],
)
def test_status(text: bytes, read: Status | None) -> None:
    """Codes in upper case, words dropped."""
    assert status(text) == read


def test_numbers() -> None:
    """EXISTS, EXPUNGE, SEARCH with and without results, with a MODSEQ nobody asked for."""
    assert numbered(b"12 exists") == (12, "EXISTS")
    assert numbered(b"12 RECENT") is None
    assert searched(b"SEARCH") == [] and searched(b"search 3 1 2 ") == [3, 1, 2]
    assert searched(b"SEARCH 3 (MODSEQ 917162500)") == [3] and searched(b"ESEARCH x") is None
    with pytest.raises(MailboxFault):
        searched(b"SEARCH 3 -1")


def test_a_fetch() -> None:
    """Whatever the order; the literal is the same object, not a copy."""
    raw = b"x" * 100
    read = fetched(
        [
            (b'3 FETCH (INTERNALDATE " 1-Nov-2026 10:00:00 +0100" BODY[] {100}', raw),
            b" RFC822.SIZE 100 UID 7 FLAGS (\\Seen $MDNSent))",
        ]
    )
    date = datetime(2026, 11, 1, 9, tzinfo=UTC)
    assert read == Facts(7, 100, date, frozenset(("\\Seen", "$MDNSent")), raw)
    assert read.body is raw
    assert fetched([b"3 FETCH (FLAGS (\\Seen))"]) is None


@pytest.mark.parametrize(
    "answer",
    [
        [b"3 FETCH"],
        [b"3 FETCH (UID 7"],
        [b"3 FETCH (UID 7 BODY[] 12)"],
        [b"3 FETCH (UID 7 BODY[] (a b))"],
        [b'3 FETCH (UID 7 BODY[] "abc)'],
        [b"3 FETCH (UID)"],
        [b"3 FETCH " + b"(" * 5000],
        [b"3 FETCH (UID 7 FLAGS (" + b"a " * 40_000 + b"))"],
    ],
)
def test_nonsense(answer: Answer) -> None:
    """PROTOCOL, and never the server's words."""
    with pytest.raises(MailboxFault) as caught:
        fetched(answer)
    assert str(caught.value) == "mailbox: protocol"


_TEXT = st.lists(
    st.sampled_from(
        [b"(", b")", b'"', b"\\", b"[", b"]", b"{3}", b" ", b"UID", b"1", b"NIL", b"BODY[]", b"\xff"]
    ),
    max_size=30,
).map(b"".join)


@given(_TEXT, st.none() | st.tuples(st.binary(max_size=5), _TEXT))
def test_any_fetch_is_read_or_refused(text: bytes, literal: tuple[bytes, bytes] | None) -> None:
    """Nothing but `MailboxFault` comes out of a server's bytes."""
    first = b"1 FETCH (" + text
    answer: Answer = [first] if literal is None else [(first + b"{3}", literal[0]), literal[1] + b")"]
    try:
        read = fetched(answer)
    except MailboxFault:
        return
    assert read is None or read.body is None or isinstance(read.body, bytes)


@given(st.binary(max_size=80))
def test_any_line_is_read_or_refused(text: bytes) -> None:
    """Status, numbers and searches alike."""
    status(text)
    numbered(text)
    try:
        searched(b"SEARCH" + text)
    except MailboxFault:
        pass
