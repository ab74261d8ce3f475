"""The simulator's readers of what others write: never another failure than the one said. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mss.simulator import readers
from connectors.mss.simulator.imap_fetch import items, render
from connectors.mss.simulator.imap_search import criteria
from connectors.mss.simulator.imap_syntax import Syntax, Text, sequence, tokens
from connectors.mss.simulator.reports import Returned, Status, decode_xtext, delivery_report
from connectors.mss.simulator.store import Message
from connectors.smtp.pool import xtext

NOW = datetime(2026, 11, 20, 10, 46, 43, tzinfo=UTC)
PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: message/rfc822\r\n",
        b'Content-Type: multipart/report; boundary="b; report-type=x\r\n',
        b"Content-Type: text/plain; name*0*=utf-8''%E9; name*1=\xff\r\n",
        b"Content-Disposition: attachment; filename*=x'y'%FF\r\n",
        b"Subject: \xe9t\xe9 =?utf-8?b?w6k=?=\r\n",
        b"From: <<a@b>, \xff@c\r\n",
        b"Message-ID:\r\n x\r\n",
        b"Disposition-Notification-To: pfi@hopital-a.mssante.fr\r\n",
        b"\r\n",
        b"--b\r\n",
        b"--b--\r\n",
        b"\r\n--b\r\n\r\n",
        b"\n\r\0",
    ]
)
MAILS = st.lists(PIECES | st.binary(max_size=20), max_size=25).map(b"".join)
EVERYTHING = (
    "(FLAGS UID ENVELOPE BODYSTRUCTURE BODY.PEEK[1.MIME] BODY.PEEK[2] BODY.PEEK[1.1.HEADER] BODY[TEXT]<1.5>)"
)


@given(MAILS)
def test_any_mail_can_be_fetched(raw: bytes) -> None:
    """Whatever a mail is, an answer of one FETCH line with literals."""
    message = Message(1, b"", raw, set(), NOW)
    made = render(1, message, items(tokens([EVERYTHING.encode()])[0]))
    assert made.startswith(b"* 1 FETCH (FLAGS (\\Recent) UID 1 ENVELOPE (") and made.endswith(b")\r\n")


@given(MAILS, st.sampled_from(["displayed", "error", "error_mail"]), st.sampled_from(["A", "B", "C"]))
def test_any_mail_can_be_answered_and_reported(raw: bytes, kind: readers.Kind, form: str) -> None:
    """Reports and answers are made of any mail, with CRLF in what we write."""
    rule = readers.Reader(kind, form=form, third="none", always=True)  # type: ignore[arg-type]
    made = readers.answer(rule, "pfi@hopital-a.mssante.fr", "dr@hopital-b.mssante.fr", raw, 1, NOW)
    assert made is None or made.raw.endswith(b"--\r\n")
    mail = Returned("a@b.fr", "c@d.fr", raw, full=True)
    assert raw in delivery_report(mail, Status("failed", "5.1.1", "550 5.1.1 no"), 1, NOW)


@given(st.lists(st.binary(max_size=40).map(Text) | st.binary(max_size=40), max_size=4))
def test_a_command_is_read_or_refused(pieces: list[bytes | Text]) -> None:
    """`Syntax`, never another exception."""
    try:
        words = tokens(pieces)
        criteria(words, [1, 2], [5, 9])(1, Message(5, b"", b"", set(), NOW))
        items(words)
    except Syntax:
        pass


@given(st.text(max_size=60))
def test_xtext_comes_back(text: str) -> None:
    """RFC 3461 §4: what the connector encodes, the simulator decodes (ASCII)."""
    ascii_only = text.encode("ascii", "replace").decode()
    assert decode_xtext(xtext(ascii_only)) == ascii_only


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", [1]),
        ("2:*", [3, 7]),
        ("*", [7]),
        ("*:1", [1, 3, 7]),
        ("9:*", [7]),
        ("3,1,99", [1, 3]),
        ("7:2", [3, 7]),
    ],
)
def test_sequence_sets(text: str, expected: list[int]) -> None:
    """RFC 3501 §9: order of a range does not matter, `*` is the last."""
    assert sequence(text, [1, 3, 7]) == expected
    assert sequence(text, []) == []
