"""What a file is: messages in every way people keep them, documents, anything else."""

from __future__ import annotations

import gzip

import pytest

from fixtures import build
from gateway.hl7.framing import encode
from gateway.validation.source import Kind, document_encoding, pasted, read_source
from tests.exchange.harness import cda, submit

MESSAGE = submit("M1")


@pytest.mark.parametrize(
    "content",
    [
        MESSAGE,
        MESSAGE.replace(b"\r", b"\n"),
        MESSAGE.replace(b"\r", b"\r\n"),
        b"\n\n" + MESSAGE.replace(b"\r", b"\n") + b"\n\n",
        encode(MESSAGE),
        encode(MESSAGE) + b"\r\n",
        MESSAGE + b"\x1c\r",
        b"\x0b" + MESSAGE,
    ],
    ids=[
        "CR",
        "LF",
        "CRLF",
        "blank lines",
        "MLLP",
        "MLLP and a line end",
        "end block alone",
        "start block alone",
    ],
)
def test_one_message_however_it_is_kept(content: bytes) -> None:
    source = read_source(content)
    assert source.kind is Kind.ER7
    (unit,) = source.units
    assert unit.lstrip() == MESSAGE


def test_a_byte_order_mark_stays_for_the_reader() -> None:
    (unit,) = read_source(b"\xef\xbb\xbf" + MESSAGE).units
    assert unit == b"\xef\xbb\xbf" + MESSAGE


def test_a_frame_whose_cr_became_lf() -> None:
    content = encode(MESSAGE).replace(b"\r", b"\n")
    (unit,) = read_source(content + content.replace(b"M1", b"M2")).units[:1]
    # inside its frame a message is taken as it is
    assert unit == MESSAGE.replace(b"\r", b"\n")


def test_a_frame_that_is_not_closed_is_told() -> None:
    source = read_source(b"\x0b" + MESSAGE)
    assert any("pas fermée" in note for note in source.notes)


def test_bytes_outside_frames_are_told() -> None:
    source = read_source(encode(MESSAGE) + b"trace" + encode(MESSAGE))
    assert len(source.units) == 2
    assert any("5 octets" in note for note in source.notes)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_several_messages_of_a_file_are_told_apart(end: bytes) -> None:
    content = (MESSAGE + submit("M2")).replace(b"\r", end)
    source = read_source(content)
    assert source.units == (MESSAGE, submit("M2"))
    assert any("2 messages" in note for note in source.notes)


@pytest.mark.parametrize(
    "content",
    [
        cda(),
        b"\xef\xbb\xbf" + cda(),
        cda().decode().encode("utf-16"),
        gzip.compress(cda()),
        b"",
        b"%PDF-1.7",
        b'{"resourceType":"Bundle"}',
    ],
)
def test_the_rest_is_judged_as_a_document(content: bytes) -> None:
    source = read_source(content)
    assert (source.kind, source.units) == (Kind.CDA, (content,))


@pytest.mark.parametrize(
    "content", [b"PID|1\rPV1|1\r", MESSAGE.decode().encode("utf-16"), b"FHS|^~\\&\r" + MESSAGE]
)
def test_segments_without_a_readable_msh_are_a_message(content: bytes) -> None:
    assert read_source(content).kind is Kind.ER7


def test_a_pasted_message_has_the_charset_that_it_declares() -> None:
    latin = build.mdm("T02", cda(), charset="8859/15", organisation="Hôpital d'Été")
    assert pasted(latin.decode("iso-8859-15").replace("\r", "\r\n")).replace(b"\r\n", b"\r") == latin
    assert pasted(MESSAGE.decode()) == MESSAGE


def test_a_pasted_document_has_the_encoding_that_it_declares() -> None:
    text = '<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'
    assert pasted(text) == text.encode("latin-1")
    # a character that it cannot hold: the bytes of the page
    assert pasted(text.replace("é", "€")) == text.replace("é", "€").encode()


@pytest.mark.parametrize("name", ["hex", "rot13", "base64", "nowhere", "utf-7"])
def test_only_charsets_are_used_to_show_a_document(name: str) -> None:
    assert document_encoding(f'<?xml version="1.0" encoding="{name}"?><a/>'.encode()) == "utf-8"
