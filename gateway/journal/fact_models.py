"""Tables of the indicators' facts (docs/indicators.md). They outlive everything that they speak of: no foreign keys,
never touched by retention.

Purpose: the published facts, and the secret behind the opaque keys of patients. No patient data: patients are opaque
keys here, the addresses of Mon espace santé too.
"""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary
from sqlmodel import Field, SQLModel


class IndicatorFact(SQLModel, table=True):
    """One published fact, in the order of arrival. Append-only."""

    __tablename__ = "indicator_fact"

    id: int | None = Field(default=None, primary_key=True)
    fact_id: str = Field(unique=True)
    digest: str
    """Of its content (`indicators.facts.digest`): the same id with another one is refused."""
    fact: str
    """`delivery`, `stay`…"""
    finess: str
    at: float
    known_at: float
    source: str
    """`exchange`, `adt`, `mail`, `dmp`, `event` or `import`."""
    body: str
    """Its canonical JSON (docs/schemas/facts.schema.json)."""


class IndicatorSecret(SQLModel, table=True):
    """What patients' keys are made with. One row, made once, the same for all nodes."""

    __tablename__ = "indicator_secret"

    id: int | None = Field(default=None, primary_key=True)
    secret: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Empty: the secret is in a file, and this is only its fingerprint."""
    fingerprint: str
    """SHA-256 of the secret, in hexadecimal: another one would give the same patients other keys."""
