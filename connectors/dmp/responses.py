"""What the DMP answered: HTTP, MIME, envelope, fault, registry response, in that order.

Purpose: one reply becomes an `Answer` (the DMP accepted) or a `Failure` (class, code, words). Pure.
Guarantee: Success with warnings is a success; a reply that does not name our MessageID, or is not of the kind that
the request asks for, is nobody's success; "nothing found" is believed only of an answer that contradicts it in nothing;
an unknown code is permanent and keeps the server's own words; responses are parsed without DTD, entities or
network.
Fails: never raises on what the network brings; `load_codes` raises `ConfigurationFault`.
Source: spec/dmp.md §4.2 to §4.4; PRE_ERR (the original code and message reach the user).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from lxml import etree

from connectors.dmp import mtom
from connectors.dmp.soap import SOAP, WSA
from connectors.dmp.transport import HttpReply
from connectors.port import OutcomeClass
from connectors.xds.ebrim import IHE, QUERY, RIM, RS
from gateway.errors import ConfigurationFault
from gateway.safexml import safe_parser

SHIPPED_CODES: Final = Path(__file__).parent / "dmp_error_codes.csv"
_DUPLICATE = "duplicate"
_STRUCTURE = "structure"
_CLASSES = {
    "transient": OutcomeClass.TRANSIENT,
    "permanent": OutcomeClass.PERMANENT,
    "configuration": OutcomeClass.CONFIGURATION,
    _STRUCTURE: OutcomeClass.CONFIGURATION,
    _DUPLICATE: OutcomeClass.PERMANENT,
}
_WORDS_LIMIT = 300
_CODE_LIMIT = 64
_NOT_CODE = re.compile(r"[^A-Za-z0-9_.-]")
CLOCK_TOLERANCE: Final = 120.0
"""Seconds between two clocks above which ours is at fault for what the DMP refuses."""
EXISTENCE: Final = "{urn:hl7-org:v3}PRPA_IN201308UV02"
RETRIEVED: Final = f"{{{IHE}}}RetrieveDocumentSetResponse"
REGISTERED: Final = f"{{{RS}}}RegistryResponse"
QUERIED: Final = f"{{{QUERY}}}AdhocQueryResponse"
_BODIES: Final = frozenset({REGISTERED, QUERIED, RETRIEVED, EXISTENCE})


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One line of the code table."""

    outcome: OutcomeClass
    label: str
    duplicate: bool
    """The answer of a transaction that may have been made already: look before believing it."""
    structure: bool = False
    """About the structure that speaks, not about the whole establishment."""


@dataclass(frozen=True, slots=True)
class ErrorCodes:
    """The table: by code, and by a part of the server's words."""

    by_code: Mapping[str, CodeRow]
    by_words: tuple[tuple[str, CodeRow], ...]

    def find(self, code: str, words: str) -> CodeRow | None:
        """The row of a code, else of the first pattern found in the words."""
        row = self.by_code.get(code)
        if row is not None:
            return row
        return next((r for pattern, r in self.by_words if pattern in words), None)


@dataclass(frozen=True, slots=True)
class Answer:
    """The DMP accepted. `references` are the ObjectRef of a query, `warnings` codes of severity Warning (and
    of the errors beside what a query found: `partial`)."""

    references: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    partial: bool = False
    content: etree._Element | None = field(default=None, compare=False, repr=False)
    """The body's element."""
    parts: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """Attachments by Content-ID."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The DMP refused, or its reply cannot be believed."""

    outcome: OutcomeClass
    code: str
    label: str
    duplicate: bool = False
    structure: bool = False
    fault: bool = False
    """A SOAP fault that nobody listed: it may be about who speaks, not about the document."""


def load_codes(path: Path | None = None) -> ErrorCodes:
    """The shipped table, completed by `path`: its rows come first and replace those of the same code.

    Columns `code;class;label_fr;source`; a code that begins with `~` is a part of the server's words. (The annexe
    A7-1 of the DMP's guide is not public: whoever has it adds its codes in a file.)
    """
    by_code: dict[str, CodeRow] = {}
    by_words: dict[str, CodeRow] = {}
    for file in (SHIPPED_CODES,) if path is None else (path, SHIPPED_CODES):
        for code, row in _read_codes(file):
            (by_words if code.startswith("~") else by_code).setdefault(code.removeprefix("~"), row)
    return ErrorCodes(by_code, tuple(by_words.items()))


def _read_codes(file: Path) -> list[tuple[str, CodeRow]]:
    wrong: list[str] = []
    made: list[tuple[str, CodeRow]] = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines, delimiter=";"), 2):
                kind = (row["class"] or "").strip()
                code = row["code"].strip()
                if kind not in _CLASSES or not code.removeprefix("~"):
                    wrong.append(str(number))
                    continue
                label = (row["label_fr"] or "").strip()
                made.append((code, CodeRow(_CLASSES[kind], label, kind == _DUPLICATE, kind == _STRUCTURE)))
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as e:
        raise ConfigurationFault(f"DMP error table {file.name}: {type(e).__name__} {e}") from e
    if wrong:
        raise ConfigurationFault(
            f"DMP error table {file.name}: line(s) {', '.join(wrong)}: no code, or a class that is none of "
            f"{', '.join(_CLASSES)}"
        )
    return made


def read_reply(
    reply: HttpReply, message_id: str, codes: ErrorCodes, *, writes: bool, expected: str = ""
) -> Answer | Failure:
    """Believe, or not, one reply.

    `writes`: the request changes something, so a reply that says nothing clear leaves the outcome UNCERTAIN;
    for a query it is merely TRANSIENT. `expected`: tag of the body that accepts the request (left out: any); a refusal
    may also come as a bare RegistryResponse.
    """
    doubt = OutcomeClass.UNCERTAIN if writes else OutcomeClass.TRANSIENT
    root, parts = _envelope(reply)
    if root is None:
        return _http_failure(reply.status, doubt)
    relates = (root.findtext(f"{{{SOAP}}}Header/{{{WSA}}}RelatesTo") or "").strip()
    body = root.find(f"{{{SOAP}}}Body")
    content = next(body.iterchildren(tag=etree.Element), None) if body is not None else None
    if relates and relates != message_id:
        return Failure(doubt, "RELATES_TO", "Réponse du DMP à une autre requête.")
    if content is None:
        return Failure(doubt, "EMPTY", "Réponse du DMP sans contenu.")
    if content.tag == f"{{{SOAP}}}Fault":
        return _fault(content, codes, doubt)
    other = bool(expected) and content.tag != expected
    if content.tag not in _BODIES or (other and content.tag != REGISTERED):
        return Failure(doubt, "UNKNOWN_BODY", "Réponse du DMP de forme inconnue.")
    if not relates:
        return Failure(doubt, "RELATES_TO", "Réponse du DMP sans référence à la requête.")
    if content.tag == EXISTENCE:
        return Answer(content=content)
    response = content.find(REGISTERED) if content.tag == RETRIEVED else content
    if response is None:
        return Failure(doubt, "UNKNOWN_BODY", "Réponse du DMP de forme inconnue.")
    made = _registry(response, codes, doubt, writes)
    if isinstance(made, Answer) and other:
        return Failure(doubt, "UNKNOWN_BODY", "Réponse du DMP d'un autre genre que la demande.")
    return replace(made, content=content, parts=parts) if isinstance(made, Answer) else made


def _envelope(reply: HttpReply) -> tuple[etree._Element | None, Mapping[str, bytes]]:
    """The SOAP 1.2 envelope and the attachments; no envelope in anything else (HTML page, cut package…)."""
    try:
        raw, parts = mtom.decode(reply.content_type, reply.body)
        root = etree.fromstring(raw, safe_parser(remove_comments=True))
    except (ValueError, etree.XMLSyntaxError):
        return None, {}
    if root.tag != f"{{{SOAP}}}Envelope" or root.getroottree().docinfo.internalDTD is not None:
        return None, {}
    return root, parts


def _http_failure(status: int, doubt: OutcomeClass) -> Failure:
    """A reply without envelope. 425 and 429 say that nothing was tried; 408 and 5xx (a proxy that gave up waiting or
    lost the server, a crash) say nothing about what was done: a write is looked up before it is repeated."""
    if status in (401, 403, 404, 405, 407, 415):
        outcome = OutcomeClass.CONFIGURATION
    elif status in (425, 429):
        outcome = OutcomeClass.TRANSIENT
    elif status in (400, 413, 414, 431):
        outcome = OutcomeClass.PERMANENT
    else:
        outcome = doubt
    return Failure(outcome, f"HTTP{status}", f"Réponse HTTP {status} du DMP.")


def _code(value: str) -> str:
    """A code without its namespace. Codes go to logs and metrics: what does not look like one is cut down."""
    return _NOT_CODE.sub("", value.rpartition(":")[2])[:_CODE_LIMIT]


def _words(code: str, words: str, row: CodeRow | None) -> str:
    """The server's words, with the French label when they do not say it already."""
    said = " ".join(words.split())[:_WORDS_LIMIT]
    label = row.label if row is not None else ""
    if label and said and label not in said:
        return f"{label} : {said}"
    return said or label or code


def _fault(fault: etree._Element, codes: ErrorCodes, doubt: OutcomeClass) -> Failure:
    code = _code(fault.findtext(f"{{{SOAP}}}Code/{{{SOAP}}}Value") or "")
    subcode = _code(fault.findtext(f"{{{SOAP}}}Code/{{{SOAP}}}Subcode/{{{SOAP}}}Value") or "")
    words = fault.findtext(f"{{{SOAP}}}Reason/{{{SOAP}}}Text") or ""
    row = codes.find(subcode, words)
    if row is not None:
        return Failure(
            row.outcome, subcode or code, _words(subcode, words, row), row.duplicate, row.structure
        )
    # a fault of the receiver that names no code is a breakdown, not a judgement on the request
    outcome = doubt if code == "Receiver" and not subcode else OutcomeClass.PERMANENT
    return Failure(outcome, subcode or code or "Fault", _words(subcode or code, words, None), fault=True)


def judge_clock(failure: Failure, date: str, now: datetime) -> Failure:
    """A refusal that a wrong clock explains is no judgement on the document.

    `date`: header Date of the reply; `now`: our instant. The DMP refuses a VIHF whose IssueInstant is outside its
    tolerance (spec/dmp.md §2), by a fault whose code is not published: with such a clock every document would be
    refused for good. The destination stops instead, until the clock is right.
    """
    if not failure.fault or failure.outcome is not OutcomeClass.PERMANENT:
        return failure
    try:
        theirs = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return failure
    apart = abs((now - theirs.replace(tzinfo=theirs.tzinfo or UTC)).total_seconds())
    if apart < CLOCK_TOLERANCE:
        return failure
    label = f"L'horloge de la passerelle et celle du DMP diffèrent de {apart:.0f} s."
    return Failure(OutcomeClass.CONFIGURATION, "CLOCK", label)


_GRAVITY = (
    OutcomeClass.PERMANENT,
    OutcomeClass.CONFIGURATION,
    OutcomeClass.UNCERTAIN,
    OutcomeClass.TRANSIENT,
)


def _registry(
    response: etree._Element, codes: ErrorCodes, doubt: OutcomeClass, writes: bool
) -> Answer | Failure:
    status = (response.get("status") or "").rpartition(":")[2]
    warnings: list[str] = []
    failures: list[Failure] = []
    for error in response.iterfind(f"{{{RS}}}RegistryErrorList/{{{RS}}}RegistryError"):
        code = _code(error.get("errorCode") or "")
        if (error.get("severity") or "").endswith(":Warning"):
            warnings.append(code)
            continue
        words = error.get("codeContext") or ""
        row = codes.find(code, words)
        outcome = row.outcome if row is not None else OutcomeClass.PERMANENT
        failures.append(
            Failure(
                outcome,
                code,
                _words(code, words, row),
                row is not None and row.duplicate,
                row is not None and row.structure,
            )
        )
    if writes and status == "Success" and failures:
        # both yes and no: reading back says which
        return Failure(doubt, failures[0].code, "Réponse contradictoire du DMP.")
    if status == "Success" or (status == "PartialSuccess" and not writes):
        references = _references(response)
        if references is None:
            return Failure(doubt, "UNKNOWN_BODY", "Réponse du DMP dont les références sont illisibles.")
        beside = tuple(f.code for f in failures)
        return Answer(references, (*warnings, *beside), partial=status != "Success" or bool(failures))
    if status == "PartialSuccess":
        # one document per lot: what was kept is found by reading back
        return Failure(doubt, "PartialSuccess", "Enregistrement partiel par le DMP.")
    if not failures:
        # a status that is none of ebRS 3.0 refuses nothing
        clear = status == "Failure"
        return Failure(
            OutcomeClass.PERMANENT if clear else doubt, status or "STATUS", "Refus du DMP sans code d'erreur."
        )
    # told with the gravest; the duplicate class counts only when nothing else is wrong
    return min(failures, key=lambda f: (f.duplicate, _GRAVITY.index(f.outcome)))


def _references(response: etree._Element) -> tuple[str, ...] | None:
    """entryUUIDs of an answer, each once: of its ObjectRef, or of documents given whole (LeafClass) though references
    were asked for. None when something is said to be there and is not named."""
    listed = response.find(f"{{{RIM}}}RegistryObjectList")
    kinds = (f"{{{RIM}}}ObjectRef", f"{{{RIM}}}ExtrinsicObject")
    found = [e.get("id") or "" for e in listed.iterchildren(*kinds)] if listed is not None else []
    total = (response.get("totalResultCount") or "").strip()
    told = listed is not None and len(listed) > 0
    if "" in found or (not told and total.isascii() and total.isdigit() and int(total[:18]) > 0):
        return None
    return tuple(dict.fromkeys(found))
