"""The worker process: `python -m gateway.schematron.worker FOLDER DIGEST FAMILIES`.

Purpose: Saxon holds the GIL and may eat memory or hang; it does so here, where it stops nobody.

Wire (standard input and output): first a line of JSON, `{"ready": [defects]}` or `{"fault": "…"}`. Then for each
document a line `{"size", "level", "templates", "seconds"}` and `size` bytes of XML; answered by a line
`{"families": […], "memory_mb": n}`. End of input ends the process.

Guarantee: nothing but that reaches anyone: what Saxon writes on its own (its messages quote values of the
document) goes nowhere. The kernel ends the process when a document takes twice its seconds, or when the gateway
is gone. No core file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from gateway.cda.package.folder import Package
from gateway.cda.package.reports import Family
from gateway.childprocess import be_a_good_neighbour, memory_mb, own_the_wire
from gateway.errors import ConfigurationFault
from gateway.schematron.engine import Engine


def main(argv: list[str]) -> int:
    """Serve until the end of input."""
    folder, digest, families = argv
    requests, answers = own_the_wire()
    be_a_good_neighbour()
    try:
        package = Package.open(Path(folder))
        if package.digest != digest:
            raise ConfigurationFault("cda.package: its files have changed since the start")
        engine = Engine(package, [Family(name) for name in families.split(",")])
    except ConfigurationFault as e:
        _say(answers, {"fault": str(e)})
        return 2
    broken = [d.where for c in engine.all_compiled() if c.executable is None for d in c.defects if d.fatal]
    _say(answers, {"ready": sorted(set(broken))})
    while line := requests.readline():
        request = json.loads(line)
        xml = requests.read(request["size"])
        # SIGALRM is left to its default: it ends the process even while Saxon holds the GIL
        signal.setitimer(signal.ITIMER_REAL, 2 * request["seconds"] + 1)
        reports = engine.run(xml.decode(), request["level"], [(r, e) for r, e in request["templates"]])
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say(answers, {"families": [asdict(r) for r in reports], "memory_mb": memory_mb(os.getpid())})
    return 0


def _say(answers: IO[bytes], what: dict[str, Any]) -> None:
    answers.write(json.dumps(what, ensure_ascii=True).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
