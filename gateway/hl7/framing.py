"""MLLP framing: the bytes of a connection in, the payloads of complete frames out.

Purpose: find `<0x0B> payload <0x1C 0x0D>` in whatever pieces the network delivers. Pure: no socket, no clock.

Guarantee: a payload comes out exactly as it was sent, once, in order, whatever the split points; several
frames in one piece and LF, CR or CRLF inside the payload are normal; a 0x1C that is not followed by 0x0D
is content. Each byte is searched once and copied once, into one buffer that becomes the payload as it is: a frame
of 89 MB is never joined (110 ms in the event loop) nor held twice.

A 0x0B inside a frame is ambiguous: content, or a sender that gave up a frame and began again. It begins a
new frame only when no end block came before it and the next bytes are `MSH`; the bytes given up count as
`dropped`. Any other 0x0B is content.

Fails: `FrameTooLong` when the frame under way passes the limit; the decoder skips the rest of that frame
and goes on (as it does when its user gives the frame up: `give_up`).
Source: MLLP release 1 (HL7 v2 transport specification).
"""

from __future__ import annotations

import io

from gateway.errors import FramingError

START = 0x0B
END = b"\x1c\x0d"
HEAD_SIZE = 4096
"""Bytes of a too long frame that `FrameTooLong.head` keeps, enough for its MSH."""

_START = bytes([START])
_RESTART = _START + b"MSH"
# What may be the beginning of END or of _RESTART when a piece stops there, longest first.
_OPEN_TAILS = (_RESTART[:3], _RESTART[:2], _RESTART[:1], END[:1])
_LINE_ENDS = b"\r\n"


class FrameTooLong(FramingError):
    """The frame under way is longer than the limit.

    `head` is the first 4 kB of its payload (to address an ACK); `frames` are the payloads completed before
    it in the same call of `feed`: they are good and must be handled first.
    """

    def __init__(self, limit: int, head: bytes, frames: list[bytes]) -> None:
        super().__init__(f"frame longer than {limit} bytes")
        self.limit = limit
        self.head = head
        self.frames = frames


class FrameDecoder:
    """The reading side of one connection.

    `max_size`: longest payload accepted, in bytes. Counters only grow: `dropped` (bytes of garbage outside
    frames and of frames given up), `separators` (CR or LF between frames, tolerated), `skipped` (bytes of
    too long frames).
    """

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.dropped = 0
        self.separators = 0
        self.skipped = 0
        self.in_frame = False
        self._skipping = False
        self._body = io.BytesIO()
        self._size = 0
        # Bytes that cannot be judged yet: the tail of a piece that may begin a mark, or what follows a
        # FrameTooLong.
        self._held = b""

    @property
    def buffered(self) -> int:
        """Bytes held in memory: the frame under way, and bytes not looked at yet."""
        return self._size + len(self._held)

    @property
    def skipping(self) -> bool:
        """True while the rest of a frame that was given up is skipped."""
        return self._skipping

    def give_up(self) -> bytes:
        """Let go of the frame under way and skip the rest of it; its first 4 kB (to address an ACK)."""
        head = bytes(self._body.getbuffer()[:HEAD_SIZE])
        self.skipped += self._size
        self._forget()
        self._skipping = True
        return head

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes, in order.

        Raises `FrameTooLong` as soon as the frame under way passes `max_size`. The bytes after that point
        are kept: the next call (`feed(b"")` will do) goes on with them.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        frames: list[bytes] = []
        position = 0
        while position < len(data):
            if not self.in_frame:
                position = self._seek(data, position)
                continue
            end = data.find(END, position)
            stop = end if end >= 0 else len(data)
            # Of several restarts only the last one can become a frame.
            restart = data.rfind(_RESTART, position, stop)
            if restart >= 0:
                self.dropped += 1 + self._size + restart - position
                self._forget()
                position = restart + 1
            tail = b"" if end >= 0 else _open_tail(data, position)
            stop -= len(tail)
            size = self._size + stop - position
            if size > self.max_size and not self._skipping:
                head = (self.give_up() + data[position : position + HEAD_SIZE])[:HEAD_SIZE]
                self._held = data[position:]
                raise FrameTooLong(self.max_size, head, frames)
            if self._skipping:
                self.skipped += stop - position
            elif end >= 0 and not self._size:
                frames.append(data[position:stop])
            else:
                self._body.write(memoryview(data)[position:stop])
                self._size = size
            if end < 0:
                self._held = tail
                break
            if self._size:
                # BytesIO hands its buffer over without copying it when nobody else uses it
                frames.append(self._body.getvalue())
            self._forget()
            self.in_frame = False
            position = end + len(END)
        return frames

    def _seek(self, data: bytes, position: int) -> int:
        """Outside a frame: count what is not a frame, and give the position after the next start block."""
        start = data.find(_START, position)
        garbage = data[position : start if start >= 0 else len(data)]
        if garbage:
            line_ends = sum(garbage.count(c) for c in _LINE_ENDS)
            self.separators += line_ends
            self.dropped += len(garbage) - line_ends
        if start < 0:
            return len(data)
        self.in_frame = True
        return start + 1

    def _forget(self) -> None:
        if self._size:
            self._body = io.BytesIO()
            self._size = 0
        self._skipping = False


def _open_tail(data: bytes, position: int) -> bytes:
    """The end of `data[position:]` that may be the beginning of a mark, else nothing."""
    for tail in _OPEN_TAILS:
        if data.endswith(tail, position):
            return tail
    return b""


def encode(payload: bytes) -> bytes:
    """`payload` in a frame. Raises `FramingError` when it holds an end block: it could not be read back."""
    if END in payload:
        raise FramingError("payload holds an MLLP end block")
    return b"".join((_START, payload, END))
