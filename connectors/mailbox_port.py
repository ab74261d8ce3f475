"""The mailbox side of the connector port: what the heart asks of a connector that receives mail.

Purpose: the connector knows IMAP, MIME, archives and reports; the heart keeps, orders, decides and remembers.

Guarantee asked of a connector:
* `watch` gives every mail to the keeper before it changes anything in the mailbox, one at a time, as its exact bytes;
* `treat` sends nothing; its answer depends on the bytes and on what the ledger says alone, so that a mail may be
  treated again after a stop;
* nothing of it raises for what is in a mail. An exception is our own bug: the mail is kept, and a person is told.

Source: spec/mssante.md §2 and §3; docs/architecture.md (received mails).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

from connectors.port import Outcome, PlannedDelivery, Report
from gateway.cda.document import Document
from gateway.errors import Finding, Place
from gateway.hl7.transmission import Action

# --- keeping ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetched:
    """A mail as it lies in the mailbox. `place` names it there for good (`UIDVALIDITY:UID`).

    `content` is None for a mail larger than the connector's limit: `head` has its headers, `size` its bytes.
    """

    place: str
    size: int
    content: bytes | None = field(repr=False)
    head: bytes = field(default=b"", repr=False)


class Keeper(Protocol):
    """Where a watched mailbox puts its mails."""

    async def known(self, places: Sequence[str]) -> Collection[str]:
        """Those of `places` that are kept already. Raises `JournalUnavailable`."""
        ...

    async def keep(self, fetched: Fetched) -> None:
        """Returns once the mail is on stable storage. Raises `JournalUnavailable`: try again later."""
        ...

    def state(self, connected: bool, reason: str = "", *, configuration: bool = False) -> None:
        """Tell how the mailbox is: `reason` a code of the connector's; `configuration`: a person must act."""
        ...


class Folder(StrEnum):
    """Where a treated mail belongs."""

    PROCESSED = "processed"
    ERROR = "error"
    OTHER = "other"
    """For a person: nothing of this flow."""


class KeptMail(Protocol):
    """A mail of the journal."""

    @property
    def id(self) -> int: ...

    @property
    def mailbox(self) -> str:
        """The mailbox's name in the settings."""
        ...

    @property
    def sha256(self) -> str: ...

    @property
    def size(self) -> int: ...

    async def read(self) -> bytes:
        """The exact bytes."""
        ...


# --- treating -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SentDelivery:
    """A delivery of this connector that a receipt may speak of."""

    id: int
    recipient: str = field(repr=False)
    plan: bytes = field(repr=False)


class Ledger(Protocol):
    """What a connector may ask of the journal while it treats a mail."""

    async def sent(self, keys: Sequence[str]) -> Sequence[SentDelivery]:
        """The deliveries that were enqueued with one of these keys (`PlannedDelivery.keys`)."""
        ...


@dataclass(frozen=True, slots=True)
class ReceiptFact:
    """What a receipt establishes of one delivery. `report` is for whoever asked to be told, None when nothing is
    told; `failed` re-qualifies a success."""

    delivery: int
    event: Literal["Z02", "Z03"]
    fact: str
    failed: bool = False
    code: str = ""
    report: Report | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Receipts:
    """A DSN, an MDN or an error mail. `unmatched`: a code for what it says of no delivery of ours, with a French
    sentence; a person is shown it. `bounced`: it says that a mail did not arrive (a delay is no such news)."""

    kind: str
    facts: tuple[ReceiptFact, ...]
    unmatched: str = ""
    sentence: str = ""
    bounced: bool = False


@dataclass(frozen=True, slots=True)
class NotTreated:
    """A mail that is not of these flows. `kind`: `automatic`, or `quarantine` with a reason and its sentence.
    `failed`: a document may be in it, or one of ours did not arrive: somebody must be told by mail."""

    kind: Literal["automatic", "quarantine"]
    reason: str = ""
    sentence: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class IncomingDocument:
    """One document of a received mail, as the version rules and the register need it. `place`: `DOC` and its number."""

    action: Action
    document: Document = field(repr=False)
    place: Place
    confidentiality: frozenset[str]


@dataclass(frozen=True, slots=True)
class DpiMessage:
    """A message for a DPI: its bytes and the codec they are in (`connectors.dpi.plan.Charset`)."""

    content: bytes = field(repr=False)
    codec: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A mail with documents. With a rejecting finding nothing of it goes to the DPI.

    `route` is `application|facility` of the DPI. `build(number, control_id, now, previous)` makes the message of
    document `number` (from 0); `previous`: confidentiality codes of the version that it replaces, None when unknown.
    It takes time in proportion to the document: call it in a thread.
    """

    documents: tuple[IncomingDocument, ...]
    findings: tuple[Finding, ...]
    route: str
    build: Callable[[int, str, datetime, frozenset[str] | None], DpiMessage] = field(repr=False)
    message_id: str = ""
    """What names the mail in the messages to the DPI: its Message-ID as in the header, else a mark of its bytes."""


Treated = Receipts | NotTreated | Incoming


# --- concluding ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MailError:
    """Why a received mail was not integrated: a code of table 0533 and French sentences, without patient data."""

    code: str
    label: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What follows when the fate of all documents of a mail is known. `answers` are deliveries of the connector (MDN),
    `error` what a person must hear of."""

    error: MailError | None
    answers: tuple[PlannedDelivery, ...] = ()


@runtime_checkable
class WithMailboxes(Protocol):
    """A connector that receives mail."""

    def mailboxes(self) -> Sequence[str]:
        """Names of its mailboxes (their addresses, say): no two alike, the same after a restart."""
        ...

    async def watch(self, mailbox: str, keeper: Keeper) -> None:
        """Give every mail of the mailbox to `keeper`, until cancelled. Never raises for the world's faults."""
        ...

    async def file(self, mailbox: str, place: str, folder: Folder) -> bool:
        """Flag or move a treated mail; False when it could not be done now. A mail that is gone is filed."""
        ...

    async def treat(self, mail: KeptMail, ledger: Ledger) -> Treated:
        """Read one kept mail."""
        ...

    async def conclude(
        self, mail: KeptMail, outcomes: Sequence[Outcome], findings: Sequence[Finding], now: datetime
    ) -> Conclusion:
        """The answers to a mail with documents: `outcomes` of its messages (none when `findings` refuse it)."""
        ...


# --- errors that reach a person -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """One error, for the mail that tells it. Everything here may be shown to the hospital's staff only.

    `flow`: `outbound`, `inbound`, `refused`, `receipt`; `route`: `application|facility` of the DPI concerned.
    `words` is JSON-able: recipient's address, control_id, uids, sentences; without content of documents.
    """

    id: int
    at: datetime
    flow: str
    code: str
    route: str
    words: dict[str, Any] = field(repr=False)


@runtime_checkable
class WithIncidents(Protocol):
    """The connector that brings errors to the mailbox of the persons in charge."""

    def error_mailboxes(self) -> Sequence[str]:
        """Every address that it may write to: none may be a mailbox that the gateway reads (a loop)."""
        ...

    def serve(self, dpi: Mapping[str, str]) -> None:
        """Learn, before anything else, which DPI (`application|facility`) each mailbox that receives mail is for: the
        errors of its mails are that establishment's."""
        ...

    def mailboxes_of(self, route: str, flow: str) -> Sequence[str]:
        """The addresses that must hear of an error of this route and flow; never empty."""
        ...

    def plan_reports(self, incidents: Sequence[IncidentReport], now: datetime) -> Sequence[PlannedDelivery]:
        """The mails that tell `incidents` (all of one family: one mail for each mailbox concerned)."""
        ...


@runtime_checkable
class WithDpiRoutes(Protocol):
    """A connector that receives mail and says which DPI the documents of each mailbox are for."""

    def dpi_route(self, mailbox: str) -> str:
        """`application|facility` of the DPI of a mailbox; empty: it has none."""
        ...


@runtime_checkable
class WithRoutes(Protocol):
    """The connector that reaches the DPI."""

    def reaches(self, route: str) -> bool:
        """The settings say where the DPI `application|facility` listens."""
        ...


@runtime_checkable
class WithOwnAddresses(Protocol):
    """A connector whose mailboxes the gateway itself reads."""

    def own_addresses(self) -> Sequence[str]:
        """Addresses of its applicative mailboxes."""
        ...


@runtime_checkable
class WithAdvice(Protocol):
    """A connector whose settings may be good and still not do what was meant."""

    def advice(self) -> Sequence[str]:
        """What a person should look at, one sentence each; files are looked for, nothing else is opened."""
        ...
