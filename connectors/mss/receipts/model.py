"""What a mail of the applicative mailbox says, as plain data: the kinds of reading and the reasons of quarantine. Pure.

Purpose: the one vocabulary of the room; `reading.read` gives exactly one of `Reading`.
Guarantee: every text in these objects is checked (an address passes `addresses.is_address`, a Message-ID or ENVID is
printable ASCII without blanks, a code has digits only) or is "": none can add a header, a segment or a log line. Their
`repr` shows neither addresses (that of a patient is an INS) nor identifiers.
Source: spec/mssante.md §2.1, §2.2, §3; RFC 3464 (DSN), RFC 8098 (MDN), RFC 3834 (automatic mail).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """What a mail is."""

    DSN = "dsn"
    MDN = "mdn"
    ERROR_MAIL = "error-mail"
    """The "courriel standard" of a receiving PFI."""
    INBOUND = "inbound"
    """A document: IHE_XDM.ZIP, or a subject that says so."""
    AUTOMATIC = "automatic"
    """Absence message, list…: kept, never answered."""
    QUARANTINE = "quarantine"


class Reason(StrEnum):
    """Why a mail, or what it says of one delivery, goes to quarantine. `SENTENCES` has the words for a person."""

    TOO_LARGE = "TOO-LARGE"
    TOO_COMPLEX = "TOO-COMPLEX"
    BROKEN_MIME = "BROKEN-MIME"
    NOT_A_DOCUMENT = "NOT-A-DOCUMENT"
    BOUNCE_UNREADABLE = "BOUNCE-UNREADABLE"
    BOUNCE_WITH_DOCUMENT = "BOUNCE-WITH-DOCUMENT"
    REPORT_UNREADABLE = "REPORT-UNREADABLE"
    CONTRADICTION = "CONTRADICTION"
    UNKNOWN_DELIVERY = "UNKNOWN-DELIVERY"
    OTHER_RECIPIENT = "OTHER-RECIPIENT"


SENTENCES = {
    Reason.TOO_LARGE: "Courriel trop volumineux pour être analysé.",
    Reason.TOO_COMPLEX: "Courriel trop complexe pour être analysé (parties ou en-têtes).",
    Reason.BROKEN_MIME: "Structure MIME illisible.",
    Reason.NOT_A_DOCUMENT: "Courriel sans document ni accusé : à lire par une personne.",
    Reason.BOUNCE_UNREADABLE: "Avis de non-remise sans rapport exploitable : à lire par une personne.",
    Reason.BOUNCE_WITH_DOCUMENT: "Réponse automatique qui contient un document : elle n'est pas intégrée.",
    Reason.REPORT_UNREADABLE: "Accusé incomplet ou illisible.",
    Reason.CONTRADICTION: "Accusé qui se contredit.",
    Reason.UNKNOWN_DELIVERY: "Accusé qui ne correspond à aucun envoi connu.",
    Reason.OTHER_RECIPIENT: "Accusé qui concerne un autre destinataire que celui de l'envoi.",
}


class Action(StrEnum):
    """RFC 3464 §2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class DsnRecipient:
    """One block of a DSN. Addresses are "" when absent or not addresses.

    `status` is the enhanced code (`5.1.1`) or ""; `reply` the three digits of an SMTP Diagnostic-Code or "";
    `remote_mta` a host name or "". `code` is the SMTPERRORCODE for `failed` and `delayed`, "" for the others.
    """

    action: Action
    status: str
    reply: str
    code: str
    original: str = field(default="", repr=False)
    final: str = field(default="", repr=False)
    remote_mta: str = ""


@dataclass(frozen=True, slots=True)
class Dsn:
    """A delivery report. `envid` is Original-Envelope-Id, `message_id` comes from the returned headers, without its
    brackets; "" when absent. At least one recipient."""

    recipients: tuple[DsnRecipient, ...]
    envid: str = field(default="", repr=False)
    message_id: str = field(default="", repr=False)
    kind: ClassVar[Kind] = Kind.DSN


class Disposition(StrEnum):
    """What an MDN says happened (RFC 8098 §3.2.6, and `failed`, `denied` of RFC 2298)."""

    DISPLAYED = "displayed"
    PROCESSED = "processed"
    DISPATCHED = "dispatched"
    DELETED = "deleted"
    FAILED = "failed"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Mdn:
    """A reading report. `error` is None when nothing failed, else a code of table 0533; `given` the code as it came
    (an HL7 technical code, or one that the table does not know) or "". `automatic` is the action mode.

    `message_ids` (without brackets): the original mail's by Original-Message-ID, by the returned mail, by In-Reply-To,
    "" where absent. `original` and `final` are addresses or "".
    """

    disposition: Disposition
    automatic: bool
    error: str | None
    given: str
    message_ids: tuple[str, str, str] = field(repr=False)
    original: str = field(default="", repr=False)
    final: str = field(default="", repr=False)
    kind: ClassVar[Kind] = Kind.MDN


@dataclass(frozen=True, slots=True)
class ErrorMail:
    """A "courriel standard": a receiving PFI could not integrate a mail. `error` and `given` as in `Mdn`.

    `message_id` is that of the enclosed mail, or "". `references` (In-Reply-To, References) only serve without it.
    `sender` is the address that wrote.
    """

    error: str
    given: str
    message_id: str = field(default="", repr=False)
    references: tuple[str, ...] = field(default=(), repr=False)
    sender: str = field(default="", repr=False)
    kind: ClassVar[Kind] = Kind.ERROR_MAIL


@dataclass(frozen=True, slots=True)
class Inbound:
    """A mail with a document. `archives` counts its IHE_XDM.ZIP (0: only the subject says so), `enclosed` those that
    stand in a forwarded message. `answerable` is False for automatic mail: it gets neither MDN nor error mail."""

    archives: int
    enclosed: int
    answerable: bool
    message_id: str = field(default="", repr=False)
    kind: ClassVar[Kind] = Kind.INBOUND


@dataclass(frozen=True, slots=True)
class Automatic:
    """Mail of a machine that concerns no document: kept, counted, never answered."""

    kind: ClassVar[Kind] = Kind.AUTOMATIC


@dataclass(frozen=True, slots=True)
class Quarantined:
    """For a person, with the reason."""

    reason: Reason
    kind: ClassVar[Kind] = Kind.QUARANTINE


Reading = Dsn | Mdn | ErrorMail | Inbound | Automatic | Quarantined
"""What `reading.read` gives. Only an `Inbound` that is `answerable` may ever be answered (no mail loops)."""
