"""Rights and roles: the words of access.

Purpose: what a role or a token may do, for the pages, the API, the command line and the journal alike. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Right(StrEnum):
    """What a role or a token may do."""

    INDICATORS = "indicators"
    """See figures, download them."""
    EXPLAIN = "explain"
    """See the lists of stays, documents and users behind them."""
    OPERATE = "operate"
    """See exchanges, errors and mailboxes; act on deliveries and mails; publish again."""
    FACTS = "facts"
    """Import facts of the past."""
    EVENTS = "events"
    """Tell events of the DPI, and its users."""
    ADMINISTER = "administer"
    """Accounts, tokens, trace."""


class Role(StrEnum):
    """Of an account."""

    LECTEUR = "lecteur"
    EXPLOITANT = "exploitant"
    ADMINISTRATEUR = "administrateur"


RIGHTS: Final[dict[Role, frozenset[Right]]] = {
    # business and technical rights are apart (SSI/GEN.16): who operates sees figures, not the lists of stays
    Role.LECTEUR: frozenset({Right.INDICATORS, Right.EXPLAIN}),
    Role.EXPLOITANT: frozenset({Right.INDICATORS, Right.OPERATE, Right.FACTS, Right.EVENTS}),
    Role.ADMINISTRATEUR: frozenset(Right),
}

DEEDS: Final = ("deliveries", "mails")
"""Scopes of tokens that act on deliveries, or on received mails: `operate` alone reads."""
SCOPES: Final[tuple[str, ...]] = (*DEEDS, *(right.value for right in Right))
"""All that a token may have."""
