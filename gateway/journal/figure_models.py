"""Tables of the indicators' results (docs/decisions/0035). Whatever they hold can be shown to who may see figures: no
patient, no stay, no user.

Purpose: months as they were computed, published ones for ever; what to look at beside them, as it is now; which facts
each month was last compared with.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary
from sqlmodel import Field, SQLModel


class IndicatorMonth(SQLModel, table=True):
    """The figures of one establishment and month. Revision 0 is provisional and replaced; others are never changed."""

    __tablename__ = "indicator_month"
    __table_args__ = (Index("indicator_month_revision", "finess", "month", "revision", unique=True),)

    id: int | None = Field(default=None, primary_key=True)
    finess: str
    month: str
    """`AAAA-MM`."""
    revision: int
    computed_at: float
    cutoff: str
    """ISO 8601."""
    rule_version: str
    catalogue_version: str
    facts: int
    """How many were read."""
    seen: str
    """JSON (`fact_stream.Seen`): which ones, so that a list is made of the same."""
    last_fact: int
    """The newest one's number."""
    digest: str
    """SHA-256 of the figures: the same for the same figures, whenever they were computed."""
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Rows and quality, compressed (`indicators.stored`)."""
    changes: str = "[]"
    """JSON: what is not as in the revision before."""


class IndicatorCheck(SQLModel, table=True):
    """Which facts the last computation of a month had, whether it changed anything or not."""

    __tablename__ = "indicator_check"

    month: str = Field(primary_key=True)
    seen: str
    last_fact: int
    at: float


class IndicatorQuality(SQLModel, table=True):
    """What to look at beside the figures of a month, as the last computation saw it (docs/decisions/0039)."""

    __tablename__ = "indicator_quality"

    finess: str = Field(primary_key=True)
    month: str = Field(primary_key=True)
    seen: str
    """JSON (`fact_stream.Seen`): with which facts."""
    last_fact: int
    at: float
    content: str
    """JSON (`indicators.stored`)."""
