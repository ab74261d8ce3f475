"""`segur-gateway delivery` and `segur-gateway mail`: what waits, and what a person does to it.

Purpose: the running gateway does it, over its own interface; this command finds it (and its token) in the file that the
gateway wrote beside its journal, or is told where it is (`--url`, `--token-file`).
Guarantee: nothing is done to the journal itself; a token comes from a file, never from the command line.
Fails: exit status 1 when it cannot be done, 2 when the gateway is not there or the command is wrong.
"""

from __future__ import annotations

import argparse
import getpass
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from gateway.access import LocalAccess, local_file, read_local
from gateway.errors import ConfigurationFault, EnvironmentFault
from gateway.settings import load_settings

TIMEOUT = 60.0
_DEEDS = {
    "hold": "keep back: it is not sent until it is released",
    "release": "let it go on",
    "retry": "try now",
    "cancel": "end it without sending; the DPI is told N if it asked",
}


def add_parsers(commands: Any) -> None:
    """Add both commands to the parser of `segur-gateway`."""
    delivery = commands.add_parser(
        "delivery", help="deliveries that wait: list, show, hold, release, retry, cancel"
    )
    actions = delivery.add_subparsers(dest="action", required=True)
    listed = actions.add_parser("list", help="what waits, oldest first")
    listed.add_argument("--destination", help="dmp, mss, dpi, errors")
    listed.add_argument("--limit", type=int, default=100)
    where(listed)
    shown = actions.add_parser("show", help="one delivery: attempts, and why it waits")
    shown.add_argument("id", type=int)
    where(shown)
    for deed, words in _DEEDS.items():
        parser = actions.add_parser(deed, help=words)
        parser.add_argument("id", type=int, nargs="?", help="number of a delivery")
        parser.add_argument("--destination", help="all that waits for it (not what comes later)")
        parser.add_argument("--message", metavar="MSH-10", help="all deliveries of a message")
        parser.add_argument("--sender", metavar="APPLICATION|FACILITY", help="when several sent this MSH-10")
        if deed == "cancel":
            parser.add_argument(
                "--even-if-sent",
                action="store_true",
                help="also what may have arrived: nobody will look any more",
            )
        _reason(parser)
        where(parser)
    retention = commands.add_parser("retention", help="what retention would empty or remove now")
    retention.add_argument(
        "--dry-run", action="store_true", required=True, help="the only way: the gateway does it by itself"
    )
    where(retention)
    mail = commands.add_parser("mail", help="received mails that wait for a person: list, retry, seen")
    actions = mail.add_subparsers(dest="action", required=True)
    listed = actions.add_parser("list", help="the last ones")
    listed.add_argument("--limit", type=int, default=100)
    where(listed)
    for deed, words in (("retry", "treat it again"), ("seen", "it needs nobody any more")):
        parser = actions.add_parser(deed, help=words)
        parser.add_argument("id", type=int)
        _reason(parser)
        where(parser)


def _reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reason", required=True, help="kept in the trace: no patient's name, number or address"
    )


def where(parser: argparse.ArgumentParser) -> None:
    """Arguments that say which gateway, and in which form it is told."""
    parser.add_argument("--config", type=Path, help="settings file of the gateway on this machine")
    parser.add_argument("--url", help="another gateway: https://…/")
    parser.add_argument("--token-file", type=Path, help="file with the token for --url")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Do what the command line says; the exit status."""
    access = access_of(args)
    if args.command == "indicators":
        return _indicators(args, access)
    if args.command == "retention":
        found = call(access, "api/v1/retention")
        return say(args, found, _swept(found))
    if args.action == "list":
        query = {"limit": args.limit}
        if args.command == "delivery" and args.destination:
            query["destination"] = args.destination
        plural = "deliveries" if args.command == "delivery" else "mails"
        path = "deliveries" if args.command == "delivery" else "mails/waiting"
        found = call(access, f"api/v1/{path}?{urllib.parse.urlencode(query)}")
        return say(args, found, _list(found[plural], _delivery if args.command == "delivery" else _mail))
    if args.action == "show":
        found = call(access, f"api/v1/deliveries/{args.id}")
        return say(args, found, _shown(found))
    body: dict[str, Any] = {"reason": _signed(args.reason)}
    if getattr(args, "even_if_sent", False):
        body["even_if_sent"] = True
    if args.command == "mail":
        return say(args, call(access, f"api/v1/mails/{args.id}/{args.action}", body), "Fait.")
    named = [args.id is not None, args.destination is not None, args.message is not None]
    if sum(named) != 1:
        raise ConfigurationFault("name one delivery, or --destination, or --message")
    if args.id is not None:
        found = call(access, f"api/v1/deliveries/{args.id}/{args.action}", body)
        return say(
            args, found, f"Envoi {found['id']} ({found['destination']}) : fait, état {found['state']}."
        )
    body |= {k: v for k in ("destination", "message", "sender") if (v := getattr(args, k)) is not None}
    found = call(access, f"api/v1/deliveries/{args.action}", body)
    lines = [f"{len(found['done'])} envois : fait."]
    lines += [f"Envoi {r['id']} : refusé. {r['message']}" for r in found["refused"]]
    return say(args, found, "\n".join(lines)) or int(bool(found["refused"]))


def _signed(reason: str) -> str:
    """With the account that runs the command, which the local token alone does not tell."""
    try:
        return f"{reason} ({getpass.getuser()})"
    except (OSError, KeyError):
        return reason


def access_of(args: argparse.Namespace) -> LocalAccess:
    """Where the gateway answers, and the token. `ConfigurationFault` when none runs here."""
    if args.url is None:
        settings, base = load_settings(args.config)
        return read_local(local_file(settings, base))
    if args.token_file is None:
        raise ConfigurationFault("--url needs --token-file")
    try:
        token = args.token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationFault(f"{args.token_file}: {type(e).__name__}") from None
    if urllib.parse.urlsplit(args.url).scheme not in ("http", "https"):
        raise ConfigurationFault("--url must begin with http:// or https://")
    return LocalAccess(args.url.rstrip("/") + "/", token)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes to the gateway that was named, nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Not followed."""


def opener() -> urllib.request.OpenerDirector:
    """Calls a gateway itself: no proxy, no other place."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def call(
    access: LocalAccess, path: str, body: dict[str, Any] | None = None, operator: str = ""
) -> dict[str, Any]:
    """One request. `EnvironmentFault` with the gateway's own sentence when it refuses, `ConfigurationFault` when it
    does not answer. `operator`: who runs the command."""
    request = urllib.request.Request(  # noqa: S310 - the scheme is ours, or was checked
        access.url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {access.token}", "Content-Type": "application/json"}
        | ({"X-Operator": operator} if operator else {}),
    )
    try:
        with opener().open(request, timeout=TIMEOUT) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as e:
        raise EnvironmentFault(_sentence(e)) from None
    except (OSError, ValueError) as e:
        raise ConfigurationFault(f"la passerelle ne répond pas ({type(e).__name__})") from None


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return "inconnu" if error.code == 404 else f"refusé (HTTP {error.code})"


def say(args: argparse.Namespace, found: dict[str, Any], text: str) -> int:
    """Print it as asked; exit status 0."""
    print(json.dumps(found, ensure_ascii=False, indent=1) if args.format == "json" else text)
    return 0


def _indicators(args: argparse.Namespace, access: LocalAccess) -> int:
    if args.action == "publish":
        query = urllib.parse.urlencode({"month": args.month})
        found = call(access, f"api/v1/indicators/publish?{query}", {})
        return say(args, found, _published(found))
    named = {"month": args.month, "finess": args.finess}
    if args.revision is not None:
        named["revision"] = args.revision
    found = call(access, f"api/v1/indicators/differences?{urllib.parse.urlencode(named)}")
    lines = [f"Révision {found['revision']} de {found['month']}, établissement {found['finess']} :"]
    lines += [f"  - {change['sentence']}" for change in found["changes"]] or ["  rien avant elle"]
    return say(args, found, "\n".join(lines))


def _published(found: dict[str, Any]) -> str:
    if not found["computations"]:
        return str(found["reason_text"] or "Le calcul n'est pas fini.")
    lines = [
        f"{c['finess']} : provisoire, arrêté au {c['cutoff']}"
        if c["provisional"]
        else f"{c['finess']} : révision {c['revision']}, {c['changes']} lignes changées"
        for c in found["computations"]
    ]
    return "\n".join([*lines, *(["Le calcul n'est pas fini."] if found["stale"] else [])])


def _swept(found: dict[str, Any]) -> str:
    return (
        f"Contenus à vider : {found['messages']} messages et {found['mails']} courriels ({found['bytes']} octets).\n"
        f"Détails à supprimer : {found['deliveries']} envois.\n"
        f"Lignes à supprimer : {found['adt']} messages ADT, {found['audit']} lignes de la trace des accès."
    )


def _list(rows: list[dict[str, Any]], line: Any) -> str:
    return "\n".join(map(line, rows)) or "Rien n'attend."


def _delivery(row: dict[str, Any]) -> str:
    held = " RETENU" if row["on_hold"] else ""
    about = f" message {row['message']}" if row["message"] else ""
    last = f" ; dernier essai : {row['outcome']} {row['code']}".rstrip() if row["outcome"] else ""
    return (
        f"{row['id']:>8}  {row['destination']:<7} {_state(row)}{held}{about}, depuis {row['created_at']},"
        f" {row['attempts']} essais, prochain {row['due_at']}{last}"
    )


def _state(row: dict[str, Any]) -> str:
    from gateway.web.wording import state

    return state(row["state"])


def _mail(row: dict[str, Any]) -> str:
    return f"{row['id']:>8}  {row['mailbox']} {row['kind']} {row['reason']} reçu {row['received_at']}"


def _shown(row: dict[str, Any]) -> str:
    lines = [
        _delivery(row) if not row["finished_at"] else f"{row['id']:>8}  {row['destination']} {_state(row)}"
    ]
    lines += [f"  document {uid}" for uid in row["documents"]]
    if row["waits_for"] and not row["finished_at"]:
        lines.append(f"  attend la fin des envois {', '.join(map(str, row['waits_for']))}")
    lines += [
        f"  essai {h['number']} {h['kind']} le {h['ended_at']} : {h['outcome']} {h['code']} {h['label']}".rstrip()
        for h in row["history"]
    ]
    return "\n".join(lines)
