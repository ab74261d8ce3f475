"""A bad disk and a bad clock for one gateway process: `shim.c`, built here and preloaded into the gateway alone.

No hook stands in the product: the errors come out of `write`, `fsync` and `clock_gettime`, where a real disk and a real
clock would give them. Needs a C compiler; without one these faults are left out and said so.
"""

from __future__ import annotations

import errno
import mmap
import shutil
import struct
import subprocess
from pathlib import Path

_LAYOUT = struct.Struct("=iiiiqqq")
_NOTHING_DIRTY = (1 << 63) - 1


def build(directory: Path) -> tuple[Path | None, str]:
    """The library, built into `directory`; or None and why not."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None, "no C compiler"
    library = directory / "shim.so"
    source = Path(__file__).with_name("shim.c")
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source)], capture_output=True
    )
    return (library, "") if made.returncode == 0 else (None, "the C compiler cannot build chaos/shim.c")


class Disk:
    """The disk and the clock of one node, whose files stand under `folder`. `skew`: seconds by which its clock is wrong
    all the time."""

    def __init__(self, library: Path, folder: Path, control: Path, skew: int = 0) -> None:
        self._skew = skew
        self._library, self._folder, self._control = library, folder.resolve(), control.resolve()
        with control.open("wb") as file:
            file.write(_LAYOUT.pack(0, 0, 0, 0, 0, _NOTHING_DIRTY, 0))
        with control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size)
        self.clock(0)

    def environment(self) -> dict[str, str]:
        """What the gateway process needs."""
        return {
            "LD_PRELOAD": str(self._library),
            "CHAOS_FOLDER": f"{self._folder}/",
            "CHAOS_CONTROL": str(self._control),
        }

    def full(self) -> None:
        """No file grows any more (ENOSPC)."""
        self._set(4, "=i", errno.ENOSPC)

    def read_only(self) -> None:
        """No file is written (EROFS), as after an I/O error that made the system remount it."""
        self._set(4, "=i", errno.EROFS)

    def slow(self, milliseconds: int) -> None:
        """Every fsync takes so much longer."""
        self._set(0, "=i", milliseconds)

    def failing(self) -> None:
        """No fsync succeeds (EIO)."""
        self._set(8, "=i", errno.EIO)

    def clock(self, seconds: int) -> None:
        """The real-time clock is wrong by so much, beside its skew."""
        self._set(16, "=q", self._skew + seconds)

    def calm(self) -> None:
        """A good disk, and a clock that goes on as it began."""
        for offset in (0, 4, 8):
            self._set(offset, "=i", 0)
        self.clock(0)

    def power_cut(self, log: Path) -> int:
        """After a kill: destroy what was written to the write-ahead log and never fsync'd. Bytes destroyed."""
        *_rest, begin, end = _LAYOUT.unpack(self._map[: _LAYOUT.size])
        self._map[24:40] = struct.pack("=qq", _NOTHING_DIRTY, 0)
        if not log.exists() or end <= begin:
            return 0
        size = log.stat().st_size
        with log.open("r+b") as file:
            file.seek(begin)
            file.write(b"\xa5" * max(0, min(end, size) - begin))
        return int(max(0, min(end, size) - begin))

    def close(self) -> None:
        """Forget the control file."""
        self._map.close()

    def _set(self, offset: int, form: str, value: int) -> None:
        self._map[offset : offset + struct.calcsize(form)] = struct.pack(form, value)
