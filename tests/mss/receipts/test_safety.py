"""Hostile and broken bytes: never an exception, never a patient's data in a text, bounded work.

Properties on generated mails too: what is written into a DSN or an MDN is read back.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mss.addresses import is_address
from connectors.mss.receipts.codes import smtp_code
from connectors.mss.receipts.matching import Known, Matched, match
from connectors.mss.receipts.mime import BOUNDS, Bounds, Unreadable, parse
from connectors.mss.receipts.model import Dsn, Mdn, Quarantined, Reading, Reason
from connectors.mss.receipts.reading import classify, read
from gateway.hl7.tables import APPLICATION_ERRORS, SMTP_ERRORS, table
from tests.fuzz.support import examples
from tests.mss.receipts import mails

SEEDS = [
    mails.dsn(),
    mails.dsn(mails.recipient_block("relayed", "2.0.0"), mails.recipient_block("delayed", "4.4.1")),
    mails.mdn("A", "902"),
    mails.mdn("B", "903"),
    mails.mdn("C", "904"),
    mails.error_mail(),
    mails.document(),
    mails.note(Auto_Submitted="auto-replied"),
]
KNOWN = Known([mails.SENT, mails.OTHER])


def texts(value: object) -> list[str]:
    """Every text of a reading or a match."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [text for one in value for text in texts(one)]
    if is_dataclass(value):
        return [text for f in fields(value) for text in texts(getattr(value, f.name))]
    return []


def check(raw: bytes) -> Reading:
    """Reads `raw` and checks every promise that holds for any bytes."""
    found = read(raw)
    assert read(raw) == found
    assert classify(raw) is found.kind or isinstance(found, Quarantined)
    results = match(found, KNOWN)
    for text in (*texts(found), *texts(results)):
        # nothing can open a header, a segment or a log line
        assert text.isprintable()
    if isinstance(found, Dsn):
        for one in found.recipients:
            assert one.code == "" or one.code in table(SMTP_ERRORS)
            assert all(address == "" or is_address(address) for address in (one.original, one.final))
    if isinstance(found, Mdn):
        assert found.error is None or found.error in table(APPLICATION_ERRORS)
        assert all(address == "" or is_address(address) for address in (found.original, found.final))
    for result in results:
        if isinstance(result, Matched) and result.report is not None:
            assert is_address(result.report.recipient)
            assert result.report.accepted == (result.report.code == "")
    return found


@examples(150, 20_000)
@given(st.binary(max_size=4000))
def test_arbitrary_bytes(raw: bytes) -> None:
    check(raw)


LINES = st.sampled_from(
    [
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b",
        b"Content-Type: multipart/mixed; boundary*0=b; boundary*1*=utf-16''%00",
        b"Content-Type: message/delivery-status",
        b"Content-Type: message/disposition-notification",
        b"Content-Type: message/rfc822",
        b"Content-Type: text/plain; charset=x-unknown\xff",
        b"Content-Type: text/plain; charset=utf-7",
        b"Content-Type: text/plain; charset=\x00",
        b"Content-Type: text/rfc822-headers; name*=utf-8''%E9%",
        b"Content-Transfer-Encoding: base64",
        b"Content-Transfer-Encoding: x-uuencode",
        b"Content-Disposition: attachment; filename*9999999999=x; filename*=\xe9",
        b"Subject: =?utf-8?b?W0tP?= =?x-unknown?q?=FF?= =?utf-8?b?a===?=",
        b"Subject: [KO Int\xe9gration syst\xe8me !][902]",
        b"Auto-Submitted: auto-replied",
        b"Action: failed",
        b"Status: 5.1.1",
        b"Final-Recipient: rfc822; a@b.fr",
        b"Disposition: a/b; processed/error",
        b"Error: 902^",
        b": no name",
        b" folded",
        b"From x",
        b'From: <<"@;,:',
        b"begin 644 x",
        b"--b",
        b"--b--",
        b"",
        b"\r",
        b"=E9=",
    ]
)


@examples(150, 50_000)
@given(st.lists(LINES, max_size=30), st.sampled_from([b"\r\n", b"\n", b"\r"]))
def test_pieces_of_mail_in_any_order(lines: list[bytes], end: bytes) -> None:
    check(end.join(lines))


@examples(150, 50_000)
@given(
    st.sampled_from(SEEDS),
    st.lists(
        st.tuples(st.integers(0, 4000), st.integers(0, 30), st.one_of(LINES, st.binary(max_size=12))),
        max_size=4,
    ),
)
def test_damaged_mails(raw: bytes, damages: list[tuple[int, int, bytes]]) -> None:
    for start, length, put in damages:
        at = start % (len(raw) + 1)
        raw = raw[:at] + put + raw[at + length :]
    check(raw)


@pytest.mark.parametrize("raw", SEEDS)
def test_cut_anywhere(raw: bytes) -> None:
    for end in range(0, len(raw), 7):
        check(raw[:end])


# --- what is written is read back ------------------------------------------------------------------------------------

ADDRESSES = st.from_regex(
    r"[a-z0-9][a-z0-9_+-]{0,20}(\.[a-z0-9]{1,8})?@[a-z0-9]{1,10}\.mssante\.fr", fullmatch=True
)
IDS = st.from_regex(r"[0-9a-f]{8,32}", fullmatch=True)
STATUSES = st.builds("{}.{}.{}".format, st.sampled_from("45"), st.integers(0, 9), st.integers(0, 30))


@examples(40, 10_000)
@given(
    st.lists(
        st.tuples(STATUSES, st.sampled_from(["", "550", "552", "421", "599"]), ADDRESSES),
        min_size=1,
        max_size=5,
    ),
    IDS,
)
def test_a_dsn_is_read_back(recipients: list[tuple[str, str, str]], envid: str) -> None:
    blocks = [
        mails.recipient_block(
            "failed",
            status,
            Diagnostic_Code=f"smtp; {reply} {status} x" if reply else "",
            Final_Recipient=f"rfc822; {address}",
            Original_Recipient=f"rfc822;{address}",
        )
        for status, reply, address in recipients
    ]
    found = check(mails.dsn(*blocks, envid=envid, message_id=f"<{envid}@x.mssante.fr>"))
    assert isinstance(found, Dsn)
    assert (found.envid, found.message_id) == (envid, f"{envid}@x.mssante.fr")
    assert [(r.status, r.reply, r.original, r.final, r.code) for r in found.recipients] == [
        (status, reply, address, address, smtp_code(reply, status)) for status, reply, address in recipients
    ]


@examples(40, 10_000)
@given(st.sampled_from("ABC"), st.sampled_from(["", *sorted(table(APPLICATION_ERRORS))]), ADDRESSES, IDS)
def test_an_mdn_is_read_back(form: str, code: str, reader: str, name: str) -> None:
    raw = mails.mdn(
        form, code, Final_Recipient=f"rfc822;{reader}", Original_Message_ID=f"<{name}@x.mssante.fr>"
    )
    found = check(raw)
    assert isinstance(found, Mdn)
    assert (found.error or "", found.final, found.message_ids[0]) == (code, reader, f"{name}@x.mssante.fr")


# --- bounds ----------------------------------------------------------------------------------------------------------


def nested(depth: int, kind: str) -> bytes:
    """`depth` messages or multiparts in one another."""
    if kind == "message":
        return b"Content-Type: message/rfc822\r\n\r\n" * depth + b"Subject: x\r\n\r\nx\r\n"
    opened = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(depth))
    return opened.encode() + b"\r\nx\r\n"


@pytest.mark.parametrize("kind", ["message", "multipart"])
def test_nested_bombs(kind: str) -> None:
    assert read(nested(5_000, kind)) == Quarantined(Reason.TOO_COMPLEX)
    assert read(nested(BOUNDS.depth + 1, kind)) == Quarantined(Reason.TOO_COMPLEX)
    assert read(nested(BOUNDS.depth - 1, kind)) == Quarantined(Reason.NOT_A_DOCUMENT)


@pytest.mark.parametrize(
    "raw",
    [
        mails.multipart("multipart/mixed", ["\r\nx"] * (BOUNDS.parts + 1)),
        mails.dsn(*[mails.recipient_block()] * (BOUNDS.parts + 1)),
        mails.note(Content_Type="text/plain" + ";" * BOUNDS.mime_header),
        mails.note(Subject="x" * (BOUNDS.header + 1)),
        mails.note("\r" * (BOUNDS.lines + 1)),
        b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(1200)) + b"\r\n",
    ],
    ids=["parts", "recipients", "content type", "header", "lines", "headers"],
)
def test_too_complex(raw: bytes) -> None:
    assert read(raw) == Quarantined(Reason.TOO_COMPLEX)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/mixed; boundary*=a\0'fr'b",
        "text/plain; name*=a\0'fr'b",
        "text/plain; report-type*=a\0'fr'b",
    ],
)
def test_parameters_that_the_standard_parser_raises_for(content_type: str) -> None:
    check(mails.note(Content_Type=content_type))


def test_broken_mime() -> None:
    raw = mails.note(Content_Type="multipart/mixed; boundary*=a\0'fr'b")
    assert read(raw) == Quarantined(Reason.BROKEN_MIME)


def test_too_large_is_known_before_parsing() -> None:
    raw = mails.dsn()
    assert read(raw, Bounds(size=len(raw))).kind == "dsn"
    assert read(raw, Bounds(size=len(raw) - 1)) == Quarantined(Reason.TOO_LARGE)


def test_a_big_document_is_within_the_bounds() -> None:
    block = "QUJD" * 19 + "\r\n"
    big = mails.xdm_part().replace("UEsF", block * 40_000 + "UEsF")
    assert read(mails.document(parts=[big])).kind == "inbound"


# --- injection and privacy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        mails.mdn(Final_Recipient="rfc822; a@b.fr\rBcc: x@y.fr"),
        mails.mdn(Final_Recipient="rfc822; =?utf-8?q?a=0D=0AX:@b.fr?="),
        mails.mdn(Original_Message_ID="<a\x0bb|^~\\&@x\x1b>"),
        mails.dsn(envid="a b\x00\x1b[2J"),
        mails.dsn(mails.recipient_block(Remote_MTA="dns; a|b\x1b", Final_Recipient="rfc822;a|b^c@d.fr")),
        mails.error_mail(From='"a\rb" <a|^@x>', Subject="[KO Intégration système !][902^|]"),
    ],
)
def test_injection(raw: bytes) -> None:
    check(raw)


@pytest.mark.parametrize("raw", [*SEEDS, *(seed[: len(seed) // 2] for seed in SEEDS)])
def test_no_patient_data_in_what_is_shown(raw: bytes) -> None:
    """Subjects, bodies and addresses (a patient's is an INS) stay out of `repr` and of exception texts."""
    raw = raw.replace(mails.READER.encode(), b"146026322000196@patient.mssante.fr")
    found = read(raw)
    shown = [repr(found), repr(match(found, KNOWN))]
    try:
        shown.append(repr(parse(raw)))
        parse(raw, Bounds(parts=1))
    except Unreadable as e:
        shown += [str(e), repr(e)]
    for text in shown:
        assert mails.NAME not in text
        assert "146026322000196" not in text
        assert "patient.mssante" not in text


def test_an_exception_keeps_no_trace_of_the_mail() -> None:
    """The parser's own exceptions may quote the mail: they are not chained."""
    with pytest.raises(Unreadable) as raised:
        parse(nested(50, "message"))
    assert raised.value.args == ("TOO-COMPLEX",)
    assert raised.value.__cause__ is None


def test_readings_are_values() -> None:
    for raw in SEEDS:
        found: Any = read(raw)
        assert pickle.loads(pickle.dumps(found)) == found == copy.copy(found)
        with pytest.raises((AttributeError, TypeError)):  # which one depends on the version of Python
            found.kind = "x"
