"""Settings of the error mailbox: the `[connectors.errors]` table, checked once.

Purpose: where error mails go (by route, organisation and flow), from whom, with what.
Guarantee: `load` reports every problem of the table at once, by field name, never by value; no mailbox is the sender's
own (a report would come back). That none is a mailbox that the gateway itself reads is checked by the gateway, which
knows all connectors.
Fails: `ConfigurationFault`.
Source: spec/mssante.md §2.6 (courriel standard, configurable mailbox); transport: connectors.smtp.settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from connectors.mss.addresses import domain_of, is_address, same_mailbox_key
from connectors.smtp.settings import SmtpTransport
from connectors.xds.oid import is_oid
from gateway.errors import ConfigurationFault
from gateway.settings import problems

Flow = Literal["outbound", "inbound", "refused", "receipt", "alarm"]
Form = Literal["standard", "mdn"]
MSSANTE = ".mssante.fr"


def _addresses(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(is_address, value)):
        raise ValueError("not a mail address")
    if len({same_mailbox_key(a) for a in value}) != len(value):
        raise ValueError("the same mailbox twice")
    return value


class Mailbox(BaseModel):
    """Where the errors of some routes go. The first row that fits an error is used; without any, `to` of the
    connector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: tuple[str, ...] = Field(min_length=1)
    """Addresses: each gets its own mail."""
    route: str = "*"
    """`application|facility` of the DPI (MSH-3 and MSH-4; of a received mail that of its mailbox's `dpi`), either part
    may be `*`; or the name of the mailbox that received the mail. `*`: any."""
    organisation: str = ""
    """Facility of the DPI (MSH-4) alone, of a received mail that of its mailbox's `dpi`; empty: any."""
    flows: tuple[Flow, ...] = ()
    """`outbound` (a transmission that failed), `inbound` (a received mail), `receipt` (told after the mail was
    accepted), `refused` (a message answered AE), `alarm` (something waits, ends or fills up); empty: any."""
    form: Form | None = None
    """As the connector's, for these addresses."""
    reattach: bool | None = None
    """As the connector's, for these addresses."""
    patient_in_subject: bool | None = None
    """As the connector's, for these addresses."""

    _checked = field_validator("to")(_addresses)

    def fits(self, route: str, flow: str, dpi: str = "") -> bool:
        """True when errors of this route and flow go here. `dpi`: of a mailbox, the DPI that its documents are for."""
        if self.flows and flow not in self.flows:
            return False
        application, _, facility = (dpi or route).partition("|")
        if self.organisation and self.organisation != facility:
            return False
        if self.route in ("*", route, dpi or route):
            return True
        wanted, bar, place = self.route.partition("|")
        return bool(bar) and wanted in ("*", application) and place in ("*", facility)


class ErrorsSettings(SmtpTransport):
    """The `[connectors.errors]` table. Relative paths start from the settings' folder."""

    from_address: str
    """Sender of the error mails; their own non-delivery reports come back there."""
    from_name: str = Field(default="Passerelle Ségur", max_length=60)
    to: tuple[str, ...] = Field(min_length=1)
    """Addresses for the errors that no row of `mailboxes` takes; each gets its own mail."""
    mailboxes: tuple[Mailbox, ...] = ()
    """Other addresses, by route, organisation and flow."""
    form: Form = "standard"
    """`standard`: the profile's « courriel standard »; `mdn`: the same text and files as a disposition notification
    (RFC 8098), for mailboxes that a program reads. Several errors in one mail, and alarms, are always `standard`."""
    reattach: bool = True
    """Attach IHE_XDM.ZIP and each PDF again, beside the original."""
    patient_in_subject: bool | None = None
    """Name the patient in the subject, as the profile does; none: only towards a MSSanté domain (`*.mssante.fr`)."""
    max_bytes: int = Field(default=20_000_000, ge=100_000)
    """Largest error mail in bytes: what does not fit is named in the text."""
    source_oid: str
    """OID of this gateway: XDSSubmissionSet.sourceId of the archives that it makes again."""
    product: str = "segur-gateway"
    """Name of the software in README.TXT of those archives."""

    _checked = field_validator("to")(_addresses)

    @field_validator("from_address")
    @classmethod
    def _sender(cls, text: str) -> str:
        if not is_address(text):
            raise ValueError("not a mail address")
        return text

    @field_validator("source_oid")
    @classmethod
    def _oid(cls, text: str) -> str:
        if not is_oid(text):
            raise ValueError("not an OID of at most 64 characters")
        return text

    @model_validator(mode="after")
    def _no_loop(self) -> Self:
        own = same_mailbox_key(self.from_address)
        if own in {same_mailbox_key(a) for a in self.every_address}:
            raise ValueError("an error mailbox is from_address itself: what is reported would come back")
        return self

    @property
    def every_address(self) -> tuple[str, ...]:
        """All the error mailboxes."""
        return tuple(dict.fromkeys((*self.to, *(a for m in self.mailboxes for a in m.to))))

    @property
    def helo(self) -> str:
        """The name given in EHLO: the sender's domain unless it is set."""
        return self.ehlo_name or domain_of(self.from_address)

    @cached_property
    def _others(self) -> Mailbox:
        return Mailbox(to=self.to)

    def row(self, route: str, flow: str, dpi: str = "") -> Mailbox:
        """The row for an error of this route and flow (see `Mailbox.fits`)."""
        return next((m for m in self.mailboxes if m.fits(route, flow, dpi)), None) or self._others

    def form_of(self, row: Mailbox) -> Form:
        """Whether mails to this row are standard mails or notifications."""
        return row.form or self.form

    def reattaches(self, row: Mailbox) -> bool:
        """Whether mails to this row carry the attachments again."""
        return self.reattach if row.reattach is None else row.reattach

    def names_patient(self, row: Mailbox, address: str) -> bool:
        """Whether the subject of a mail to this address names the patient."""
        wanted = self.patient_in_subject if row.patient_in_subject is None else row.patient_in_subject
        return ("." + domain_of(address)).endswith(MSSANTE) if wanted is None else wanted


def load(table: Mapping[str, Any], base_dir: Path) -> ErrorsSettings:
    """The settings of `table`; raises `ConfigurationFault` with every problem."""
    try:
        return ErrorsSettings.model_validate(dict(table), context={"base_dir": base_dir})
    except ValidationError as e:
        raise ConfigurationFault(problems(e, "connectors.errors")) from None
