"""What a simulator is: a counterpart on loopback that demos, tests and users' CI can start.

Purpose: the gateway's command line and demo find simulators by entry point (group `segur_gateway.simulators`, a
module with `create(directory, **options) -> Simulator` and `main(argv) -> int` for stand-alone use) without importing
a concrete one.
"""

from __future__ import annotations

from typing import Any, Protocol


class Simulator(Protocol):
    """One running counterpart. `start` returns once it accepts connections (port 0 in options: any free port)."""

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
