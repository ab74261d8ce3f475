"""`python -m benchmarks.mss`: mails out and back, all real but TLS; the operator is a process of its own.

1. Documents sent to one mailbox each: mails/s until the operator has the last one, and seconds until the last ZAM^Z02
   (made of its delivery report, read over IMAP) has reached the DPI.
2. Mails with IHE_XDM.ZIP that wait in the mailbox when the gateway starts: seconds until the DPI has integrated the
   last one; peak memory.

The last line is one JSON object.

    python -m benchmarks.mss [--documents 300] [--waiting 1000] [--size 330k]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import smtplib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.ack import END, ROOT, SIZES, START, cpu_seconds, drive, metrics, peak_mb, start, stop
from benchmarks.counterparts import settings_text
from connectors.dpi import simulator as dpi_simulator
from connectors.mss import simulator as mss_simulator
from fixtures import build

A, B = "pfi@hopital-a.mssante.fr", "service_auto@hopital-b.mssante.fr"


def mailbox(operator: Any, address: str) -> dict[str, Any]:
    """A mailbox of the settings."""
    return {
        **operator.imap_settings(address),
        "name": "bal",
        "address": address,
        "processed": "Traites",
        "dpi": {"application": "DPI", "facility": "H"},
    }


async def _counterpart(directory: Path) -> None:
    operator = mss_simulator.create(directory / "mss", tls="none")
    dpi = dpi_simulator.create(directory / "dpi")
    await operator.start()
    await dpi.start()
    for name, address in (("a", A), ("b", B)):
        own = directory / name
        own.mkdir()
        mss = {**operator.connector_settings(), "from_address": address}
        mss["mailboxes"] = [mailbox(operator, address)]
        text = settings_text({"mss": mss, "dpi": dpi.connector_settings()})
        (own / "gateway.toml").write_text(text, encoding="utf-8")
    print(f"ready {operator.port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await dpi.stop()
    await operator.stop()


def messages(size: str, count: int, address: str) -> list[bytes]:
    """Documents for one mailbox, ready to send."""
    cda = build.cda_n1(uid=f"{ROOT}.777777", set_id=f"{ROOT}.888888", payload=build.pdf(SIZES[size]))
    out = []
    for n in range(count):
        own = f"{n:06d}"
        one = cda.replace(b".777777", f".1{own}".encode()).replace(b".888888", f".2{own}".encode())
        raw = build.mdm(
            "T02",
            one,
            control_id=f"M{own}",
            recipients=(address,),
            ack_reception=True,
            flags={"DESTDMP": "N"},
        )
        out.append(START + re.sub(rb"\r\n|\n", b"\r", raw) + END)
    return out


def gateway(directory: Path) -> tuple[subprocess.Popen[str], int, str]:
    """A gateway process, its MLLP port and its web address."""
    process, line = start(["-m", "gateway.cli", "run", "--config", str(directory / "gateway.toml")], "ready")
    port = int(re.search(r"mllp=\S+:(\d+)", line).group(1))  # type: ignore[union-attr]
    return process, port, re.search(r"web=(\S+)", line).group(1)  # type: ignore[union-attr]


def until(url: str, name: str, wanted: int, limit: float = 600) -> float:
    """Seconds until the metrics that begin with `name` sum up to `wanted`."""
    began = time.perf_counter()
    while sum(v for k, v in metrics(url).items() if k.startswith(name)) < wanted:
        if time.perf_counter() - began > limit:
            raise SystemExit(f"{name}: {wanted} not reached in {limit:.0f} s")
        time.sleep(0.1)
    return time.perf_counter() - began


def outbound(directory: Path, size: str, count: int) -> dict[str, Any]:
    """Part 1."""
    process, port, url = gateway(directory / "a")
    frames = messages(size, count, "dr.martin@hopital-c.mssante.fr")
    before = cpu_seconds(process.pid)
    began = time.perf_counter()
    _seconds, _latencies, refused = asyncio.run(drive(port, frames, 8))
    until(url, 'segur_deliveries_total{destination="mss",state="succeeded"}', count)
    sent = time.perf_counter() - began
    until(url, 'segur_deliveries_total{destination="dpi",state="succeeded"}', count)
    told = time.perf_counter() - began
    result = {
        "documents": count,
        "refused": refused,
        "mails_per_second": round(count / sent, 1),
        "told_after_s": round(told, 2),
        "cpu_ms_per_document": round(1000 * (cpu_seconds(process.pid) - before) / count, 1),
        "peak_memory_mb": peak_mb(process.pid),
    }
    stop(process)
    return result


def inbound(directory: Path, port: int, size: str, count: int) -> dict[str, Any]:
    """Part 2: the mails of a gateway's own making, taken from the operator and put back under other identifiers."""
    process, mllp, url = gateway(directory / "a")
    asyncio.run(drive(mllp, messages(size, count, B), 8))
    until(url, 'segur_deliveries_total{destination="mss",state="succeeded"}', count)
    stop(process)
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        smtp.noop()  # the operator answers: all mails are in their mailbox
    began = time.perf_counter()
    process, _mllp, url = gateway(directory / "b")
    before = cpu_seconds(process.pid)
    until(url, 'segur_deliveries_total{destination="dpi",state="succeeded"}', count)
    integrated = time.perf_counter() - began
    until(url, 'segur_mails_treated_total{kind="inbound"', count)
    result = {
        "mails": count,
        "integrated_after_s": round(integrated, 2),
        "mails_per_second": round(count / integrated, 1),
        "cpu_ms_per_mail": round(1000 * (cpu_seconds(process.pid) - before) / count, 1),
        "peak_memory_mb": peak_mb(process.pid),
    }
    stop(process)
    return result


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--waiting", type=int, default=1000)
    parser.add_argument("--size", choices=sorted(SIZES), default="330k")
    parser.add_argument("--counterpart", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.counterpart:
        asyncio.run(_counterpart(options.counterpart))
        return
    results: dict[str, Any] = {"size": options.size}
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        counterpart, line = start(["-m", "benchmarks.mss", "--counterpart", folder], "ready")
        try:
            results["outbound"] = outbound(directory, options.size, options.documents)
            print("outbound", results["outbound"], flush=True)
            (directory / "a" / "journal.sqlite").unlink()
            results["inbound"] = inbound(directory, int(line.split()[1]), options.size, options.waiting)
            print("inbound ", results["inbound"], flush=True)
        finally:
            stop(counterpart)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
