"""`python -m benchmarks.checks`: what the checks cost, alone. The last line is one JSON object.

1. The complete check without schematron (profile, own rules, official XSD) of a message with a level 1 document of
   330 kB: CPU milliseconds, median.
2. The four schematron profiles together (Structuration minimale, IHE, ModelesDeContenus, Modeles_ANS) in the worker's
   engine: CPU milliseconds per document, median and worst, on our documents and on official ones.
3. ACKs of messages of 330 kB while a worker judges documents without a pause, beside the same without it.

The official package is needed (`--package`, or SEGUR_OFFICIAL_DATA): what needs it and does not find it is said.

    python -m benchmarks.checks [--package DIR] [--rounds 3] [--messages 100] [--skip-acks]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.ack import drive, messages, quantile, start, stop
from fixtures import build
from gateway.cda.package.folder import Package
from gateway.cda.package.payload import schematron_input
from gateway.cda.package.reports import Family, SchematronInput
from gateway.cda.package.xsd import XsdLayer
from gateway.cda.reader import read
from gateway.errors import Place
from gateway.exchange.checking import Checker
from gateway.hl7.message import Message
from gateway.rules import load_rulebook
from gateway.schematron.engine import Engine, available

OFFICIAL = Path(
    os.environ.get("SEGUR_OFFICIAL_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data")
)
PROFILES = (Family.STRUCMIN, Family.IHE, Family.MODELS, Family.ANS)
BOOK = load_rulebook()


def complete_check(package: Package | None, rounds: int) -> dict[str, float]:
    """CPU ms of `Checker.check_now` (median), with and without the XSD."""
    document = build.cda_n1(payload=build.pdf(245_000))
    raw = build.mdm("T02", document, control_id="C1")
    found = {"document_bytes": float(len(document)), "message_bytes": float(len(raw))}
    layers = {"without_xsd": None} | ({"with_xsd": XsdLayer(package)} if package else {})
    for name, layer in layers.items():
        checker = Checker(BOOK, layer)
        times = []
        for _ in range(40 * rounds):
            began = time.thread_time()
            checked = checker.check_now(raw, Message.parse(raw))
            times.append(time.thread_time() - began)
        assert not any(f.rejects for f in checked.findings)
        found[f"{name}_cpu_ms"] = round(1000 * statistics.median(times), 2)
    return found


def given(content: bytes) -> SchematronInput:
    """A document as the worker gets it."""
    root = read(content, BOOK, Place("OBX")).clinical_document
    assert root is not None
    return schematron_input(root, Place("OBX"), "")


def schematrons(package: Package, rounds: int) -> list[dict[str, object]]:
    """CPU and wall ms of the four profiles together, per document."""
    began = time.process_time()
    engine = Engine(package, PROFILES)
    print(f"four profiles compiled in {time.process_time() - began:.1f} s of CPU")
    documents = {
        "our N1 330 kB": build.cda_n1(payload=build.pdf(245_000)),
        "our N3": build.cda_n3(),
    } | {path.name: path.read_bytes() for path in sorted(OFFICIAL.glob("cda/*.xml"))}
    found: list[dict[str, object]] = []
    for name, content in documents.items():
        document = given(content)
        text = document.xml.decode()
        cpu, wall = [], []
        for _ in range(5 * rounds):
            c, w = time.process_time(), time.perf_counter()
            # level 3 whatever the document: all four
            reports = engine.run(text, 3, document.templates)
            cpu.append(time.process_time() - c)
            wall.append(time.perf_counter() - w)
        assert all(r.ran for r in reports)
        row = {
            "document": name,
            "judged_bytes": len(document.xml),
            "cpu_ms": round(1000 * statistics.median(cpu), 1),
            "wall_ms": round(1000 * statistics.median(wall), 1),
        }
        print(
            f"  {name:45} {row['judged_bytes']:>8} bytes  {row['cpu_ms']:>6} ms CPU  {row['wall_ms']:>6} ms"
        )
        found.append(row)
    return found


def acks(package: Path, document: Path, count: int, rounds: int) -> list[dict[str, object]]:
    """ACK latencies with the worker at rest and busy, in turn, so that both see the same machine."""
    found: list[dict[str, object]] = []
    for n in range(2 * rounds):
        busy = bool(n % 2)
        with tempfile.TemporaryDirectory() as folder:
            counterparts, _ = start(["-m", "benchmarks.counterparts", folder], "ready")
            command = ["run", "--config", f"{folder}/gateway.toml"]
            module = ["-m", "benchmarks.busy", str(package), str(document)] if busy else ["-m", "gateway.cli"]
            gateway, line = start([*module, *command], "ready")
            port = int(re.search(r"mllp=\S+:(\d+)", line).group(1))  # type: ignore[union-attr]
            asyncio.run(drive(port, messages("330k", 8, f"8{n}"), 2))
            time.sleep(6 if busy else 2)  # the worker compiles; the first deliveries end
            _, latencies, refused = asyncio.run(drive(port, messages("330k", count, f"7{n}"), 1))
            stop(gateway)
            stop(counterparts)
        row: dict[str, object] = {
            "worker": "busy" if busy else "at rest",
            "p50_ms": quantile(latencies, 0.5),
            "p95_ms": quantile(latencies, 0.95),
            "p99_ms": quantile(latencies, 0.99),
            "refused": refused,
        }
        print(
            f"  worker {row['worker']:8} p50 {row['p50_ms']} p95 {row['p95_ms']} p99 {row['p99_ms']} ms",
            flush=True,
        )
        found.append(row)
    return found


def main() -> None:
    """Measure, print, end with one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--package", type=Path, default=OFFICIAL / "ans-cda-package")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--skip-acks", action="store_true")
    args = parser.parse_args()
    package = Package.open(args.package) if args.package.is_dir() else None
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    result: dict[str, object] = {"benchmark": "checks", "on": machine}
    result["complete_check"] = checked = complete_check(package, args.rounds)
    print("complete check without schematron:", checked)
    if package is None or not available():
        print("no official package or no saxonche: schematrons not measured")
    else:
        result["schematrons"] = rows = schematrons(package, args.rounds)
        medians = [float(str(row["cpu_ms"])) for row in rows]
        print(f"four profiles: median {statistics.median(medians)} ms CPU, worst {max(medians)} ms")
        document = next(iter(sorted(OFFICIAL.glob("cda/ANEST*.xml"))), None)
        if document is not None and not args.skip_acks:
            result["acks"] = acks(args.package, document, args.messages, args.rounds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
