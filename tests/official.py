"""Where the official samples are, for the tests that use them and skip where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

OFFICIAL = Path(
    os.environ.get("SEGUR_OFFICIAL_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data")
)


def official(*parts: str) -> Path:
    """The path of an official file or folder; skips the test when it is absent."""
    path = OFFICIAL.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"official data absent: {'/'.join(parts)}")
    return path
