"""`segur-gateway validate FILE`: the report of a file on standard output; nothing is sent.

Exit status: 0 accepted (tolerances included), 1 refused, 2 wrong use, wrong settings or a file that cannot be read.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from gateway.cda.package.reports import Family
from gateway.errors import ConfigurationFault
from gateway.hl7.transmission import Action
from gateway.layers import open_layers
from gateway.plugins import find_connectors, make_rulebook
from gateway.schematron.engine import available
from gateway.settings import Settings, load_settings
from gateway.validation.overrides import Options
from gateway.validation.report import Report
from gateway.validation.validator import Validator
from gateway.validation.words import as_text


def run(args: argparse.Namespace) -> int:
    """The whole command. Raises `ConfigurationFault` for what is not about the content of the file."""
    name = None if args.file == "-" else args.file
    try:
        content = sys.stdin.buffer.read() if name is None else Path(name).read_bytes()
    except OSError as e:
        raise ConfigurationFault(f"{args.file}: {e.strerror or 'cannot be read'}") from e
    options = Options(Action(args.action) if args.action else None, args.destinations, args.processing)
    report = asyncio.run(_validate(content, options, name, args))
    if args.format == "json":
        text = json.dumps(report.as_json(), ensure_ascii=False, indent=2) + "\n"
    else:
        text = as_text(report)
    try:
        # UTF-8 whatever the locale: JSON is read by programs
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.flush()
    except BrokenPipeError:
        # nobody reads (`| head`): the exit status still says the verdict
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if report.verdict == "reject" else 0


PATIENCE = 120.0
"""Seconds that the schematrons of a file may take."""


async def _validate(content: bytes, options: Options, name: str | None, args: argparse.Namespace) -> Report:
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
        report = await validator.validate(content, options, name)
        return replace(report, notes=(*report.notes, *notes))


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
            notes.append("saxonche n’est pas installé : les schematrons ne sont pas exécutés.")
    return settings.model_copy(update={"cda": settings.cda.model_copy(update=changes)}), notes
