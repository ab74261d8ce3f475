"""The gateway with a schematron worker that never rests.

    python -m benchmarks.busy PACKAGE DOCUMENT run --config FILE

The messages that it is sent are not judged by that worker: what is measured is what a busy worker does to the ACKs of
others. Everything else is the gateway as it is.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway import cli
from gateway.app import Gateway
from gateway.cda.package.folder import Package
from gateway.cda.package.payload import schematron_input
from gateway.cda.package.reports import Family
from gateway.cda.reader import read
from gateway.errors import Place
from gateway.rules import load_rulebook
from gateway.schematron.pool import Limits, SchematronPool

package, document = Path(sys.argv[1]), Path(sys.argv[2])
judged = 0


async def feed() -> None:
    """One document after the other."""
    global judged
    root = read(document.read_bytes(), load_rulebook(), Place("OBX")).clinical_document
    assert root is not None
    given = schematron_input(root, Place("OBX"), "busy")
    pool = SchematronPool(Package.open(package), list(Family), Limits(timeout=60))
    await pool.start()
    try:
        while True:
            reports = await pool.check([given])
            judged += reports[0].complete
    finally:
        await pool.stop()


class Busy(Gateway):
    """The gateway, and the feeding beside it."""

    async def start(self) -> None:
        await super().start()
        self.feeding = asyncio.create_task(feed())

    async def stop(self) -> None:
        self.feeding.cancel()
        await asyncio.gather(self.feeding, return_exceptions=True)
        print(f"judged {judged}", file=sys.stderr, flush=True)
        await super().stop()


if __name__ == "__main__":
    import gateway.app

    gateway.app.Gateway = Busy  # type: ignore[misc]
    sys.exit(cli.main(sys.argv[3:]))
