"""`segur-gateway check-config`: everything that is wrong with the settings, in one go, before anything starts.

Guarantee: each stage is looked at whatever the others said. Nothing is opened but files; no socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tomllib
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from connectors.mailbox_port import WithAdvice
from connectors.port import Connector, ConnectorContext
from gateway import __version__
from gateway.errors import ConfigurationFault
from gateway.exchange.publisher import secret_of_file
from gateway.layers import problems_of
from gateway.listener import server_context
from gateway.plugins import CONNECTOR_GROUP, error_loops, mailboxes_astray, make_rulebook
from gateway.rights import SCOPES
from gateway.rules import load_rulebook
from gateway.settings import JournalSettings, ListenerTls, Settings, WebSettings, load_settings
from gateway.tokens import load_tokens
from indicators.in_use import of_settings

OWN_VARIABLES = frozenset({"SEGUR_KILL_AT", "SEGUR_OFFICIAL_DATA"})
"""Variables with our prefix that are no settings (tests)."""


def check(config: Path | None) -> tuple[list[str], list[str], str]:
    """(faults, warnings, one line that sums good settings up)."""
    wrong: list[str] = []
    table: dict[str, Any] = {}
    settings = Settings.model_construct()
    base = config.resolve().parent if config is not None else Path.cwd()
    if config is not None:
        try:
            table = tomllib.loads(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
            return [f"{config}: {e}"], [], ""
    try:
        settings, base = load_settings(config)
    except ConfigurationFault as e:
        wrong.extend(_lines(e))
        settings = _readable(table)
    connectors = _connectors(table.get("connectors", {}), base, wrong)
    wrong.extend([*error_loops(connectors), *mailboxes_astray(connectors)])
    try:
        book = make_rulebook(settings, connectors)
    except ConfigurationFault as e:
        wrong.extend(_lines(e))
        book = load_rulebook()
    wrong.extend(problems_of(settings, base, book))
    asyncio.run(_start(connectors, wrong))
    if settings.listener.tls is not None:
        _tls(settings.listener.tls, base, wrong)
    _journal(settings.journal.at(base), base, wrong)
    _indicators(settings, base, wrong)
    warnings = [
        f"environment: {name} is not a setting"
        for name in sorted(os.environ)
        if name.startswith("SEGUR_")
        and name not in OWN_VARIABLES
        and name.removeprefix("SEGUR_").split("__")[0].lower() not in Settings.model_fields
    ]
    if "dpi" not in connectors and "dpi" not in table.get("connectors", {}):
        warnings.append("no [connectors.dpi]: no ZAM will go back to the DPI")
    if "errors" not in connectors and "errors" not in table.get("connectors", {}):
        warnings.append("no [connectors.errors]: what fails is told to nobody by mail")
    warnings.extend(
        f"connectors.{name}: {line}"
        for name, connector in connectors.items()
        if isinstance(connector, WithAdvice)
        for line in connector.advice()
    )
    _web(settings.web, base, wrong, warnings)
    names = ", ".join(connectors) or "none"
    return wrong, warnings, f"settings are good; connectors: {names}; preset {settings.conformance}"


def _web(web: WebSettings, base: Path, wrong: list[str], warnings: list[str]) -> None:
    """Files that are named; who could see the pages."""
    if not web.enabled:
        return
    if web.tokens is not None:
        try:
            load_tokens(base / web.tokens, SCOPES, "[web] tokens")
        except ConfigurationFault as e:
            wrong.append(str(e))
    if web.oidc is not None:
        files = {"client_secret_file": web.oidc.client_secret_file, "ca": web.oidc.ca}
        for name, path in files.items():
            if path is not None and not (base / path).is_file():
                wrong.append(f"web.oidc.{name}: {base / path} is not there")
        if web.public_url is None:
            warnings.append(
                "web.oidc without web.public_url: the provider sends browsers back to this address"
            )
    elsewhere = not web.loopback or web.public_url is not None
    if elsewhere and web.pages_are_open:
        warnings.append(
            "web.open_pages: whoever reaches this address sees exchanges and errors without a log-in"
        )
    if not web.loopback and not web.secure and web.accounts.enabled:
        warnings.append(
            "web.host is no loopback address and web.public_url is not https: passwords and tokens go in clear"
        )


def _journal(journal: JournalSettings, base: Path, wrong: list[str]) -> None:
    """Whether the file could be written, or the database spoken to; nothing is made."""
    if journal.url is not None:
        if find_spec("psycopg") is None:
            wrong.append("journal.url: needs the extra postgres: pip install 'segur-gateway[postgres]'")
            return
        from gateway.journal.postgres import try_to_connect

        if fault := try_to_connect(journal):
            wrong.append(fault)
        return
    folder = (base / journal.path).parent
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        wrong.append(f"journal.path: {existing} cannot be written")


def _indicators(settings: Settings, base: Path, wrong: list[str]) -> None:
    """Catalogue, time zones and the secret's file."""
    if not settings.indicators.enabled:
        return
    try:
        of_settings(settings, base)
        secret_of_file(settings, base)
    except ConfigurationFault as e:
        wrong.extend(_lines(e))


def _readable(table: dict[str, Any]) -> Settings:
    """Of settings that are wrong, the tables that are right by themselves; defaults for the others."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        field = Settings.model_fields.get(name)
        if field is None or field.annotation is None or name == "connectors":
            continue
        # what is wrong has been told
        with contextlib.suppress(ValidationError):
            found[name] = TypeAdapter[Any](field.annotation).validate_python(value)
    return Settings.model_construct(**found)


def _connectors(tables: Any, base: Path, wrong: list[str]) -> dict[str, Connector]:
    known = {e.name: e for e in entry_points(group=CONNECTOR_GROUP)}
    found: dict[str, Connector] = {}
    for name, own in tables.items() if isinstance(tables, dict) else ():
        if name not in known:
            wrong.append(f"connectors.{name}: no such connector (known: {', '.join(sorted(known))})")
            continue
        try:
            found[name] = known[name].load()(ConnectorContext(own, base, __version__))
        except ConfigurationFault as e:
            wrong.extend(_lines(e))
    return found


async def _start(connectors: dict[str, Connector], wrong: list[str]) -> None:
    for name, connector in connectors.items():
        try:
            await connector.start()
        except ConfigurationFault as e:
            wrong.extend(f"connectors.{name}: {line}" for line in _lines(e))
        else:
            await connector.stop()


def _tls(tls: ListenerTls, base: Path, wrong: list[str]) -> None:
    missing = [
        p for p in (tls.certificate, tls.key, tls.client_ca) if p is not None and not (base / p).is_file()
    ]
    wrong.extend(f"listener.tls: {base / p} is not there" for p in missing)
    if not missing:
        try:
            server_context(tls, base)
        except ConfigurationFault as e:
            wrong.extend(_lines(e))


def _lines(fault: ConfigurationFault) -> list[str]:
    """One line for each fault of a sentence that lists several."""
    table, _, rest = str(fault).partition(": ")
    return [f"{table}: {part}" for part in rest.split("; ")] if rest else [table]
