"""Settings of the look-ups in the Annuaire Santé: `[connectors.mss.directory]`.

Guarantee: an API key never goes out in clear to another machine; a backend without its key is refused.
Fails: pydantic's `ValidationError`; the connector that loads its table tells all problems at once.
Source: spec/mssante.md §4 (API v2, header ESANTE-API-KEY).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from connectors.smtp.settings import LOOPBACK, from_base

API_V2 = "https://gateway.api.esante.gouv.fr/fhir/v2"


class DirectorySettings(BaseModel):
    """Look-ups in the Annuaire Santé (API FHIR v2): docs/directory.md. Never on the way of an ACK."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["none", "annuaire-sante"] = "none"
    base_url: str = API_V2
    """Where the API is; the proxy of the environment (`HTTPS_PROXY`) is used."""
    api_key_file: Path | None = None
    """The key given by portal.api.esante.gouv.fr; read again before each look-up."""
    ca_bundle: Path | None = None
    """PEM of the only authorities trusted; none: the system's."""
    connect_timeout: float = Field(default=2.0, gt=0)
    """Seconds for TCP and TLS."""
    read_timeout: float = Field(default=3.0, gt=0)
    """Seconds of silence after which a request is given up."""
    total_timeout: float = Field(default=10.0, gt=0)
    """Seconds for a whole look-up: its requests, their pages and a second try."""
    patience: float = Field(default=1.0, gt=0, le=5)
    """Seconds that a received mail waits at most for all its look-ups."""
    max_results: int = Field(default=100, ge=2, le=1000)
    """Most resources read of one search."""
    faults: int = Field(default=3, ge=1)
    """Failed look-ups in a row after which the directory is left alone."""
    pause: float = Field(default=60.0, gt=0)
    """Seconds that it is then left alone, before one look-up tries again."""
    cache: Path | None = Field(default=Path("var/annuaire-sante.sqlite"), validate_default=True)
    """What was found, for its owner alone; empty: kept in memory only."""
    cache_entries: int = Field(default=20_000, ge=1)
    """Answers kept; the oldest go first."""
    lifetime: float = Field(default=86_400.0, gt=0)
    """Seconds that an answer is good for."""
    unknown_lifetime: float = Field(default=3600.0, gt=0)
    """The same for an answer that found nothing."""
    stale_lifetime: float = Field(default=30 * 86_400.0, gt=0)
    """Seconds that an older answer may serve while the directory does not answer; then it is erased."""

    @field_validator("cache", mode="before")
    @classmethod
    def _no_file(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("api_key_file", "ca_bundle", "cache")
    @classmethod
    def _absolute(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return from_base(path, info)

    @field_validator("base_url")
    @classmethod
    def _over_tls(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            good = bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise ValueError("not a URL") from None
        if not good or parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("not the URL of an API")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("must start with https://")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _backend_has_its_key(self) -> Self:
        if self.backend != "none" and self.api_key_file is None:
            raise ValueError("backend annuaire-sante needs api_key_file")
        return self
