"""`make bench`: the listener driven over loopback in a closed loop, everything real, simulators at 0 ms.

For each document size and number of connections: messages/s, ACK p50/p95/p99, CPU seconds of the gateway per message,
its peak memory; then the time until every delivery of the run has ended (DMP and one mail per
message; `--recipients`, `--zam`). Each figure stands
beside the floor (`benchmarks.floor`). The last line is one JSON object.

    python -m benchmarks.ack [--quick] [--only 330k] [--connections 8] [--profile FILE] [--postgres NODES]

`--postgres 2`: two gateways on one PostgreSQL journal (a server of the distribution, with fsync, on the same machine);
connections go to them in turn, CPU and memory are those of all gateways together.

Gateway, simulators and load generator are three processes; on a machine with two cores they share them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from connectors.simulator_port import toml_value
from fixtures import build

START, END = b"\x0b", b"\x1c\r"
ROOT = "1.2.250.1.71.4.2.2.990000010.8"
SIZES = {"5k": 0, "330k": 182_000}
"""PDF bytes inside the document: messages of about 9 kB (the smallest conform N1) and 330 kB."""
TICKS = os.sysconf("SC_CLK_TCK")


MAILBOXES = tuple(f"dr.{n}@test-hopital.mssante.fr" for n in ("martin", "bernard", "petit"))


@dataclass
class Load:
    """What each message asks for besides the DMP."""

    recipients: int = 1
    zam: bool = False


@dataclass
class Result:
    """One run."""

    size: str
    connections: int
    messages: int
    message_bytes: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms_per_message: float
    peak_memory_mb: float
    floor_per_second: float
    floor_p99_ms: float
    refused: int
    deliveries: int = 0
    deliveries_failed: int = 0
    drained_after_s: float = 0.0
    cpu_ms_per_message_whole: float = 0.0
    peak_memory_mb_whole: float = 0.0


def messages(size: str, count: int, series: str, load: Load | None = None) -> list[bytes]:
    """`count` different documents, ready to send. MSH-10, document id and setId differ in digits of fixed width."""
    load = load or Load()
    cda = build.cda_n1(uid=f"{ROOT}.777777", set_id=f"{ROOT}.888888", payload=build.pdf(SIZES[size]))
    out = []
    for n in range(count):
        own = f"{series}{n:05d}"
        one = cda.replace(f"{ROOT}.777777".encode(), f"{ROOT}.1{own}".encode())
        one = one.replace(f"{ROOT}.888888".encode(), f"{ROOT}.2{own}".encode())
        raw = build.mdm(
            "T02", one, control_id=f"B{own}", recipients=MAILBOXES[: load.recipients], ack_reception=load.zam
        )
        out.append(START + re.sub(rb"\r\n|\n", b"\r", raw) + END)
    return out


async def drive(
    port: int | list[int], frames: list[bytes], connections: int
) -> tuple[float, list[float], int]:
    """Closed loop, of several ports each connection to the next: (seconds in all, ACK latencies in seconds, messages
    not answered AA)."""
    ports = [port] if isinstance(port, int) else port
    pending = iter(frames)
    latencies: list[float] = []
    refused = 0

    async def one(port: int) -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        for frame in pending:
            started = time.perf_counter()
            writer.write(frame)
            ack = await reader.readuntil(END)
            latencies.append(time.perf_counter() - started)
            if b"MSA|AA|" not in ack:
                refused += 1
                if refused == 1:
                    print(ack.decode("utf-8", "replace").replace("\r", "\n"), file=sys.stderr)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one(ports[n % len(ports)]) for n in range(connections)))
    return time.perf_counter() - started, latencies, refused


def quantile(values: list[float], q: float) -> float:
    """In milliseconds."""
    ordered = sorted(values)
    return round(1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))], 1)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mb(pid: int) -> float:
    """Peak resident memory."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return round(int(found.group(1)) / 1024, 1) if found else 0.0


def start(command: list[str], wait_for: str) -> tuple[subprocess.Popen[str], str]:
    """A process, once it printed a line that begins with `wait_for`; that line."""
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(wait_for):
            return process, line
    raise SystemExit(f"{command}: ended without being ready")


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and wait for it."""
    process.send_signal(signal.SIGTERM)
    assert process.stdin is not None
    process.stdin.close()
    process.wait(60)


def metrics(url: str) -> dict[str, float]:
    """The gateway's metrics."""
    with urllib.request.urlopen(f"{url}metrics") as answer:
        text = answer.read().decode()
    return {k: float(v) for k, v in re.findall(r"^(segur_\S+) (\S+)$", text, re.M)}


def drain(url: str | list[str], limit: float) -> tuple[float, int, int]:
    """Wait until nothing is open: (seconds, deliveries ended, of them not succeeded)."""
    urls = [url] if isinstance(url, str) else url
    started = time.perf_counter()
    while True:
        each = [metrics(one) for one in urls]
        ended = Counter[str]()
        for seen in each:
            ended.update({k: int(v) for k, v in seen.items() if k.startswith("segur_deliveries_total")})
        if not any(k.startswith("segur_queue_depth{") and v for seen in each for k, v in seen.items()):
            break
        if time.perf_counter() - started > limit:
            break
        time.sleep(0.2)
    failed = sum(v for k, v in ended.items() if 'state="succeeded"' not in k)
    return round(time.perf_counter() - started, 2), int(sum(ended.values())), int(failed)


def run_floor(directory: Path, frames: list[bytes], connections: int) -> tuple[float, float]:
    """Messages/s and p99 of the floor."""
    path = directory / f"floor-{time.monotonic_ns()}.sqlite"
    process, line = start(["-m", "benchmarks.floor", str(path)], "ready")
    port = int(re.search(r"mllp=\S+:(\d+)", line).group(1))  # type: ignore[union-attr]
    seconds, latencies, _ = asyncio.run(drive(port, frames, connections))
    stop(process)
    return round(len(frames) / seconds, 1), quantile(latencies, 0.99)


@contextmanager
def on_postgres(settings: Path, nodes: int) -> Iterator[None]:
    """Write the gateway's settings for a database of a new server; nothing with 0 nodes."""
    if not nodes:
        yield
        return
    from chaos.server import Server, programs
    from tests.postgres import Database

    programs_folder = programs()
    assert programs_folder is not None, "PostgreSQL is not installed"
    with tempfile.TemporaryDirectory() as folder:
        server = Server(programs_folder, Path(folder), fsync=True)
        server.start()
        try:
            table = Database(server, "postgres").table
            keys = "".join(f"{k} = {toml_value(table[k])}\n" for k in ("url", "password_file"))
            text = settings.read_text(encoding="utf-8")
            settings.write_text(text.replace('path = "journal.sqlite"\n', keys), encoding="utf-8")
            yield
        finally:
            server.stop("fast")


def run(
    size: str, connections: int, count: int, series: str, profile: str | None, load: Load, nodes: int
) -> Result:
    """One run against fresh gateways (one on SQLite, or `nodes` on PostgreSQL) and fresh simulators."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        directory = Path(folder)
        counterparts, _ = start(["-m", "benchmarks.counterparts", folder], "ready")
        stack.enter_context(on_postgres(directory / "gateway.toml", nodes))
        command = ["-m", "gateway.cli", "run", "--config", str(directory / "gateway.toml")]
        if profile:
            command = ["-m", "benchmarks.profiled", profile, *command[2:]]
        gateways, ports, urls = [], [], []
        for _ in range(max(1, nodes)):
            gateway, line = start(command, "ready")
            gateways.append(gateway)
            ports.append(int(re.search(r"mllp=\S+:(\d+)", line).group(1)))  # type: ignore[union-attr]
            urls.append(re.search(r"web=(\S+)", line).group(1))  # type: ignore[union-attr]

        def cpu_of_all() -> float:
            return sum(cpu_seconds(g.pid) for g in gateways)

        def memory_of_all() -> float:
            return round(sum(peak_mb(g.pid) for g in gateways), 1)

        warm = messages(size, 8, "9" + series[1:], load)
        asyncio.run(drive(ports, warm, 2))
        drain(urls, 60)
        frames = messages(size, count, series, load)
        floor_rate, floor_p99 = run_floor(directory, frames, connections)
        before = cpu_of_all()
        ended_before = drain(urls, 60)[1]
        seconds, latencies, refused = asyncio.run(drive(ports, frames, connections))
        cpu, memory = cpu_of_all() - before, memory_of_all()
        drained, ended, failed = drain(urls, 600)
        result = Result(
            size=size,
            connections=connections,
            messages=count,
            message_bytes=len(frames[0]),
            per_second=round(count / seconds, 1),
            p50_ms=quantile(latencies, 0.50),
            p95_ms=quantile(latencies, 0.95),
            p99_ms=quantile(latencies, 0.99),
            cpu_ms_per_message=round(1000 * cpu / count, 2),
            peak_memory_mb=memory,
            floor_per_second=floor_rate,
            floor_p99_ms=floor_p99,
            refused=refused,
            deliveries=ended - ended_before,
            deliveries_failed=failed,
            drained_after_s=drained,
            cpu_ms_per_message_whole=round(1000 * (cpu_of_all() - before) / count, 2),
            peak_memory_mb_whole=memory_of_all(),
        )
        for gateway in gateways:
            stop(gateway)
        stop(counterparts)
        return result


def main() -> None:
    """Run the table, print it, end with one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a fifth of the messages")
    parser.add_argument("--only", choices=sorted(SIZES), help="one size only")
    parser.add_argument("--connections", type=int, help="one number of connections only")
    parser.add_argument("--profile", metavar="FILE", help="write a profile of the gateway by function")
    parser.add_argument("--recipients", type=int, default=1, choices=(1, 2, 3), help="MSSanté mailboxes")
    parser.add_argument("--zam", action="store_true", help="ask for ZAM (ACK_RECEPTION = Y)")
    parser.add_argument("--postgres", type=int, default=0, metavar="NODES", help="gateways on one PostgreSQL")
    args = parser.parse_args()
    load = Load(args.recipients, args.zam)
    counts = {("5k", 1): 500, ("5k", 8): 2000, ("330k", 1): 200, ("330k", 8): 600}
    results = []
    head = f"{'size':>5} {'conn':>4} {'msg/s':>7} {'p50':>6} {'p95':>6} {'p99':>7} {'CPU ms':>7} {'MB':>6}"
    print(f"{head} {'floor/s':>8} {'floor p99':>9} {'drain s':>8} {'CPU all':>8}")
    for n, ((size, connections), count) in enumerate(counts.items()):
        if args.only not in (None, size) or args.connections not in (None, connections):
            continue
        r = run(
            size,
            connections,
            count // (5 if args.quick else 1),
            str(n + 1),
            args.profile,
            load,
            args.postgres,
        )
        results.append(r)
        print(
            f"{r.size:>5} {r.connections:>4} {r.per_second:>7} {r.p50_ms:>6} {r.p95_ms:>6} {r.p99_ms:>7}"
            f" {r.cpu_ms_per_message:>7} {r.peak_memory_mb:>6} {r.floor_per_second:>8} {r.floor_p99_ms:>9}"
            f" {r.drained_after_s:>8} {r.cpu_ms_per_message_whole:>8}",
            flush=True,
        )
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine()}
    print(
        json.dumps(
            {
                "benchmark": "ack",
                "on": machine,
                "load": asdict(load),
                "postgres": args.postgres,
                "results": [asdict(r) for r in results],
            }
        )
    )


if __name__ == "__main__":
    main()
