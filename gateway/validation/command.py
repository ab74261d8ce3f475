"""`segur-gateway validate FILE [FILE…]`: the report of each file on standard output; nothing is sent.

Exit status: 0 accepted (tolerances included), 1 one refused, 2 wrong use, wrong settings or a file that cannot be read.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from gateway import pipes
from gateway.cda.package.reports import Family
from gateway.errors import ConfigurationFault
from gateway.hl7.transmission import Action
from gateway.layers import open_layers
from gateway.plugins import find_connectors, make_rulebook
from gateway.schematron.engine import available
from gateway.settings import Settings, load_settings
from gateway.validation.overrides import Options
from gateway.validation.report import VERDICTS, Report, Verdict
from gateway.validation.validator import Validator
from gateway.validation.words import as_text


def run(args: argparse.Namespace) -> int:
    """The whole command. Raises `ConfigurationFault` for what is not about the content of the file."""
    if args.files.count("-") > 1:
        raise ConfigurationFault("standard input (-) can be read once only")
    for name in args.files:
        # all are looked at before the first is judged: a wrong name is no half report
        if name != "-":
            _open(name).close()
    write = Report.as_json if args.format == "json" else as_text
    reports = asyncio.run(_validate(args, write))
    verdict = max((verdict for verdict, _ in reports), key=VERDICTS.index)
    bodies = [body for _, body in reports]
    if args.format == "json":
        body = bodies[0] if len(bodies) == 1 else {"verdict": verdict, "files": bodies}
        text = json.dumps(body, ensure_ascii=False, indent=2) + "\n"
    else:
        text = "\n".join(bodies)
    try:
        # UTF-8 whatever the locale: JSON is read by programs
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.flush()
    except BrokenPipeError:
        # the exit status still says the verdict
        if not pipes.nobody_reads():
            raise
    return 1 if verdict == "reject" else 0


def _open(name: str) -> IO[bytes]:
    try:
        return Path(name).open("rb")
    except OSError as e:
        raise ConfigurationFault(f"{name}: {e.strerror or 'cannot be read'}") from e


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    with _open(name) as file:
        return file.read()


PATIENCE = 120.0
"""Seconds that the schematrons of a file may take."""


async def _validate(args: argparse.Namespace, write: Callable[[Report], Any]) -> list[tuple[Verdict, Any]]:
    """(verdict, report as `write` gives it) of each file, in order; one file at a time is in memory."""
    options = Options(Action(args.action) if args.action else None, args.destinations, args.processing)
    settings, base_dir = load_settings(args.config)
    if args.conformance is not None:
        settings = settings.model_copy(update={"conformance": args.conformance})
    settings, notes = _with_package(settings, args.package)
    async with contextlib.AsyncExitStack() as stops:
        connectors = find_connectors(settings, base_dir)
        book = make_rulebook(settings, connectors, all_known=True)
        for connector in connectors.values():
            await connector.start()
            stops.push_async_callback(connector.stop)
        layers = await stops.enter_async_context(open_layers(settings, base_dir, book))
        validator = Validator(
            layers.checker,
            settings.listener.max_message_bytes,
            # without any connector table there are no destinations to compare the message with
            connectors or None,
            deadline=settings.ack.deadline,
        )
        reports = []
        for name in args.files:
            report = await validator.validate(_read(name), options, None if name == "-" else name)
            reports.append((report.verdict, write(replace(report, notes=(*report.notes, *notes)))))
        return reports


def _with_package(settings: Settings, package: Path | None) -> tuple[Settings, list[str]]:
    """The settings with `--package`, whose schematrons run when the settings name none; French notes.

    Nobody waits for an ACK here: schematrons have the time that they need.
    """
    changes: dict[str, object] = {"schematron_timeout": max(settings.cda.schematron_timeout, PATIENCE)}
    notes = []
    if package is not None:
        changes["package"] = package.absolute()
        if not settings.cda.schematron and available():
            changes["schematron"] = tuple(family.value for family in Family)
        elif not settings.cda.schematron:
            notes.append(
                "saxonche n’est pas installé : les schematrons ne sont pas exécutés. Pour les exécuter :"
                ' pip install "segur-gateway[schematron]"'
            )
    return settings.model_copy(update={"cda": settings.cda.model_copy(update=changes)}), notes
