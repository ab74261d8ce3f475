"""The validator: every layer that needs no sending, on the payloads of one file.

Purpose: the decision of the intake without its journal writes, for the command, the page and the API.

Guarantee: nothing is stored, logged or sent; the rejections of a message are those of the ACK that this gateway would
give, in the same order. Connectors are asked only for what the intake would ask them (a message that nothing
else refuses). A layer that did not run says so.
Fails: never for what is in the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from connectors.port import Accepted, Connector, Preparation, Refused
from gateway.cda.check import document_place
from gateway.cda.document import Document
from gateway.cda.package.reports import DocumentReport
from gateway.errors import Finding, JournalUnavailable, MessageUnreadable, Place, rejected
from gateway.exchange.checking import LAYERS, Checked, Checker, Layer, in_thread_if_big, verdict_of
from gateway.exchange.gather import gather, wanted
from gateway.hl7.message import Message
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import Findings, megabytes
from gateway.validation.lines import with_lines
from gateway.validation.overrides import DESTINATIONS, Options, apply
from gateway.validation.report import Report, Unit
from gateway.validation.source import MAX_MESSAGES, Kind, Source, read_source

Versions = Callable[[Transmission, Sequence[Document]], Awaitable[Sequence[Finding]]]
NO_DESTINATION = "Aucune destination demandée : les règles propres à une destination ne sont pas jugées."
NO_PROCESSING = "Aucun environnement demandé : les règles propres à la production ne sont pas jugées."
REPLACES = (
    "Le document annonce qu’il en remplace un autre : l’action « replace » (remplacement) le juge comme tel."
)
CONTROL_ID = (
    "Le MSH-10 n’est pas comparé à ceux qui ont déjà été reçus. À l’envoi, un MSH-10 déjà reçu avec un autre contenu"
    " serait refusé ; avec le même contenu, la réponse déjà faite serait rendue."
)


_NO_DOCUMENTS: tuple[Document, ...] = ()


class Validator:
    """One per gateway, or per run of the command.

    `connectors` are asked for their verdict (None: they are not known, and count as `unasked`). `versions` reads the
    register (None: there is none). `deadline`: seconds for the connectors together.
    """

    def __init__(
        self,
        checker: Checker,
        max_message_bytes: int,
        connectors: Mapping[str, Connector] | None = None,
        versions: Versions | None = None,
        deadline: float = 15.0,
        unasked: Layer = Layer.NOT_CONFIGURED,
    ) -> None:
        self.checker = checker
        self.max_message_bytes = max_message_bytes
        self._connectors = connectors
        self._versions = versions
        self._deadline = deadline
        self._unasked = unasked

    async def validate(self, content: bytes, options: Options, file: str | None = None) -> Report:
        """The report of a whole file."""
        source = await in_thread_if_big(len(content), read_source, content)
        units = []
        for payload in source.units[:MAX_MESSAGES]:
            units.append(await self._unit(source, payload, options))
            await asyncio.sleep(0)  # small ones are judged in the event loop: ACKs come in between
        if len(source.units) > MAX_MESSAGES:
            # what was not looked at is never said to be right
            units.append(self._refused(b"", "EXC-TOO-MANY-MESSAGES", None, limit=MAX_MESSAGES))
        return Report(units, self.checker.book.preset, source.notes, file)

    async def _unit(self, source: Source, payload: bytes, options: Options) -> Unit:
        if source.kind is Kind.CDA:
            return await self._document(payload, options)
        size = len(payload)
        if size > self.max_message_bytes:
            return self._refused(payload, "EXC-TOO-LONG", None, limit=megabytes(self.max_message_bytes))
        try:
            message = await in_thread_if_big(size, Message.parse, payload)
        except MessageUnreadable:
            unit = self._refused(payload, "EXC-UNREADABLE", Place("MSH"))
            note = "Sans MSH lisible, la passerelle ne peut adresser aucun ACK : la trame serait abandonnée."
            return replace(unit, notes=(note,))
        changed, notes = await in_thread_if_big(size, apply, message, options)
        if changed is not payload:
            message = await in_thread_if_big(size, Message.parse, changed)
        return await self._message(changed, message, notes)

    async def _message(self, raw: bytes, message: Message, notes: tuple[str, ...]) -> Unit:
        checked = await self.checker.check(raw, message)
        findings = checked.findings
        transmission = checked.transmission
        checks = dict(checked.checks)
        code, documents, places = "AE", _NO_DOCUMENTS, dict[int, str]()
        checks |= dict.fromkeys(("versions", *DESTINATIONS), Layer.NOT_RUN)
        if transmission is not None and checked.cda is not None:
            documents = checked.cda.documents
            places = {i: document_place(part).erl() for i, part in enumerate(transmission.parts)}
            code = await self._ask(transmission, documents, checked.unavailable, findings, checks)
        elif checked.adt is not None:
            code = "AE" if rejected(findings) else "AA"
            checks |= dict.fromkeys(("versions", *DESTINATIONS), Layer.NOT_APPLICABLE)
        else:
            checks |= dict.fromkeys(self._unknown(), self._unasked)
        return Unit(
            kind=Kind.ER7,
            payload=raw,
            code=code,
            findings=findings,
            checks=checks,
            type="^".join(_shown(part) for part in (message.type, message.event) if part),
            control_id=_shown(message.control_id),
            action=transmission.action if transmission is not None else None,
            destinations=None if transmission is None else _asked(transmission),
            processing=_shown(message.processing_id),
            documents=documents,
            places=places,
            notes=notes if self._versions is None else (*notes, CONTROL_ID),
            schematron=await self._placed(checked, documents),
            schematron_places=[given.place for given in (checked.cda.inputs if checked.cda else ())],
        )

    async def _placed(self, checked: Checked, documents: Sequence[Document]) -> list[DocumentReport]:
        """The schematrons' reports with the lines of their assertions."""
        by_key = {d.sha256: d for d in documents}
        placed = []
        for given, report in zip(checked.cda.inputs if checked.cda else (), checked.schematron, strict=False):
            document = by_key.get(given.key)
            if document is not None:
                report = await in_thread_if_big(
                    len(document.content), with_lines, report, document, self.checker.book
                )
            placed.append(report)
        return placed

    async def _ask(
        self,
        transmission: Transmission,
        documents: tuple[Document, ...],
        unavailable: Sequence[Finding],
        findings: list[Finding],
        checks: dict[str, Layer],
    ) -> str:
        """What the intake does after the pure checks: the ACK's code; adds to `findings` and `checks`.

        `unavailable`: circumstances of the checks that make it "send again later".
        """
        asked: dict[str, Connector] = {}
        if self._connectors is not None:
            asked, missing = wanted(self._connectors, transmission, self.checker.book)
            findings.extend(missing)
        for name in DESTINATIONS:
            if name in self._unknown():
                checks[name] = self._unasked
            elif name not in asked:
                checks[name] = Layer.NOT_APPLICABLE
        if self._versions is not None:
            # a register that cannot be read leaves the layer "not run"
            with contextlib.suppress(JournalUnavailable):
                versions = await self._versions(transmission, documents)
                checks["versions"] = verdict_of(versions)
                findings.extend(versions)
        if rejected(findings):
            return "AE"
        if unavailable:
            findings[:0] = unavailable
            return "AR"
        gathered = await gather(
            asked,
            Preparation(transmission, documents, datetime.now(UTC)),
            self._deadline,
            self.checker.book,
            "validation",
        )
        for name, verdict in gathered.verdicts.items():
            match verdict:
                case Accepted():
                    checks[name] = verdict_of(verdict.warnings)
                case Refused():
                    checks[name] = Layer.FAILED
                case _:
                    checks[name] = Layer.NOT_RUN
        findings.extend(gathered.findings)
        return gathered.code

    def _unknown(self) -> tuple[str, ...]:
        """Destinations that no settings are known for."""
        return tuple(name for name in DESTINATIONS if name not in (self._connectors or {}))

    async def _document(self, content: bytes, options: Options) -> Unit:
        action = options.action or Action.SUBMIT
        destinations = options.destinations
        checked = await self.checker.check_document(
            content, action, dmp="dmp" in (destinations or ()), processing=options.processing
        )
        documents = checked.cda.documents if checked.cda is not None else ()
        notes = []
        if destinations is None:
            notes.append(NO_DESTINATION)
        if options.processing is None:
            notes.append(NO_PROCESSING)
        if options.action is None and any(d.header.replaced_id for d in documents):
            notes.append(REPLACES)
        # a document without a message has no place in one
        findings = [replace(f, place=None) for f in (*checked.unavailable, *checked.findings)]
        code = "AA"
        if rejected(checked.findings) or not documents:
            code = "AE"
        elif checked.unavailable:
            code = "AR"
        return Unit(
            kind=Kind.CDA,
            payload=content,
            code=code,
            findings=findings,
            checks=checked.checks
            | {"versions": Layer.NOT_RUN}
            | dict.fromkeys(DESTINATIONS, Layer.NOT_APPLICABLE),
            action=action,
            destinations=None if destinations is None else [d for d in DESTINATIONS if d in destinations],
            processing=options.processing,
            documents=documents,
            notes=notes,
            schematron=await self._placed(checked, documents),
        )

    def _refused(self, payload: bytes, rule: str, place: Place | None, **words: object) -> Unit:
        """A message that no layer could look at."""
        findings = Findings(self.checker.book)
        findings.add(rule, place, **words)
        checks = dict.fromkeys((*LAYERS, "versions", *DESTINATIONS), Layer.NOT_RUN)
        return Unit(Kind.ER7, payload, "AE", findings, checks | {"profile": Layer.FAILED})


def _asked(transmission: Transmission) -> list[str]:
    flags = transmission.flags
    asked = (flags.dest_dmp, flags.dest_mssante_ps or flags.dest_mssante_pat)
    return [name for name, is_asked in zip(DESTINATIONS, asked, strict=True) if is_asked]


def _shown(text: str) -> str:
    """A text of MSH as it may be shown: what is not text in its charset, or a control character, as an escape."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
