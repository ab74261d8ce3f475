"""`python -m chaos`: seeds one after the other, one line each; the last line says whether the promise held.

Exit status: 0 it held, 1 it did not (the failing seeds' folders are kept, with the command that replays them), 2 wrong
use. Bounded: `--seconds` for each seed, `--limit` for the whole run (what was not run is said).
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from chaos import disk
from chaos.checker import COUNTED, OTHERS, Problem, Report, check
from chaos.cluster import Engine
from chaos.history import History
from chaos.postgres import PostgresEngine
from chaos.scenario import DISK_KINDS, Plan, make
from chaos.seed import Seed, World
from chaos.sqlite import SqliteEngine
from connectors.dpi import simulator as dpi_simulator

ENGINES: dict[str, Callable[[], Engine]] = {"sqlite": SqliteEngine, "postgres": PostgresEngine}


@dataclass
class Totals:
    """Over all seeds."""

    seeds: int = 0
    acknowledged: int = 0
    refused: int = 0
    given_up: int = 0
    duplicates: int = 0
    stops: int = 0
    taken_over: list[float] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    failing: list[int] = field(default_factory=list)

    def add(self, seed: int, report: Report) -> None:
        """One more seed."""
        self.seeds += 1
        self.acknowledged += report.acknowledged
        self.refused += report.refused
        self.given_up += report.given_up
        self.duplicates += report.duplicates_in_window
        self.stops += report.stops
        self.taken_over += report.taken_over
        self.problems.update(p.kind for p in report.problems)
        if report.problems:
            self.failing.append(seed)

    def lines(self) -> list[str]:
        """Seconds from a kill to the deliveries at work elsewhere, if there were any; the line before the last; the
        last."""
        others = " ".join(f"{k}={self.problems[k]}" for k in OTHERS)
        counted = " ".join(f"{k}={self.problems[k]}" for k in COUNTED)
        times = sorted(self.taken_over)
        first = []
        if times:
            most = times[9 * len(times) // 10]
            first = [
                f"taken_over={len(times)} after seconds: "
                f"median={median(times):.1f} p90={most:.1f} longest={times[-1]:.1f}"
            ]
        return [
            *first,
            f"seeds={self.seeds} stops={self.stops} refused={self.refused} given_up={self.given_up} "
            f"duplicates_in_window={self.duplicates} {others}",
            f"acknowledged={self.acknowledged} {counted}",
        ]


async def one(
    plan: Plan,
    world: World,
    directory: Path,
    engine: Engine,
    library: Path | None,
    seconds: float,
    keep: bool,
) -> Report:
    """Run and check one seed in `directory`, where its history stays; its journal too when it fails, or `keep`."""
    history = History()
    await world.reset(history)
    directory.mkdir(parents=True)
    zam = dpi_simulator.create(directory / "dpi")
    await zam.start()
    connectors = {**world.connectors(), "dpi": zam.connector_settings()}
    cluster = engine.cluster(plan, directory, connectors, library)
    fault = ""
    try:
        await Seed(plan, world, cluster, zam, seconds).run()
    except Exception as e:  # a fault of the harness fails its seed, not the run
        fault = f"{type(e).__name__}: {e}"
        (directory / "traceback.txt").write_text(traceback.format_exc(), "utf-8")
    finally:
        await cluster.finish()
        await zam.stop()
        history.write(directory / "history.jsonl")
    report = check(plan, history)
    if fault:
        report = replace(report, problems=(Problem("harness", fault), *report.problems))
    (directory / "problems.txt").write_text(
        "".join(f"{p.kind}: {p.text}\n" for p in report.problems), "utf-8"
    )
    await cluster.close(directory if keep or report.problems else None)
    return report


class _Run:
    """The seeds of one command, `jobs` at a time, each job with counterparts and an engine of its own."""

    def __init__(self, args: argparse.Namespace, directory: Path) -> None:
        self._args, self._directory = args, directory
        self._library, self._why = disk.build(directory)
        self._left = deque(
            [args.seed] if args.seed is not None else range(args.first, args.first + args.seeds)
        )
        self._end = time.monotonic() + args.limit
        self.totals = Totals()

    async def run(self) -> None:
        """All of them."""
        if self._library is None:
            print(f"left out: {', '.join(DISK_KINDS)} ({self._why})", flush=True)
        try:
            async with asyncio.TaskGroup() as jobs:
                for number in range(self._args.jobs):
                    jobs.create_task(self._job(self._directory / f"job-{number}"))
            if self._left:
                print(f"stopped at the limit of {self._args.limit:.0f} s: {len(self._left)} seeds not run")
        except asyncio.CancelledError:
            print("stopped: the seeds so far", flush=True)
            raise
        finally:
            for line in self.totals.lines():
                print(line, flush=True)

    async def _job(self, directory: Path) -> None:
        world, engine = World(directory), ENGINES[self._args.engine]()
        try:
            await world.start()
            await engine.start()
            while self._left and time.monotonic() < self._end:
                await self._seed(self._left.popleft(), world, engine)
        finally:
            await engine.stop()
            await world.stop()

    async def _seed(self, seed: int, world: World, engine: Engine) -> None:
        args, folder = self._args, self._directory / f"seed-{seed}"
        plan = make(seed, kills=args.kills is not None, nodes=engine.nodes)
        began = time.monotonic()
        report = await one(plan, world, folder, engine, self._library, args.seconds, args.keep)
        self.totals.add(seed, report)
        said = ", ".join(f"{p.kind}: {p.text}" for p in report.problems) or "held"
        print(
            f"seed {seed}: {len(plan.messages)} messages, {report.acknowledged} acknowledged, "
            f"{report.stops} stops, {report.duplicates_in_window} duplicates in the window, "
            f"{time.monotonic() - began:.1f} s: {said}",
            flush=True,
        )
        if report.problems:
            kills = " --kills 1" if args.kills is not None else ""
            print(f"  replay: python -m chaos --engine {args.engine}{kills} --seed {seed}   files: {folder}")
        elif not args.keep:
            shutil.rmtree(folder)


async def _run(args: argparse.Namespace, directory: Path) -> int:
    run, failed = _Run(args, directory), False
    try:
        await run.run()
    except* RuntimeError as e:
        print(f"python -m chaos: {e.exceptions[0]}", file=sys.stderr)
        failed = True
    if failed:
        return 2
    return 1 if run.totals.problems or not run.totals.seeds else 0


async def _stoppable(args: argparse.Namespace, directory: Path) -> int:
    """SIGTERM ends what was started, as Ctrl-C does."""
    task = asyncio.create_task(_run(args, directory))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first one")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--kills", type=int, metavar="N", help="N short seeds with one kill each")
    parser.add_argument("--engine", choices=sorted(ENGINES), default="sqlite")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at the same time")
    parser.add_argument(
        "--seconds", type=float, default=90.0, help="time of a seed; what is open then is stuck"
    )
    parser.add_argument("--limit", type=float, default=7200.0, help="seconds for the whole run")
    parser.add_argument("--directory", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="keep the folders of all seeds")
    args = parser.parse_args(argv)
    if args.kills is not None:
        args.seeds = args.kills
    directory = args.directory or Path(tempfile.mkdtemp(prefix="chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    status = asyncio.run(_stoppable(args, directory))
    if status == 0 and not args.keep and args.directory is None:
        shutil.rmtree(directory, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
