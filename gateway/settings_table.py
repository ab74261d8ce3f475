"""What every table of the settings is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table of the settings file: unknown keys are errors (a misspelt limit must not be ignored)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
