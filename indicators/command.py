"""`segur-gateway indicators compute | explain`: figures of a month from a file of facts, and the list behind one.

Purpose: the indicators without a gateway: scenarios, a migration tried before it is done, a figure discussed.
Guarantee: nothing is written, nothing is sent. Exit status 0 done, 1 the file or what was asked for is wrong.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from dataclasses import asdict

from indicators import export
from indicators.engine import compute
from indicators.explain import Explanation, explain
from indicators.facts import UNKNOWN_FINESS
from indicators.files import FileFaults, read_file
from indicators.sheet import Cell
from indicators.world import World


def run(args: argparse.Namespace) -> int:
    """What was asked for, on standard output."""
    # a fold makes millions of objects that live as long as it does: collections would only walk over them
    gc.disable()
    try:
        world = read_file(args.facts, args.as_of)
        print(_explained(args, world) if args.action == "explain" else _computed(args, world), end="")
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
        gc.enable()
    return 0


def _computed(args: argparse.Namespace, world: World) -> str:
    result = compute(world, args.month, finess=args.finess, cutoff=args.cutoff)
    if args.format == "csv":
        return export.to_csv(result.rows)
    if args.format == "json":
        return export.to_json(result) + "\n"
    return export.to_table(result) if result.rows else "Aucun fait.\n"


def _explained(args: argparse.Namespace, world: World) -> str:
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
        rows = compute(world, args.month, finess=args.finess, cutoff=args.cutoff).rows
        cell = next((r.cell for r in rows if r.cell._replace(breakdown="") == cell), cell)
    explanation = explain(world, args.month, args.finess or UNKNOWN_FINESS, cell, cutoff=args.cutoff)
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
