"""A simulated Annuaire on a real socket, and a directory that asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.mss.directory.client import Directory
from connectors.mss.directory.settings import DirectorySettings
from connectors.mss.directory.simulator import DirectorySimulator, create

MARTIN = "dr.martin@test-hopital.mssante.fr"
BERNARD = "dr.bernard@test-hopital.mssante.fr"
SECRETARIAT = "secretariat@test-hopital.mssante.fr"
GATEWAY = "passerelle@test-hopital.mssante.fr"
PRACTICE = "cabinet.tilleuls@test-cabinet.mssante.fr"
LABORATORY = "labo@test-labo.mssante.fr"
RED = "dr.robert@test-hopital.mssante.fr"
UNKNOWN = "personne@test-hopital.mssante.fr"
HOSPITAL = "990000010"


@dataclass
class World:
    """Both sides."""

    simulator: DirectorySimulator
    directory: Directory
    settings: DirectorySettings


def settings_of(simulator: DirectorySimulator, folder: Path, **table: Any) -> DirectorySettings:
    """Settings with short times."""
    given = {
        **simulator.connector_settings(),
        "cache": str(folder / "cache.sqlite"),
        "total_timeout": 5.0,
        **table,
    }
    return DirectorySettings.model_validate(given)


@asynccontextmanager
async def world(
    folder: Path, *, resources: Sequence[dict[str, Any]] | None = None, page_size: int = 20, **table: Any
) -> AsyncIterator[World]:
    """A running simulator and a directory."""
    simulator = create(folder / "simulator", resources=resources, page_size=page_size)
    await simulator.start()
    settings = settings_of(simulator, folder, **table)
    directory = Directory(settings)
    try:
        yield World(simulator, directory, settings)
    finally:
        await directory.close()
        await simulator.stop()
