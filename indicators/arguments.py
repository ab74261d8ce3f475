"""Arguments of `segur-gateway indicators`, apart: every command builds the parser, few need the rest.

Purpose: the actions and their options. Fails: never.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True)
    figures = actions.add_parser("compute", help="the rows of a month")
    figures.add_argument("--format", choices=("table", "csv", "json"), default="table")
    figures.add_argument("--finess", help="one establishment (default: all that the facts speak of)")
    wave = actions.add_parser("wave1", help="TBB-1 alone: attempts by channel, type and result")
    wave.add_argument("--format", choices=("table", "csv", "json"), default="table")
    wave.add_argument("--finess", help="one establishment (default: all that the facts speak of)")
    listed = actions.add_parser("explain", help="the list behind one row, and why each counts or not")
    listed.add_argument("--finess", required=True)
    listed.add_argument("--indicator", required=True, metavar="ALI-1")
    listed.add_argument(
        "--breakdown-type", default=None, help="as in the rows (default: found from the others)"
    )
    for name in ("document-code", "profession", "channel", "stay-kind", "result", "period"):
        listed.add_argument(f"--{name}", default="", help="as in the rows")
    listed.add_argument("--format", choices=("text", "json"), default="text")
    for action in (figures, wave, listed):
        action.add_argument("--facts", type=Path, metavar="FILE", help="JSON lines (docs/indicators.md)")
        action.add_argument(
            "--config", type=Path, help="settings of a gateway: the facts of its journal, beside it at work"
        )
        action.add_argument("--month", required=True, metavar="2025-02")
        action.add_argument("--as-of", type=_instant, metavar="ISO", help="facts known then (default: all)")
        action.add_argument("--cutoff", type=_instant, metavar="ISO", help="up to when a success counts")
    publish = actions.add_parser(
        "publish", help="compute a month now: publish it, or its next revision, when it is to be"
    )
    differences = actions.add_parser("differences", help="what a revision changed")
    differences.add_argument("--finess", required=True)
    differences.add_argument("--revision", type=int, help="default: the newest")
    for action in (publish, differences):
        action.add_argument("--month", required=True, metavar="2025-02")
        action.add_argument("--config", type=Path, help="settings file of the gateway on this machine")
        action.add_argument("--url", help="another gateway: https://…/")
        action.add_argument("--token-file", type=Path, help="file with the token for --url")
        action.add_argument("--format", choices=("text", "json"), default="text")


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("no instant: 2025-03-11T00:00:00+01:00 is one") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("an offset is needed: 2025-03-11T00:00:00+01:00")
    return moment
