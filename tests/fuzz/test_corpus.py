"""Every input that once broke something, and the seeds of the coverage-guided runs, again.

`corpus/frames`: payloads of frames. `corpus/documents`: CDA. Synthetic only. A file is named after what it broke.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.hl7.framing import FrameDecoder, FrameTooLong
from tests.fuzz.promises import document_promises, message_promises
from tests.fuzz.support import CORPUS


def files(folder: str) -> list[Path]:
    found = sorted(p for p in (CORPUS / folder).iterdir() if p.is_file())
    assert found, f"no corpus in {folder}"
    return found


@pytest.mark.parametrize("path", files("frames"), ids=lambda p: p.name)
def test_frames(path: Path) -> None:
    raw = path.read_bytes()
    for preset in ("production", "interop"):
        message_promises(raw, preset)  # type: ignore[arg-type]
    decoder = FrameDecoder(64)
    try:
        decoder.feed(raw)
    except FrameTooLong as e:
        assert len(e.head) <= 4096


@pytest.mark.parametrize("path", files("documents"), ids=lambda p: p.name)
def test_documents(path: Path) -> None:
    for preset in ("production", "interop"):
        for event in ("T02", "T10", "T04"):
            document_promises(path.read_bytes(), event, preset)  # type: ignore[arg-type]
