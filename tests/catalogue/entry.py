"""One bad input and the answer that it deserves: the row of the catalogue.

An error is written `RULE ERR-2 ERR-3[/ERR-5]`: `CDA-H08 OBX^1^5 207/906`; `-` stands for no place. The whole set of ERR
segments is compared, so a missing error, one too many, or the right one at the wrong place all fail.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from fixtures import build

Family = Literal[
    "transport",
    "message",
    "identité",
    "en-tête",
    "corps",
    "XML",
    "INS",
    "cohérence",
    "routage",
    "versions",
    "connecteurs",
    "circonstance",
    "plusieurs",
    "tolérances",
]


class Good:
    """Good messages and documents of one entry: their identifiers are nobody else's."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.control_id = f"CAT{number}"
        self.root = f"{build.DOCUMENT_ROOT}.{1000 + number}"

    def uid(self, version: int = 1) -> str:
        return f"{self.root}.{version}"

    def n1(self, version: int = 1, replaces: int | None = None, **kwargs: Any) -> bytes:
        """Version `version` of this entry's document, level 1."""
        ids: dict[str, Any] = {"uid": self.uid(version), "set_id": self.root, "version": version}
        if replaces is not None:
            ids["replaces"] = self.uid(replaces)
        return build.cda_n1(**(ids | kwargs))

    def n3(self, **kwargs: Any) -> bytes:
        """A second document, level 3, with its PDF copy."""
        ids = {"uid": f"{self.root}.3.1", "set_id": f"{self.root}.3", "pdf_copy": build.pdf()}
        return build.cda_n3(**(ids | kwargs))

    def send(self, cda: bytes | None = None, event: str = "T02", **kwargs: Any) -> bytes:
        """An MDM with `cda`."""
        document = self.n1() if cda is None else cda
        more = {"control_id": self.control_id, "ack_reception": False}
        return build.mdm(event, document, **(more | kwargs))

    def send_oru(self, *cdas: bytes, action: str = "submit", **kwargs: Any) -> bytes:
        """An ORU with `cdas`."""
        more = {"control_id": self.control_id, "ack_reception": False}
        return build.oru(action, list(cdas or (self.n1(),)), **(more | kwargs))

    @cached_property
    def mdm(self) -> bytes:
        """First transmission to the DMP and two professionals. OBX 1: document; 2 to 11: metadata; 12: mail body."""
        return self.send()

    @cached_property
    def oru(self) -> bytes:
        return self.send_oru()

    @cached_property
    def to_patient(self) -> bytes:
        """To a professional (PRT 2) and the patient (PRT 3)."""
        return self.send(recipients=(build.DR_MARTIN, build.patient_recipient()))

    def before(self, *messages: bytes) -> list[bytes]:
        """Messages that must get AA first, with MSH-10 of their own."""
        mine = self.control_id.encode()
        return [
            m.replace(b"|" + mine + b"|", b"|" + mine + b"-%d|" % n, 1) for n, m in enumerate(messages, 1)
        ]


@dataclass(frozen=True)
class Answer:
    """One ACK: MSA-1, its errors, and MSA-2 (None: the entry's MSH-10)."""

    code: str
    errors: tuple[str, ...] = ()
    acknowledged: str | None = None


@dataclass(frozen=True)
class Entry:
    """`what`: what is wrong, in French (the page for DPI editors is made of it). `make`: the payload to frame, or with
    `raw` the bytes of the connection. `before`: messages that must get AA first. `answers`: what comes back, in order;
    `closes`: then the gateway closes the connection. `findings`: what the journal keeps of an accepted message.
    """

    id: str
    family: Family
    what: str
    make: Callable[[Good], bytes]
    answers: tuple[Answer, ...]
    world: str = "production"
    before: Callable[[Good], list[bytes]] | None = None
    raw: bool = False
    closes: bool = False
    findings: tuple[str, ...] | None = None


CATALOGUE: list[Entry] = []


def bad(
    family: Family,
    identifier: str,
    what: str,
    make: Callable[[Good], bytes],
    *errors: str,
    code: str = "AE",
    acknowledged: str | None = None,
    **more: Any,
) -> None:
    """An entry with one answer."""
    CATALOGUE.append(Entry(identifier, family, what, make, (Answer(code, errors, acknowledged),), **more))


def tolerated(identifier: str, what: str, make: Callable[[Good], bytes], *findings: str, **more: Any) -> None:
    """An entry that is accepted, with the warnings that the journal keeps."""
    CATALOGUE.append(Entry(identifier, "tolérances", what, make, (Answer("AA"),), findings=findings, **more))


def stream(identifier: str, what: str, make: Callable[[Good], bytes], *answers: Answer, **more: Any) -> None:
    """An entry of the transport: raw bytes on a connection."""
    CATALOGUE.append(Entry(identifier, "transport", what, make, answers, raw=True, **more))


def b64(content: bytes) -> bytes:
    return base64.b64encode(content)


def with_data(message: bytes, data: bytes) -> bytes:
    """`message` with other characters as OBX-5.5 of its first document."""
    mark = b"^XML^Base64^"
    start = message.index(mark) + len(mark)
    return message[:start] + data + message[message.index(b"|", start) :]


def content(make: Callable[[Good], bytes]) -> Callable[[Good], bytes]:
    """A maker whose MDM is good but carries the bytes that `make` gives instead of its document."""
    return lambda g: with_data(g.mdm, b64(make(g)))


def n1_with(old: str, new: str, count: int = 1) -> Callable[[Good], bytes]:
    """A maker whose document has `old` replaced by `new`."""
    return content(lambda g: swap(g.n1(), old, new, count))


def swap(document: bytes, old: str, new: str, count: int = 1) -> bytes:
    assert old.encode() in document, old
    return document.replace(old.encode(), new.encode(), count)
