"""The three simulators in a process of their own, answering at once: `python -m benchmarks.counterparts DIR`.

Writes `DIR/gateway.toml`, with which a gateway talks to them, prints `ready`, runs until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from connectors.simulator_port import Simulator, toml_table

GROUP = "segur_gateway.simulators"


def settings_text(tables: dict[str, dict[str, Any]]) -> str:
    """The settings file of a gateway on free ports, with these connector tables."""
    lines = ["[listener]", "port = 0", "[web]", "port = 0", "[log]", 'level = "ERROR"', "[journal]"]
    lines.append('path = "journal.sqlite"')
    lines.extend(toml_table(name, table) for name, table in tables.items())
    return "\n".join(lines) + "\n"


async def _main(directory: Path) -> None:
    running: dict[str, Simulator] = {}
    connectors = {entry.name for entry in entry_points(group="segur_gateway.connectors")}
    for entry in entry_points(group=GROUP):
        if entry.name not in connectors:
            continue
        simulator: Simulator = entry.load().create(directory / entry.name)
        await simulator.start()
        running[entry.name] = simulator
    text = settings_text({n: s.connector_settings() for n, s in running.items()})
    (directory / "gateway.toml").write_text(text, encoding="utf-8")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for simulator in running.values():
        await simulator.stop()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
