"""Who may call the API of the DMP connector: `[connectors.dmp] api_tokens`, with the scopes that it knows.

Guarantee and faults: as `gateway.tokens`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gateway import tokens
from gateway.tokens import Client

__all__ = ["Client", "TokenFile"]

SCOPES: Final = ("consult", "update")
SETTING: Final = "[connectors.dmp] api_tokens"


class TokenFile(tokens.TokenFile):
    """The callers of this API."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCOPES, SETTING)
