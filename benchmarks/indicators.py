"""`python -m benchmarks.indicators`: a month from a million facts. The last line is one JSON object.

50,000 stays of a year (admission, consent, discharge), documents of each to the DMP, two professionals and the
patient, DMP transactions of users; the lines are shuffled. The computation runs in a process of its own, as the command
does it: seconds of reading and folding, seconds of computing (wall clock and CPU), peak memory.

    python -m benchmarks.indicators [--facts 1000000] [--stays 50000] [--keep FILE]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import random
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

FINESS = "750000001"
LOINC = "2.16.840.1.113883.6.1"
TYPES = ("11490-0", "34874-8", "57833-6", "11502-2", "18748-4", "34794-8")
ROOT = "1.2.250.1.999.1.1.7"
PARIS = timezone(timedelta(hours=1))


def lines(count: int, stays: int) -> list[str]:
    """That many facts, in no order."""
    chance = random.Random(7)
    start = datetime(2025, 1, 1, tzinfo=PARIS)
    found: list[str] = []

    def tell(fact: dict[str, Any]) -> None:
        found.append(
            json.dumps({"fact_id": f"f-{len(found):09}", "finess": FINESS, **fact}, ensure_ascii=False)
        )

    known = []
    for n in range(stays):
        opened = start + timedelta(minutes=chance.randrange(360 * 1440))
        closed = opened + timedelta(hours=chance.randrange(4, 200))
        ref = {"authority": FINESS, "value": f"V{n:07}"}
        patient = f"{chance.randrange(stays * 3 // 4):032x}"
        known.append((ref, patient, closed))
        common = {"stay": ref, "account": {"authority": FINESS, "value": f"N{n:07}"}, "patient": patient}
        for event, at, move in (("A01", opened, 1), ("A03", closed, 2)):
            movement = {"id": f"{move}^{n}", "action": "INSERT", "at": at.isoformat()}
            told = {"fact": "stay", "at": at.isoformat(), "event": event, "patient_class": "I", "kind": "03"}
            tell({**told, **common, "movement": movement})
        tell({"fact": "consent", "at": opened.isoformat(), "stay": ref, "feeding": "INO", "consulting": "IC"})
    serial = 0
    while len(found) < count * 9 // 10:
        ref, patient, closed = chance.choice(known)
        serial += 1
        document = {
            "unique_id": f"{ROOT}.{serial}.1",
            "set_id": f"{ROOT}.{serial}",
            "version": 1,
            "type_code": chance.choice(TYPES),
            "type_system": LOINC,
            "date": closed.isoformat(),
        }
        common = {"control_id": f"MSG{serial:09}", "document": document, "stay": ref, "patient": patient}
        for recipient in (
            None,
            f"dr.{chance.randrange(4000)}@cabinet.mssante.fr",
            f"dr.{chance.randrange(4000)}@cabinet.mssante.fr",
            f"{patient[-15:]}@patient.mssante.fr",
        ):
            at = (closed + timedelta(minutes=chance.randrange(2000))).isoformat()
            to = {"destination": "mss" if recipient else "dmp", "recipient": recipient}
            outcome = {"outcome": "success" if chance.random() < 0.93 else "failure", "ins_qualified": True}
            tell({"fact": "delivery", "at": at, **common, **to, **outcome})
    while len(found) < count:
        ref, _, closed = chance.choice(known)
        user = {
            "rpps": f"1000{chance.randrange(3000):07}",
            "profession": chance.choice(("medecin", "infirmier")),
        }
        document = {"unique_id": f"{ROOT}.9.{chance.randrange(10**9)}", "type_code": chance.choice(TYPES)}
        told = {
            "fact": "dmp_consultation",
            "at": closed.isoformat(),
            "transaction": chance.choice(("TD3.1", "TD3.2")),
        }
        tell({**told, "outcome": "success", "user": user, "stay": ref, "document": document})
    chance.shuffle(found)
    return found


def measured(path: str, month: str, results: multiprocessing.Queue[dict[str, float]]) -> None:
    """In a process of its own: what the command does."""
    import gc

    from indicators.engine import compute
    from indicators.files import read_file

    gc.disable()
    began, cpu = time.perf_counter(), time.process_time()
    world = read_file(Path(path))
    folded = time.perf_counter()
    result = compute(world, month)
    ended = time.perf_counter()
    cpu = time.process_time() - cpu
    # not ru_maxrss: it keeps the size of the parent from before the exec
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    results.put(
        {
            "read_s": round(folded - began, 2),
            "compute_s": round(ended - folded, 2),
            "total_s": round(ended - began, 2),
            "cpu_s": round(cpu, 2),
            "peak_mb": round(peak),
            "rows": len(result.rows),
            "closed": next(r.denominator or 0 for r in result.rows if r.indicator == "ALI-1"),
        }
    )


def main() -> None:
    """The measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--stays", type=int, default=50_000)
    parser.add_argument("--month", default="2025-02")
    parser.add_argument("--keep", type=Path, help="where the facts are written and left")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.keep or Path(folder) / "facts.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines(args.facts, args.stays)), encoding="utf-8")
        print(f"{args.facts} facts, {args.stays} stays, {path.stat().st_size / 1e6:.0f} MB")
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        worker = context.Process(target=measured, args=(str(path), args.month, results))
        worker.start()
        found = results.get()
        worker.join()
    told = {"benchmark": "indicators", "facts": args.facts, "stays": args.stays, **found}
    print(json.dumps({**told, "python": platform.python_version()}))


if __name__ == "__main__":
    main()
