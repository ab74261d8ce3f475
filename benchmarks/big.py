"""Does a 50 MB PDF delay anybody else? `python -m benchmarks.big [--big 0,1,4] [--pdf 50] [--stacks]`

Three connections send ordinary messages at a steady pace (two of 5 kB, one of 330 kB, 10 a second each) while 0, 1 and
4 documents of 50 MB (89 MB on the wire) are sent at once, each on a connection of its own, by a process of its own.
Gateway, simulators, big sender and small senders share this machine's cores; deliveries are real. Told for each number
of big ones:

* the ordinary messages' ACK p50 / p99 / max, from the first byte of the big ones until all their ACKs, and until all
  their deliveries have ended;
* the longest loop stalls in the gateway (`benchmarks.heartbeat`), the same two windows;
* the gateway's peak resident memory, the same two windows; the big ones' own ACK times.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Thread

from benchmarks.ack import END, START, drain, messages, peak_mb, quantile, start, stop
from fixtures import build

ROOT = "1.2.250.1.71.4.2.2.990000010.8"
PACE = 0.1
LIMITS = "max_document_size = 200000000\n"


@dataclass
class Window:
    """What the others saw."""

    count: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    stalls_ms: list[float] = field(default_factory=list)
    """The five longest."""
    peak_mb: float = 0.0


@dataclass
class Result:
    """One run. `until_ack`: while the big ones were received and answered; `whole`: their deliveries too."""

    big: int
    pdf_mb: float
    acks: list[str]
    ack_seconds: list[float]
    until_ack: Window
    whole: Window
    drained_after_s: float


def big_frame(mb: float, number: int) -> bytes:
    """A message with a PDF of `mb` megabytes."""
    cda = build.cda_n1(
        uid=f"{ROOT}.5{number}", set_id=f"{ROOT}.6{number}", payload=build.pdf(int(mb * 1_000_000))
    )
    raw = build.mdm("T02", cda, control_id=f"BIG{number}", recipients=("dr.martin@test-hopital.mssante.fr",))
    return START + re.sub(rb"\r\n|\n", b"\r", raw) + END


def send_big(port: int, count: int, mb: float) -> None:
    """The sender's process: everything is made before it says `ready`; goes at the first line of its input."""
    frames = [big_frame(mb, n) for n in range(count)]
    print("ready", flush=True)
    sys.stdin.readline()
    answers: list[tuple[str, float]] = []

    def one(frame: bytes) -> None:
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.settimeout(300)
            answer = b""
            try:
                s.sendall(frame)
                while END not in answer:
                    got = s.recv(65536)
                    if not got:
                        break
                    answer += got
            except OSError as e:
                answer = type(e).__name__.encode()
        found = re.search(rb"MSA\|(\w+)", answer)
        code = found.group(1).decode() if found else answer.decode() or "closed"
        rule = re.search(rb"(EXC|CDA|DMP|MSS)-[A-Z0-9-]+", answer)
        answers.append((code + (f" {rule.group().decode()}" if rule else ""), time.monotonic() - begun))

    threads = [Thread(target=one, args=(frame,)) for frame in frames]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(json.dumps(answers), flush=True)


async def trickle(
    port: int, frames: list[bytes], ended: asyncio.Event, seen: list[tuple[float, float]]
) -> None:
    """One connection at a steady pace: (when sent, latency)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    for frame in frames:
        if ended.is_set():
            break
        sent = time.monotonic()
        writer.write(frame)
        ack = await reader.readuntil(END)
        seen.append((sent, time.monotonic() - sent))
        if b"MSA|AA|" not in ack:
            print(ack.decode("utf-8", "replace").replace("\r", "\n"), file=sys.stderr)
        await asyncio.sleep(max(0.0, sent + PACE - time.monotonic()))
    writer.close()


def window(
    seen: list[tuple[float, float]], beats: list[tuple[float, float]], begun: float, end: float, peak: float
) -> Window:
    """Messages that were under way, and stalls that ended, between two instants."""
    values = [latency for sent, latency in seen if sent <= end and sent + latency >= begun]
    stalls = sorted((late for at, late in beats if begun <= at <= end), reverse=True)[:5]
    return Window(
        len(values),
        quantile(values, 0.5),
        quantile(values, 0.99),
        quantile(values, 1.0),
        [round(1000 * late, 1) for late in stalls],
        peak,
    )


async def measure(
    port: int, url: str, pid: int, sender: subprocess.Popen[str] | None, series: str
) -> tuple[
    list[tuple[float, float]], tuple[float, float, float], tuple[float, float], list[tuple[str, float]], float
]:
    """Trickle while the big ones go; (seen, (begin, all acked, all delivered), peaks, answers, drain seconds)."""
    ended = asyncio.Event()
    seen: list[tuple[float, float]] = []
    kinds = (("5k", "1"), ("5k", "2"), ("330k", "3"))
    sources = [messages(size, 900, f"{series}{n}") for size, n in kinds]
    tasks = [asyncio.create_task(trickle(port, frames, ended, seen)) for frames in sources]
    await asyncio.sleep(2)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here
    begun = time.monotonic()
    answers: list[tuple[str, float]] = []
    if sender is None:
        await asyncio.sleep(5)
    else:
        assert sender.stdin is not None and sender.stdout is not None
        sender.stdin.write("go\n")
        sender.stdin.flush()
        answers = json.loads(await asyncio.to_thread(sender.stdout.readline))
    acked, peak = time.monotonic(), peak_mb(pid)
    if sender is not None:
        await asyncio.to_thread(_big_delivered, url, len([a for a, _ in answers if a == "AA"]))
    delivered = time.monotonic()
    ended.set()
    await asyncio.gather(*tasks)
    drained = await asyncio.to_thread(drain, url, 120)
    return seen, (begun, acked, delivered), (peak, peak_mb(pid)), answers, drained[0]


def _big_delivered(url: str, count: int) -> None:
    """Wait until the deliveries of the big messages have ended (120 s at most)."""
    import urllib.request

    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        done = 0
        for n in range(count):
            with urllib.request.urlopen(f"{url}api/v1/messages/BIG{n}") as answer:
                deliveries = json.load(answer)["messages"][-1]["deliveries"]
            done += bool(deliveries) and all(d["finished_at"] for d in deliveries)
        if done == count:
            return
        time.sleep(0.3)
    print("big deliveries not ended after 120 s", file=sys.stderr)


def run(count: int, mb: float, series: str, stacks: bool) -> Result:
    """One run against a fresh gateway and fresh simulators."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        counterparts, _ = start(["-m", "benchmarks.counterparts", folder], "ready")
        config = directory / "gateway.toml"
        config.write_text(config.read_text().replace("[connectors.dmp]\n", "[connectors.dmp]\n" + LIMITS))
        if stacks:
            os.environ["SEGUR_STACKS"] = "1"
        beats_file = directory / "beats.json"
        gateway, line = start(
            ["-m", "benchmarks.heartbeat", str(beats_file), "run", "--config", str(config)], "ready"
        )
        port = int(re.search(r"mllp=\S+:(\d+)", line).group(1))  # type: ignore[union-attr]
        url = re.search(r"web=(\S+)", line).group(1)  # type: ignore[union-attr]
        sender = None
        if count:
            sender, _ = start(
                ["-m", "benchmarks.big", "--send", str(port), "--big", str(count), "--pdf", str(mb)], "ready"
            )
        seen, (begun, acked, delivered), peaks, answers, drained = asyncio.run(
            measure(port, url, gateway.pid, sender, series)
        )
        if sender is not None:
            sender.wait(30)
        stop(gateway)
        stop(counterparts)
        beats = [tuple(b) for b in json.loads(beats_file.read_text())]
        return Result(
            big=count,
            pdf_mb=mb,
            acks=[code for code, _ in answers],
            ack_seconds=[round(s, 2) for _, s in answers],
            until_ack=window(seen, beats, begun, acked, peaks[0]),
            whole=window(seen, beats, begun, delivered, peaks[1]),
            drained_after_s=drained,
        )


def main() -> None:
    """Run, print, end with one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--big", default="0,1,4", help="numbers of big documents at once, one run each")
    parser.add_argument("--pdf", type=float, default=50.0, help="megabytes of each PDF")
    parser.add_argument("--stacks", action="store_true", help="print the stacks while the loop is late")
    parser.add_argument("--send", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.send:
        send_big(args.send, int(args.big), args.pdf)
        return
    results = []
    for n, count in enumerate(args.big.split(",")):
        r = run(int(count), args.pdf, str(n + 1), args.stacks)
        results.append(r)
        print(
            f"{r.big} x {r.pdf_mb} MB: {', '.join(r.acks)} in {r.ack_seconds} s, drained {r.drained_after_s} s"
        )
        for name, w in (("until their ACK", r.until_ack), ("with deliveries", r.whole)):
            print(
                f"  {name:>16}: others' ACK p50 {w.p50_ms} p99 {w.p99_ms} max {w.max_ms} ms ({w.count} messages),"
                f" stalls {w.stalls_ms} ms, peak {w.peak_mb} MB",
                flush=True,
            )
    print(json.dumps({"benchmark": "big", "results": [asdict(r) for r in results]}))


if __name__ == "__main__":
    main()
