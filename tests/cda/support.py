"""What the tests of this room share: books, places, and a CDA made wrong by one replacement."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gateway.cda
import gateway.hl7.profile
from gateway.cda.check import CdaCheck, check_documents
from gateway.cda.document import CdaHeader, Document
from gateway.cda.header import read_header
from gateway.cda.reader import CdaLimits, read
from gateway.cda.rules import check_header
from gateway.errors import Place
from gateway.hl7.message import Message
from gateway.hl7.profile import Reading, read_transmission
from gateway.hl7.transmission import Action
from gateway.rules import Findings, Preset, RuleBook, read_rules

OBX = Place("OBX", 1, 5)
TABLES = (
    Path(gateway.cda.__file__).parent / "rules.toml",
    Path(gateway.hl7.profile.__file__).parent / "rules.toml",
)
_RULES = [rule for table in TABLES for rule in read_rules(table)]
BOOKS: dict[Preset, RuleBook] = {
    "production": RuleBook(_RULES, "production"),
    "interop": RuleBook(_RULES, "interop"),
}
BOOK = BOOKS["production"]


def swap(document: bytes, old: str, new: str, count: int = -1) -> bytes:
    """`document` with `old` replaced; fails when `old` is not there, so that no test becomes empty
    unnoticed.
    """
    assert old.encode() in document, old
    return document.replace(old.encode(), new.encode(), count)


def cut(document: bytes, start: str, end: str) -> bytes:
    """`document` without the text from `start` to `end` included."""
    begin = document.index(start.encode())
    return document[:begin] + document[document.index(end.encode(), begin) + len(end.encode()) :]


def header_of(content: bytes) -> CdaHeader:
    """The header of a document that must be readable."""
    result = read(content, BOOK, OBX)
    assert result.clinical_document is not None, rules(result.findings)
    return read_header(
        result.clinical_document,
        self_presenting=result.self_presenting,
        has_stylesheet_pi=result.has_stylesheet_pi,
    )


def document_of(content: bytes) -> Document:
    """The document as `check_documents` makes it."""
    return Document(header_of(content), content, hashlib.sha256(content).hexdigest())


def checked(
    content: bytes, preset: Preset = "production", *, action: Action = Action.SUBMIT, dmp: bool = True
) -> Findings:
    """Findings of reading and of the header rules."""
    result = read(content, BOOKS[preset], OBX)
    if result.clinical_document is not None:
        header = read_header(result.clinical_document)
        check_header(result.clinical_document, header, result.findings, OBX, action=action, dmp=dmp)
    return result.findings


def passed(
    raw: bytes, preset: Preset = "production", limits: CdaLimits | None = None
) -> tuple[Reading, CdaCheck]:
    """A whole message through the profile and through this room."""
    book = BOOKS[preset]
    reading = read_transmission(Message.parse(raw), book)
    assert reading.transmission is not None, rules(reading.findings)
    return reading, check_documents(reading.transmission, raw, book, limits)


def rules(findings: Findings) -> list[str]:
    """The rule ids, in order."""
    return [f.rule for f in findings]


def rejecting(findings: Findings) -> list[str]:
    """The ids of the rejecting findings."""
    return [f.rule for f in findings if f.rejects]
