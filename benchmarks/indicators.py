"""`python -m benchmarks.indicators`: a month from a million facts. The last line is one JSON object.

50,000 stays of a year (admission, consent, discharge), documents of each to the DMP, two professionals and the
patient, DMP transactions of users; the lines are shuffled. Two ways, each in a process of its own: from a file, every
line checked, as `segur-gateway indicators compute --facts` does it; from a journal (SQLite), whose facts were checked
when they came in, as the gateway does it. Seconds of reading and folding, seconds of computing (wall clock and CPU),
peak memory; of the journal also thirteen months of the same world, and one month more after a thousand new facts. The
load of the machine is told, for other work counts in all of it.

    python -m benchmarks.indicators [--facts 1000000] [--stays 50000] [--keep FOLDER] [--only file|journal]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
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


def of_file(folder: Path, month: str, results: multiprocessing.Queue[dict[str, float]]) -> None:
    """In a process of its own: what the command does."""
    import gc

    from indicators.engine import compute
    from indicators.files import read_file

    gc.disable()
    watch = _Watch()
    world = read_file(folder / "facts.jsonl")
    watch.lap("read_s")
    result = compute(world, month)
    watch.lap("compute_s")
    results.put(watch.told() | {"rows": len(result.rows), "closed": _closed(result.rows)})


def of_journal(folder: Path, month: str, results: multiprocessing.Queue[dict[str, float]]) -> None:
    """In a process of its own: what the gateway's worker does."""
    import gc
    import sqlite3

    from indicators.periods import month_before
    from indicators.stored import unpack
    from indicators.worker import Request, Worker

    gc.disable()
    path = folder / "journal.sqlite"
    worker = Worker()
    watch = _Watch()
    worker.answer(Request(seconds=0, path=str(path)))
    watch.lap("read_s")
    _answer, content = worker.answer(Request(seconds=0, path=str(path), months=[month]))
    watch.lap("compute_s")
    told = watch.told()
    months = [month_before(month, n) for n in range(13)]
    worker.answer(Request(seconds=0, path=str(path), months=months))
    watch.lap("thirteen_months_s")
    with sqlite3.connect(path) as db:
        # told again under another name: they change nothing and are read all the same
        db.execute(
            "INSERT INTO indicator_fact (fact_id, digest, fact, finess, at, known_at, source, body)"
            " SELECT 'again-' || id || '-' || random(), digest, fact, finess, at, known_at, source, body"
            " FROM indicator_fact WHERE id <= 1000"
        )
    db.close()
    watch.lap("")
    worker.answer(Request(seconds=0, path=str(path), months=[month]))
    watch.lap("after_1000_more_s")
    rows, _ = unpack(content[0], FINESS, "", 0, "")
    later = {k: v for k, v in watch.told().items() if k in ("thirteen_months_s", "after_1000_more_s")}
    results.put(told | later | {"rows": len(rows), "closed": _closed(rows)})


def _closed(rows: Any) -> int:
    return next(r.denominator or 0 for r in rows if r.indicator == "ALI-1")


class _Watch:
    """Laps of wall clock; CPU and the peak of memory so far."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.began = self.last = time.perf_counter()
        self.cpu = time.process_time()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        if name:
            self.laps[name] = round(now - self.last, 2)
        self.last = now

    def told(self) -> dict[str, float]:
        # not ru_maxrss: it keeps the size of the parent from before the exec
        status = Path("/proc/self/status").read_text()
        return {
            **self.laps,
            "total_s": round(self.last - self.began, 2),
            "cpu_s": round(time.process_time() - self.cpu, 2),
            "peak_mb": round(int(status.partition("VmHWM:")[2].split()[0]) / 1024),
        }


def make_journal(folder: Path) -> None:
    """The same facts as an import leaves them."""
    import sqlite3

    from gateway.journal import facts
    from gateway.journal.sql import QUERIES
    from gateway.journal.sqlite import SqliteJournal
    from gateway.settings import JournalSettings
    from indicators.facts import read

    path = folder / "journal.sqlite"
    SqliteJournal(path, JournalSettings()).shut()
    with (folder / "facts.jsonl").open("rb") as told, sqlite3.connect(path) as db:
        db.executemany(
            QUERIES["insert_indicator_fact"],
            (facts._parameters(facts.row(read(line), "import")) for line in told),
        )
    db.close()


def pace() -> float:
    """Seconds of CPU for a fixed piece of work: how fast the machine is just now, beside others."""
    began = time.process_time()
    total = 0
    for number in range(10_000_000):
        total += number
    return round(time.process_time() - began, 2)


WAYS = {"file": of_file, "journal": of_journal}


def main() -> None:
    """The measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--stays", type=int, default=50_000)
    parser.add_argument("--month", default="2025-02")
    parser.add_argument("--only", choices=tuple(WAYS))
    parser.add_argument("--keep", type=Path, help="folder where the facts are written and left")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        path = folder / "facts.jsonl"
        if not path.exists():
            path.write_text("".join(f"{line}\n" for line in lines(args.facts, args.stays)), encoding="utf-8")
        print(f"{args.facts} facts, {args.stays} stays, {path.stat().st_size / 1e6:.0f} MB")
        if args.only != "file" and not (folder / "journal.sqlite").exists():
            make_journal(folder)
        context = multiprocessing.get_context("spawn")
        for name in [args.only] if args.only else WAYS:
            load = os.getloadavg()[0]
            results = context.Queue()
            worker = context.Process(target=WAYS[name], args=(folder, args.month, results))
            worker.start()
            found = results.get()
            worker.join()
            told = {"benchmark": "indicators", "from": name, "facts": args.facts, "stays": args.stays}
            machine = {"load": round(load, 1), "pace_s": pace(), "python": platform.python_version()}
            print(json.dumps({**told, **found, **machine}))


if __name__ == "__main__":
    main()
