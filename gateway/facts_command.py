"""`segur-gateway facts import | users | export | count`: facts of the indicators in and out of a journal.

Purpose: facts of the past, the users of the DPI, and what the journal holds. Where a gateway runs with these settings
it does the writing, over its own interface (`--url`: another one); else the journal is opened here.
Guarantee: a file with a fault, or that contradicts what is known, changes nothing (`gateway.fact_intake`).
Fails: exit status 1 with all faults; 2 when the settings, the journal or the command are wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Any

from gateway.access import LocalAccess
from gateway.by_hand_command import access_of, opener, where
from gateway.errors import ConfigurationFault, EnvironmentFault
from gateway.settings import load_settings

TIMEOUT = 6 * 3600.0
"""Seconds: a gateway answers once a file of millions is written."""


def add_parser(commands: Any) -> None:
    """Of `segur-gateway facts`."""
    parser = commands.add_parser("facts", help="facts of the indicators: import, users, export, count")
    actions = parser.add_subparsers(dest="action", required=True)
    imported = actions.add_parser("import", help="facts of the past: JSON lines (docs/indicators.md)")
    imported.add_argument("file", type=Path, metavar="FILE.jsonl")
    where(imported)
    users = actions.add_parser("users", help="users of the DPI: CSV (profession;users)")
    users.add_argument("file", type=Path, metavar="FILE.csv")
    users.add_argument("--finess", required=True, help="the establishment")
    day = users.add_mutually_exclusive_group(required=True)
    day.add_argument("--month", metavar="2025-02", help="as they are on the last day of the month")
    day.add_argument("--at", metavar="ISO", help="as they are then: 2025-02-28T18:00:00+01:00")
    where(users)
    exported = actions.add_parser("export", help="all facts of the journal, as they can be imported")
    exported.add_argument("--config", type=Path, help="settings file (TOML)")
    counted = actions.add_parser("count", help="how many facts of each kind the journal holds")
    counted.add_argument("--config", type=Path, help="settings file (TOML)")


def run(args: argparse.Namespace) -> int:
    """What was asked for."""
    match args.action:
        case "export":
            return _export(args.config)
        case "count":
            return _count(args.config)
        case "import":
            return _send(args, "api/v1/facts", "application/x-ndjson", _import_here)
        case _:
            query = {k: v for k in ("finess", "month", "at") if (v := getattr(args, k))}
            path = f"api/v1/events/users?{urllib.parse.urlencode(query)}"
            return _send(args, path, "text/csv", _users_here)


# --- by a running gateway, or here ------------------------------------------------------------------------------------

Found = dict[str, Any]
Here = Callable[[argparse.Namespace, IO[bytes]], Awaitable[Found]]


def _send(args: argparse.Namespace, path: str, kind: str, here: Here) -> int:
    try:
        with args.file.open("rb") as file:
            try:
                access = access_of(args)
                found = _post(access, path, kind, file, args.file.stat().st_size)
            except (ConfigurationFault, ConnectionRefusedError):
                if args.url is not None:
                    raise
                file.seek(0)  # no gateway runs with these settings: the journal is free
                found = asyncio.run(_guarded(here(args, file)))
    except OSError as e:
        raise ConfigurationFault(f"{e.filename or args.file}: {e.strerror}") from e
    if args.format == "json":
        print(json.dumps(found, ensure_ascii=False, indent=1))
    elif "error" in found:
        error = found["error"]
        print(f"segur-gateway: {error['message']}", file=sys.stderr)
        faults = error.get("faults", [])
        for line in faults:
            print(line, file=sys.stderr)
        if error.get("count", 0) > len(faults):
            print(f"… et {error['count'] - len(faults)} autres", file=sys.stderr)
    else:
        print(f"{found['new']} faits nouveaux, {found['known']} déjà connus.")
    return int("error" in found)


def _post(access: LocalAccess, path: str, kind: str, file: IO[bytes], size: int) -> Found:
    """What the gateway answers; `ConnectionRefusedError` when nobody listens there."""
    request = urllib.request.Request(  # noqa: S310 - the scheme is ours, or was checked
        access.url + path,
        data=file,
        headers={
            "Authorization": f"Bearer {access.token}",
            "Content-Type": kind,
            "Content-Length": str(size),
        },
    )
    try:
        with opener().open(request, timeout=TIMEOUT) as answer:
            found: Found = json.load(answer)
            return found
    except urllib.error.HTTPError as e:
        try:
            told: Found = json.load(e)
            if isinstance(told.get("error"), dict) and "message" in told["error"]:
                return told
        except (OSError, ValueError, AttributeError):
            pass
        raise EnvironmentFault(f"refusé (HTTP {e.code})") from None
    except urllib.error.URLError as e:
        if isinstance(e.reason, ConnectionRefusedError):
            raise e.reason from None
        raise EnvironmentFault(f"la passerelle ne répond pas ({type(e.reason).__name__})") from None
    except OSError as e:
        raise EnvironmentFault(f"la passerelle ne répond pas ({type(e).__name__})") from None


async def _guarded(work: Awaitable[Found]) -> Found:
    from gateway.census import CensusFaults
    from gateway.fact_intake import FactFaults
    from gateway.web.facts import told

    try:
        return await work
    except (FactFaults, CensusFaults) as e:
        return told(e)


async def _import_here(args: argparse.Namespace, file: IO[bytes]) -> Found:
    from gateway.exchange.publisher import open_secret
    from gateway.fact_intake import FactIntake
    from gateway.journal.store import Journal

    settings, base = load_settings(args.config)
    journal = await Journal.open(base / settings.journal.path, settings.journal.at(base))
    try:
        secret = await open_secret(journal, settings, base)
        taken = await FactIntake(journal, secret).file(file, _who())
    finally:
        await journal.close()
    return {"new": taken.new, "known": taken.same}


async def _users_here(args: argparse.Namespace, file: IO[bytes]) -> Found:
    from gateway.census import read_csv
    from gateway.exchange.publisher import open_secret
    from gateway.fact_intake import FactIntake
    from gateway.journal.store import Journal
    from gateway.web.facts import day_of, establishment
    from indicators.in_use import of_settings

    settings, base = load_settings(args.config)
    finess = establishment(args.finess)
    moment = day_of(args.month or "", args.at or "", of_settings(settings, base).zone_of(finess).key)
    told = read_csv(file.read(), finess, moment)
    journal = await Journal.open(base / settings.journal.path, settings.journal.at(base))
    try:
        secret = await open_secret(journal, settings, base)
        taken = await FactIntake(journal, secret).given(told, "event", _who())
    finally:
        await journal.close()
    return {"new": taken.new, "known": taken.same}


def _who() -> str:
    try:
        return f"ligne de commande ({getpass.getuser()})"
    except (OSError, KeyError):
        return "ligne de commande"


# --- out --------------------------------------------------------------------------------------------------------------


def _export(config: Path | None) -> int:
    from gateway.journal.facts import iter_facts
    from gateway.journal.maintenance import Place

    settings, base = load_settings(config)
    write = sys.stdout.write
    for body in iter_facts(Place(base / settings.journal.path, settings.journal.at(base))):
        write(body + "\n")
    return 0


def _count(config: Path | None) -> int:
    from collections import Counter

    from gateway.journal.facts import iter_facts
    from gateway.journal.maintenance import Place

    settings, base = load_settings(config)
    found: Counter[tuple[str, str]] = Counter()
    for body in iter_facts(Place(base / settings.journal.path, settings.journal.at(base))):
        fact = json.loads(body)
        found[fact["finess"], fact["fact"]] += 1
    for (finess, kind), number in sorted(found.items()):
        print(f"{finess:<10} {kind:<20} {number:>10}")
    if not found:
        print("Aucun fait.")
    return 0
