"""`segur-gateway db upgrade | backup FILE | restore FILE | verify`: the operator's words for `journal.maintenance`.

Exit status: 0 done and sound, 1 damaged, 2 wrong use or wrong settings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `segur-gateway db`."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, words, file in (
        ("upgrade", "bring the journal to this gateway's schema (all gateways stopped)", False),
        ("backup", "write one state of the journal to FILE; gateways may be at work", True),
        ("restore", "make the journal of a backup; there must be none", True),
        ("verify", "read every payload and document against its SHA-256; exit 1: damaged", False),
    ):
        action = actions.add_parser(name, help=words)
        if file:
            action.add_argument("file", type=Path, metavar="FILE")
        action.add_argument("--config", type=Path, help="settings file (TOML)")


def run(args: argparse.Namespace) -> int:
    """The action; its exit status."""
    from gateway.journal.maintenance import MAX_NAMED, Place, backup, restore, upgrade, verify

    settings, base = load_settings(args.config)
    place = Place(base / settings.journal.path, settings.journal.at(base))
    match args.action:
        case "upgrade":
            before, after = upgrade(place)
            print(
                f"Journal déjà au schéma {after}."
                if before == after
                else f"Journal : schéma {before} → {after}."
            )
        case "backup":
            print(f"Sauvegarde écrite : {args.file} ({backup(place, args.file)} octets).")
        case "restore":
            restore(place, args.file)
            print("Journal restauré. Vérifiez-le : segur-gateway db verify")
        case _:
            found = verify(place)
            print(
                f"Journal au schéma {found.version} : {found.payloads} contenus ({found.size} octets) et"
                f" {found.documents} documents relus."
            )
            for line in found.damaged[:MAX_NAMED]:
                print(f"  endommagé : {line}")
            if found.damaged:
                print(f"{len(found.damaged)} éléments endommagés.")
                return 1
            print("Tout correspond à son empreinte SHA-256.")
    return 0
