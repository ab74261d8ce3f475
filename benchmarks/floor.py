"""The floor: an MLLP server that only commits the raw bytes to SQLite (fsync'd, one commit each) and answers AA.

What no durable gateway of this kind can beat on this machine. `python -m benchmarks.floor FILE` prints
`ready mllp=127.0.0.1:PORT`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys

START, END = b"\x0b", b"\x1c\r"


async def _main(path: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("page_size=16384", "journal_mode=WAL", "synchronous=FULL"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("CREATE TABLE raw (id INTEGER PRIMARY KEY, content BLOB)")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                frame = await reader.readuntil(END)
                db.execute("INSERT INTO raw (content) VALUES (?)", (frame[1:-2],))
                control_id = frame[: frame.index(b"\r")].split(b"|")[9]
                writer.write(START + b"MSH|^~\\&|||||||ACK|1|P|2.6\rMSA|AA|" + control_id + b"\r" + END)
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 26)
    print(f"ready mllp=127.0.0.1:{server.sockets[0].getsockname()[1]} web=", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
