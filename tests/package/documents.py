"""The official CDA documents: those of `cda/` and those inside the IHE_XDM.ZIP of `xdm/`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator

from tests.official import OFFICIAL


def _documents() -> Iterator[tuple[str, bytes]]:
    for path in sorted(OFFICIAL.glob("cda/*.xml")):
        yield path.name, path.read_bytes()
    for path in sorted(OFFICIAL.glob("xdm/*/*.ZIP")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                content = archive.read(name) if name.upper().endswith(".XML") else b""
                if b"<ClinicalDocument" in content:
                    yield f"{path.parent.name}/{name}", content


DOCUMENTS = list(_documents())
"""(name, bytes); empty where the official data are absent."""
