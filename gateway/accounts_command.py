"""`segur-gateway accounts` and `segur-gateway tokens`: accounts of people, tokens of programs.

Purpose: what the pages `/comptes` and `/jetons` do, for a terminal. The running gateway does it, over its own interface
(found as by `segur-gateway delivery`); when none runs here, the command does it in the journal itself.
Guarantee: each change is in the trace, with the account of this machine that ran the command. A link or a token is
printed once, on standard output.
Fails: exit status 1 when it cannot be done, 2 when the journal or the gateway cannot be reached, or for wrong use.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.access import LOCAL
from gateway.by_hand_command import access_of, call, say, where
from gateway.errors import ConfigurationFault
from gateway.rights import SCOPES, Role
from gateway.settings import Settings, load_settings

_DEEDS = {
    "disable": "nobody logs in with it; its sessions and links end",
    "enable": "it may be used again",
    "unlock": "it need not wait after failed log-ins",
    "reset": "print a one-time link for a new password",
}

_NO_PORT = (
    " (la passerelle choisit son port à chaque démarrage : ajouter ce chemin à l'adresse que donne sa ligne"
    " « ready … web=… »)"
)


def add_parsers(commands: Any) -> None:
    """Add both commands to the parser of `segur-gateway`."""
    accounts = commands.add_parser(
        "accounts", help="accounts: list, invite, role, subject, disable, enable, unlock, reset"
    )
    actions = accounts.add_subparsers(dest="action", required=True)
    where(actions.add_parser("list", help="all accounts"))
    invite = actions.add_parser("invite", help="a new account: print the one-time link for its person")
    invite.add_argument("login", nargs="?", help="without it: the first administrator, who chooses it")
    invite.add_argument("--name", default="", help="to show")
    invite.add_argument("--role", choices=[r.value for r in Role], default=Role.LECTEUR.value)
    invite.add_argument("--subject", help="who it is at the OpenID Connect provider")
    where(invite)
    role = actions.add_parser("role", help="another role; the sessions of the account end")
    role.add_argument("login")
    role.add_argument("role", choices=[r.value for r in Role])
    where(role)
    subject = actions.add_parser("subject", help="who it is at the OpenID Connect provider")
    subject.add_argument("login")
    subject.add_argument("subject", nargs="?", help="without it: nobody")
    where(subject)
    for deed, words in _DEEDS.items():
        parser = actions.add_parser(deed, help=words)
        parser.add_argument("login")
        where(parser)
    tokens = commands.add_parser("tokens", help="tokens of programs: list, create, revoke")
    actions = tokens.add_subparsers(dest="action", required=True)
    where(actions.add_parser("list", help="the last ones"))
    create = actions.add_parser("create", help="a new token, printed once")
    create.add_argument("name")
    create.add_argument("--scope", action="append", choices=SCOPES, required=True, help="may be repeated")
    create.add_argument("--days", type=float, help="how long it is good; default: without an end")
    where(create)
    revoke = actions.add_parser("revoke", help="it opens nothing any more")
    revoke.add_argument("id", type=int)
    where(revoke)


def run(args: argparse.Namespace) -> int:
    """Do what the command line says; the exit status."""
    found = _remote(args)
    if found is None:
        settings, base = load_settings(args.config)
        found = asyncio.run(_direct(args, settings, base))
    return say(args, found, _in_words(args, found))


def operator() -> str:
    """The account of this machine that runs the command; empty when it has no name that the trace takes."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        return ""
    return name if re.fullmatch(r"[\w.-]{1,32}", name) else ""


def _body(args: argparse.Namespace) -> Any:
    from gateway.accounts.administration import Change, Wanted, WantedToken

    if args.command == "tokens":
        return WantedToken(name=args.name, scopes=args.scope, days=args.days)
    if args.action == "invite":
        return Wanted(login=args.login, name=args.name, role=Role(args.role), subject=args.subject)
    return Change(
        role=Role(args.role) if args.action == "role" else None,
        subject=args.subject if args.action == "subject" else None,
    )


def _remote(args: argparse.Namespace) -> dict[str, Any] | None:
    """By the running gateway; None: none runs here."""
    try:
        access = access_of(args)
    except ConfigurationFault:
        if args.url is not None:
            raise
        load_settings(args.config)  # wrong settings are said as they are
        return None
    kind = args.command
    match kind, args.action:
        case _, "list":
            path, body = f"api/v1/{kind}", None
        case _, "create":
            path, body = "api/v1/tokens", _body(args).model_dump(mode="json")
        case _, "revoke":
            path, body = f"api/v1/tokens/{args.id}/revoke", {}
        case _, "invite" if args.login is None:
            path, body = "api/v1/accounts/first", {}
        case _, "invite":
            path, body = "api/v1/accounts", _body(args).model_dump(mode="json")
        case _, deed:
            path = f"api/v1/accounts/{quote(args.login, safe='')}/{deed}"
            body = _body(args).model_dump(mode="json")
    try:
        return call(access, path, body, operator())
    except ConfigurationFault:
        if args.url is not None:
            raise
        return None  # its file outlived it; were it there all the same, the journal would be in use


async def _direct(args: argparse.Namespace, settings: Settings, base: Path) -> dict[str, Any]:
    """In the journal itself."""
    # what the other commands of this program need not wait for
    from gateway.accounts.administration import Administration
    from gateway.accounts.desk import open_desk
    from gateway.accounts.trace import Actor
    from gateway.exchange.identifiers import Clock
    from gateway.journal.store import Journal

    user = operator()
    who = Actor(f"{LOCAL} ({user})" if user else LOCAL, "command")
    journal = await Journal.open(base / settings.journal.path, settings.journal.at(base))
    try:
        desk = open_desk(journal, settings.web, Clock())
        administration = Administration(desk, settings.web, settings.web.port)
        match args.command, args.action:
            case "accounts", "list":
                return await administration.accounts()
            case "tokens", "list":
                return await administration.tokens()
            case _, "create":
                return await administration.create_token(_body(args), who)
            case _, "revoke":
                return await administration.revoke_token(args.id, who)
            case _, "invite" if args.login is None:
                return await administration.first()
            case _, "invite":
                return await administration.invite(_body(args), who)
            case _, deed:
                return await administration.act(args.login, deed, _body(args), who)
    finally:
        await journal.close()


def _in_words(args: argparse.Namespace, found: dict[str, Any]) -> str:
    if "link" in found:
        where = _NO_PORT if found["link"].startswith("/") else ""
        return f"Lien à usage unique, valable jusqu'au {found['expires_at']}{where} :\n{found['link']}"
    if "token" in found:
        return f"Jeton {found['id']} ({found['name']}), affiché cette seule fois :\n{found['token']}"
    if args.action != "list":
        return "Fait."
    if args.command == "accounts":
        return "\n".join(map(_account, found["accounts"])) or "Aucun compte."
    return "\n".join(map(_token, found["tokens"])) or "Aucun jeton."


def _account(row: dict[str, Any]) -> str:
    state = (
        "actif" if row["password"] or row["subject"] else "invité" if row["invited"] else "sans mot de passe"
    )
    if row["locked_until"]:
        state = f"bloqué jusqu'au {row['locked_until']}"
    if row["disabled"]:
        state = "désactivé"
    last = f", connecté le {row['last_login_at']}" if row["last_login_at"] else ""
    return f"{row['login']:<24} {row['role']:<15} {state}{last}"


def _token(row: dict[str, Any]) -> str:
    state = "révoqué" if row["revoked_at"] else "valable" if row["good"] else "périmé"
    until = f" jusqu'au {row['expires_at']}" if row["expires_at"] and row["good"] else ""
    return f"{row['id']:>6}  {row['name']:<24} {state}{until}  {','.join(row['scopes'])}"
