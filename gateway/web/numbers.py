"""Numbers of rows in an address: what both databases can hold, and nothing else."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path

LAST: Final = 2**31 - 1
"""The greatest one: PostgreSQL's."""
Id = Annotated[int, Path(ge=0, le=LAST)]
"""Number of a row, in a path."""
