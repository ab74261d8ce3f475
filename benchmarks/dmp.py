"""`python -m benchmarks.dmp`: documents through the DMP connector and the DMP simulator, everything real.

For each document size: the pre-transaction (median, p95, p99 in ms; no network), then throughput of TD2.1a over
mutual TLS with signed VIHF and XAdES (documents/s, median of one delivery, CPU ms of our process for one). The
simulator, which verifies every signature, is a process of its own. The last line is one JSON object.

    python -m benchmarks.dmp [--documents 1000] [--concurrency 8] [--only 330k]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors.dmp.connector import DmpConnector, create
from connectors.port import Accepted, ConnectorContext, DeliveryJob, OutcomeClass, Predecessor, Preparation
from fixtures import build
from gateway.cda.check import check_documents
from gateway.cda.document import Document
from gateway.hl7.message import Message
from gateway.hl7.profile import read_transmission
from gateway.hl7.transmission import Action, InstanceId, Transmission
from gateway.rules import load_rulebook

SIZES = {"8k": 0, "330k": 182_000}
"""PDF bytes inside the document (base64 adds a third)."""
SET = "1.2.250.1.71.4.2.2.990000010.8"
NUMBER = "100000000"
"""Replaced by the document's number, of the same length."""


@dataclass
class Result:
    """One run. Times in milliseconds."""

    size: str
    document_bytes: int
    documents: int
    concurrency: int
    prepare_p50: float
    prepare_p95: float
    prepare_p99: float
    per_second: float
    deliver_p50: float
    deliver_p95: float
    cpu_ms: float


@dataclass(frozen=True)
class _Stored:
    content: bytes
    uid: str
    sha256: str

    @property
    def size(self) -> int:
        return len(self.content)

    async def read(self) -> bytes:
        return self.content


@contextmanager
def simulator(directory: Path) -> Iterator[dict[str, Any]]:
    """The DMP simulator in a process of its own; its `[connectors.dmp]` table."""
    command = [sys.executable, "-m", "gateway.cli", "simulator", "dmp", "--port", "0"]
    # a file, not a pipe: it says every call, and nobody reads on
    said = directory / "said.txt"
    with said.open("w") as out:
        process = subprocess.Popen([*command, "--directory", str(directory)], stdout=out, stderr=out)
    try:
        while "\n\n" not in (text := said.read_text()):
            if process.poll() is not None:
                raise SystemExit(text)
            time.sleep(0.1)
        yield tomllib.loads(text.partition("\n\n")[0])["connectors"]["dmp"]
    finally:
        process.terminate()
        process.wait(20)


def sample(pdf_bytes: int) -> tuple[Transmission, Document]:
    """A message and its document as the gateway reads them."""
    book = load_rulebook()
    cda = build.cda_n1(uid=f"{SET}.{NUMBER}.1", set_id=f"{SET}.{NUMBER}", payload=build.pdf(pdf_bytes))
    raw = build.mdm("T02", cda, recipients=())
    sent = read_transmission(Message.parse(raw), book).transmission
    assert sent is not None
    (document,) = check_documents(sent, raw, book).documents
    return sent, document


def numbered(document: Document, number: int) -> Document:
    """The same document under another identifier."""
    own = f"{int(NUMBER) + number}"
    content = document.content.replace(NUMBER.encode(), own.encode())
    header = replace(document.header, id=InstanceId(f"{SET}.{own}.1"), set_id=InstanceId(f"{SET}.{own}"))
    return Document(header, content, hashlib.sha256(content).hexdigest(), document.part)


async def run(settings: dict[str, Any], size: str, documents: int, concurrency: int) -> Result:
    """Prepare and deliver `documents` of one size."""
    connector: DmpConnector = create(ConnectorContext(settings, Path(), "bench"))
    connector.use(load_rulebook(connector.rule_tables))
    await connector.start()
    sent, document = sample(SIZES[size])
    prepared: list[float] = []
    delivered: list[float] = []
    # sizes of one simulator must not meet: each has numbers of its own
    waiting = iter(
        range(list(SIZES).index(size) * 10_000_000, list(SIZES).index(size) * 10_000_000 + documents)
    )

    async def one(number: int) -> None:
        own = numbered(document, number)
        now = datetime.now(UTC)
        started = time.perf_counter()
        verdict = await connector.prepare(Preparation(sent, (own,), now))
        prepared.append(1000 * (time.perf_counter() - started))
        assert isinstance(verdict, Accepted), verdict
        job = DeliveryJob(
            id=number,
            destination="dmp",
            recipient="",
            action=Action.SUBMIT,
            plan=verdict.deliveries[0].plan,
            documents=(_Stored(own.content, own.uid, own.sha256),),
            attempt=1,
            predecessor=Predecessor.NONE,
            now=now,
        )
        started = time.perf_counter()
        outcome = await connector.deliver(job)
        delivered.append(1000 * (time.perf_counter() - started))
        assert outcome.outcome is OutcomeClass.SUCCESS, outcome

    async def worker() -> None:
        for number in waiting:
            await one(number)

    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    elapsed = time.perf_counter() - started
    cpu = time.process_time() - cpu
    await connector.stop()
    cuts = statistics.quantiles(prepared, n=100)
    return Result(
        size=size,
        document_bytes=len(document.content),
        documents=documents,
        concurrency=concurrency,
        prepare_p50=round(statistics.median(prepared), 3),
        prepare_p95=round(cuts[94], 3),
        prepare_p99=round(cuts[98], 3),
        per_second=round(documents / elapsed, 1),
        deliver_p50=round(statistics.median(delivered), 1),
        deliver_p95=round(statistics.quantiles(delivered, n=20)[18], 1),
        cpu_ms=round(1000 * cpu / documents, 2),
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--only", choices=sorted(SIZES))
    values = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder, simulator(Path(folder)) as settings:
        for size in [values.only] if values.only else SIZES:
            made = asyncio.run(run(settings, size, values.documents, values.concurrency))
            results.append(made)
            print(
                f"{made.size:>5} ({made.document_bytes} bytes), {made.documents} documents, "
                f"{made.concurrency} at once: "
                f"prepare {made.prepare_p50} / {made.prepare_p95} / {made.prepare_p99} ms, "
                f"{made.per_second} documents/s, deliver {made.deliver_p50} / {made.deliver_p95} ms, "
                f"{made.cpu_ms} ms of CPU each",
                flush=True,
            )
    print(json.dumps([asdict(r) for r in results]))


if __name__ == "__main__":
    main()
