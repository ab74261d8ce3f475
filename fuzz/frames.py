"""Atheris target: bytes of a connection and payloads of frames, against all promises of `tests.fuzz.promises`.

    python -m fuzz.frames tests/fuzz/corpus/frames -max_total_time=60

An input that breaks a promise is written as `crash-…`: name it after what it breaks and keep it in the corpus.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["gateway.hl7", "gateway.cda", "gateway.exchange.checking"]):
    from gateway.hl7.framing import FrameDecoder, FrameTooLong
    from tests.fuzz.promises import message_promises

LIMIT = 200


def payloads(stream: bytes, step: int) -> list[bytes]:
    """All payloads of a stream that arrives in pieces of `step` bytes."""
    decoder, found = FrameDecoder(LIMIT), []
    for i in range(0, len(stream), step):
        data = stream[i : i + step]
        while True:
            try:
                found += decoder.feed(data)
                break
            except FrameTooLong as e:
                found += e.frames
                data = b""
        assert decoder.buffered <= LIMIT + 4
    return found


def one(data: bytes) -> None:
    """One input: as a stream, whole and in pieces, then as the payload of a frame."""
    assert payloads(data, max(len(data), 1)) == payloads(data, 1) == payloads(data, 7)
    for preset in ("production", "interop"):
        message_promises(data, preset)  # type: ignore[arg-type]


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
