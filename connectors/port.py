"""The connector port: what the heart asks of a destination, and nothing else.

Purpose: `gateway` knows destinations only through this module; a connector is found by its entry point in the group
`segur_gateway.connectors` (a callable `create(context) -> Connector`).

Guarantee asked of a connector:
* `prepare` touches nothing outside (no network, no file written), finds *all* that can fail, and may be cancelled.
* `deliver` may be called again for the same delivery: everything that identifies the transaction outside (document
  uniqueId, Message-ID, ENVID, dates) comes from the plan, never from the clock, so that a repetition is the same.
* neither raises for a refusal or a fault: they return it. An exception is our own bug and is treated as such.
* no patient data in logs, exception texts, `Outcome.label` of our own making, or metrics.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from gateway.cda.document import Document
from gateway.errors import Finding
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import RuleBook

# --- preparation --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a connector prepares: one transmission and its documents, at a given instant (aware, UTC)."""

    transmission: Transmission
    documents: tuple[Document, ...]
    now: datetime


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """One final transaction to run after the ACK.

    `recipient` is "" for the DMP and the address for MSSanté. `document_uids` are the documents it carries.
    `plan` is UTF-8 JSON of the connector's own making: all that `deliver` needs besides the documents' bytes.
    """

    recipient: str
    document_uids: tuple[str, ...]
    plan: bytes
    keys: tuple[str, ...] = ()
    """Random identifiers of our own making by which a later receipt names this delivery."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Verdict: this connector can take it. `warnings` are findings of severity warn."""

    deliveries: tuple[PlannedDelivery, ...]
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Verdict: errors in what was sent (at least one rejecting finding, and the warnings)."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Verdict: a circumstance of ours (expired certificate, stopped connector): AR, may be sent again."""

    reason: str
    """French sentence for ERR-8, without patient data."""


Verdict = Accepted | Refused | Unavailable


# --- delivery -----------------------------------------------------------------------------------------------------


class OutcomeClass(StrEnum):
    """What an attempt came to (architecture §5)."""

    SUCCESS = "success"
    TRANSIENT = "transient"
    """Retried with backoff."""
    PERMANENT = "permanent"
    """Refused; told to the DPI."""
    CONFIGURATION = "configuration"
    """Opens the destination's circuit; does not use up the delivery's lifetime."""
    UNCERTAIN = "uncertain"
    """May have happened: `reconcile` is asked before any re-send."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one attempt.

    `code` and `label` are the destination's own words (DMP code, SMTP code) or ours; they go to the ZAM and to the
    attempt's row. `details` is small JSON-able data for the record (entryUUID, server reply…), no patient data.
    """

    outcome: OutcomeClass
    code: str = ""
    label: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    awaits: float = 0.0
    """A success of which a receipt is to come: seconds after which its silence is an error for a person. 0: none."""


class Predecessor(StrEnum):
    """What the journal knows of the replaced version at this destination (and recipient)."""

    NONE = "none"
    """Not a replacement nor a deletion."""
    DELIVERED = "delivered"
    NOT_DELIVERED = "not_delivered"
    """Known here and never certainly delivered there: unless the destination has one of `predecessor_uids` all
    the same, this version goes as a first submission."""
    UNKNOWN = "unknown"
    """Never seen here (a former PFI sent it): the destination decides."""


class StoredDocument(Protocol):
    """A document of the journal."""

    @property
    def uid(self) -> str:
        """CDA id: `root` or `root^extension`."""
        ...

    @property
    def sha256(self) -> str:
        """Lower-case hex of the bytes."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    async def read(self) -> bytes:
        """The exact bytes; checked against `sha256`."""
        ...


class StoredContent(Protocol):
    """Bytes of the journal that are no document of a message: a message, a mail."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    async def read(self) -> bytes:
        """The exact bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Original:
    """What an error is about: the message of a DPI, or a received mail. `complete`: False for the headers alone of a
    mail that was too large to be fetched."""

    incident: int
    kind: Literal["message", "mail"]
    complete: bool
    content: StoredContent


@dataclass(frozen=True, slots=True)
class DeliveryJob:
    """One attempt to make. `attempt` counts from 1. `documents` are in the order of `document_uids`."""

    id: int
    destination: str
    recipient: str
    action: Action
    plan: bytes
    documents: tuple[StoredDocument, ...]
    attempt: int
    predecessor: Predecessor
    now: datetime
    predecessor_uids: tuple[str, ...] = ()
    """What may stand at this destination, nearest first: versions of the set whose delivery there ended without
    an answer (they may be there), then the nearest one that certainly was delivered (or that a former gateway
    sent). Replace or delete the first that the destination has: V1 delivered, V2 failed: V3 replaces V1."""
    uncertain_attempts: int = 0
    """How many attempts of this delivery may have happened without us knowing."""
    may_be_there: bool = False
    """An earlier delivery of the same bytes there ended without an answer (it expired, say), and the DPI asks
    again: look before sending."""
    arrived: bool = False
    """A receipt says that it arrived, although the outcome of the try is unknown."""
    uncertain_for: float = 0.0
    """Seconds since the last try whose outcome is unknown."""
    content: StoredContent | None = None
    """Bytes that the plan speaks of, when it speaks of any: the message for a DPI, say."""
    originals: tuple[Original, ...] = ()
    """Of a report about errors: their originals, in the order of the incidents."""


# --- the connector ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConnectorContext:
    """What `create` receives: the `[connectors.<name>]` table of the settings and the folder that relative paths
    start from. The rule book comes later (`Connector.use`), once every connector has given its tables."""

    settings: Mapping[str, Any]
    base_dir: Path
    software_version: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the DPI is told of a finished delivery, for the ZAM: the message and its error words."""

    event: str
    """Z01 (DMP), Z02 (MSSanté reception) or Z03 (MSSanté reading)."""
    accepted: bool
    recipient: str = ""
    recipient_id: str = ""
    code: str = ""
    label: str = ""


@runtime_checkable
class WithCertificates(Protocol):
    """A connector that holds certificates whose end is worth a metric."""

    def certificates(self) -> Mapping[str, datetime]:
        """Setting name to the end of validity (aware), of those in use."""
        ...


@runtime_checkable
class WithAges(Protocol):
    """A connector that works with data of others that grow old (a white list, a directory)."""

    def ages(self) -> Mapping[str, datetime]:
        """Name of what is in use to the instant (aware) at which it was last known to be up to date."""
        ...


Audit = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Record, durably, one JSON-able entry of what a caller asked and what came of it; no patient data. Raises
`EnvironmentFault` when it cannot be recorded."""


@runtime_checkable
class WithApi(Protocol):
    """A connector that answers callers of its own over HTTP, under `/api/v1/<name>/`."""

    def api(self, audit: Audit) -> Any | None:
        """An ASGI application that authenticates its callers itself, or None when the settings offer none."""
        ...


class Connector(Protocol):
    """A destination. One instance per process; methods may run concurrently."""

    name: str
    """`dmp`, `mss`, `dpi`…: the destination's word."""
    rule_tables: tuple[Path, ...]
    """Rule tables of its own (see `gateway.rules`)."""

    def use(self, book: RuleBook) -> None:
        """Receive the complete rule book, once, before anything else."""
        ...

    def wants(self, transmission: Transmission) -> bool:
        """True when this transmission asks for this destination."""
        ...

    async def start(self) -> None:
        """Check settings and certificates, open pools. Raises `ConfigurationFault` with all that is wrong."""
        ...

    async def stop(self) -> None:
        """Close pools; deliveries in flight have ended before."""
        ...

    async def prepare(self, preparation: Preparation) -> Verdict:
        """The pre-transaction: everything that can fail without touching the outside."""
        ...

    async def deliver(self, job: DeliveryJob) -> Outcome:
        """Run the final transaction once."""
        ...

    async def reconcile(self, job: DeliveryJob) -> Outcome:
        """After an uncertain attempt: SUCCESS if it did happen, TRANSIENT if it did not (send again), UNCERTAIN if
        the question itself could not be answered (ask again later)."""
        ...

    def report(self, job_recipient: str, plan: bytes, outcome: Outcome) -> Report | None:
        """What to tell the DPI of a final outcome (success or refusal), or None when there is nothing to tell."""
        ...
