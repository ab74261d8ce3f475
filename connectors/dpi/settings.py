"""Settings of the DPI connector: the `[connectors.dpi]` table, checked once.

Purpose: where the acknowledgements (ZAM) and later the documents (MDM) of each application go.
Guarantee: `load` reports every problem at once, by field name.
Fails: `ConfigurationFault`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.errors import ConfigurationFault
from gateway.settings import problems

ANY = "*"


class Tls(BaseModel):
    """TLS of one route. Our certificate is optional."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_bundle: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    server_name: str = ""
    """Name checked in the DPI's certificate; empty: the host."""

    @field_validator("ca_bundle", "client_cert", "client_key")
    @classmethod
    def _absolute(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        base = (info.context or {}).get("base_dir")
        return path if path is None or base is None else Path(base) / path

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key go together")
        return self


class Route(BaseModel):
    """One application: MSH-3 and MSH-4 of what it sends us, and where it listens. `*` is any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    application: str = ANY
    facility: str = ANY
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: Tls | None = None


class Timeouts(BaseModel):
    """Seconds allowed to each phase."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect: float = Field(default=10.0, gt=0)
    send: float = Field(default=60.0, gt=0)
    acknowledgement: float = Field(default=60.0, gt=0)


class DpiSettings(BaseModel):
    """The `[connectors.dpi]` table. The first route that fits best wins: exact application and facility, then
    exact application, then exact facility, then `*`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    routes: tuple[Route, ...] = ()
    timeouts: Timeouts = Timeouts()
    max_answer: int = Field(default=1_000_000, gt=0)
    """Longest acknowledgement accepted, in bytes."""

    @field_validator("routes")
    @classmethod
    def _distinct(cls, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        keys = [(r.application, r.facility) for r in routes]
        if len(set(keys)) != len(keys):
            raise ValueError("two routes for the same application and facility")
        return routes

    def route(self, key: str) -> Route | None:
        """The route of `<application>|<facility>`, or None."""
        application, _, facility = key.partition("|")
        for wanted in ((application, facility), (application, ANY), (ANY, facility), (ANY, ANY)):
            for route in self.routes:
                if (route.application, route.facility) == wanted:
                    return route
        return None


def load(table: Mapping[str, Any], base_dir: Path) -> DpiSettings:
    """The settings of `table`; raises `ConfigurationFault` with every problem."""
    try:
        return DpiSettings.model_validate(dict(table), context={"base_dir": base_dir})
    except ValidationError as e:
        raise ConfigurationFault(problems(e, "connectors.dpi")) from None
