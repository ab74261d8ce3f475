"""Settings: one TOML file, environment overrides, secrets as files, defaults that work on loopback.

Purpose: every value that an operator may change, with its unit in its name or docstring. Connectors check
their own tables (`[connectors.<name>]`), which stand here untouched.

Guarantee: `load_settings` names everything that is wrong at once. No secret stands in a setting: only file
names.

Fails: `ConfigurationFault`.

Environment: `SEGUR_` + the path in capitals, parts joined by `__`: `SEGUR_LISTENER__PORT=2576`,
`SEGUR_CONFORMANCE=interop`. The environment wins over the file.
"""

from __future__ import annotations

import tomllib
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.errors import ConfigurationFault, Severity
from gateway.settings_table import Table as Table
from gateway.settings_web import WebSettings as WebSettings


class ListenerTls(Table):
    """TLS of the MLLP listener. `client_ca` makes it mutual."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """CA bundle (PEM) of accepted client certificates; a client without a certificate is then refused."""
    allowed_names: tuple[str, ...] = ()
    """Accepted subject CN or DNS alternative names of clients; empty: any certificate of `client_ca`."""
    minimum: Literal["1.2", "1.3"] = "1.2"

    @model_validator(mode="after")
    def _names_need_a_ca(self) -> ListenerTls:
        if self.allowed_names and self.client_ca is None:
            raise ValueError("allowed_names needs client_ca")
        return self


class ListenerSettings(Table):
    """The MLLP listener. Times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = Field(2575, ge=0, le=65535)
    max_connections: int = Field(200, ge=1)
    """One more is closed at once."""
    first_byte_timeout: float = Field(30.0, gt=0)
    """A connection that sends nothing is closed."""
    frame_timeout: float = Field(60.0, gt=0)
    """A frame that stops growing for that long: the connection is closed, nothing was accepted."""
    idle_timeout: float = Field(3600.0, gt=0)
    """Silence between messages on a connection that has already sent one."""
    max_message_bytes: int = Field(100_000_000, ge=1024)
    """A longer message is answered AE and skipped."""
    memory_budget_bytes: int = Field(1_000_000_000, ge=4096)
    """Memory for documents, over all connections and deliveries: 40 % for messages being received, 30 % for those being
    checked (about three times their size), 30 % for those being delivered (about four times). A message that finds no
    room is answered AR at once; messages up to 1 MB are not counted. At least 2.5 times `max_message_bytes`."""
    allowed_networks: tuple[str, ...] = ()
    """CIDR networks that may connect; empty: any (the bind address decides)."""
    drain_timeout: float = Field(20.0, ge=0)
    """On SIGTERM, how long messages under way may take to be answered."""
    tls: ListenerTls | None = None

    @model_validator(mode="after")
    def _room_for_one(self) -> ListenerSettings:
        if self.memory_budget_bytes < 2.5 * self.max_message_bytes:
            raise ValueError("memory_budget_bytes must be at least 2.5 times max_message_bytes")
        return self

    @field_validator("allowed_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value

    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`allowed_networks`, parsed."""
        return tuple(ip_network(n) for n in self.allowed_networks)


class JournalSettings(Table):
    """The journal: one SQLite file (and its WAL), on a local disk; or, for several gateway processes, one PostgreSQL
    database (13 or newer, UTF8, needs the extra `postgres`)."""

    path: Path = Path("var/journal.sqlite")
    """The SQLite file, when there is no `url`."""
    synchronous: Literal["FULL", "EXTRA"] = "FULL"
    busy_timeout_ms: int = Field(30_000, ge=100)
    url: str | None = None
    """`postgresql://user@host:5432/database`, as libpq takes it (several hosts, `sslmode=verify-full`…). No password in
    it. None: SQLite."""
    password_file: Path | None = None
    """File with the password of the database's user."""
    writers: int = Field(8, ge=1, le=100)
    """PostgreSQL: connections for writing, by gateway process (and 4 for reading)."""
    heartbeat: float = Field(1.0, gt=0)
    """PostgreSQL: seconds between two signs of life of a gateway process."""
    node_timeout: float = Field(10.0, gt=0)
    """PostgreSQL: a gateway process that gave no sign of life for so many seconds counts as dead; the others take
    over what it had in hand."""

    @model_validator(mode="after")
    def _no_secret_in_the_url(self) -> JournalSettings:
        if self.url is not None:
            parts = urlsplit(self.url)
            if parts.scheme not in ("postgresql", "postgres"):
                raise ValueError("url must begin with postgresql://")
            if parts.password is not None or "password" in parse_qs(parts.query):
                raise ValueError("url must not hold a password: use password_file")
        if self.node_timeout < 3 * self.heartbeat:
            raise ValueError("node_timeout must be at least 3 times heartbeat")
        return self

    def at(self, base: Path) -> JournalSettings:
        """The same with a `password_file` that no longer depends on the working folder."""
        return self.model_copy(update={"password_file": self.password_file and base / self.password_file})


class AckSettings(Table):
    """The single ACK."""

    deadline: float = Field(15.0, gt=0)
    """Seconds for all checks and preparations together; keep it under the DPI's own time-out. Passed: AR."""
    extended_err: bool = True
    """Send ERR-5, ERR-7 and ERR-8 (more than the profile's ACK table lists)."""


class RetrySettings(Table):
    """Backoff of transient failures, in seconds."""

    first: float = Field(2.0, gt=0)
    factor: float = Field(2.0, ge=1)
    longest: float = Field(900.0, gt=0)
    jitter: float = Field(0.2, ge=0, lt=1)
    """Part of the delay that is drawn at random, both ways."""
    lifetime: float = Field(5 * 86400.0, gt=0)
    """After that long without success a delivery expires and the DPI is told."""
    circuit_probe: float = Field(60.0, gt=0)
    """While a destination's circuit is open, one delivery is tried that often."""


class EngineSettings(Table):
    """The embedded engine."""

    concurrency: dict[str, int] = Field(default_factory=lambda: {"dmp": 4, "mss": 4, "dpi": 4})
    """Deliveries under way at once, by destination (default 4)."""
    max_open_deliveries: int = Field(100_000, ge=0)
    """Deliveries that have not ended, over all destinations: from there on new messages are answered AR, until a tenth
    of it is free again. 0: no limit."""
    retry: RetrySettings = RetrySettings()


class VersionSettings(Table):
    """Version rules where the profiles leave a choice."""

    unknown_predecessor: Literal["accept", "refuse"] = "accept"


class CdaSettings(Table):
    """Value sets of our own rules, and the official CDA package (XSD, schematrons, value sets): used when its folder
    is given, never needed."""

    tables: Path | None = None
    """Folder whose files replace the shipped value sets of our own rules (`type.tsv` for JDV_J07, `type_dmp.tsv` for
    JDV_J66, `facility.tsv`, `practice.tsv`, `author_specialty.tsv`, `gender.tsv`, `encounter.tsv`,
    `participation.tsv`); a file that is not there is the shipped one."""

    package: Path | None = None
    """Folder with `infrastructure/cda/CDA_extended.xsd`, `schematrons/` and `jeuxDeValeurs/`; only read.
    `segur-gateway cda-package check DIR` says what is in it. None: own rules only."""
    xsd: bool = True
    """Check documents against the package's XSD (rule `CDA-XSD`)."""
    schematron: tuple[Literal["strucmin", "volet", "ihe", "models", "ans"], ...] = ()
    """Families of schematrons to run, in a worker process (needs the extra `schematron`: saxonche). What a
    failed assertion does is the severity of `CDA-SCH-STRUCMIN`, `-VOLET`, `-IHE`, `-MODELS`, `-ANS`; a family
    whose rule is off is not run. Empty: no worker."""
    schematron_workers: int = Field(1, ge=1, le=8)
    """Worker processes (about 300 MB each)."""
    schematron_timeout: float = Field(5.0, gt=0)
    """Seconds for all the schematrons of a message, waiting for a worker included. It is part of
    `ack.deadline`. Passed: the worker is replaced and the family counts as not run."""
    schematron_documents: int = Field(1000, ge=1)
    """A worker is replaced after that many documents."""
    schematron_memory_mb: int = Field(1500, ge=200)
    """A worker that holds more is replaced, in the middle of a document if need be."""
    schematron_max_bytes: int = Field(8_000_000, ge=1024)
    """A longer document (payload not counted) is not run."""

    @model_validator(mode="after")
    def _schematron_needs_a_package(self) -> CdaSettings:
        if self.schematron and self.package is None:
            raise ValueError("schematron needs package")
        return self


class ZamSettings(Table):
    """Business acknowledgements to the DPI."""

    dmp_error_table: str = "DMP_ERROR_CODE"
    """Coding system of ERR-5 in Z01 (the official sample writes DMPERRORCODE)."""


class ErrorSettings(Table):
    """Errors that a person must hear of (their mailbox: `[connectors.errors]`)."""

    burst: int = Field(5, ge=1)
    """Error mails of one family (destination and code) that one mailbox gets at most within `window`; the errors
    beyond go together, in one mail with their number, as soon as another mail is allowed."""
    window: float = Field(900.0, gt=0)
    """Seconds."""
    refused_messages: bool = False
    """Tell messages that are answered AE too."""
    repeat: float = Field(3600.0, gt=0)
    """Seconds after which the errors of a report that was refused or expired are told again (to the mailboxes that
    the settings name then)."""


class AlarmSettings(Table):
    """Alarms: a line in the log, a metric (`segur_alarm`), a warning of `/readyz` and, with `[connectors.errors]`, a
    mail. Times in seconds."""

    every: float = Field(30.0, gt=0)
    """Between two looks."""
    oldest: float = Field(3600.0, ge=0)
    """Age of the oldest delivery to a destination that has not ended (those on hold do not count). 0: no alarm."""
    oldest_of: dict[str, float] = Field(default_factory=dict)
    """The same for single destinations: `{dmp = 7200, errors = 900}`."""
    silence: dict[str, float] = Field(default_factory=dict)
    """Senders that normally send, and for how long they may be silent: `{"DPI|HOPITAL" = 14400}` (MSH-3 and MSH-4)."""
    certificate_days: float = Field(30.0, ge=0)
    """Days before the end of a certificate in use."""
    disk_free_bytes: int = Field(2_000_000_000, ge=0)
    """Free on the disk of the journal's file."""


class RetentionSettings(Table):
    """How long contents, traces and the audit trail stay. Nothing that is undelivered, unanswered, awaited or
    unreported is touched, nor the register of versions, nor the facts. Contents and traces: off by default, the
    hospital decides (docs/operations.md)."""

    content_days: float | None = Field(default=None, ge=1)
    """Days after its end that the bytes of a message or of a received mail stay. None: for ever."""
    trace_days: float | None = Field(default=None, ge=1)
    """Days after its end that the details of a delivery stay (plan, words, attempts), and the row of an ADT. None: for
    ever. Not shorter than `content_days`."""
    audit_days: float = Field(1095.0, ge=0)
    """Days that a row of the audit trail (page `/trace`) stays. 0: for ever."""
    every: float = Field(21_600.0, gt=0)
    """Seconds between two runs."""

    @model_validator(mode="after")
    def _in_order(self) -> RetentionSettings:
        if self.trace_days is not None and (self.content_days is None or self.trace_days < self.content_days):
            raise ValueError("trace_days needs content_days, and must not be shorter")
        return self


class IndicatorSettings(Table):
    """The monthly DSR indicators (docs/indicators.md)."""

    enabled: bool = True
    """Write facts of what goes through, read ADT, compute figures."""
    facilities: dict[str, str] = Field(default_factory=dict)
    """FINESS géographique of a sender whose messages do not name it: MSH-4 → FINESS. What is in no mapping counts under
    `UNKNOWN`, with an alert."""
    names: dict[str, str] = Field(default_factory=dict)
    """Name of an establishment on the pages: FINESS → name."""
    time_zones: dict[str, str] = Field(default_factory=dict)
    """Time zone of an establishment, over the catalogue's: FINESS (or its beginning) → zone; `default`: of all others,
    and of messages whose establishment nothing names."""
    catalogue: Path | None = None
    """A catalogue instead of the shipped `indicators/catalogue.yaml`. A change takes effect without a restart."""
    processing_ids: tuple[Literal["P", "T", "D"], ...] | None = None
    """MSH-11 of the messages that count. None: P alone in `production`, all that are served in `interop`."""
    historical_days: float = Field(90.0, ge=0)
    """A document dated more days than that before its message is sent is « historique » (not sent in flux). 0: none."""
    secret_file: Path | None = None
    """Secret behind the opaque keys of patients (at least 32 bytes; the same for all nodes, for ever). None: one is
    made and kept in the journal."""
    refresh: float = Field(3600.0, gt=0)
    """Seconds between two computations of the months that are not published yet."""


class LogSettings(Table):
    """Logs on standard error. Never any patient data, at any level."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "text"] = "json"


class Settings(BaseSettings):
    """All settings of one gateway."""

    model_config = SettingsConfigDict(
        env_prefix="SEGUR_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    conformance: Literal["production", "interop"] = "production"
    """Preset of rule severities: `interop` lets the official samples through with named warnings."""
    processing_ids: tuple[Literal["P", "T", "D"], ...] = ("P", "T", "D")
    """Values of MSH-11 that are served; another one is refused (202). A gateway in front of the real DMP and of real
    mailboxes should serve `["P"]` alone."""
    severity: dict[str, Severity] = Field(default_factory=dict)
    """Severity of single rules, over the preset: `OBX5-PADDING = "reject"`."""
    listener: ListenerSettings = ListenerSettings()
    journal: JournalSettings = JournalSettings()
    ack: AckSettings = AckSettings()
    engine: EngineSettings = EngineSettings()
    cda: CdaSettings = CdaSettings()
    versions: VersionSettings = VersionSettings()
    web: WebSettings = WebSettings()
    zam: ZamSettings = ZamSettings()
    errors: ErrorSettings = ErrorSettings()
    alarms: AlarmSettings = AlarmSettings()
    retention: RetentionSettings = RetentionSettings()
    indicators: IndicatorSettings = IndicatorSettings()
    log: LogSettings = LogSettings()
    connectors: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """One table per connector; a connector without a table is not started."""

    @model_validator(mode="after")
    def _time_left_for_connectors(self) -> Settings:
        if self.cda.schematron and self.cda.schematron_timeout >= self.ack.deadline:
            raise ValueError("cda.schematron_timeout must be shorter than ack.deadline")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file (which arrives as init arguments)."""
        return env_settings, init_settings


def load_settings(path: Path | None) -> tuple[Settings, Path]:
    """The settings of `path` (None: defaults and environment) and the folder that its relative paths start
    from.

    Raises `ConfigurationFault` that lists every wrong key.
    """
    table: dict[str, Any] = {}
    base = Path.cwd()
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
            raise ConfigurationFault(f"{path}: {e}") from e
        base = path.resolve().parent
    try:
        return Settings(**table), base
    except ValidationError as e:
        raise ConfigurationFault(problems(e, "settings")) from None


def problems(error: ValidationError, table: str) -> str:
    """Every wrong key of a table in one line; values are not repeated (one may be a secret out of place)."""
    found = (
        ": ".join(
            filter(None, (".".join(str(part) for part in p["loc"]), p["msg"].removeprefix("Value error, ")))
        )
        for p in error.errors(include_input=False, include_url=False)
    )
    return f"{table}: " + "; ".join(found)
