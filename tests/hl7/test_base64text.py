"""Base64 of OBX-5.5: exact, one safe repair (padding), everything else refused (RFC 4648 §4)."""

from __future__ import annotations

import base64
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadInput
from gateway.hl7 import base64text
from gateway.hl7.base64text import SLICE, BadBase64, decode


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_round_trip(content: bytes) -> None:
    text = base64.b64encode(content)
    assert decode(text) == base64text.Decoded(content, False)
    assert decode(memoryview(b"|" + text + b"|")[1:-1]).content == content


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=100))
def test_missing_padding_is_repaired_and_told(content: bytes) -> None:
    text = base64.b64encode(content)
    bare = text.rstrip(b"=")
    assert decode(bare) == base64text.Decoded(content, bare != text)


def test_half_of_the_padding_is_repaired() -> None:
    assert decode(b"YQ=") == base64text.Decoded(b"a", True)


@pytest.mark.parametrize(
    "text",
    [
        b"YWJj\r\nZGVm",
        b" YWJjZGVm ",
        b"YWJj\\.br\\ZGVm",
        b"YWJj\\X0D0A\\ZGVm",
        b"YWJj\\X0d\\\\X0a\\ZGVm",
        b"YWJj\tZG Vm\n",
    ],
)
def test_blanks_and_escaped_line_breaks_are_not_content(text: bytes) -> None:
    assert decode(text) == base64text.Decoded(b"abcdef", False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"YWJj!GVm", "character"),
        (b"YWJj-GVm", "character"),
        (b"YQ==YWJj", "character"),
        (b"=YWJ", "character"),
        (b"YWJj=", "character"),
        (b"YQ===", "character"),
        (b"YWI==", "character"),
        (b"YWJj\xc3\xa9Vm", "character"),
        (b"YWJj\\F\\ZGVm", "character"),
        (b"YWJjZ", "length"),
        (b"Y", "length"),
    ],
)
def test_what_is_not_base64_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(BadBase64) as raised:
        decode(text)
    assert raised.value.reason == reason
    assert isinstance(raised.value, BadInput)


def test_large_text_is_decoded_in_slices() -> None:
    content = bytes(range(256)) * (3 * SLICE // 4 // 256 * 2 + 5) + b"end"
    text = base64.b64encode(content)
    assert len(text) > 2 * SLICE
    assert decode(text) == base64text.Decoded(content, False)
    assert decode(text.rstrip(b"=")).content == content
    assert decode(text[:SLICE] + b"\r\n" + text[SLICE:]).content == content


def test_padding_at_the_end_of_a_slice_is_not_the_end() -> None:
    """Slices are decoded one by one: padding inside the text must still be refused."""
    first = b"YWJj" * (SLICE // 4 - 1) + b"YQ=="
    with pytest.raises(BadBase64):
        decode(first + b"YWJj")


def test_empty_text_is_empty_content() -> None:
    assert decode(b"") == base64text.Decoded(b"", False)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200), st.lists(st.integers(0, 400), max_size=6), st.sampled_from([b"", b"\n", b" \t"])
)
def test_pieces_of_any_length_decode_as_the_whole(content: bytes, cuts: list[int], blank: bytes) -> None:
    text = base64.b64encode(content)
    text = blank.join(text[i : i + 7] for i in range(0, len(text), 7))
    bounds = sorted({0, len(text), *(c % (len(text) + 1) for c in cuts)})
    pieces = [text[a:b] for a, b in pairwise(bounds)]
    assert base64text.decode_pieces(lambda: pieces) == decode(text) == base64text.Decoded(content, False)


@pytest.mark.parametrize("text", [b"YWJj!GVm", b"YQ==YWJj", b"YWJjZ", b"=" * 50, b"YWJj\\F\\ZGVm"])
def test_pieces_that_are_not_base64_are_refused_with_the_same_reason(text: bytes) -> None:
    reasons = []
    for given_text in (lambda: base64text.decode_pieces(lambda: (text[:3], text[3:])), lambda: decode(text)):
        with pytest.raises(BadBase64) as raised:
            given_text()
        reasons.append(raised.value.reason)
    assert reasons[0] == reasons[1]
