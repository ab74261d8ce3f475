"""What a simulator is: a counterpart on loopback that demos, tests and users' CI can start.

Purpose: the gateway's command line and demo find simulators by entry point (group `segur_gateway.simulators`, a
module with `create(directory, **options) -> Simulator` and `main(argv) -> int` for stand-alone use) without
importing a concrete one. `serve` is the stand-alone life that they share.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

HISTORY_EVERY = 0.3
"""Seconds between looks at what a simulator received, to print it."""


class Simulator(Protocol):
    """One running counterpart. `start` returns once it accepts connections (port 0 in options: any free
    port).
    """

    name: str

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def address(self) -> str:
        """Where it listens, as a person reads it (`https://127.0.0.1:…`, `smtp://…`, `mllp://…`)."""
        ...

    def connector_settings(self) -> dict[str, Any]:
        """A `[connectors.<name>]` table with which the gateway talks to this simulator."""
        ...

    def history(self) -> list[str]:
        """What it received, one French line per event, without patient data."""
        ...


def toml_value(value: Any) -> str:
    """A TOML value, inline."""
    if isinstance(value, Mapping):
        inner = ", ".join(
            f"{json.dumps(str(k))} = {toml_value(v)}" for k, v in value.items() if v is not None
        )
        return "{" + inner + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return json.dumps(
        value if isinstance(value, bool | int | float | str) else str(value), ensure_ascii=False
    )


def toml_table(name: str, table: Mapping[str, Any]) -> str:
    """`[connectors.<name>]` and its keys, ready to paste into a settings file."""
    keys = (f"{key} = {toml_value(value)}" for key, value in table.items() if value is not None)
    return "\n".join((f"[connectors.{name}]", *keys)) + "\n"


async def print_history(simulator: Simulator, say: Callable[[str], None]) -> None:
    """Say each new event of a simulator, until cancelled."""
    shown = 0
    while True:
        lines = simulator.history()
        for line in lines[shown:]:
            say(line)
        shown = len(lines)
        await asyncio.sleep(HISTORY_EVERY)


def serve(title: str, make: Callable[[], Simulator]) -> int:
    """Run a simulator alone until SIGINT or SIGTERM: says where it listens, the settings to paste, each event.

    Exit status 1, with one line, when it cannot start (port in use, folder that cannot be made).
    """
    # what a user tries may be a real document: files are their owner's alone
    os.umask(0o077)

    async def run() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        simulator = make()
        await simulator.start()
        print(f"# {title} : {simulator.address()}", flush=True)
        print(toml_table(simulator.name, simulator.connector_settings()), flush=True)
        events = asyncio.create_task(print_history(simulator, lambda line: print(f"# {line}", flush=True)))
        await stop.wait()
        events.cancel()
        await simulator.stop()

    try:
        asyncio.run(run())
    except OSError as e:
        print(f"{title} : {e.strerror or e}", file=sys.stderr)
        return 1
    return 0
