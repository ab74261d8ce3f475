"""DMP simulator: repository and registry over mutual TLS, with its own test PKI and a fault plan.

Purpose: entry point `segur_gateway.simulators`: dmp. `create(directory, **options)` for programs (options: see
`DmpSimulator`), `main(argv)` for `segur-gateway simulator dmp`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from connectors.dmp.simulator.events import Event
from connectors.dmp.simulator.faults import Fault
from connectors.dmp.simulator.registry import StoredEntry
from connectors.dmp.simulator.server import DmpSimulator
from connectors.simulator_port import serve

__all__ = ["DmpSimulator", "Event", "Fault", "StoredEntry", "create", "main"]


def create(directory: Path, **options: Any) -> DmpSimulator:
    """A simulator whose files (PKI, kept documents) stand in `directory`."""
    return DmpSimulator(Path(directory), **options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; prints the settings with which the gateway talks to it."""
    parser = argparse.ArgumentParser(prog="segur-gateway simulator dmp", description="Simulateur du DMP")
    parser.add_argument("--directory", type=Path, default=Path("var/simulator-dmp"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--structure", default=None, help="Struct_IdNat des certificats de test")
    parser.add_argument("--closed", action="append", default=[], help="matricule dont le DMP est fermé")
    parser.add_argument(
        "--lenient", action="store_true", help="toute structure émettrice, sans la règle d'auteur EX_2.1-1140"
    )
    parser.add_argument("--keep-files", action="store_true", help="garder aussi les documents en fichiers")
    values = parser.parse_args(argv)
    options: dict[str, Any] = {"structure": values.structure} if values.structure else {}
    return serve(
        "Simulateur DMP",
        lambda: create(
            values.directory,
            host=values.host,
            port=values.port,
            closed_patients=values.closed,
            keep_files=values.keep_files,
            strict=not values.lenient,
            **options,
        ),
    )
