"""MLLP framing: exact payloads whatever the split points, limits, garbage and frames given up."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import FramingError
from gateway.hl7.framing import END, HEAD_SIZE, FrameDecoder, FrameTooLong, encode

START = b"\x0b"
# Every byte that means something to the decoder, and few others, so that marks meet by chance.
_TRICKY = st.lists(
    st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"M", b"S", b"H", b"a"]), max_size=12
).map(b"".join)
_PAYLOAD = st.one_of(_TRICKY, st.binary(max_size=40)).filter(
    # A payload that holds an end block or ends so that one appears cannot be framed; one that holds a start
    # block # and MSH is read as a restart, by rule.
    lambda p: END not in p and b"\x0bMSH" not in p and b"\x0bMSH" not in START + p[1:]
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in pairwise(bounds)]


@settings(max_examples=150, deadline=None)
@given(st.lists(_PAYLOAD, max_size=4), st.lists(st.integers(0, 500), max_size=12))
def test_payloads_are_exact_for_any_split(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(encode(p) for p in payloads)
    decoder = FrameDecoder(1000)
    got = [p for piece in pieces(stream, cuts) for p in decoder.feed(piece)]
    assert got == payloads
    assert (decoder.dropped, decoder.separators, decoder.skipped) == (0, 0, 0)
    assert not decoder.in_frame
    assert decoder.buffered == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(_TRICKY, max_size=6).map(b"".join), st.lists(st.integers(0, 500), max_size=12))
def test_any_bytes_give_the_same_frames_whatever_the_split(stream: bytes, cuts: list[int]) -> None:
    whole, cut = FrameDecoder(1000), FrameDecoder(1000)
    expected = whole.feed(stream)
    assert [p for piece in pieces(stream, cuts) for p in cut.feed(piece)] == expected
    assert (cut.dropped, cut.separators) == (whole.dropped, whole.separators)
    assert cut.in_frame == whole.in_frame
    assert cut.buffered == whole.buffered


def test_byte_by_byte() -> None:
    decoder = FrameDecoder(100)
    stream = encode(b"MSH|a\r\nPID\x1cx\n") + b"\r\n" + encode(b"MSH|b")
    got = [p for i in range(len(stream)) for p in decoder.feed(stream[i : i + 1])]
    assert got == [b"MSH|a\r\nPID\x1cx\n", b"MSH|b"]


def test_garbage_and_separators_are_counted_apart() -> None:
    decoder = FrameDecoder(100)
    assert decoder.feed(b"xyz\r\n" + encode(b"MSH|1") + b"\r\n\r" + encode(b"MSH|2") + b"!") == [
        b"MSH|1",
        b"MSH|2",
    ]
    assert (decoder.dropped, decoder.separators) == (4, 5)


def test_in_frame_and_buffered_tell_the_frame_under_way() -> None:
    decoder = FrameDecoder(100)
    decoder.feed(START + b"MSH|x\x1c")
    assert decoder.in_frame
    assert decoder.buffered == 6
    assert decoder.feed(b"\r") == [b"MSH|x"]
    assert decoder.buffered == 0


def test_lone_end_byte_is_content() -> None:
    assert FrameDecoder(100).feed(START + b"a\x1cb\x1c\x1c\r") == [b"a\x1cb\x1c"]


@pytest.mark.parametrize("cut", range(1, 14))
def test_start_block_and_msh_inside_a_frame_begin_a_new_frame(cut: int) -> None:
    """A sender that gave up a frame and began again, at every split point."""
    stream = START + b"MSH|cut" + encode(b"MSH|whole")
    decoder = FrameDecoder(100)
    assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == [b"MSH|whole"]
    assert decoder.dropped == len(START + b"MSH|cut")


def test_start_byte_without_msh_is_content() -> None:
    assert FrameDecoder(100).feed(encode(b"MSH|a\x0bMS\x0bb")) == [b"MSH|a\x0bMS\x0bb"]


def test_complete_frame_before_a_start_block_is_not_given_up() -> None:
    assert FrameDecoder(100).feed(encode(b"MSH|1") + encode(b"MSH|2")) == [b"MSH|1", b"MSH|2"]


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
def test_too_long_gives_the_head_skips_the_frame_and_goes_on(step: int) -> None:
    before, long, after = b"MSH|before", b"MSH|long|" + b"x" * 6000, b"MSH|after"
    stream = encode(before) + encode(long) + encode(after)
    decoder = FrameDecoder(5000)
    got: list[bytes] = []
    errors: list[FrameTooLong] = []
    for i in range(0, len(stream), step):
        data = stream[i : i + step]
        while True:
            try:
                got += decoder.feed(data)
                break
            except FrameTooLong as e:
                errors.append(e)
                got += e.frames
                data = b""
    assert got == [before, after]
    assert [e.head for e in errors] == [long[:HEAD_SIZE]]
    assert decoder.skipped == len(long)
    assert decoder.dropped == 0


def test_too_long_is_told_before_the_frame_ends_and_holds_no_memory() -> None:
    decoder = FrameDecoder(1000)
    with pytest.raises(FrameTooLong) as raised:
        decoder.feed(START + b"MSH|" + b"x" * 2000)
    assert isinstance(raised.value, FramingError)
    decoder.feed(b"x" * 100_000)
    assert decoder.buffered == 0
    assert decoder.feed(END + encode(b"MSH|ok")) == [b"MSH|ok"]


def test_a_payload_of_exactly_the_limit_passes() -> None:
    assert FrameDecoder(4).feed(encode(b"MSH|")) == [b"MSH|"]
    with pytest.raises(FrameTooLong):
        FrameDecoder(3).feed(encode(b"MSH|"))


def test_encode_refuses_a_payload_that_could_not_be_read_back() -> None:
    with pytest.raises(FramingError):
        encode(b"MSH|\x1c\rPID")


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_frame_given_up_is_skipped_to_its_end_and_keeps_nothing(step: int) -> None:
    """What the listener does with a frame that the memory budget has no room for."""
    decoder = FrameDecoder(10_000)
    assert decoder.feed(START + b"MSH|given up|" + b"x" * 5000) == []
    assert decoder.give_up() == (b"MSH|given up|" + b"x" * 5000)[:HEAD_SIZE]
    assert decoder.skipping
    assert decoder.buffered == 0
    rest = b"y" * 3000 + END + encode(b"MSH|next")
    assert [p for i in range(0, len(rest), step) for p in decoder.feed(rest[i : i + step])] == [b"MSH|next"]
    assert (decoder.skipped, decoder.dropped, decoder.skipping) == (13 + 5000 + 3000, 0, False)
