"""`segur-gateway indicators compute | wave1 | explain`: figures of a month, and the list behind one, from a file of
facts or from the journal of a gateway.

Purpose: the indicators without a gateway: scenarios, a migration tried before it is done, a figure discussed. With
`--config`, from the facts of its journal, while it runs or not.
Guarantee: nothing is written, nothing is sent. Exit status 0 done, 1 the file or what was asked for is wrong.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from dataclasses import asdict, replace

from gateway.errors import ConfigurationFault
from indicators import export, told
from indicators.catalogue import Catalogue, chosen, default
from indicators.engine import compute
from indicators.explain import Explanation, explain
from indicators.facts import UNKNOWN_FINESS
from indicators.files import FileFaults, read_file
from indicators.sheet import Cell
from indicators.world import World

WAVE_1 = "TBB-1"


def run(args: argparse.Namespace) -> int:
    """What was asked for, on standard output."""
    if args.facts is not None and args.config is not None:
        raise ConfigurationFault("--facts and --config do not go together")
    # a fold makes millions of objects that live as long as it does: collections would only walk over them
    gc.disable()
    try:
        catalogue, world = _of_file(args) if args.facts is not None else _of_journal(args)
        made = _explained if args.action == "explain" else _computed
        print(made(args, world, catalogue), end="")
    except FileFaults as e:
        for line in e.faults:
            print(line, file=sys.stderr)
        if e.count > len(e.faults):
            print(f"… et {e.count - len(e.faults)} autres", file=sys.stderr)
        return 1
    except LookupError:
        print("segur-gateway: aucune ligne de ce mois ne correspond", file=sys.stderr)
        return 1
    finally:
        # the end of the process need not walk over them either
        gc.freeze()
        gc.enable()
    return 0


def _of_file(args: argparse.Namespace) -> tuple[Catalogue, World]:
    return default(), read_file(args.facts, args.as_of)


def _of_journal(args: argparse.Namespace) -> tuple[Catalogue, World]:
    """The catalogue and the facts of the gateway that the settings name."""
    from gateway.journal.fact_stream import Reader, Source
    from gateway.settings import load_settings

    settings, base = load_settings(args.config)
    own, journal = settings.indicators, settings.journal.at(base)
    catalogue = chosen(None if own.catalogue is None else base / own.catalogue, own.time_zones)
    source = (
        Source(url=journal.url, password_file=journal.password_file)
        if journal.url is not None
        else Source(path=base / journal.path)
    )
    world = World(args.as_of)
    for at, body in Reader(source).rows(None if args.as_of is None else args.as_of.timestamp()):
        world.tell(told.read(body), at)
    return catalogue, world


def _computed(args: argparse.Namespace, world: World, catalogue: Catalogue) -> str:
    result = compute(world, args.month, finess=args.finess, catalogue=catalogue, cutoff=args.cutoff)
    if args.action == "wave1":
        result = replace(result, rows=[r for r in result.rows if r.indicator == WAVE_1], quality=[])
    if args.format == "csv":
        return export.to_csv(result.rows)
    if args.format == "json":
        return export.to_json(result) + "\n"
    return export.to_table(result, catalogue) if result.rows else "Aucun fait.\n"


def _explained(args: argparse.Namespace, world: World, catalogue: Catalogue) -> str:
    cell = Cell(
        args.indicator,
        args.period or args.month,
        args.breakdown_type or "",
        args.document_code,
        args.profession,
        args.channel,
        args.stay_kind,
        args.result,
    )
    if args.breakdown_type is None:
        # all but the kind of breakdown says which row it is
        rows = compute(world, args.month, finess=args.finess, catalogue=catalogue, cutoff=args.cutoff).rows
        cell = next((r.cell for r in rows if r.cell._replace(breakdown="") == cell), cell)
    explanation = explain(
        world, args.month, args.finess or UNKNOWN_FINESS, cell, catalogue=catalogue, cutoff=args.cutoff
    )
    if args.format == "json":
        return json.dumps(asdict(explanation), ensure_ascii=False, indent=1) + "\n"
    return _in_words(explanation)


def _in_words(explanation: Explanation) -> str:
    row = explanation.row
    denominator = "" if row.denominator is None else f" / {row.denominator}"
    lines = [f"{row.indicator}  {explanation.title}", f"{row.numerator}{denominator}", ""]
    for member in explanation.members:
        sign = "+" if member.numerator else ("-" if member.denominator else " ")
        lines.append(f"{sign} {_words(member.subject)} — {member.sentence}")
        lines += [f"      {_words(evidence)}" for evidence in member.evidence]
    return "\n".join(lines) + "\n"


def _words(told: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in told.items())
