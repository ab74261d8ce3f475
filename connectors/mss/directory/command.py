"""`segur-gateway directory address | owner`: ask the Annuaire Santé by hand. Nothing is on the way of an ACK.

Purpose: check a recipient before a DPI is told to write to it; see that the key and the network are right.
Guarantee: what is printed goes to the terminal alone; nothing is logged; a patient's address is refused, not asked.
Fails: exit status 1 when nobody is found or the directory does not answer, 2 for wrong use or settings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from connectors.mss.directory.client import Directory, create
from connectors.mss.directory.failures import DirectoryUnavailable, NotToBeAsked
from connectors.mss.directory.model import Entry, MailboxType, Owner, Professional, Structure
from connectors.mss.directory.settings import DirectorySettings
from connectors.mss.settings import load
from gateway.errors import ConfigurationFault
from gateway.settings import load_settings

TYPES = {
    MailboxType.PERSONAL: "personnelle",
    MailboxType.ORGANISATIONAL: "organisationnelle",
    MailboxType.APPLICATION: "applicative",
    MailboxType.PRACTICE: "de cabinet",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="segur-gateway directory",
        description="Ask the Annuaire Santé (settings: [connectors.mss.directory]).",
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, help="settings file (TOML)")
    shared.add_argument("--format", choices=("text", "json"), default="text")
    actions = parser.add_subparsers(dest="action", required=True)
    address = actions.add_parser(
        "address", parents=[shared], help="listed mailboxes of a professional or a structure"
    )
    who = address.add_mutually_exclusive_group(required=True)
    who.add_argument("--rpps", help="eleven digits, or 8 and the RPPS")
    who.add_argument("--finess", help="nine characters, geographical or legal entity")
    owner = actions.add_parser("owner", parents=[shared], help="whose mailbox an address is")
    owner.add_argument("address", metavar="ADDRESS")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command (group `segur_gateway.commands`)."""
    values = _parser().parse_args(argv)
    settings, base = load_settings(values.config)
    table = settings.connectors.get("mss")
    directory = None if table is None else load(table, base).directory
    if directory is None or directory.backend == "none":
        raise ConfigurationFault('connectors.mss.directory: no directory (backend = "annuaire-sante")')
    try:
        return asyncio.run(_asked(values, directory))
    except NotToBeAsked:
        # the value may be a patient's
        print(
            "segur-gateway directory : ce n'est pas un identifiant ou une adresse de professionnel",
            file=sys.stderr,
        )
        return 2
    except DirectoryUnavailable as e:
        print(f"segur-gateway directory : l'annuaire ne répond pas ({e})", file=sys.stderr)
        return 1


async def _asked(values: argparse.Namespace, settings: DirectorySettings) -> int:
    directory = create(settings)
    assert directory is not None
    try:
        if values.action == "owner":
            owner = await directory.owner_of(values.address)
            _say(None if owner is None else asdict(owner), _owner(owner), values.format)
            return 0 if owner is not None else 1
        entries = await _addresses(directory, values)
        _say([asdict(e) for e in entries], _entries(entries), values.format)
        return 0 if entries else 1
    finally:
        await directory.close()


async def _addresses(directory: Directory, values: argparse.Namespace) -> tuple[Entry, ...]:
    if values.rpps is not None:
        return await directory.addresses_of_person(values.rpps)
    return await directory.addresses_of_organisation(values.finess)


def _say(value: object, lines: Sequence[str], form: str) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1) if form == "json" else "\n".join(lines))


def _entries(entries: Sequence[Entry]) -> list[str]:
    if not entries:
        return ["Aucune boîte aux lettres connue de l'annuaire."]
    made = []
    for entry in entries:
        what = ", ".join(t for t in (entry.description, entry.service) if t)
        place = _structure(entry.structure) if entry.structure else ""
        made.append("  ".join(t for t in (entry.address, f"({_type(entry.type)})", what, place) if t))
    return made


def _owner(owner: Owner | None) -> list[str]:
    if owner is None:
        return ["Adresse inconnue de l'annuaire, ou portée par plusieurs titulaires."]
    made = [f"Boîte {_type(owner.type)}"]
    if owner.person is not None:
        made.append(f"Professionnel : {_person(owner.person)}")
    if owner.structure is not None:
        made.append(f"Structure : {_structure(owner.structure)}")
    return made


def _type(kind: MailboxType | None) -> str:
    return "de type inconnu" if kind is None else TYPES[kind]


def _person(person: Professional) -> str:
    name = f"{person.given} {person.family}".strip()
    return f"{name} (RPPS {person.rpps})" if person.rpps else name


def _structure(structure: Structure) -> str:
    number = (
        f"FINESS {structure.finess}" if structure.finess else structure.siret and f"SIRET {structure.siret}"
    )
    return f"{structure.name} ({number})" if number else structure.name
