"""Tables of the journal (SQLModel). Times are UTC seconds since the epoch (float); sizes are bytes.

Purpose: what is here survives a power cut. Payload bytes live in a table of their own that is never updated
(updating a row that holds a blob rewrites the blob). A document's bytes are a slice of the payload that
brought it: they are written once. Each index costs a page of 16 kB in every commit: there are those that a
statement of the ACK path or of the engine needs, and no other.

Patient data: `payload`, `delivery.plan`, `delivery.recipient`, `document.patient`, `received_document.patient`,
`receipt.recipient` and `incident.words` hold some, and a label may quote what a destination said; they leave the
database for the destinations, the DPI and the error mailbox alone. Every other column is codes, identifiers of
documents and times.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from gateway.exchange.delivery import FINAL, DeliveryState, sql_list
from gateway.journal import fact_models, figure_models  # noqa: F401 - so that the metadata holds their tables

SCHEMA_VERSION = 10
"""Older journals are brought to it by `gateway/journal/migrations`."""


def _only(condition: str) -> dict[str, Any]:
    """Of a partial index, on either database."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class Payload(SQLModel, table=True):
    """Bytes as received. Immutable. The content of a big one is empty here: it stands in `PayloadPart`."""

    id: int | None = Field(default=None, primary_key=True)
    sha256: str
    size: int
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class PayloadPart(SQLModel, table=True):
    """A part of a payload that is too big for one commit (docs/decisions/0012). Immutable."""

    __tablename__ = "payload_part"

    payload_id: int = Field(foreign_key="payload.id", primary_key=True)
    position: int = Field(primary_key=True)
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class PayloadPending(SQLModel, table=True):
    """A payload whose parts are being written, or that a stop left without its message."""

    __tablename__ = "payload_pending"

    payload_id: int = Field(foreign_key="payload.id", primary_key=True)
    node: str = Field(default="", sa_column_kwargs={"server_default": ""})
    """Token of the process that writes it."""


class PayloadEmptied(SQLModel, table=True):
    """A payload whose bytes retention has emptied: not damaged, gone."""

    __tablename__ = "payload_emptied"

    payload_id: int = Field(foreign_key="payload.id", primary_key=True)
    at: float


class Message(SQLModel, table=True):
    """One message received from a DPI, and the one answer that it got."""

    __table_args__ = (
        CheckConstraint("state IN ('received', 'answered')", name="message_state"),
        CheckConstraint("(state = 'answered') = (ack IS NOT NULL)", name="message_ack"),
        Index("message_by_control_id", "control_id"),
        Index("message_unanswered", "id", **_only("state = 'received'")),
    )

    id: int | None = Field(default=None, primary_key=True)
    correlation: str
    """Our own random identifier: the only one that logs carry."""
    payload_id: int = Field(foreign_key="payload.id")
    sha256: str
    size: int
    dedup_key: str | None = Field(default=None, unique=True)
    """Sender and MSH-10; NULL once answered AR (it may be sent again) or without MSH-10."""
    control_id: str
    sender: str
    """MSH-3 and MSH-4, `application|facility`."""
    message_type: str
    """`MDM^T02`, as sent."""
    peer: str
    state: str
    ack_code: str | None = None
    ack: bytes | None = None
    findings: str = "[]"
    """JSON: rule, severity, place, ERR-3, ERR-5, text of every finding, warnings included."""
    routing: str = "{}"
    """JSON: what a ZAM needs of the message's MSH, whether one was asked for."""
    received_at: float
    answered_at: float | None = None
    node: str = Field(default="", sa_column_kwargs={"server_default": ""})
    """Token of the process that answers it, or left it without an answer."""


class Document(SQLModel, table=True):
    """A document of a message that was answered AA: the register of versions."""

    __table_args__ = (Index("document_by_set", "set_key", "version"),)

    id: int | None = Field(default=None, primary_key=True)
    message_id: int = Field(foreign_key="message.id", index=True)
    part: int
    uid: str = Field(index=True)
    """CDA id: `root` or `root^extension`."""
    set_key: str
    version: int | None = None
    replaces_uid: str | None = None
    action: str
    type_code: str
    author_organisations: str = "[]"
    """JSON list."""
    patient: str = ""
    """Who it is about, as the version rules compare it (`gateway.cda.versions.patient_key`)."""
    sha256: str
    size: int
    payload_id: int = Field(foreign_key="payload.id")
    slice_offset: int
    slice_length: int
    """Where its base64 text stands in the payload."""
    accepted_at: float
    about: str = Field(default="{}", sa_column_kwargs={"server_default": "{}"})
    """JSON: what the facts of its deliveries say of it (`gateway.exchange.published`). Kept here because outcomes come
    later, on any node, perhaps after retention."""


class Delivery(SQLModel, table=True):
    """One final transaction for one destination. It comes from a message of a DPI, from a received mail, or from
    neither (a report about several errors)."""

    __table_args__ = (
        CheckConstraint(f"state IN ({sql_list(frozenset(DeliveryState))})", name="delivery_state"),
        CheckConstraint(
            f"(finished_at IS NOT NULL) = (state IN ({sql_list(FINAL)}))", name="delivery_finished"
        ),
        # in the order of the claim, of what may be claimed alone: a claim costs the same whatever the backlog
        Index(
            "delivery_due",
            "destination",
            "due_at",
            "id",
            **_only("state IN ('ready', 'uncertain', 'suspended') AND claimed_by IS NULL"),
        ),
        Index("delivery_in_hand", "id", **_only("state = 'sending'")),
        Index("delivery_open", "destination", **_only(f"state NOT IN ({sql_list(FINAL)})")),
        Index("delivery_of_mail", "mail_id", **_only("mail_id IS NOT NULL")),
    )

    id: int | None = Field(default=None, primary_key=True)
    message_id: int | None = Field(default=None, foreign_key="message.id", index=True)
    mail_id: int | None = Field(default=None, foreign_key="received_mail.id")
    payload_id: int | None = Field(default=None, foreign_key="payload.id")
    """Bytes that the plan speaks of: the message to give to a DPI, the original of a report."""
    destination: str
    recipient: str = ""
    action: str
    state: str
    claimed_by: str | None = None
    """Token of the process that has it in hand, or `operator`: a person keeps it back (docs/decisions/0032)."""
    attempts: int = 0
    due_at: float
    expires_at: float
    plan: bytes
    outcome: str | None = None
    """Class of the last attempt."""
    code: str = ""
    label: str = ""
    created_at: float
    finished_at: float | None = None


class DeliveryDocument(SQLModel, table=True):
    """Which documents a delivery carries, in order.

    Deliveries to one destination and recipient that share a set (`set_key`) run one after the other.
    """

    __tablename__ = "delivery_document"

    delivery_id: int = Field(foreign_key="delivery.id", primary_key=True)
    position: int = Field(primary_key=True)
    document_id: int | None = Field(default=None, foreign_key="document.id")
    """None: a document that came by mail (`ReceivedDocument`); it keeps its place in the order all the same."""
    uid: str = Field(index=True)
    set_key: str = Field(index=True)


class ReportTo(SQLModel, table=True):
    """Messages whose sender asked to be told (ZAM) how a delivery ends."""

    __tablename__ = "report_to"
    __table_args__ = ({"sqlite_with_rowid": False},)

    delivery_id: int = Field(foreign_key="delivery.id", primary_key=True)
    message_id: int = Field(foreign_key="message.id", primary_key=True, index=True)
    """Indexed for the removal of messages (`gateway.journal.retention`)."""


class Attempt(SQLModel, table=True):
    """One try of a delivery, or one reconciliation. Append-only."""

    id: int | None = Field(default=None, primary_key=True)
    delivery_id: int = Field(foreign_key="delivery.id", index=True)
    number: int
    kind: str
    """`deliver`, `reconcile` or `recovery` (a restart found it in the middle)."""
    started_at: float
    ended_at: float
    outcome: str
    code: str = ""
    label: str = ""
    details: str = "{}"


class Fact(SQLModel, table=True):
    """An append-only business event of the gateway itself (what the indicators count: `IndicatorFact`). It outlives the
    rows that it names (retention), so these are no foreign keys."""

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    at: float
    message_id: int | None = None
    delivery_id: int | None = None
    data: str = "{}"


class DeliveryKey(SQLModel, table=True):
    """What a receipt gives back to name a delivery: ENVID, the left part of Message-ID. Random, ours."""

    __tablename__ = "delivery_key"
    __table_args__ = ({"sqlite_with_rowid": False},)

    key: str = Field(primary_key=True)
    delivery_id: int = Field(foreign_key="delivery.id")


class Awaited(SQLModel, table=True):
    """A delivery that succeeded and of which a receipt is to come. The row goes with the receipt, or the alarm."""

    delivery_id: int = Field(foreign_key="delivery.id", primary_key=True)
    due_at: float = Field(index=True)


class ReceivedMail(SQLModel, table=True):
    """One mail of an applicative mailbox, kept as it came before anything is done with it."""

    __tablename__ = "received_mail"
    __table_args__ = (
        CheckConstraint("state IN ('received', 'forwarded', 'ended', 'treated')", name="received_mail_state"),
        CheckConstraint("(state = 'treated') = (treated_at IS NOT NULL)", name="received_mail_treated"),
        Index("received_mail_place", "mailbox", "place", unique=True),
        Index("received_mail_content", "sha256"),
        Index("received_mail_due", "due_at", "id", **_only("state IN ('received', 'ended')")),
        Index("received_mail_to_file", "id", **_only("treated_at IS NOT NULL AND filed_at IS NULL")),
    )

    id: int | None = Field(default=None, primary_key=True)
    connector: str
    mailbox: str
    """The mailbox's name in the settings."""
    place: str
    """`UIDVALIDITY:UID`: where it lies in the mailbox."""
    payload_id: int = Field(foreign_key="payload.id")
    """Its bytes; of one that was too large to be fetched its headers."""
    sha256: str
    """Empty: it was too large to be fetched."""
    size: int
    """Bytes of the whole mail."""
    state: str
    """`received` → `forwarded` (its documents are on their way to the DPI) → `ended` (the DPI has answered all)
    → `treated`; what is no document goes from `received` to `treated`."""
    kind: str = ""
    """`dsn`, `mdn`, `error-mail`, `inbound`, `automatic`, `quarantine`, `duplicate`, `too-large`."""
    reason: str = ""
    """Code of the error or of the quarantine."""
    findings: str = "[]"
    """JSON, as those of a message."""
    attempts: int = 0
    due_at: float
    received_at: float
    treated_at: float | None = None
    filed_at: float | None = None
    """When the mailbox was told (flag, folder)."""
    seen_at: float | None = None
    """When a person said that a mail that waited for one was seen."""


class ReceivedDocument(SQLModel, table=True):
    """A document that came by mail and goes to a DPI: the register of versions of that direction."""

    __tablename__ = "received_document"
    __table_args__ = (Index("received_document_by_set", "set_key", "version"),)

    id: int | None = Field(default=None, primary_key=True)
    mail_id: int = Field(foreign_key="received_mail.id", index=True)
    position: int
    uid: str = Field(index=True)
    set_key: str
    version: int | None = None
    replaces_uid: str | None = None
    action: str
    type_code: str
    patient: str = ""
    confidentiality: str = "[]"
    """JSON list of codes."""
    sha256: str
    size: int
    delivery_id: int = Field(foreign_key="delivery.id")
    accepted_at: float
    about: str = Field(default="{}", sa_column_kwargs={"server_default": "{}"})
    """As `Document.about`."""


class Receipt(SQLModel, table=True):
    """What came back about a delivery: the fact of one DSN, MDN or error mail. Append-only."""

    id: int | None = Field(default=None, primary_key=True)
    mail_id: int = Field(foreign_key="received_mail.id", index=True)
    delivery_id: int = Field(foreign_key="delivery.id", index=True)
    event: str
    """Z02 (reception) or Z03 (reading)."""
    fact: str
    """`received`, `not-received`, `delayed`, `read`, `not-integrated`, `no-news`."""
    accepted: bool | None = None
    """Y or N of its ZAM; None: it tells nothing yet (delayed), or nothing at all."""
    recipient: str = ""
    """The address that the ZAM names: the recipient's, or the reader's."""
    recipient_id: str = ""
    code: str = ""
    label: str = ""
    told: bool = False
    """It was told to whoever asked (a second one that says the same is not)."""
    at: float


class Incident(SQLModel, table=True):
    """An error that a person must hear of. Append-only but for `report_id`."""

    __table_args__ = (
        Index("incident_to_report", "id", **_only("report_id IS NULL")),
        Index("incident_of_message", "message_id", **_only("message_id IS NOT NULL")),
    )

    id: int | None = Field(default=None, primary_key=True)
    at: float
    flow: str
    """`outbound`, `inbound`, `refused`, `receipt`, `alarm`."""
    family: str
    """What is grouped: destination and code."""
    code: str
    route: str
    """`application|facility` of the DPI concerned, or the mailbox's name."""
    message_id: int | None = Field(default=None, foreign_key="message.id")
    mail_id: int | None = Field(default=None, foreign_key="received_mail.id")
    delivery_id: int | None = Field(default=None, foreign_key="delivery.id", index=True)
    words: str = "{}"
    """JSON: what the report says."""
    report_id: int | None = Field(default=None, foreign_key="delivery.id", index=True)
    """The last delivery that reports it; None: not yet, or not yet again after a report that failed."""


class ErrorReport(SQLModel, table=True):
    """A delivery that tells errors to one mailbox."""

    __tablename__ = "error_report"
    __table_args__ = (
        Index("error_report_recent", "at"),
        Index(
            "error_report_unresolved",
            "failed_at",
            **_only("failed_at IS NOT NULL AND resolved_at IS NULL"),
        ),
    )

    delivery_id: int = Field(foreign_key="delivery.id", primary_key=True)
    mailbox: str
    family: str
    at: float
    failed_at: float | None = None
    """When the delivery ended without success."""
    again_at: float | None = None
    """When its errors were given back, to be told once more."""
    resolved_at: float | None = None
    """When another report told its errors."""


class ReportedIncident(SQLModel, table=True):
    """Which errors a report tells."""

    __tablename__ = "reported_incident"
    __table_args__ = ({"sqlite_with_rowid": False},)

    delivery_id: int = Field(foreign_key="error_report.delivery_id", primary_key=True)
    incident_id: int = Field(foreign_key="incident.id", primary_key=True, index=True)


class Node(SQLModel, table=True):
    """A gateway process at work on a journal that several share (PostgreSQL)."""

    token: str = Field(primary_key=True)
    name: str
    """Host and process id, for people."""
    beat: int
    """Grows with each sign of life."""
    started_at: float


class Duty(SQLModel, table=True):
    """Work that one process does for all."""

    name: str = Field(primary_key=True)
    node: str
