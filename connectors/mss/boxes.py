"""Applicative mailboxes: what is set for each, beside how it is read.

Purpose: the way back of the settings: which DPI gets the documents of a mailbox, in whose name, and who is answered.
Fails: pydantic's `ValidationError`, for `connectors.mss.settings`.
Source: spec/mssante.md §2.1 (one mailbox per service, table mailbox → organisation), §2.3 (MSH, PRT-8), §2.6 (MDN).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from connectors.mss.addresses import is_address
from connectors.mss.inbound.mdm import Mailbox as Party
from connectors.mss.inbound.mdm import Route
from connectors.mss.inbound.reports import MdnForm
from connectors.mss.mailbox.settings import ImapSettings
from gateway.hl7.transmission import Organisation


class DpiRoute(BaseModel):
    """The DPI (or RIS) that gets the documents of a mailbox: MSH of the messages, key of `[connectors.dpi]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    application: str = Field(min_length=1)
    """MSH-5."""
    facility: str = Field(min_length=1)
    """MSH-6."""
    our_application: str = Field(default="PFI", min_length=1)
    """MSH-3."""
    our_facility: str = ""
    """MSH-4, required in the message; empty: as `facility`."""
    processing_id: Literal["P", "T", "D"] = "P"
    charset: Literal["UNICODE UTF-8", "8859/15"] = "UNICODE UTF-8"

    @field_validator("application", "facility", "our_application", "our_facility")
    @classmethod
    def _plain(cls, text: str) -> str:
        if not text.isprintable() or "|" in text:
            raise ValueError("printable characters, without |")
        return text

    @property
    def key(self) -> str:
        """`application|facility`."""
        return f"{self.application}|{self.facility}"

    def header(self) -> Route:
        """For MSH."""
        return Route(
            self.our_application,
            self.our_facility or self.facility,
            self.application,
            self.facility,
            self.processing_id,
            self.charset,
        )


class Unit(BaseModel):
    """The service that a mailbox belongs to: PRT-8 of the recipient."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    authority: str = ""
    """OID of the authority of `number`, for example 1.2.250.1.71.4.2.2."""
    id_type: str = ""
    """FINEG, FINEJ, IDNST, UF…"""
    number: str = ""


class ApplicativeMailbox(ImapSettings):
    """One applicative mailbox: `[[connectors.mss.mailboxes]]`."""

    address: str
    """Its address: it answers (MDN) in this name."""
    dpi: DpiRoute | None = None
    """None: it only gets reports (DSN, MDN); a document that comes is an error for a person."""
    unit: Unit | None = None
    mdn: bool = True
    """Answer the senders that ask for it (Disposition-Notification-To)."""
    mdn_form: MdnForm = MdnForm.C
    """How an error is told: `1.1.3`, `1.1.2`, or `1.1.2-error` (1.1.2 with the field Error)."""
    mdn_success: Literal["processed", "displayed"] = "processed"
    deleted_is_error: bool = False
    """An MDN "deleted unread" about a mail of ours is told to the DPI as Z03 N, 906; else it is only kept."""

    @field_validator("address")
    @classmethod
    def _mail_address(cls, text: str) -> str:
        if not is_address(text):
            raise ValueError("not a mail address")
        return text

    def party(self) -> Party:
        """PRT of this mailbox as a recipient."""
        unit = self.unit
        organisation = Organisation(unit.name, unit.authority, unit.id_type, unit.number) if unit else None
        return Party(self.address, organisation=organisation)
