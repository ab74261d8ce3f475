"""What the mailbox client gives and tells. Data alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from gateway.errors import EnvironmentFault


@dataclass(frozen=True, slots=True)
class Fetched:
    """One mail. (`uidvalidity`, `uid`) name it in its folder as long as the operator does not restore the folder."""

    uidvalidity: int
    uid: int
    raw: bytes = field(repr=False)
    """Byte for byte as the operator keeps it."""
    internal_date: datetime | None
    """When the operator received it, in UTC; None when the server's date cannot be read."""


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A mail over `max_mail_bytes`: it stays in the mailbox, its body was never read."""

    uidvalidity: int
    uid: int
    size: int
    """Bytes of the whole mail, as the server says."""
    header: bytes = field(repr=False)
    """Its header, 64 kB at most."""
    internal_date: datetime | None


Mail = Fetched | TooLarge


class Where(StrEnum):
    """What a treated mail was. Each has its folder in the settings; "" leaves the mail where it is."""

    PROCESSED = "processed"
    """Integrated: a document, an acknowledgement."""
    ERROR = "error"
    """It should have been integrated and was not: a person may have to look (`\\Flagged` when it stays in place)."""
    OTHER = "other"
    """Not for the gateway: somebody's mail, an advertisement."""


class Settled(StrEnum):
    """What `settle` did."""

    MOVED = "moved"
    FLAGGED = "flagged"
    """It stays in place, as the settings say."""
    GONE = "gone"
    """It is not there any more (moved before, removed by somebody, or the folder was restored): nothing to do."""
    REFUSED = "refused"
    """The server refuses the folder or the flags: the mail stays in place. A person must act."""


class State(StrEnum):
    """Of one mailbox."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    """The world's fault, tried again with growing pauses."""
    CONFIGURATION = "configuration"
    """A person must act (login, certificate, folder); tried again slowly."""
    HELD = "held"
    """Connected, but mails cannot be kept (journal): they wait in the mailbox, untouched."""


class Reason(StrEnum):
    """Why a mailbox is not read."""

    REFUSED = "refused"
    """No connection: refused, unreachable, name unknown."""
    TIMEOUT = "timeout"
    CUT = "cut"
    BYE = "bye"
    """The server ended the session."""
    BUSY = "busy"
    """The server says NO for now."""
    PROTOCOL = "protocol"
    """The server says what IMAP does not allow, or BAD."""
    TLS = "tls"
    BUG = "bug"
    """A fault of our own, logged with its correlation id."""
    KEEP = "keep"
    """What must keep the mails cannot."""
    CERTIFICATE = "certificate"
    """Theirs is not trusted (authority, host name, date), or ours is refused."""
    STARTTLS = "starttls"
    """Asked for in the settings, not offered: never in clear."""
    LOGIN = "login"
    MECHANISM = "mechanism"
    """The server does not offer `auth`."""
    FOLDER = "folder"
    """The folder to read does not exist or is closed to us."""
    FILES = "files"
    """The secret, our certificate or the authorities cannot be read."""

    @property
    def configuration(self) -> bool:
        """True when a person must act."""
        return self in _CONFIGURATION

    @property
    def local(self) -> bool:
        """True when the server was not even asked: trying again soon locks no account, and a file that was being
        renewed is whole a moment later."""
        return self is Reason.FILES


_CONFIGURATION: Final = frozenset(
    (
        Reason.CERTIFICATE,
        Reason.STARTTLS,
        Reason.LOGIN,
        Reason.MECHANISM,
        Reason.FOLDER,
        Reason.FILES,
    )
)


@dataclass(frozen=True, slots=True)
class StateChange:
    """Told once for each change, never again while it lasts: one alert when a fault starts, one when it ends."""

    mailbox: str
    """`name` of the settings."""
    state: State
    reason: Reason | None
    """None when connected."""


class MailboxFault(EnvironmentFault):
    """The session cannot go on. Its text is the reason's code, and `detail`: which setting, never what is in it."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"mailbox: {reason.value}{': ' if detail else ''}{detail}")
        self.reason = reason
        self.detail = detail


class LiteralTooLong(MailboxFault):
    """The server announces more bytes than were asked for; nothing of them was read."""

    def __init__(self, size: int) -> None:
        super().__init__(Reason.PROTOCOL)
        self.size = size
