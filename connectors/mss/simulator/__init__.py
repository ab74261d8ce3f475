"""Simulator of an MSSanté operator: SMTP with DSN, IMAP, readers that answer, and faults on order.

Purpose: a product of its own: the demo, the tests and users' CI start it by the entry point `mss`.
`create(directory, **options)` for programs (options: see `OperatorSimulator`), `main(argv)` for
`segur-gateway simulator mss`. Used alone: docs/simulator-mss.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from connectors.mss.simulator.events import Event
from connectors.mss.simulator.faults import Fault, Verdict, read_plan
from connectors.mss.simulator.operator import OperatorSimulator
from connectors.mss.simulator.readers import Reader
from connectors.mss.simulator.received import Mail
from connectors.simulator_port import serve
from gateway.errors import ConfigurationFault

__all__ = ["Event", "Fault", "Mail", "OperatorSimulator", "Reader", "Verdict", "create", "main"]

TITLE = "Opérateur MSSanté simulé"


def create(directory: Path, **options: Any) -> OperatorSimulator:
    """A simulated operator that keeps its files in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    return OperatorSimulator(directory, **options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="segur-gateway simulator mss",
        description="Simulated MSSanté operator: SMTP with DSN, IMAP, readers that answer, faults on order.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--directory", type=Path, default=Path("var/simulator-mss"), help="test PKI, mailboxes, mails"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=2525, help="SMTP port")
    parser.add_argument("--imap-port", type=int, default=1143, help="IMAP port")
    parser.add_argument(
        "--control",
        type=int,
        metavar="PORT",
        help="port of the HTTP control, on loopback; none when left out",
    )
    parser.add_argument(
        "--tls", choices=("none", "starttls", "implicit"), default="none", help="how TLS is spoken"
    )
    parser.add_argument("--client-certificate", action="store_true", help="want a client certificate")
    parser.add_argument(
        "--auth",
        choices=("none", "plain", "login", "external"),
        default="none",
        help="SASL mechanism asked for",
    )
    parser.add_argument(
        "--no-dsn",
        dest="dsn",
        action="store_false",
        default=argparse.SUPPRESS,
        help="an operator without DSN",
    )
    parser.add_argument(
        "--success",
        choices=("delivered", "relayed", "expanded"),
        default="delivered",
        help="Action of the delivery reports",
    )
    parser.add_argument("--size", type=int, default=40_000_000, metavar="BYTES", help="SIZE announced")
    parser.add_argument(
        "--mailbox", action="append", default=[], metavar="ADDRESS", help="a mailbox that exists"
    )
    parser.add_argument("--closed", action="store_true", help="no other mailbox than those named")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="faults and readers (TOML)")
    parser.add_argument("--events", type=Path, metavar="FILE", help="log (JSON lines)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run alone until SIGINT or SIGTERM; prints the settings with which the gateway talks to it."""
    values = _parser().parse_args(argv)

    def make() -> OperatorSimulator:
        faults, readers = read_plan(values.plan) if values.plan is not None else ([], [])
        made = create(
            values.directory,
            host=values.host,
            port=values.port,
            imap_port=values.imap_port,
            tls=values.tls,
            client_certificate=values.client_certificate,
            auth=values.auth,
            dsn=getattr(values, "dsn", True),
            success=values.success,
            size_limit=values.size,
            keep=True,
            mailboxes=values.mailbox,
            closed=values.closed,
            faults=faults,
            readers=readers,
            events_file=values.events,
            control_port=values.control,
        )
        for note in made.notes():
            print(f"# {note}", flush=True)
        return made

    try:
        return serve(TITLE, make)
    except ConfigurationFault as e:
        print(f"{TITLE} : {e}", file=sys.stderr)
        return 1
