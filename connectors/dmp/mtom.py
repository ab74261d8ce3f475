"""MTOM/XOP: multipart/related packages, byte for byte.

Purpose: encode a request without copying the documents (a list of chunks and their total length), decode a
response. The standard email package is not used: it normalises line ends, and hash and size are of the bytes.
Guarantee: a part comes out exactly as it went in, whatever it contains; a boundary never occurs in a part.
Fails: `ValueError` for a package that cannot be read.
Source: W3C XOP, RFC 2387, spec/dmp.md §1.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import unquote
from uuid import UUID

_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))')
_CONTENT_ID = re.compile(rb"(?im)^content-id:[ \t]*<?([^>\r\n]+)>?")
_ROOT = "root.message@segur-gateway"


@dataclass(frozen=True, slots=True)
class Part:
    """One attachment: its Content-ID (without brackets), media type and bytes."""

    content_id: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Package:
    """A body to send: its Content-Type, its chunks in order and their total length in bytes."""

    content_type: str
    chunks: tuple[bytes, ...]
    length: int


def encode(action: str, soap: bytes, parts: Sequence[Part], boundary: UUID) -> Package:
    """A package of a SOAP message and its attachments. The documents' bytes are referenced, not copied."""
    mark = f"uuid:{boundary}"
    chunks: list[bytes] = []

    def part(media_type: str, content_id: str, content: bytes) -> None:
        start = "--" if not chunks else "\r\n--"
        chunks.append(
            f"{start}{mark}\r\nContent-Type: {media_type}\r\nContent-Transfer-Encoding: binary\r\n"
            f"Content-ID: <{content_id}>\r\n\r\n".encode()
        )
        chunks.append(content)

    part(f'application/xop+xml; charset=UTF-8; type="application/soap+xml"; action="{action}"', _ROOT, soap)
    for one in parts:
        part(one.media_type, one.content_id, one.content)
    chunks.append(f"\r\n--{mark}--\r\n".encode())
    content_type = (
        f'multipart/related; type="application/xop+xml"; boundary="{mark}"; start="<{_ROOT}>"; '
        f'start-info="application/soap+xml"; action="{action}"'
    )
    return Package(content_type, tuple(chunks), sum(map(len, chunks)))


def parameters(content_type: str) -> dict[str, str]:
    """Parameters of a media type, names in lower case, quotes removed."""
    return {
        name.lower(): quoted.replace("\\", "") or plain
        for name, quoted, plain in _PARAMETER.findall(content_type)
    }


def decode(content_type: str, body: bytes) -> tuple[bytes, Mapping[str, bytes]]:
    """Root part and parts by Content-ID. A body that is not multipart is its own root."""
    if not content_type.strip().lower().startswith("multipart/"):
        return body, {}
    values = parameters(content_type)
    boundary = values.get("boundary")
    if not boundary:
        raise ValueError("multipart without boundary")
    parts: dict[str, bytes] = {}
    first: bytes | None = None
    for headers, content in _split(body, b"--" + boundary.encode("latin-1")):
        if first is None:
            first = content
        found = _CONTENT_ID.search(headers)
        if found is not None:
            parts[found[1].decode("latin-1").strip()] = content
    if first is None:
        raise ValueError("multipart without part")
    return parts.get(values.get("start", "").strip("<>"), first), parts


def _delimiters(body: bytes, mark: bytes) -> list[tuple[int, int, bool]]:
    """(start of the delimiter with its line break, end of its line, is the last) of each boundary line."""
    found = []
    at = body.find(mark)
    while at >= 0:
        end = at + len(mark)
        rest = body[end : end + 2]
        at_line_start = at == 0 or body[at - 1 : at] == b"\n"
        if at_line_start and (rest[:1] in (b"\r", b"\n", b" ", b"\t", b"") or rest == b"--"):
            start = at
            if at >= 2 and body[at - 2 : at] == b"\r\n":
                start = at - 2
            elif at >= 1:
                start = at - 1
            line = body.find(b"\n", end)
            found.append((start, len(body) if line < 0 else line + 1, rest == b"--"))
            if rest == b"--":
                break
        at = body.find(mark, end)
    return found


def _split(body: bytes, mark: bytes) -> list[tuple[bytes, bytes]]:
    """(header block, content) of each part. Raises `ValueError` when the package is cut."""
    lines = _delimiters(body, mark)
    if not lines or not lines[-1][2]:
        raise ValueError("multipart is cut")
    made = []
    for (_, begin, _), (finish, _, _) in pairwise(lines):
        for blank in (b"\r\n\r\n", b"\n\n"):
            gap = body.find(blank, begin, finish)
            if gap >= 0:
                made.append((body[begin:gap], body[gap + len(blank) : finish]))
                break
        else:
            raise ValueError("multipart part without header")
    return made


def resolve(href: str, parts: Mapping[str, bytes]) -> bytes:
    """The part of an `xop:Include/@href`. The Content-ID may be URL-encoded on either side (spec/dmp.md
    §1.4).

    Raises `ValueError` when there is none.
    """
    wanted = unquote(href.removeprefix("cid:"))
    for content_id, content in parts.items():
        if wanted in (content_id, unquote(content_id)):
            return content
    raise ValueError("no such part")
