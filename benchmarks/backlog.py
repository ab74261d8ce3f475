"""Memory while documents wait for a dead destination: does it grow with the backlog?

    python -m benchmarks.backlog [--documents 10000]

A gateway on SQLite whose DMP hangs takes documents of 330 kB over MLLP, eight at a time; the resident memory of the
gateway (with the client in the same process) is read every tenth of the way. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fixtures import build
from gateway.hl7.acknowledgement import read
from gateway.mllp import send
from tests.exchange.harness import ROOT, Running, running

PDF = 182_000
AT_ONCE = 8


def resident() -> float:
    """Megabytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def documents(count: int) -> Iterator[bytes]:
    """Messages, one set each."""
    payload = build.pdf(PDF)
    for n in range(count):
        document = build.cda_n1(uid=f"{ROOT}.9.{n}", set_id=f"{ROOT}.8.{n}", version=1, payload=payload)
        yield build.mdm("T02", document, control_id=f"B{n}", recipients=())


async def fill(r: Running, count: int) -> list[tuple[int, float]]:
    """(documents waiting, megabytes), ten times."""
    waiting, done, found = documents(count), 0, [(0, resident())]

    async def one() -> None:
        nonlocal done
        for message in waiting:
            answer = read(await send("127.0.0.1", r.gateway.mllp_port, message))
            if answer.code != "AA":
                raise RuntimeError(f"{answer.code} after {done} documents")
            done += 1
            if done % max(1, count // 10) == 0:
                gc.collect()
                found.append((done, resident()))
                print(f"{found[-1][0]:>6} waiting  {found[-1][1]:7.0f} MB", flush=True)

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    return found


async def main(count: int) -> None:
    """One run."""
    with tempfile.TemporaryDirectory(prefix="backlog-") as folder:
        async with running(
            Path(folder), engine={"max_open_deliveries": 0}, listener={"port": 0, "drain_timeout": 1}
        ) as r:
            r.dmp.gate = asyncio.Event()
            begun = time.monotonic()
            found = await fill(r, count)
            seconds = time.monotonic() - begun
            r.dmp.gate.set()
        size = sum(f.stat().st_size for f in Path(folder).iterdir())
    print(
        json.dumps(
            {"documents": count, "seconds": round(seconds), "journal_mb": size >> 20, "resident_mb": found}
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    asyncio.run(main(parser.parse_args().documents))
