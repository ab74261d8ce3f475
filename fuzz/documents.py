"""Atheris target: a CDA, against all promises of `tests.fuzz.promises`.

    python -m fuzz.documents tests/fuzz/corpus/documents -max_total_time=60

The first byte chooses event and preset. An input that breaks a promise is written as `crash-…`: without its first byte
it belongs into the corpus, named after what it breaks.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["gateway.cda"]):
    from tests.fuzz.promises import document_promises

EVENTS = ("T02", "T10", "T04")


def one(data: bytes) -> None:
    """One input."""
    if data:
        preset = "interop" if data[0] & 4 else "production"
        document_promises(data[1:], EVENTS[data[0] % 3], preset)  # type: ignore[arg-type]


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
