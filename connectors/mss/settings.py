"""Settings of the MSSanté connector: the `[connectors.mss]` table, checked once.

Purpose: one frozen, typed object for the whole room; nothing else reads the raw table.
Guarantee: `load` reports every problem of the table at once, by field name, never by value (a value may be a
secret).
Fails: `ConfigurationFault`.
Source: spec/mssante.md §1.2 (sender, X-MSS-NIL, "Size"), §1.5 (README.TXT); transport: connectors.smtp.settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from connectors.mss.addresses import is_address, same_mailbox_key
from connectors.mss.boxes import ApplicativeMailbox
from connectors.mss.directory.settings import DirectorySettings
from connectors.smtp.settings import LOOPBACK, SmtpTransport, from_base
from gateway.errors import ConfigurationFault
from gateway.settings import problems

OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")


class Bodies(BaseModel):
    """Default texts of a mail, used when the message has no CORPSMAIL. `{document}` is the document's label.

    On a replacement and a deletion a text is compulsory (volet Transmission v2.1, mapping MSS).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    submit: str = (
        "Bonjour,\n\nVous trouverez en pièce jointe un document de santé : {document}.\n\n"
        "Ce message a été envoyé automatiquement par l'établissement.\n"
    )
    replace: str = (
        "Bonjour,\n\nVous trouverez en pièce jointe un document de santé : {document}.\n"
        "Il annule et remplace la version qui vous a été transmise précédemment.\n\n"
        "Ce message a été envoyé automatiquement par l'établissement.\n"
    )
    delete: str = (
        "Bonjour,\n\nLe document de santé joint ({document}), qui vous a été transmis précédemment, doit "
        "être supprimé : merci de le retirer du dossier du patient.\n\n"
        "Ce message a été envoyé automatiquement par l'établissement.\n"
    )

    @field_validator("submit", "replace", "delete")
    @classmethod
    def _fills(cls, text: str) -> str:
        try:
            text.format(document="")
        except (KeyError, IndexError, ValueError) as e:
            raise ValueError("only {document} may stand between braces") from e
        return text


class Organisation(BaseModel):
    """Who sends, as README.TXT and INDEX.HTM of the archive show it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    id: str = ""
    """National identifier of the structure (FINESS with its type prefix)."""
    address: str = ""
    phone: str = ""


class Software(BaseModel):
    """The product named in README.TXT."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "segur-gateway"
    version: str = ""
    """Empty: the version of the running gateway."""
    editor: str = "segur-gateway"


class MssSettings(SmtpTransport):
    """The `[connectors.mss]` table. Relative paths start from the settings' folder."""

    from_address: str
    """The applicative mailbox of the gateway: From, Return-Path and Disposition-Notification-To."""
    from_name: str = Field(default="", max_length=60)
    product_reference: str = ""
    """X-MSS-NIL, given by Convergence; left out of the mail while empty."""

    size_limits: dict[str, int] = Field(default_factory=lambda: {"patient.mssante.fr": 25_000_000})
    """Largest whole mail in bytes, by domain of the recipient."""
    default_size_limit: int | None = Field(default=None, gt=0)
    """For the other domains; none: only the operator's own SIZE counts, at delivery."""
    white_list: Path | None = None
    """File `listeblanchemssante.xml`; none: domains are not checked."""
    white_list_check: float = Field(default=30.0, gt=0)
    """Seconds between looks at that file: a changed one is used without a restart, a broken one never is."""
    white_list_url: str = ""
    """Where the file is downloaded from (`https://espacedeconfiance.mssante.fr/listeblanchemssante.xml`); none: it is
    laid down by other means."""
    white_list_checksum_url: str = ""
    """Where the SHA-256 of the list is published; given: a list that does not agree with it is not taken."""
    white_list_refresh: float = Field(default=86_400.0, gt=0)
    """Seconds between downloads."""
    white_list_timeout: float = Field(default=30.0, gt=0)
    """Seconds of silence after which a download is given up."""
    compute_patient_address: bool = False
    """Write to `<INS>@patient.mssante.fr` when DESTMSSANTEPAT is Y without an address of the patient. Only from a
    qualified identity (PID-32 VALI) with one NIR or NIA. The message then needs `ROUTE-NO-PATIENT-ADDRESS = "warn"` in
    `[severity]`, or it is refused before."""

    directory: DirectorySettings = DirectorySettings()
    """Annuaire Santé: who sent a received mail, and to whom."""

    render_pdf: Literal["never", "auto"] = "auto"
    """PDF copy of a structured document that holds none: `auto` renders it when the extra `pdf` (WeasyPrint, with the
    system's Pango and a font) is there; without a copy the mail goes all the same, with a warning."""
    render_timeout: float = Field(default=60.0, gt=0, le=300)
    """Seconds for one copy; it is made after the ACK, when ACKs leave a processor to it."""
    render_memory_mb: int = Field(default=1500, ge=300)
    """Memory of the process that renders."""

    bodies_ps: Bodies = Bodies()
    bodies_patient: Bodies = Bodies()
    organisation: Organisation = Organisation()
    software: Software = Software()
    source_oid: str
    """OID of this gateway: XDSSubmissionSet.sourceId."""
    default_patient_class: Literal["E", "I", "N", "O", "R"] = "N"
    """PV1-2 supposed when an ORU has no PV1: it gives XDSSubmissionSet.contentTypeCode."""
    zam_on: Literal["auto", "acceptance", "report"] = "auto"
    """What makes a ZAM^Z02 Y: our operator's answer to the mail (`acceptance`), or the delivery report of the
    recipient's server (`report`, needs `mailboxes`). `auto`: `report` as soon as there are mailboxes. A refusal is
    always told at once."""
    without_dsn: Literal["wait", "tell"] = "wait"
    """When the operator announces no DSN, no report of success will come: `tell` Y at its answer, or `wait` (only a
    failure is told). Only with `zam_on` `report`."""
    report_timeout: float = Field(default=3 * 86400.0, gt=0)
    """Seconds after which a delivery report that never came is an error for a person (with `zam_on` `report`). When
    the last news was a delay, the DPI is told N."""
    uncertain_wait: float = Field(default=60.0, ge=0)
    """Seconds that a delivery report is waited for when the operator's answer to a mail was lost, before the same mail
    is sent again (only where a report was asked for and mailboxes are read)."""
    mailboxes: tuple[ApplicativeMailbox, ...] = ()
    """The applicative mailboxes that are read; receipts come back to that of `from_address`."""

    @field_validator("white_list")
    @classmethod
    def _list_from_base(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return from_base(path, info)

    @field_validator("white_list_url", "white_list_checksum_url")
    @classmethod
    def _over_tls(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("must start with https://")
        return url

    @model_validator(mode="after")
    def _download_has_a_place(self) -> Self:
        if self.white_list_url and self.white_list is None:
            raise ValueError("white_list_url needs white_list, the file that is kept")
        if self.white_list_checksum_url and not self.white_list_url:
            raise ValueError("white_list_checksum_url needs white_list_url")
        return self

    @field_validator("from_address")
    @classmethod
    def _address(cls, text: str) -> str:
        if not is_address(text):
            raise ValueError("not a mail address")
        return text

    @field_validator("source_oid")
    @classmethod
    def _oid(cls, text: str) -> str:
        if not OID.fullmatch(text) or len(text) > 64:
            raise ValueError("not an OID of at most 64 characters")
        return text

    @field_validator("size_limits")
    @classmethod
    def _domains(cls, limits: dict[str, int]) -> dict[str, int]:
        if any(limit <= 0 for limit in limits.values()):
            raise ValueError("a size limit must be positive")
        return {domain.lower(): limit for domain, limit in limits.items()}

    @model_validator(mode="after")
    def _mailboxes_are_coherent(self) -> Self:
        problems = []
        for what, values in (
            ("name", [m.name for m in self.mailboxes]),
            ("address", [same_mailbox_key(m.address) for m in self.mailboxes]),
        ):
            if len(set(values)) != len(values):
                problems.append(f"two mailboxes have the same {what}")
        if self.zam_on == "report" and not self.mailboxes:
            problems.append("zam_on report needs mailboxes")
        if self.mailboxes and all(
            same_mailbox_key(m.address) != same_mailbox_key(self.from_address) for m in self.mailboxes
        ):
            problems.append("the mailbox of from_address must be among mailboxes: receipts come back to it")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def told_at_acceptance(self) -> bool:
        """Z02 Y is told at the operator's answer, whether it announces DSN or not."""
        return self.zam_on == "acceptance" or (self.zam_on == "auto" and not self.mailboxes)

    @property
    def helo(self) -> str:
        """The name given in EHLO: the sender's domain unless it is set."""
        return self.ehlo_name or self.from_address.rpartition("@")[2]

    def size_limit(self, domain: str) -> int | None:
        """Largest mail in bytes for `domain` (lower case), or None."""
        return self.size_limits.get(domain, self.default_size_limit)


def load(table: Mapping[str, Any], base_dir: Path) -> MssSettings:
    """The settings of `table`; raises `ConfigurationFault` with every problem."""
    try:
        return MssSettings.model_validate(dict(table), context={"base_dir": base_dir})
    except ValidationError as e:
        raise ConfigurationFault(problems(e, "connectors.mss")) from None
