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
from connectors.dmp.simulator.pki import TEST_STRUCTURE
from connectors.dmp.simulator.registry import StoredEntry
from connectors.dmp.simulator.server import DmpSimulator
from connectors.simulator_port import serve
from gateway.errors import ConfigurationFault

__all__ = ["DmpSimulator", "Event", "Fault", "StoredEntry", "create", "main"]


def create(directory: Path, **options: Any) -> DmpSimulator:
    """A simulator whose files (PKI, kept documents) stand in `directory`."""
    return DmpSimulator(Path(directory), **options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="segur-gateway simulator dmp",
        description="Simulated DMP: registry and repository, SOAP over mutual TLS.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--directory", type=Path, default=Path("var/simulator-dmp"), help="test PKI, kept documents"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8443, help="port to listen on")
    parser.add_argument(
        "--control",
        type=int,
        metavar="PORT",
        help="port of the HTTP control, on loopback; none when left out",
    )
    parser.add_argument(
        "--structure", default=TEST_STRUCTURE, help="Struct_IdNat of the test certificates (EJ)"
    )
    parser.add_argument("--entity", action="append", default=[], help="another structure of this EJ (EG)")
    for state, words in (("closed", "closed"), ("unknown", "unknown"), ("opposed", "refused by the patient")):
        parser.add_argument(
            f"--{state}", action="append", default=[], metavar="MATRICULE", help=f"INS whose DMP is {words}"
        )
    parser.add_argument("--patients", type=Path, metavar="FILE", help="states of the patients (TOML)")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="fault plan (TOML)")
    parser.add_argument("--events", type=Path, metavar="FILE", help="log of the calls (JSON lines)")
    parser.add_argument(
        "--schemas", type=Path, metavar="FOLDER", help="ebRIM and XDS.b schemas (XSD validation)"
    )
    parser.add_argument(
        "--lenient",
        action="store_true",
        help="let the official examples through: any structure, no EX_2.1-1140, value sets nor XSD",
    )
    parser.add_argument("--keep-files", action="store_true", help="keep the documents as files too")
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
