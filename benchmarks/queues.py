"""Which queue on PostgreSQL: the delivery table itself, or Procrastinate beside it (docs/decisions/0027).

The same acceptances (payload of 8.5 kB, message, two deliveries of a set in one transaction) by 16 writers at
once, then the same deliveries (claim committed, 10 ms of sending, outcome committed) by two worker processes of 8.
The delivery row is the truth either way; with Procrastinate a job with lock = set is deferred in the same
transaction, its NOTIFY trigger off (it serialises commits), its table analysed before the drain. A server of its
own, with fsync.

    pip install procrastinate; python -m benchmarks.queues [--count 2000] [--rounds 3]

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from chaos.server import USER, Server, programs
from connectors.port import Outcome, OutcomeClass
from gateway.engine.embedded import EmbeddedEngine
from gateway.engine.nodes import Together
from gateway.exchange.delivery import DeliveryState
from gateway.exchange.identifiers import Clock
from gateway.hl7.transmission import Action
from gateway.journal import claims, queue, records
from gateway.journal.claims import Claimed
from gateway.journal.queue import NewDelivery
from gateway.journal.store import Journal
from gateway.settings import JournalSettings

WRITERS, CONCURRENCY, WORKERS, SENDING = 16, 8, 2, 0.01
KINDS = ("table", "procrastinate")
RAW = os.urandom(8_500)


def quantile(values: list[float], q: float) -> float:
    """In milliseconds."""
    return round(1000 * sorted(values)[min(len(values) - 1, int(q * len(values)))], 1)


def procrastinate_app(url: str, password: str, journal: Journal | None = None) -> Any:
    """The application and its one task."""
    import procrastinate

    # deferring is done in the sessions of the journal's threads, working in an event loop
    kind = procrastinate.SyncPsycopgConnector if journal is None else procrastinate.PsycopgConnector
    app = procrastinate.App(connector=kind(conninfo=url, kwargs={"password": password}, max_size=12))

    @app.task(queue="dmp", name="deliver")
    async def deliver(delivery_id: int) -> None:
        assert journal is not None
        claimed = await journal.write(lambda s: claim_one(s, delivery_id))
        await asyncio.sleep(SENDING)
        await settle(journal, claimed)

    return app


def claim_one(session: Any, delivery_id: int) -> Claimed:
    """What `claims.claim` does, of one delivery that another one chose."""
    session.connection().exec_driver_sql(
        "UPDATE delivery SET due_at = -%(id)s WHERE id = %(id)s", {"id": delivery_id}
    )
    claim = claims.claim(session, "dmp", 1, -delivery_id, session.info["node"])
    return claim.deliveries[0]


async def settle(journal: Journal, claimed: Claimed) -> None:
    """The outcome."""
    now = time.time()
    done = Outcome(OutcomeClass.SUCCESS, "200", "")

    def operation(session: Any) -> None:
        assert queue.settle(session, claimed, DeliveryState.SUCCEEDED, done, now)
        queue.add_attempt(session, claimed.id, claimed.attempt, "deliver", now, now, done)

    await journal.write(operation)


def acceptance(number: int, defer: Any) -> Any:
    """One accepted message with two deliveries."""
    now = time.time()

    def operation(session: Any) -> None:
        new = records.NewMessage(RAW, "0" * 64, f"k{number}", f"M{number}", "A|B", "MDM^T02", "", "c", now)
        message = records.receive(session, new).message_id
        for recipient in ("", "x"):
            delivery = queue.enqueue(
                session,
                NewDelivery(
                    message,
                    "dmp",
                    recipient,
                    Action.SUBMIT,
                    ((None, f"{number}", f"s{number}"),),
                    b"{}",
                    now,
                    1e6,
                ),
            )
            if defer is not None:
                raw = session.connection().connection.driver_connection
                defer.configure(lock=f"s{number}{recipient}", connection=raw).defer(delivery_id=delivery)

    return operation


async def enqueue(journal: Journal, count: int, defer: Any) -> tuple[float, list[float]]:
    """(seconds in all, seconds of each)."""
    numbers = iter(range(count))
    took: list[float] = []

    async def one() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await journal.write(acceptance(number, defer))
            took.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(WRITERS)))
    return time.perf_counter() - begun, took


async def worker(kind: str, table: dict[str, Any]) -> None:
    """A worker process, until it is killed."""
    settings = JournalSettings(**table)
    journal = await Journal.open(Path(), settings)
    nodes = Together(journal, settings, Clock())
    await nodes.join()
    if kind == "table":
        engine = EmbeddedEngine(journal, ["dmp"], {"dmp": CONCURRENCY})

        async def run(claimed: Claimed) -> None:
            await asyncio.sleep(SENDING)
            await settle(journal, claimed)

        await engine.start(run, lambda _destination, free: free)
        await asyncio.Event().wait()
    password = Path(table["password_file"]).read_text()
    app = procrastinate_app(table["url"], password, journal)
    async with app.open_async():
        await app.run_worker_async(
            queues=["dmp"], concurrency=CONCURRENCY, listen_notify=False, fetch_job_polling_interval=0.05
        )


def one_round(server: Server, kind: str, count: int, number: int) -> dict[str, float]:
    """Enqueue, then drain, in a database of its own."""
    name = f"{kind}{number}"
    with server.connect(autocommit=True) as c:
        c.execute(f"CREATE DATABASE {name}")
    table = {
        "url": f"postgresql://{USER}@127.0.0.1:{server.port}/{name}",
        "password_file": str(server.password_file),
    }

    async def fill() -> tuple[float, list[float]]:
        journal = await Journal.open(Path(), JournalSettings(**table))
        if kind == "table":
            result = await enqueue(journal, count, None)
        else:
            app = procrastinate_app(table["url"], server.password_file.read_text())
            with app.open():
                app.schema_manager.apply_schema()
                with server.connect(name, autocommit=True) as c:
                    c.execute(
                        "ALTER TABLE procrastinate_jobs DISABLE TRIGGER"
                        " procrastinate_jobs_notify_queue_job_inserted_v1"
                    )
                result = await enqueue(journal, count, app.tasks["deliver"])
        await journal.close()
        return result

    seconds, took = asyncio.run(fill())
    with server.connect(name, autocommit=True) as c:
        c.execute("ANALYZE")
    begun = time.perf_counter()
    workers = [
        subprocess.Popen([sys.executable, "-m", "benchmarks.queues", "--worker", kind, json.dumps(table)])
        for _ in range(WORKERS)
    ]
    first = 0.0
    with server.connect(name, autocommit=True) as c:
        while True:
            row = c.execute("SELECT count(*) FROM delivery WHERE state = 'succeeded'").fetchone()
            assert row is not None
            if row[0] and not first:
                first = time.perf_counter()
                ended = row[0]
            if row[0] == 2 * count:
                break
            time.sleep(0.05)
    drained = (2 * count - ended) / (time.perf_counter() - first)
    del begun
    for process in workers:
        process.kill()
        process.wait()
    return {
        "accepted_per_s": round(count / seconds),
        "p50_ms": quantile(took, 0.5),
        "p99_ms": quantile(took, 0.99),
        "delivered_per_s": round(drained),
    }


def main() -> None:
    """Rounds of both, in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", nargs=2, metavar=("KIND", "TABLE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        asyncio.run(worker(args.worker[0], json.loads(args.worker[1])))
        return
    folder = programs()
    assert folder is not None, "PostgreSQL is not installed"
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as directory:
        server = Server(folder, Path(directory), fsync=True)
        server.start()
        try:
            for number in range(args.rounds):
                for kind in KINDS:
                    found[kind].append(one_round(server, kind, args.count, number))
                    print(kind, found[kind][-1], flush=True)
        finally:
            server.stop()
    print(json.dumps({"benchmark": "queues", "count": args.count, "results": found}))


if __name__ == "__main__":
    main()
