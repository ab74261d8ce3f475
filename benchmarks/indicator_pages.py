"""`python -m benchmarks.indicator_pages`: how long the pages of a month take, from its frozen result.

A gateway over the journal of `benchmarks.indicators` (a million facts unless told otherwise), its months computed and
kept; then, each over a real connection and signed in: the page of a month (bars, trend over thirteen months), its
table, the API's rows. Median, 95th percentile and longest in milliseconds, client in the same process. The list behind
a figure is made of all facts: the first one and the next, in seconds. The last line is one JSON object.

    python -m benchmarks.indicator_pages [--keep FOLDER] [--times 100]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.indicators import FINESS, lines, make_journal
from gateway.rights import Role
from indicators.periods import month_before
from tests.access.people import PASSWORD, Browser, add, browser, gateway

MONTH = "2025-12"
READER = "dim"


async def took(person: Browser, path: str, times: int) -> dict[str, float]:
    """Milliseconds of a page, asked for one after the other."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        answer = await person.get(path)
        spent.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, (path, answer.status_code)
    spent.sort()
    return {
        "p50_ms": round(statistics.median(spent), 1),
        "p95_ms": round(spent[int(len(spent) * 0.95)], 1),
        "longest_ms": round(spent[-1], 1),
        "kilobytes": round(len(answer.content) / 1000),
    }


async def measured(folder: Path, times: int) -> dict[str, object]:
    """All of them."""
    found: dict[str, object] = {}
    async with gateway(folder) as r, browser(r) as person:
        figures = r.gateway.figures
        assert figures is not None
        began = time.perf_counter()
        for n in range(13):
            await figures.current(month_before(MONTH, n), within=600)
        found["thirteen_months_s"] = round(time.perf_counter() - began, 1)
        await add(r, READER, Role.LECTEUR)
        await person.sign_in(READER, PASSWORD)
        month = f"etablissement={FINESS}&mois={MONTH}"
        pages = {
            "page": f"/indicateurs?{month}",
            "table": f"/indicateurs?{month}&vue=tableau",
            "api": f"/api/v1/indicators?finess={FINESS}&month={MONTH}",
        }
        for name, path in pages.items():
            found[name] = await took(person, path, times)
        row = f"{month}&indicateur=ALI-1&periode={MONTH}&ventilation=document_type&type=ALL"
        for name in ("first_list_s", "next_list_s"):
            began = time.perf_counter()
            answer = await person.http.get(f"/indicateurs/explication?{row}", timeout=600)
            assert answer.status_code == 200
            found[name] = round(time.perf_counter() - began, 1)
    return found


def main() -> None:
    """The measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--stays", type=int, default=50_000)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument(
        "--keep", type=Path, help="folder of `benchmarks.indicators --keep`; a copy is worked on"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if args.keep is not None and (args.keep / "journal.sqlite").exists():
            shutil.copy(args.keep / "journal.sqlite", folder)
        else:
            told = "".join(f"{line}\n" for line in lines(args.facts, args.stays))
            (folder / "facts.jsonl").write_text(told, encoding="utf-8")
            make_journal(folder)
        found = asyncio.run(measured(folder, args.times))
    print(json.dumps({"benchmark": "indicator_pages", "facts": args.facts, **found}))


if __name__ == "__main__":
    main()
