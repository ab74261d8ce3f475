"""The applicative mailbox over IMAP: each mail is read once it is there, handed over, then flagged or moved.

Purpose: `MailboxClient(settings, state)`: `watch` reads, `settle` puts a treated mail away. Nothing here
knows what a mail says: `connectors.mss.receipts` and `connectors.mss.inbound` do.
Guarantee: a mail is flagged or moved only after whoever was given it said that it is kept; none is deleted.
Fails: never for the world's faults, they are told (`StateChange`); `ConfigurationFault` for settings.
"""

from connectors.mss.mailbox.client import MailboxClient
from connectors.mss.mailbox.model import (
    Fetched,
    Mail,
    Reason,
    Settled,
    State,
    StateChange,
    TooLarge,
    Where,
)
from connectors.mss.mailbox.settings import ImapSettings, ImapTimeouts

__all__ = [
    "Fetched",
    "ImapSettings",
    "ImapTimeouts",
    "Mail",
    "MailboxClient",
    "Reason",
    "Settled",
    "State",
    "StateChange",
    "TooLarge",
    "Where",
]
