"""What can be made to go wrong at the simulated operator, and when; and who answers the mails.

Purpose: a plan of faults for each recipient, used up after `times` mails, and the rules of the readers; written in
Python, in a TOML file or as JSON.
Guarantee: the first fault that matches and is not used up is taken.
Fails: `ConfigurationFault` for a plan that cannot be read, naming the table by its rank, never its values.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from connectors.mss.simulator.readers import Reader
from gateway.errors import ConfigurationFault

Kind = Literal[
    "accept",
    "mail",
    "rcpt",
    "data",
    "cut_rcpt",
    "drop",
    "commit_then_drop",
    "silent_rcpt",
    "silent",
    "delay",
    "slow",
    "relayed",
    "bounce",
    "delayed",
    "lost",
    "no_dsn",
    "twice",
    "imap_login",
    "imap_cut",
    "imap_busy",
]
APART: Final = ("mail", "imap_login", "imap_cut", "imap_busy")
"""Kinds that are no answer for a recipient: they are looked for by name."""


@dataclass(slots=True)
class Fault:
    """One thing to go wrong for a mail (or an IMAP command). `seconds` may go with any kind: wait before it.

    At the dialogue:
    * accept: nothing wrong; delay: wait `seconds` before the answer to the final dot, then go on as usual
    * mail, rcpt, data: answer `code` `words` at MAIL, RCPT or after the final dot; nothing kept
    * cut_rcpt: connection cut at RCPT; silent_rcpt: RCPT is never answered
    * drop: the mail is read to its final dot and lost, the connection cut
    * commit_then_drop: kept, then the connection cut without an answer; silent: kept, never answered
    * slow: the body is read `rate` bytes a second

    After the 250:
    * relayed: delivered, told as `relayed` (a next server without DSN); no_dsn: delivered, never any report
    * bounce: not delivered, a failure report with `code` and `words` after `seconds`
    * delayed: a delay report, then delivered after `seconds`
    * lost: not delivered, no report; twice: delivered twice

    At IMAP (`recipient` is the mailbox):
    * imap_login: login refused; imap_cut: the connection is cut in the middle of the next FETCH of a body
    * imap_busy: the next SELECT or FETCH is answered NO
    """

    kind: Kind
    recipient: str | None = None
    """Address, `@domain`, or None: any."""
    sender: str | None = None
    """Address of MAIL FROM, or None: any."""
    times: int = 1
    """How many mails it hits; 0: all."""
    code: int = 0
    """SMTP reply; 0: 450 for rcpt, 451 for data and mail, 550 for bounce."""
    words: str = ""
    """After the code, with the enhanced status; "": that of the code."""
    seconds: float = 0.0
    rate: int = 50_000
    hits: int = 0

    @property
    def spent(self) -> bool:
        """True when it has hit all it should."""
        return bool(self.times) and self.hits >= self.times

    @property
    def reply(self) -> str:
        """`450 4.2.1 mailbox busy`."""
        code = self.code or {"rcpt": 450, "bounce": 550}.get(self.kind, 451)
        return (
            f"{code} {self.words or _WORDS.get(code) or ('5.0.0 refused' if code >= 500 else '4.0.0 later')}"
        )

    @property
    def status(self) -> str:
        """The enhanced status of the reply, `4.2.1`; of its class alone when `words` do not begin with one."""
        words = self.reply.split()
        return words[1] if len(words) > 1 and _STATUS.fullmatch(words[1]) else f"{words[0][0]}.0.0"

    def matches(self, sender: str, recipient: str) -> bool:
        """Every condition given holds."""
        wanted, address = (self.recipient or "").lower(), recipient.lower()
        return self.sender in (None, sender) and (
            not wanted or wanted == address or (wanted.startswith("@") and address.endswith(wanted))
        )


_STATUS: Final = re.compile(r"[45]\.\d{1,3}\.\d{1,3}")
_WORDS: Final = {
    421: "4.3.2 closing, try again",
    450: "4.2.1 mailbox busy",
    451: "4.3.0 try again later",
    452: "4.3.1 no room",
    530: "5.7.0 authentication required",
    550: "5.1.1 no such mailbox",
    552: "5.2.2 mailbox full",
    553: "5.1.3 bad address",
    554: "5.7.1 message refused",
}


class Verdict(StrEnum):
    """Short names of faults for `plan(address, …)`: one answer for one mail."""

    ACCEPT = "accept"
    BUSY = "450"
    UNKNOWN = "550"
    FULL = "552"
    DATA_BUSY = "data-451"
    DATA_REFUSED = "data-554"
    CUT_BEFORE = "cut-before"
    """The mail is read to its final dot and lost, the connection cut without an answer."""
    CUT_AFTER = "cut-after"
    """The mail is kept, the connection cut without an answer."""
    SILENT_RCPT = "silent-rcpt"
    SILENT = "silent"
    """The mail is kept and never answered; the connection stays open."""

    def fault(self, recipient: str) -> Fault:
        """The fault that it stands for."""
        kind, code = _SHORT[self]
        return Fault(kind, recipient, code=code)


_SHORT: Final[dict[Verdict, tuple[Kind, int]]] = {
    Verdict.ACCEPT: ("accept", 0),
    Verdict.BUSY: ("rcpt", 450),
    Verdict.UNKNOWN: ("rcpt", 550),
    Verdict.FULL: ("rcpt", 552),
    Verdict.DATA_BUSY: ("data", 451),
    Verdict.DATA_REFUSED: ("data", 554),
    Verdict.CUT_BEFORE: ("drop", 0),
    Verdict.CUT_AFTER: ("commit_then_drop", 0),
    Verdict.SILENT_RCPT: ("silent_rcpt", 0),
    Verdict.SILENT: ("silent", 0),
}


class FaultPlan:
    """The faults still to come. For one event loop."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = list(faults)

    def take(self, sender: str, recipient: str, kinds: tuple[str, ...] = ()) -> Fault | None:
        """The fault for this mail (or, with `kinds`, this IMAP command), counted as used; None without one."""
        for fault in self.faults:
            fits = fault.kind in kinds if kinds else fault.kind not in APART
            if fits and not fault.spent and fault.matches(sender, recipient):
                fault.hits += 1
                return fault
        return None


_T = TypeVar("_T", Fault, Reader)


def _read(kind: type[_T], name: str, table: Mapping[str, Any], rank: int) -> _T:
    unknown = sorted(set(table) - {f.name for f in fields(kind)} | set(table) & {"hits"})
    if unknown:
        raise ConfigurationFault(f"{name} {rank}: unknown key {', '.join(unknown)}")
    try:
        return TypeAdapter(kind).validate_python(dict(table))
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(p) for p in first["loc"])
        raise ConfigurationFault(f"{name} {rank}: {where}: {first['msg']}") from None


def read_fault(table: Mapping[str, Any], rank: int = 1) -> Fault:
    """One fault from its keys. Raises `ConfigurationFault`."""
    made = _read(Fault, "fault", table, rank)
    if made.code and not 400 <= made.code <= 599:
        raise ConfigurationFault(f"fault {rank}: code: a refusal is 4yz or 5yz")
    if made.kind == "mail" and made.recipient:
        raise ConfigurationFault(f"fault {rank}: recipient: not known yet at MAIL, use sender")
    if any(c in made.words for c in "\r\n") or not made.words.isascii():
        raise ConfigurationFault(f"fault {rank}: words: one line of ASCII")
    if made.seconds < 0 or made.rate <= 0 or made.times < 0:
        raise ConfigurationFault(f"fault {rank}: seconds, rate and times are not negative, rate is not 0")
    return made


def read_reader(table: Mapping[str, Any], rank: int = 1) -> Reader:
    """One reader from its keys. Raises `ConfigurationFault`."""
    return _read(Reader, "reader", table, rank)


def read_plan(path: Path) -> tuple[list[Fault], list[Reader]]:
    """The `[[fault]]` and `[[reader]]` tables of a TOML file. Raises `ConfigurationFault`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigurationFault(f"plan {path.name}: {e}") from None
    faults, readers = table.get("fault", []), table.get("reader", [])
    if set(table) - {"fault", "reader"} or not isinstance(faults, list) or not isinstance(readers, list):
        raise ConfigurationFault(f"plan {path.name}: only [[fault]] and [[reader]] tables are known")
    return (
        [read_fault(one, rank) for rank, one in enumerate(faults, 1)],
        [read_reader(one, rank) for rank, one in enumerate(readers, 1)],
    )
