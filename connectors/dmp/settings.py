"""Settings of the DMP connector: the `[connectors.dmp]` table.

Purpose: every value that changes between establishments, environments or readings of the national documents.
Guarantee: an unknown key is refused; values on which the sources disagree (spec/dmp.md §2.6) are named
settings with the default that the sources support best.
Fails: `read_settings` raises `ConfigurationFault` with every wrong value at once (names, never values).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gateway.errors import ConfigurationFault
from gateway.hl7.transmission import INS_DEMO, INS_NIA, INS_NIR, INS_TEST
from gateway.settings import problems


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timeouts(_Table):
    """Seconds for each phase of one call."""

    connect: float = Field(5.0, gt=0)
    """TCP and TLS."""
    write: float = Field(30.0, gt=0)
    read: float = Field(30.0, gt=0)
    """Silence of the DMP after the request was sent."""
    pool: float = Field(10.0, gt=0)
    """Wait for a free connection."""
    total: float = Field(120.0, gt=0)
    """The whole call: a DMP that answers one byte at a time does not hold a delivery for ever."""


class Role(_Table):
    """One value of the VIHF role attribute (JDV_J65)."""

    code: str
    system: str
    label: str
    system_name: str = ""


class Purpose(_Table):
    """One value of purposeofuse."""

    code: str
    label: str


class Vihf(_Table):
    """Content of the VIHF where it does not come from the message (spec/dmp.md §2)."""

    version: Literal["3.0", "4.0"] = "3.0"
    """The samples say 3.0, the table of the volet 4.0."""
    mode_attribute: Literal["Authentification_Mode", "Authentification_mode"] = "Authentification_Mode"
    issuer_order: Literal["rfc4514", "reverse"] = "rfc4514"
    """Order of the subject's parts in Issuer."""
    subject: Literal["sender", "device"] = "sender"
    """NameID: the person of PRT `SB` (the gateway when there is none), or always the gateway."""
    roles: tuple[Role, ...] = Field(
        (Role(code="AUTOMATE", system="1.2.250.1.213.1.1.4.6", label="Automate"),), min_length=1, max_length=2
    )
    """Of the gateway, and of a sender whose own are not looked for or not found."""
    roles_from: Literal["settings", "sender"] = "settings"
    """`sender`: profession and specialty of the person of PRT `SB`, from `directory`, else from the document
    when that person is one of its authors, else `roles`."""
    sector: str = "SA01"
    """Secteur_Activite (JDV_J61) of a structure that `sectors` does not name."""
    sectors: Mapping[str, str] = {}
    """Secteur_Activite by Struct_IdNat."""
    authn_context: str = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"
    air_context_decl: str = "CONF_EXI_PGSSIS"
    """AuthnContextDecl of the AIR mode (« AIR simplifié »); the sources disagree on others."""
    purpose_system_name: str = "mode acces VIHF 2.0"
    purposes: Mapping[str, Purpose] = {"normal": Purpose(code="normal", label="Accès normal")}
    """Access modes that may be asked for. Régulation and bris de glace are named by the CNAM without their codes:
    they are refused until they are given here."""
    secret_connection: str = ""
    """Value of the confidentiality-code attribute of a secret connection; it is published nowhere we know,
    so a message that asks for one is refused until it is given."""


class Software(_Table):
    """LPS identity in the VIHF."""

    id: str = ""
    name: str = "segur-gateway"
    version: str = ""
    """Left empty: the version that runs."""
    homologation: str = ""
    """LPS_ID_HOMOLOGATION_DMP."""


class Api(_Table):
    """The HTTP API for the DPI (docs/dmp-api.md); served only when `api_tokens` names a file."""

    processing_id: Literal["P", "T", "D"] = "P"
    """Which INS domains are allowed (`ins_oids`), as MSH-11 says it for messages."""
    max_request_size: int = Field(65_536, gt=0)
    """Bytes of a request's body."""
    content_type: str = "07"
    """contentTypeCode (JDV_J59) of the lots of TD3.3: external consultation."""
    max_authentication_age: float = Field(12 * 3600.0, gt=0)
    """Seconds since the user's strong authentication."""


_REAL = (INS_NIR, INS_NIA)
_ALL = (INS_NIR, INS_NIA, INS_TEST, INS_DEMO)


class DmpSettings(_Table):
    """The whole table. Relative paths start from the settings' folder."""

    base_url: str
    """`https://host[:port]/si-dmp-server/v2/services`."""
    repository_suffix: str = "/repository"
    registry_suffix: str = "/registry"
    patients_suffix: str = "/patients"
    """TD0.2; the CNAM kit says `/patient`, the DRIMbox `/patients`."""

    auth_certificate: Path
    """ORG AUTH_CLI: TLS client. PEM (leaf, then its chain), or PKCS#12 that holds the key too."""
    auth_key: Path | None = None
    """PEM; left out when `auth_certificate` is a PKCS#12."""
    sign_certificate: Path
    """ORG SIGN (cachet): VIHF and XAdES. PEM (leaf, then its chain), or PKCS#12 that holds the key too."""
    sign_key: Path | None = None
    """PEM; left out when `sign_certificate` is a PKCS#12."""
    key_password_file: Path | None = None
    """Pass phrase of the keys (of `auth_key` only when `sign_password_file` is given)."""
    sign_password_file: Path | None = None
    certificate_check: float = Field(60.0, gt=0)
    """Seconds between looks at the certificate files: changed ones are used without a restart."""
    ca_bundle: Path
    """Authorities of the DMP's server certificate, PEM."""

    instance_oid: str = Field(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$", max_length=64)
    """OID of this gateway: XDSSubmissionSet.sourceId."""
    structures: Mapping[str, tuple[str, ...]] = {}
    """Struct_IdNat of the certificate's legal entity (EJ) to those of its geographic entities (EG)."""

    timeouts: Timeouts = Timeouts()
    max_connections: int = Field(8, ge=1, le=100)
    keepalive: float = Field(30.0, ge=0)
    """Seconds an idle connection is kept."""

    vihf: Vihf = Vihf()
    software: Software = Software()
    xades_digest: Literal["sha1", "sha256"] = "sha1"
    """SHA-1 as in the CNAM kit of 2024; acceptance of SHA-256 is not known."""
    ins_oids: Mapping[str, tuple[str, ...]] = {"P": _REAL, "T": _ALL, "D": _ALL}
    """INS domains allowed for each MSH-11: the test and demonstration domains never with P."""
    max_document_size: int = Field(20_000_000, gt=0)
    """Bytes; the national documents give no figure."""
    max_reply_size: int = Field(8_000_000, gt=0)
    """Bytes of a reply that are read; a longer one is cut and its outcome looked up."""
    max_retrieved_size: int = Field(100_000_000, gt=0)
    """The same for a reply that carries documents (TD3.2)."""
    unlisted_format: bool = False
    """A structured document whose template ASS_A11 does not know goes as « modelesHorsProfils » (JDV_J60)."""
    tables: Path | None = None
    """Folder whose files replace the shipped value sets."""
    directory: Path | None = None
    """Professionals' roles (TSV: `person`, `role`, `role_system`, `specialty`, `specialty_system`): see
    `vihf.roles_from`."""
    precheck_existence: bool = False
    """TD0.2 before the ACK: refuse at once when the patient has no DMP. Adds the DMP to what an ACK waits for;
    when it does not answer within `precheck_timeout`, the message is accepted as without it."""
    precheck_timeout: float = Field(3.0, gt=0)
    api_tokens: Path | None = None
    """File of the API's callers; without it there is no API."""
    api: Api = Api()
    error_codes: Path | None = None
    """File that completes the shipped dmp_error_codes.csv: `code;class;label_fr;source`, its rows replace those of
    the same code. Classes: `transient` (tried again), `permanent` (told), `configuration` (stops the destination),
    `structure` (the same, but only for the structure that speaks when the certificate has several), `duplicate`
    (perhaps done by an earlier attempt: looked up). A code that begins with `~` is a part of the DMP's words."""
    expiry_warning_days: int = Field(30, ge=0)

    @field_validator("base_url")
    @classmethod
    def _https(cls, value: str) -> str:
        if not value.startswith("https://"):
            raise ValueError("must start with https://")
        return value.rstrip("/")

    @property
    def repository_url(self) -> str:
        """Where ITI-41 goes."""
        return self.base_url + self.repository_suffix

    @property
    def patients_url(self) -> str:
        """Where TD0.2 goes."""
        return self.base_url + self.patients_suffix

    @property
    def registry_url(self) -> str:
        """Where ITI-18 and ITI-57 go."""
        return self.base_url + self.registry_suffix


_PATHS = (
    "auth_certificate",
    "auth_key",
    "sign_certificate",
    "sign_key",
    "key_password_file",
    "sign_password_file",
    "directory",
    "api_tokens",
    "ca_bundle",
    "tables",
    "error_codes",
)


def read_settings(table: Mapping[str, Any], base_dir: Path) -> DmpSettings:
    """The checked settings, relative paths made absolute. Raises `ConfigurationFault` with all that is
    wrong.
    """
    values = {k: base_dir / v if k in _PATHS and v else v for k, v in table.items()}
    try:
        return DmpSettings.model_validate(values)
    except ValidationError as e:
        raise ConfigurationFault(problems(e, "connectors.dmp")) from None
