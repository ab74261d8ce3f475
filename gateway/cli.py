"""The command line: `segur-gateway run | send | validate | delivery | mail | accounts | tokens | cda-package | db |
check-config | simulator | demo | …`.

Exit status: 0 done (or AA for `send`, accepted for `validate`), 1 refused or failed, 2 wrong use or wrong settings,
130 interrupted, 141 nobody read the rest of what was printed (`| head`).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import signal
import ssl
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from gateway import __version__, by_hand_command, logs, pipes
from gateway.errors import ConfigurationFault, EnvironmentFault, GatewayError
from gateway.hl7 import acknowledgement
from gateway.mllp import send
from gateway.plugins import COMMAND_GROUP
from gateway.settings import load_settings
from gateway.validation.source import read_source
from gateway.web.wording import ACKS

SIMULATOR_GROUP = "segur_gateway.simulators"
GC_THRESHOLDS = (20_000, 50, 50)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command `segur-gateway`."""
    status = pipes.STATUS
    try:
        try:
            status = _main(argv)
        finally:
            # at the end of the process it would be too late to say nothing
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        if not pipes.nobody_reads():
            raise
    return status


def _main(argv: Sequence[str] | None) -> int:
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    brought = {e.name: e for e in entry_points(group=COMMAND_GROUP)}
    if rest and args.command != "simulator" and args.command not in brought:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        match args.command:
            case "run":
                return asyncio.run(_run(args.config))
            case "send":
                return asyncio.run(_send(args))
            case "validate":
                from gateway.validation import command

                return command.run(args)
            case "indicators" if args.action in ("publish", "differences"):
                return by_hand_command.run(args)
            case "indicators":
                from indicators import command as indicators

                return indicators.run(args)
            case "delivery" | "mail" | "retention":
                return by_hand_command.run(args)
            case "facts":
                from gateway import facts_command

                return facts_command.run(args)
            case "accounts" | "tokens":
                from gateway import accounts_command

                return accounts_command.run(args)
            case "cda-package":
                return _cda_package(args.directory, args.format)
            case "db":
                from gateway.journal import command as db

                return db.run(args)
            case "check-config":
                return _check_config(args.config)
            case "simulator":
                return _simulators(rest) if args.name is None else _simulator(args.name, rest)
            case "demo":
                from gateway.demo import demo

                return asyncio.run(
                    demo(args.directory, args.message, args.mllp_port, args.web_port, args.once)
                )
            case name if name in brought:
                status: int = brought[name].load().main(rest)
                return status
            case _:
                print(__version__)
                return 0
    except ConfigurationFault as e:
        print(f"segur-gateway: {e}", file=sys.stderr)
        return 2
    except GatewayError as e:
        print(f"segur-gateway: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="segur-gateway", description="Open Ségur DPI/PFI gateway.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the gateway")
    run.add_argument("--config", type=Path, help="settings file (TOML)")
    package = commands.add_parser("cda-package", help="the official CDA package (XSD, schematrons)")
    actions = package.add_subparsers(dest="action", required=True)
    audit = actions.add_parser(
        "check", help="what is in a package and what is wrong with it; exit 0: usable, 1: not"
    )
    audit.add_argument("directory", type=Path, metavar="DIR")
    audit.add_argument("--format", choices=("text", "json"), default="text")
    check = commands.add_parser("check-config", help="say everything that is wrong with the settings")
    check.add_argument("--config", type=Path, help="settings file (TOML)")
    from gateway.journal.command import add_arguments

    add_arguments(commands.add_parser("db", help="the journal: upgrade, backup, restore, verify"))
    send = commands.add_parser("send", help="send an ER7 file over MLLP and print the ACK in words")
    send.add_argument("file", type=Path)
    send.add_argument("--host", default="127.0.0.1")
    send.add_argument("--port", type=int, default=2575)
    send.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the ACK")
    send.add_argument("--ca", type=Path, help="speak TLS and trust this CA bundle")
    send.add_argument("--certificate", type=Path, help="client certificate (PEM)")
    send.add_argument("--key", type=Path, help="key of the client certificate")
    send.add_argument(
        "--raw", action="store_true", help="print the ACK as received too (it repeats no patient data)"
    )
    validate = commands.add_parser(
        "validate", help="full report of ER7 or CDA files, without sending anything"
    )
    _validate_arguments(validate)
    from indicators.arguments import add_arguments as indicators_arguments

    indicators_arguments(
        commands.add_parser(
            "indicators", help="monthly DSR indicators: compute, wave1, explain, publish, differences"
        )
    )
    by_hand_command.add_parsers(commands)
    from gateway.facts_command import add_parser as facts_parser

    facts_parser(commands)
    from gateway.accounts_command import add_parsers as accounts_parsers

    accounts_parsers(commands)
    simulator = commands.add_parser("simulator", help="run a simulated counterpart", add_help=False)
    simulator.add_argument(
        "name", nargs="?", choices=sorted(e.name for e in entry_points(group=SIMULATOR_GROUP))
    )
    demo = commands.add_parser("demo", help="gateway and simulators on loopback, one document sent")
    demo.add_argument("--directory", type=Path, default=Path("var/demo"))
    demo.add_argument("--message", type=Path, default=Path("fixtures/messages/mdm_t02_n1.er7"))
    demo.add_argument("--mllp-port", type=int, default=2575)
    demo.add_argument("--web-port", type=int, default=8080)
    demo.add_argument("--once", action="store_true", help="stop after the first document; exit 0 or 1")
    commands.add_parser("version", help="print the version")
    for entry in entry_points(group=COMMAND_GROUP):
        commands.add_parser(entry.name, help=f"see {entry.name} --help", add_help=False)
    return parser


def _validate_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `segur-gateway validate`."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="an ER7 message (MDM, ORU) or a bare CDA; - reads standard input; of several files the exit status is"
        " that of the worst",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--action",
        choices=("submit", "replace", "delete"),
        help="for a CDA: what would be asked (default: submit); for a message: instead of what it asks",
    )
    parser.add_argument(
        "--destinations",
        type=_destinations,
        metavar="dmp,mss",
        help="for a CDA: where it would go (default: not judged); for a message: instead of what it asks",
    )
    parser.add_argument(
        "--processing",
        choices=("P", "T", "D"),
        help="MSH-11 (P production, T training, D debugging); for a message: instead of what it says",
    )
    parser.add_argument("--conformance", choices=("production", "interop"), help="preset of rule severities")
    parser.add_argument("--package", type=Path, metavar="DIR", help="folder of the official CDA package")
    parser.add_argument(
        "--config", type=Path, help="settings file (TOML); its connectors are asked too, offline"
    )


def _destinations(text: str) -> frozenset[str]:
    """`dmp,mss` as a set; raises for another word."""
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if unknown := sorted(names - {"dmp", "mss"}):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)} (known: dmp, mss)")
    return names


async def _run(config: Path | None) -> int:
    from gateway.app import Gateway

    settings, base_dir = load_settings(config)
    logs.configure(settings.log)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    gateway = Gateway(settings, base_dir)
    await gateway.start()
    # what lives as long as the process is left out of collections, and young objects get time to die: a full
    # collection over all libraries stopped every ACK for 50 ms and more (p99 of small messages 146 -> 88 ms)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    # one line on standard output that scripts can wait for and read the real ports from
    print(
        f"ready mllp={settings.listener.host}:{gateway.mllp_port} web=http://{settings.web.host}:{gateway.web_port}/",
        flush=True,
    )
    if (link := await gateway.first_access()) is not None:
        print(first_access_in_words(link, settings.web.accounts.first_invitation), flush=True)
    await stop.wait()
    logging.getLogger("gateway").info("stopping: no new messages, those under way are answered")
    await gateway.stop()
    return 0


def first_access_in_words(link: str, seconds: float) -> str:
    """One line: nobody administers yet, and by which link the first administrator comes in."""
    return f"aucun administrateur : créer son compte (lien à usage unique, {seconds / 3600:g} h) : {link}"


def _cda_package(directory: Path, form: str) -> int:
    """The audit of a package, for people (French) or for machines (JSON)."""
    from gateway.schematron.audit import audit, in_words

    if not directory.is_dir():
        raise ConfigurationFault(f"{directory}: not a folder")
    found = audit(directory)
    print(json.dumps(found.as_json(), ensure_ascii=False, indent=1) if form == "json" else in_words(found))
    return 0 if found.usable else 1


def _check_config(config: Path | None) -> int:
    """Every stage is looked at whatever the others said; one line for each fault."""
    from gateway.check import check

    wrong, warnings, summary = check(config)
    for line in (*wrong, *warnings):
        print(f"segur-gateway: {line}", file=sys.stderr)
    if not wrong:
        print(summary)
    return 2 if wrong else 0


async def _send(args: argparse.Namespace) -> int:
    try:
        payload = args.file.read_bytes()
        tls = None
        if args.ca or args.certificate:
            tls = ssl.create_default_context(cafile=str(args.ca) if args.ca else None)
            if args.certificate:
                tls.load_cert_chain(args.certificate, args.key)
    except ssl.SSLError as e:
        raise ConfigurationFault(f"certificate or key: {e.reason or 'cannot be used together'}") from e
    except OSError as e:
        raise ConfigurationFault(f"{e.filename or args.ca or args.certificate}: {e.strerror}") from e
    if b"MSH" not in payload[:16]:
        raise ConfigurationFault(f"{args.file}: not an ER7 message (it does not begin with MSH)")
    count = len(read_source(payload).units)
    if count > 1:
        # as one message they would be refused; one after the other, what went would depend on the first refusal
        raise ConfigurationFault(
            f"{args.file}: {count} messages in this file; send takes one message per file"
        )
    try:
        answer = await send(args.host, args.port, payload, tls=tls, timeout=args.timeout)
    except EnvironmentFault as e:
        raise EnvironmentFault(f"{args.host}:{args.port}: {e}") from e
    except OverflowError as e:
        raise ConfigurationFault(f"port {args.port}: not a port") from e
    print(ack_in_words(answer))
    if args.raw:
        print(answer.decode("utf-8", "replace").replace("\r", "\n"))
    return 0 if acknowledgement.read(answer).code == "AA" else 1


def ack_in_words(answer: bytes) -> str:
    """An ACK as a person reads it, in French: the verdict, then each error with its place and codes."""
    ack = acknowledgement.read(answer)
    lines = [
        f"Réponse {ack.code} — {ACKS.get(ack.code, 'inconnue')} (message {ack.acknowledged or 'sans MSH-10'})"
    ]
    for error in ack.errors:
        codes = " / ".join(c for c in (error.err3, error.err5) if c)
        where = f" en {error.location}" if error.location else ""
        rule = f" [{error.diagnostic}]" if error.diagnostic else ""
        lines.append(f"  - {codes}{where}{rule} : {error.text or error.err5_label or error.err3_label}")
    return "\n".join(lines)


def _simulators(argv: Sequence[str]) -> int:
    """`simulator` without a name: which there are. Status 0 when that was asked for."""
    print("usage: segur-gateway simulator NAME [OPTION...]   (NAME --help: its options)\n")
    for entry in sorted(entry_points(group=SIMULATOR_GROUP), key=lambda e: e.name):
        words = (entry.load().__doc__ or "").partition("\n\n")[0]
        print(f"  {entry.name:<11}{' '.join(words.split())}")
    return 0 if {"-h", "--help"} & set(argv) else 2


def _simulator(name: str, argv: list[str]) -> int:
    module = next(e for e in entry_points(group=SIMULATOR_GROUP) if e.name == name).load()
    status: int = module.main(argv)
    return status


if __name__ == "__main__":
    sys.exit(main())
