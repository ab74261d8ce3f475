"""Whatever the bytes are: nothing raises, nothing of the patient shows, what is accepted is whole."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from connectors.mss.inbound import answers, mdm
from connectors.mss.inbound.envelope import MailKind
from connectors.mss.inbound.mdm import Route
from connectors.mss.inbound.reading import Received
from connectors.mss.inbound.reports import Reporter, build_error_mail, build_mdn
from fixtures import build
from gateway.hl7.message import Message
from gateway.hl7.transmission import Action
from tests.fuzz.support import examples
from tests.mss.inbound import samples
from tests.mss.inbound.samples import MAILBOX, N1, N3, SUBSET, entries, mail, receive, wrapped, zipped

NOW = datetime(2026, 1, 10, 9, 30, tzinfo=UTC)
ROUTES = tuple(Route("PFI", "H", "DPI", "H", charset=c) for c in ("UNICODE UTF-8", "8859/15"))  # type: ignore[arg-type]
ARCHIVE = samples.archive()
PAIR = entries(ARCHIVE)
METADATA = PAIR[SUBSET + "METADATA.XML"]
MAILS = (mail(), mail(Action.SUBMIT, N1, N3), wrapped(mail()))
DIGESTS = {hashlib.sha256(c).hexdigest() for c in (N1, N3)}

edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 40),
        st.one_of(
            st.binary(max_size=12),
            st.sampled_from(
                [
                    b"\r\n\r\n",
                    b"\r\n",
                    b"\0",
                    b"--",
                    b'"',
                    b"<",
                    b">",
                    b"&#0;",
                    b"\xff",
                    b"=?utf-8?b?/?=",
                    b"PK\x01\x02",
                ]
            ),
        ),
    ),
    min_size=1,
    max_size=6,
)


def edited(content: bytes, changes: list[tuple[float, int, bytes]], upto: int | None = None) -> bytes:
    """`content` with slices replaced, in its first `upto` bytes."""
    for where, length, what in changes:
        at = int(where * min(len(content), upto or len(content)))
        content = content[:at] + what + content[at + length :]
    return content


def holds(received: Received) -> None:
    """What must be true of any result."""
    assert build.PATIENT.ins not in repr(received) and build.PATIENT.birth_family not in repr(received)
    if received.mail.kind is not MailKind.XDM:
        assert not received.documents
        return
    assert received.documents or received.findings.rejects
    for number, document in enumerate(received.documents if received.accepted else ()):
        announced = document.entry.sha1
        assert not announced or announced == hashlib.sha1(document.document.content).hexdigest()
        for route in ROUTES:
            raw = mdm.build(document, received.mail, route, control_id=str(number), now=NOW)
            message = Message.parse(raw)
            names = [s.name for s in message.segments if s.name != "PRT"]
            assert names == ["MSH", "EVN", "PID", "PV1", "ORC", "OBR", "TXA", *["OBX"] * 6]
            assert b"\n" not in raw
    error = answers.error_of_findings(received.findings)
    made = (
        build_error_mail(received.mail, Reporter(MAILBOX), error, to=MAILBOX, message_id="<a@b>", now=NOW),
        build_mdn(received.mail, Reporter(MAILBOX), to=MAILBOX, message_id="<a@b>", now=NOW, error=error),
    )
    for report in made:
        assert report.content.count(b"\n") == report.content.count(b"\r\n") == report.content.count(b"\r")
        assert max(map(len, report.content.split(b"\r\n"))) <= 998
        assert report.eight_bit or report.content.isascii()


@examples(60)
@given(st.sampled_from(MAILS), edits)
def test_a_mail_with_damaged_headers_and_parts(raw: bytes, changes: list[tuple[float, int, bytes]]) -> None:
    holds(receive(edited(raw, changes, 2500)))


@examples(30)
@given(st.sampled_from(MAILS), edits)
def test_a_mail_damaged_anywhere(raw: bytes, changes: list[tuple[float, int, bytes]]) -> None:
    holds(receive(edited(raw, changes)))


@examples(60)
@given(edits)
def test_a_damaged_archive(changes: list[tuple[float, int, bytes]]) -> None:
    """A document that still comes out is one of those put in, or the hash said so."""
    documents, rules = samples.read(edited(ARCHIVE, changes))
    assert documents or rules
    for document in documents:
        assert document.document.sha256 in DIGESTS or {"IN-HASH", "IN-HASH-ABSENT"} & {*rules}


@examples(60)
@given(edits)
def test_damaged_metadata(changes: list[tuple[float, int, bytes]]) -> None:
    raw = mail(archive_bytes=zipped({**PAIR, SUBSET + "METADATA.XML": edited(METADATA, changes)}))
    holds(receive(raw))


@examples(60)
@given(st.binary(max_size=400))
def test_any_bytes(raw: bytes) -> None:
    holds(receive(raw))
    samples.read(raw)
    assert answers.judge(raw, "1").label


@examples(60)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=200))
def test_any_text_comes_back(subject: str, identifier: str, body: str) -> None:
    """Subject, Message-ID and text reach the MDM escaped: the message keeps its segments."""
    received = receive(mail())
    from dataclasses import replace

    about = replace(received.mail, subject=subject, message_id=identifier, body=body)
    raw = mdm.build(received.documents[0], about, ROUTES[0], control_id="1", now=NOW)
    message = Message.parse(raw)
    assert [s.name for s in message.segments][-6:] == ["PRT", "OBX", "OBX", "OBX", "OBX", "OBX"]
