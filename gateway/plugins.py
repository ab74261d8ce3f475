"""Connectors, found by their entry points, and the rule book that they complete.

Purpose: what the application, `check-config` and `validate` share to know the connectors of some settings.
Fails: `ConfigurationFault`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from connectors.mailbox_port import (
    WithDpiRoutes,
    WithIncidents,
    WithMailboxes,
    WithOwnAddresses,
    WithRoutes,
)
from connectors.port import Connector, ConnectorContext
from gateway import __version__
from gateway.errors import ConfigurationFault
from gateway.rules import RuleBook, load_rulebook
from gateway.settings import Settings

CONNECTOR_GROUP = "segur_gateway.connectors"
DPI = "dpi"
"""The connector that reaches the DPI."""
COMMAND_GROUP = "segur_gateway.commands"
"""Commands that connectors bring: `segur-gateway NAME ...` runs `main(argv) -> int` of the module; its exceptions are
told like those of the other commands (`GatewayError`)."""


def find_connectors(settings: Settings, base_dir: Path) -> dict[str, Connector]:
    """The connectors that have a table in the settings, created, in the order of the settings.

    Raises `ConfigurationFault` naming every table without a connector and every connector that refuses its
    table.
    """
    known = {e.name: e for e in entry_points(group=CONNECTOR_GROUP)}
    found: dict[str, Connector] = {}
    wrong = []
    for name, table in settings.connectors.items():
        if name not in known:
            wrong.append(f"connectors.{name}: no such connector (known: {', '.join(sorted(known))})")
            continue
        try:
            found[name] = known[name].load()(ConnectorContext(table, base_dir, __version__))
        except ConfigurationFault as e:
            wrong.append(str(e))
    if wrong:
        raise ConfigurationFault("; ".join(wrong))
    return found


def error_loops(connectors: Mapping[str, Connector]) -> list[str]:
    """Error mailboxes that the gateway itself reads: an error told there would come back as mail to treat."""
    own = {
        address.lower()
        for connector in connectors.values()
        if isinstance(connector, WithOwnAddresses)
        for address in connector.own_addresses()
    }
    return [
        f"connectors.{name}: an error mailbox is an applicative mailbox of the gateway"
        for name, connector in connectors.items()
        if isinstance(connector, WithIncidents)
        and not own.isdisjoint(address.lower() for address in connector.error_mailboxes())
    ]


def dpi_routes(connectors: Mapping[str, Connector]) -> dict[str, str]:
    """The DPI of each mailbox that has one, by the mailbox's name."""
    found = {
        mailbox: connector.dpi_route(mailbox)
        for connector in connectors.values()
        if isinstance(connector, WithMailboxes) and isinstance(connector, WithDpiRoutes)
        for mailbox in connector.mailboxes()
    }
    return {mailbox: route for mailbox, route in found.items() if route}


def mailboxes_astray(connectors: Mapping[str, Connector]) -> list[str]:
    """Mailboxes whose documents are for a DPI that nothing reaches: they would be kept and go nowhere."""
    dpi = connectors.get(DPI)
    return [
        f"mailbox {mailbox}: no route of connectors.dpi reaches its dpi"
        for mailbox, route in dpi_routes(connectors).items()
        if dpi is None or (isinstance(dpi, WithRoutes) and not dpi.reaches(route))
    ]


def make_rulebook(
    settings: Settings, connectors: Mapping[str, Connector], *, all_known: bool = False
) -> RuleBook:
    """The rule book of the core and of these connectors, given to each of them.

    `all_known`: the tables of connectors that these settings leave out are read too, so that `[severity]` may name
    any rule.
    """
    tables = [path for connector in connectors.values() for path in connector.rule_tables]
    if all_known:
        tables += [path for path in _known_tables() if path not in tables]
    book = load_rulebook(tables, settings.conformance, settings.severity)
    for connector in connectors.values():
        connector.use(book)
    return book


def _known_tables() -> list[Path]:
    """`rules.toml` beside the module of each connector that is installed, configured or not."""
    specs = (find_spec(entry.module) for entry in entry_points(group=CONNECTOR_GROUP))
    paths = (Path(spec.origin).parent / "rules.toml" for spec in specs if spec and spec.origin)
    return sorted({path for path in paths if path.is_file()})
