"""PDF copies: the page (before the ACK) and its layout (after it, in the worker), for documents of growing size.

    python -m benchmarks.pdf_copies [FILE.xml ...]

Prints one line for each document and one JSON object at the end. Needs the extra `pdf`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from connectors.mss.narrative import page
from connectors.mss.rendering import Renderer
from fixtures import build

REPEATED = 7


def table(rows: int) -> bytes:
    """An N3 whose one table has `rows` rows of three cells."""
    inside = "".join(f"<tr><td>Analyse {n}</td><td>{n} µmol/L</td><td>0 - {n}</td></tr>" for n in range(rows))
    row = b"<tr><td>Sodium</td><td>140 mmol/L</td></tr>"
    return build.cda_n3().replace(row, inside.encode())


async def measure(documents: dict[str, bytes]) -> list[dict[str, object]]:
    """Milliseconds (median) of `page` and of `render` for each document."""
    renderer = Renderer(300.0, 1500)
    renderer.start()
    started = time.perf_counter()
    if not await renderer.ready():
        raise SystemExit("the extra `pdf` cannot be used here")
    rows: list[dict[str, object]] = [
        {"document": "start", "ms": round(1000 * (time.perf_counter() - started))}
    ]
    for name, content in documents.items():
        pages, layouts = [], []
        for n in range(REPEATED):
            began = time.perf_counter()
            html = page(content)
            pages.append(time.perf_counter() - began)
            began = time.perf_counter()
            pdf = await renderer.render(f"{name}{n}", html)
            layouts.append(time.perf_counter() - began)
        rows.append(
            {
                "document": name,
                "bytes": len(content),
                "page_ms": round(1000 * statistics.median(pages), 2),
                "render_ms": round(1000 * statistics.median(layouts)),
                "pdf_bytes": len(pdf or b""),
            }
        )
    await renderer.stop()
    return rows


def main(argv: list[str]) -> int:
    """Measure the files given, or tables of 1, 100 and 1000 rows."""
    documents = {Path(name).name: Path(name).read_bytes() for name in argv}
    rows = asyncio.run(measure(documents or {f"{n} rows": table(n) for n in (1, 100, 1000)}))
    for row in rows:
        print(" ".join(f"{k}={v}" for k, v in row.items()))
    print(json.dumps({"pdf_copies": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
