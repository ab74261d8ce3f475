r"""Our reading of HL7 v2: segments in = segments out, positions, escapes, charsets (HL7 v2.5/2.6 chapter 2)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MessageUnreadable, Place
from gateway.hl7.message import MAX_FIELDS, MAX_SEGMENTS, Message, Separators, escape
from tests.official import OFFICIAL

MSH = b"MSH|^~\\&|APP^1.2.3^ISO|FAC|RAPP|RFAC|20260101||MDM^T02^MDM_T02|ID1|P^T|2.6|||||FRA|UNICODE UTF-8"


def message(*segments: bytes, msh: bytes = MSH, end: bytes = b"\r") -> Message:
    return Message.parse(b"".join(s + end for s in (msh, *segments)))


def official_messages() -> list[Path]:
    folder = OFFICIAL / "hl7"
    return sorted(p for p in folder.rglob("*") if p.suffix in {".er7", ".hl7"}) if folder.exists() else []


@pytest.mark.official
@pytest.mark.skipif(not official_messages(), reason="official data absent")
@pytest.mark.parametrize("path", official_messages(), ids=lambda p: p.name)
def test_segments_in_are_segments_out_on_official_samples(path: Path) -> None:
    """spec/hl7-transmission.md §1: PRT, Z and unknown segments must all be there, byte for byte, in order."""
    raw = path.read_bytes()
    expected = [
        line for line in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n") if line.strip()
    ]
    read = Message.parse(raw)
    assert [s.raw for s in read.segments] == expected
    assert [s.name for s in read.segments] == [line[:3].decode() for line in expected]
    for segment, line in zip(read.segments, expected, strict=True):
        fields = [segment.field(n) for n in range(1, segment.field_count + 1)]
        if segment.name == "MSH":
            assert fields[0] == b"|"
            del fields[0]
        assert b"|".join((line[:3], *fields)) == line
    assert read.undecodable() == []


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text("AZ9|^~&\\x é", max_size=20).map(lambda t: ("ZZ1|" + t).encode()), max_size=5),
    st.sampled_from([b"\r", b"\n", b"\r\n"]),
)
def test_any_segments_come_out_as_they_went_in(segments: list[bytes], end: bytes) -> None:
    read = message(*segments, end=end)
    assert [s.raw for s in read.segments[1:]] == segments
    for got, sent in zip(read.segments[1:], segments, strict=True):
        assert b"|".join(got.field(n) for n in range(1, got.field_count + 1)) == sent[4:]
        for field in range(1, got.field_count + 1):
            for rep in range(1, got.repetitions(field) + 1):
                content = got.field(field).split(b"~")[rep - 1]
                for comp, part in enumerate(content.split(b"^"), 1):
                    offset, length = got.locate(field, comp, rep)
                    assert read.raw[offset : offset + length] == part
                assert got.locate(field, content.count(b"^") + 2, rep)[1] == 0


@pytest.mark.parametrize(
    ("end", "seen"),
    [(b"\r", {"CR"}), (b"\n", {"LF"}), (b"\r\n", {"CRLF"}), (b"\r\r\n\n", {"CR", "CRLF", "LF"})],
)
def test_line_ends(end: bytes, seen: set[str]) -> None:
    read = message(b"PID|1", b"ZZZ|2", end=end)
    assert [s.name for s in read.segments] == ["MSH", "PID", "ZZZ"]
    assert read.line_ends == seen


def test_header_helpers_are_as_sent() -> None:
    m = message()
    assert (m.type, m.event, m.structure, m.control_id) == ("MDM", "T02", "MDM_T02", "ID1")
    assert (m.version, m.processing_id, m.charset) == ("2.6", "P", "UNICODE UTF-8")
    assert (m.sending_application, m.sending_facility) == ("APP", "FAC")
    assert (m.receiving_application, m.receiving_facility) == ("RAPP", "RFAC")
    assert m.msh.text(1) == "|"
    assert m.msh.text(2) == "^~\\&"


def test_places_count_the_segments_of_a_name() -> None:
    m = message(b"OBX|1", b"PRT|x", b"OBX|7||||a~b^c&d")
    third = m.all("OBX")[1]
    assert third.place(5, 2, 2, 2) == Place("OBX", 2, 5, 2, 2, 2)
    assert third.text(5, 2, 2, 2) == "d"
    assert third.text(5, 1, 2) == ""
    assert third.text(5, 3) == ""
    assert third.repetitions(5) == 2
    assert third.repetitions(4) == 0
    assert third.text(42) == ""


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (rb"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (rb"l1\.br\l2", "l1\nl2"),
        (rb"\H\gras\N\ ", "gras "),
        (rb"\XC3A9\t\X41\ ", "étA "),
        (rb"\Z99\ and \Cxx\ stay", r"\Z99\ and \Cxx\ stay"),
        (rb"lone \ stays", "lone \\ stays"),
        (rb"end\ ".strip(), "end\\"),
        (rb"\XZZ\ not hex", r"\XZZ\ not hex"),
        (rb"\\F\ ", "\\| "),
    ],
)
def test_escapes(sent: bytes, text: str) -> None:
    """HL7 v2 chapter 2, §2.7."""
    assert message(b"ZZZ|" + sent).segments[1].text(1) == text


def test_escapes_use_the_separators_that_msh_declares() -> None:
    m = Message.parse(b"MSH$*%!@$A*B\rZZZ$a!F!b!S!c!T!d*second%third@sub\r")
    assert m.separators == Separators(b"$", b"*", b"%", b"!", b"@", b"*%!@")
    assert m.sending_application == "A"
    z = m.segments[1]
    assert z.text(1) == "a$b*c@d"
    assert (z.text(1, 1, 2), z.text(1, 2, 1, 2)) == ("second", "sub")


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40))
def test_escape_then_read_gives_the_text_back(text: str) -> None:
    m = message(b"ZZZ|" + escape(text, Separators()).encode() + b"|end")
    assert m.segments[1].text(1) == text
    assert m.segments[1].text(2) == "end"


def test_escape_keeps_line_breaks_and_drops_other_controls() -> None:
    assert escape("a\r\nb\rc\x0b\x1cd", Separators()) == r"a\.br\b\.br\cd"


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("UNICODE UTF-8", "utf-8"),
        ("", "utf-8"),
        ("UNICODE", "utf-8"),
        ("8859/15", "iso8859-15"),
        ("8859/1", "iso8859-1"),
    ],
)
def test_charset_of_msh_18(charset: str, codec: str) -> None:
    msh = MSH.replace(b"UNICODE UTF-8", charset.encode())
    m = message("ZZZ|Hélène".encode(codec), msh=msh)
    assert m.encoding == codec
    assert m.charset_known
    assert m.segments[1].text(1) == "Hélène"
    assert m.undecodable() == []


def test_unknown_charset_is_told() -> None:
    assert not message(msh=MSH.replace(b"UNICODE UTF-8", b"KLINGON")).charset_known


def test_undecodable_bytes_are_found_not_replaced() -> None:
    m = message(b"PID|ok|H\xe9l\xe8ne", b"ZZZ|fine", b"ZZZ|a|b|\xff")
    assert m.undecodable() == [Place("PID", 1, 2), Place("ZZZ", 2, 3)]
    assert m.segments[1].text(2) == "H\udce9l\udce8ne"


def test_undecodable_hexadecimal_escape_is_found() -> None:
    assert message(rb"ZZZ|ok|\XE9\ ").undecodable() == [Place("ZZZ", 1, 2)]


def test_characters_cut_by_the_decoding_slice_are_whole() -> None:
    """Decoding goes in slices of 64 kB: a two-byte character across the border is not an error, a bad byte
    is.
    """
    for shift in range(3):
        good = b"ZZZ|" + b"x" * shift + "é".encode() * 70_000
        assert message(good).undecodable() == []
        assert message(good + b"\xe9").undecodable() == [Place("ZZZ", 1, 1)]


def test_ascii_charset_with_other_bytes_is_undecodable() -> None:
    assert message("ZZZ|é".encode(), msh=MSH.replace(b"UNICODE UTF-8", b"ASCII")).undecodable() == [
        Place("ZZZ", 1, 1)
    ]


def test_locate_gives_the_document_without_copying_it() -> None:
    data = b"QUJD" * 1000
    m = message(b"OBX|1|ED|X^Y^LN||^TEXT^XML^Base64^" + data + b"||||||F|")
    offset, length = m.segments[1].locate(5, 5)
    assert m.raw[offset : offset + length] == data
    assert m.segments[1].locate(5, 6)[1] == 0
    assert m.segments[1].locate(17, 1)[1] == 0


def test_a_line_that_is_no_segment_has_no_name() -> None:
    """Its bytes may be patient data: they must never serve as a name."""
    m = message(b"PID|1", b"DUPONT Jean", b"pid|2", b"P", b"ZZZ")
    assert [s.name for s in m.segments] == ["MSH", "PID", "", "", "", "ZZZ"]


def test_bom_and_blank_lines_before_msh_are_read_over() -> None:
    m = Message.parse(b"\xef\xbb\xbf\r\n" + MSH + b"\r\r\n \rPID|1\r")
    assert [s.name for s in m.segments] == ["MSH", "PID"]
    assert m.control_id == "ID1"


@pytest.mark.parametrize("sent", [b"MSH|^~\\&", b"MSH|^~\\&#|A", b"MSH|^|A", b"MSH|^~\\&|"])
def test_a_short_header_is_still_readable(sent: bytes) -> None:
    assert Message.parse(sent).control_id == ""


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"PID|1",
        b"MSH",
        b"MSH|",
        b"MSHA^~\\&",
        b"MSH|||A",
        b"MSH|^^~|A",
        b"MSH|^~\\&xxxxx|A",
        "MSH|^".encode("utf-16"),
    ],
)
def test_without_separators_the_message_is_unreadable(sent: bytes) -> None:
    with pytest.raises(MessageUnreadable):
        Message.parse(sent)


def test_a_separator_that_msh_2_leaves_out_never_splits() -> None:
    z = Message.parse(b"MSH|&|A\rZZZ|x^y~z&t\r").segments[1]
    assert z.text(1) == "x^y"
    assert z.text(1, 2, 2) == "t"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_unreadable(tail: bytes) -> None:
    raw = b"MSH|" + tail
    try:
        m = Message.parse(raw)
    except MessageUnreadable:
        return
    m.undecodable()
    for segment in m.segments:
        for field in range(segment.field_count + 2):
            segment.text(field, 2, 2, 2)
            segment.value(field)
            segment.has(field)


def test_absurd_numbers_of_segments_or_fields_cost_nothing() -> None:
    """50 MB of separators must not become millions of objects."""
    with pytest.raises(MessageUnreadable):
        message(*[b"ZZZ|1"] * MAX_SEGMENTS)
    assert len(message(*[b"ZZZ|1"] * (MAX_SEGMENTS - 1)).segments) == MAX_SEGMENTS
    z = message(b"ZZZ" + b"|" * 100_000).segments[1]
    assert z.field_count == MAX_FIELDS
    assert len(z.field(MAX_FIELDS)) == 100_000 - MAX_FIELDS


def test_undecodable_bytes_everywhere_are_found_in_every_segment() -> None:
    m = message(*[b"ZZZ|\xff\xff|\xff"] * 300)
    assert m.undecodable() == [Place("ZZZ", n, 1) for n in range(1, 301)]


def test_a_document_is_left_out_of_the_search_for_control_characters() -> None:
    """Its base64 is judged as such; scanning 89 MB of it held every other message up for half a second."""
    long = b"A" * 5000
    raw = b"MSH|^~\\&|A|B\rOBX|1|ED|X||s^TEXT^XML^Base64^" + long + b"\x01" + long + b"||||||F\r"
    assert Message.parse(raw).controls() == []
    assert [p.erl() for p in Message.parse(raw.replace(b"|F\r", b"|F\x02\r")).controls()] == ["OBX^1^11"]
    # the fifth field of a long PID or PRT is a name, and is looked at
    name = b"MSH|^~\\&|A|B\rPID|||1||NOM\x01|" + long + b"\r"
    assert [p.erl() for p in Message.parse(name).controls()] == ["PID^1^5"]
