"""DMP simulator: repository and registry over mutual TLS, with its own test PKI and a fault plan.

Purpose: entry point `segur_gateway.simulators`: dmp. `create(directory, **options)` for programs (options: see
`DmpSimulator`), `main(argv)` for `segur-gateway simulator dmp`. Used alone: docs/simulator-dmp.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from connectors.dmp.simulator.events import Event
from connectors.dmp.simulator.faults import Fault, read_plan
from connectors.dmp.simulator.patients import State, read_patients
from connectors.dmp.simulator.registry import StoredEntry
from connectors.dmp.simulator.server import DmpSimulator
from connectors.simulator_port import serve
from gateway.errors import ConfigurationFault

__all__ = ["DmpSimulator", "Event", "Fault", "StoredEntry", "create", "main"]


def create(directory: Path, **options: Any) -> DmpSimulator:
    """A simulator whose files (PKI, kept documents) stand in `directory`."""
    return DmpSimulator(Path(directory), **options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="segur-gateway simulator dmp", description="Simulateur du DMP")
    parser.add_argument(
        "--directory", type=Path, default=Path("var/simulator-dmp"), help="PKI de test, documents"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--control", type=int, metavar="PORT", help="commande HTTP sur la boucle locale")
    parser.add_argument("--structure", default=None, help="Struct_IdNat des certificats de test (EJ)")
    parser.add_argument("--entity", action="append", default=[], help="autre structure de cette EJ (EG)")
    for state, words in (("closed", "fermé"), ("unknown", "inconnu"), ("opposed", "refusé par le patient")):
        parser.add_argument(
            f"--{state}", action="append", default=[], help=f"matricule dont le DMP est {words}"
        )
    parser.add_argument("--patients", type=Path, metavar="FICHIER", help="états des patients (TOML)")
    parser.add_argument("--faults", type=Path, metavar="FICHIER", help="plan de pannes (TOML)")
    parser.add_argument("--events", type=Path, metavar="FICHIER", help="journal des appels (lignes JSON)")
    parser.add_argument(
        "--schemas", type=Path, metavar="DOSSIER", help="schémas ebRIM et XDS.b (validation XSD)"
    )
    parser.add_argument(
        "--lenient",
        action="store_true",
        help="laisser passer les exemples officiels : toute structure, sans EX_2.1-1140, jeux de valeurs ni XSD",
    )
    parser.add_argument("--keep-files", action="store_true", help="garder aussi les documents en fichiers")
    return parser


def _options(values: argparse.Namespace) -> dict[str, Any]:
    """Options of `DmpSimulator`. Raises `ConfigurationFault` for a file that cannot be read."""
    states: dict[str, State] = {}
    default: State = "open"
    if values.patients is not None:
        states, default = read_patients(values.patients)
    for matricule in values.opposed:
        states[matricule] = "opposed"
    made: dict[str, Any] = {
        "host": values.host,
        "port": values.port,
        "control_port": values.control,
        "entities": values.entity,
        "closed_patients": values.closed,
        "unknown_patients": values.unknown,
        "patients": states,
        "default_patient": default,
        "faults": read_plan(values.faults) if values.faults is not None else (),
        "events_file": values.events,
        "schemas": values.schemas,
        "keep_files": values.keep_files,
        "strict": not values.lenient,
    }
    if values.structure:
        made["structure"] = values.structure
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; prints the settings with which the gateway talks to it."""
    values = _parser().parse_args(argv)

    def make() -> DmpSimulator:
        made = create(values.directory, **_options(values))
        for note in made.notes():
            print(f"# {note}", flush=True)
        return made

    try:
        return serve("Simulateur DMP", make)
    except ConfigurationFault as e:
        print(f"Simulateur DMP : {e}", file=sys.stderr)
        return 1
