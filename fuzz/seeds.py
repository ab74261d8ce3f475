"""Writes the seeds of the corpus from the fixtures: `python -m fuzz.seeds`. Cases found by fuzzing are left alone."""

from __future__ import annotations

from tests.fuzz.support import CORPUS, MESSAGES, N1, N3_COPY


def main() -> None:
    """Write them."""
    for number, raw in enumerate(MESSAGES, 1):
        (CORPUS / "frames" / f"seed-{number}").write_bytes(raw)
    (CORPUS / "documents" / "seed-n1").write_bytes(N1)
    (CORPUS / "documents" / "seed-n3").write_bytes(N3_COPY)


if __name__ == "__main__":
    main()
