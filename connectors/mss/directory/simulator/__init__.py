"""Simulator of the Annuaire Santé: searches of its FHIR API v2, pages, API key, faults on order.

Purpose: tests and users' CI start it by the entry point `directory`. `create(directory, **options)` for programs
(options: see `DirectorySimulator`), `main(argv)` for `segur-gateway simulator directory`: docs/directory.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from connectors.mss.directory.simulator.people import (
    everybody,
    mailbox,
    organisation,
    practitioner,
    role,
)
from connectors.mss.directory.simulator.server import API_KEY, DirectorySimulator, Fault
from connectors.simulator_port import serve

__all__ = [
    "API_KEY",
    "DirectorySimulator",
    "Fault",
    "create",
    "everybody",
    "mailbox",
    "main",
    "organisation",
    "practitioner",
    "role",
]

TITLE = "Annuaire Santé simulé"


def create(directory: Path, **options: Any) -> DirectorySimulator:
    """A simulated directory that keeps its key file in `directory`."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return DirectorySimulator(directory, **options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="segur-gateway simulator directory",
        description="Simulated Annuaire Santé (FHIR API v2): synthetic professionals and structures.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--directory", type=Path, default=Path("var/simulator-directory"), help="the key file"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8027, help="HTTP port")
    parser.add_argument("--page", type=int, default=20, metavar="N", help="resources of a page")
    parser.add_argument(
        "--resources", type=Path, metavar="FILE", help="a Bundle or a list of FHIR resources to serve instead"
    )
    parser.add_argument("--slow", type=float, metavar="SECONDS", help="every answer comes that late")
    parser.add_argument("--status", type=int, metavar="CODE", help="every answer is this one (500, 429…)")
    parser.add_argument("--retry-after", metavar="SECONDS", help="Retry-After of that answer")
    parser.add_argument("--broken", action="store_true", help="every answer is cut JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run alone until SIGINT or SIGTERM; prints the settings with which the gateway talks to it."""
    values = _parser().parse_args(argv)
    resources = None
    if values.resources is not None:
        try:
            read = json.loads(values.resources.read_text(encoding="utf-8"))
            listed = [e["resource"] for e in read["entry"]] if isinstance(read, dict) else list(read)
            resources = [{str(k): v for k, v in r.items()} for r in listed]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            print(f"{TITLE} : {values.resources}: {type(e).__name__}", file=sys.stderr)
            return 1

    def make() -> DirectorySimulator:
        made = create(
            values.directory, host=values.host, port=values.port, page_size=values.page, resources=resources
        )
        if values.slow or values.status or values.broken:
            made.faults.append(
                Fault(values.slow or 0.0, values.status or 200, values.retry_after or "", values.broken)
            )
        return made

    return serve(TITLE, make)
