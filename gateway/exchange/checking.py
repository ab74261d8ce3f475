"""Everything that can be said of a message without the journal and without a connector.

Purpose: the pure checks in their order (profile, then the CDA layers) as one object, so that the intake, the
command `segur-gateway validate` and the page give the same answer to the same bytes.

Guarantee: pure apart from the worker of the schematron layer; `check` never blocks the event loop with a big
message. `Checked.checks` names each layer and what became of it: a layer that did not run never reads as passed.

Fails: never for what is in the bytes; everything is a finding.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from gateway.cda.check import CdaCheck, OfficialLayers, check_content, check_documents
from gateway.cda.package.reports import DocumentReport, SchematronInput, findings_of
from gateway.cda.package.xsd import XsdLayer
from gateway.cda.valuesets import ValueSets, load_value_sets
from gateway.errors import Finding, Place, Severity
from gateway.hl7.adt import read_adt
from gateway.hl7.adt_event import AdtEvent
from gateway.hl7.message import Message
from gateway.hl7.profile import Reading, profile, read_transmission
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import Findings, RuleBook

_THREADS = ThreadPoolExecutor(min(4, os.cpu_count() or 2), thread_name_prefix="intake")
"""The intake's own: name look-ups and mails being built use the loop's, and must not be in the way of an ACK."""
_BIG = ThreadPoolExecutor(1, thread_name_prefix="intake-big")
"""For messages over `BIG_BYTES`: one at a time, and ordinary ones never wait behind them."""
INLINE_BYTES = 32_768
"""Up to this size a message is read in the event loop (well under 1 ms); above, in a thread."""
SEGMENT_WEIGHT = 256
"""What a segment counts for besides its bytes: 4,800 empty OBX are 24 kB and take 100 ms."""
BIG_BYTES = 2_000_000
_CONTROL = re.compile(rb"[\x00-\x1f]")
P = ParamSpec("P")
T = TypeVar("T")


class Layer(StrEnum):
    """What became of one layer of checks."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    NOT_RUN = "not run"
    """Configured, but an earlier layer left it nothing to work on, or its worker is missing."""
    NOT_CONFIGURED = "not configured"
    NOT_APPLICABLE = "not applicable"
    """There is nothing for it to judge: the message layers of a document that came without a message."""


DOCUMENT = Place("OBX", 1, 5)
"""Where the findings of a document without a message stand (the first document of a message that would carry
it)."""
LAYERS = ("profile", "rules", "xsd", "schematron")
XSD_RULE = "CDA-XSD"


@dataclass(frozen=True, slots=True)
class Checked:
    """What reading a message gave: all findings so far, and the documents when they could be read."""

    transmission: Transmission | None
    cda: CdaCheck | None
    findings: list[Finding]
    checks: dict[str, Layer] = field(default_factory=dict)
    """Layer → what became of it, in the order of `LAYERS`."""
    unavailable: list[Finding] = field(default_factory=list)
    """Circumstances that kept a rejecting layer from running: unless something is refused, the ACK is AR with
    these."""
    adt: AdtEvent | None = None
    """What an ADT says, when it is read; only the findings say whether it may be kept."""
    schematron: tuple[DocumentReport, ...] = ()
    """What each family of schematrons gave, one report per document that could be read."""


class Schematron(Protocol):
    """The schematron layer as the checker sees it (`gateway.schematron.pool`)."""

    async def check(self, inputs: Sequence[SchematronInput]) -> list[DocumentReport]:
        """One report per input, in order, within the layer's own time limit. Never raises."""
        ...


def verdict_of(findings: Iterable[Finding]) -> Layer:
    """PASSED, WARNED or FAILED, from a layer's own findings."""
    worst = Layer.PASSED
    for finding in findings:
        if finding.rejects:
            return Layer.FAILED
        worst = Layer.WARNED
    return worst


class Checker:
    """The checks of one gateway. One per process; safe to use from several tasks."""

    def __init__(
        self,
        book: RuleBook,
        xsd: XsdLayer | None = None,
        schematron: Schematron | None = None,
        sets: ValueSets | None = None,
        processing_ids: Collection[str] = ("P", "T", "D"),
        adt: bool = True,
    ) -> None:
        """`xsd`, `schematron`: the layers of the official package; None: not configured. `sets`: the value sets of
        our own rules; None: the shipped ones. `processing_ids`: values of MSH-11 that are served. `adt`: ADT is read
        (for the indicators); else its type is refused."""
        self.book = book
        profile()  # a fault of the table shows now, not at the first message
        self._official = (xsd, schematron)
        self._served = frozenset(processing_ids)
        self._adt = adt
        self._sets = sets or load_value_sets()
        if xsd is not None and book.severity("CDA-XSD") is Severity.OFF:
            xsd = None
        self._schematron = schematron
        self._layers = OfficialLayers(xsd, schematron is not None)

    def with_book(self, book: RuleBook) -> Checker:
        """The same layers under other severities."""
        return Checker(book, *self._official, self._sets, self._served, self._adt)

    @property
    def has_xsd(self) -> bool:
        """True when documents are checked against the official XSD."""
        return self._layers.xsd is not None

    async def check(self, raw: bytes, message: Message) -> Checked:
        """All layers; in a thread when the message is big."""
        weight = len(raw) + SEGMENT_WEIGHT * len(message.segments)
        return await self._with_schematron(await in_thread_if_big(weight, self.check_now, raw, message))

    async def check_document(
        self, content: bytes, action: Action, dmp: bool = False, processing: str | None = None
    ) -> Checked:
        """The same for one CDA without a message (its exact bytes); the layers of the message do not apply.

        `dmp`: the DMP is a destination. `processing`: MSH-11 as it will be; None: rules on it are not judged.
        """
        checked = await in_thread_if_big(
            len(content), self.check_document_now, content, action, dmp=dmp, processing=processing
        )
        return await self._with_schematron(checked)

    def check_document_now(
        self, content: bytes, action: Action, dmp: bool = False, processing: str | None = None
    ) -> Checked:
        """`check_document` without the layers that need a worker."""
        checked = check_content(
            content, self.book, DOCUMENT, action=action, dmp=dmp, processing=processing, sets=self._sets
        )
        findings, documents = checked.findings, (checked.document,) if checked.document else ()
        if checked.document and action is Action.REPLACE and checked.document.header.replaced_id is None:
            findings.add("CDA-V03-RPLC", DOCUMENT)
        own = len(findings)
        official = OfficialLayers() if action is Action.DELETE else self._layers
        inputs = official.check(checked, findings, DOCUMENT)
        cda = CdaCheck(documents, findings, len(documents) if official.xsd else 0, tuple(inputs))
        layers = self._states(Layer.NOT_APPLICABLE, verdict_of(findings[:own]), cda, action, 1)
        return Checked(None, cda, list(findings), layers)

    def check_now(self, raw: bytes, message: Message) -> Checked:
        """The layers that need no worker (CPU work, synchronous)."""
        if _CONTROL.search(message.msh.raw):
            # an ACK repeats fields of MSH: a control character there could end its frame
            broken = Findings(self.book)
            broken.add("EXC-UNREADABLE", Place("MSH"))
            return Checked(None, None, broken, self._states(Layer.FAILED, Layer.NOT_RUN))
        if self._adt and message.type == "ADT":
            return self._check_adt(message)
        reading: Reading = read_transmission(message, self.book)
        findings = list(reading.findings)
        profile = verdict_of(findings)
        if reading.transmission is None:
            return Checked(None, None, findings, self._states(profile, Layer.NOT_RUN))
        transmission = reading.transmission
        findings.extend(self._not_served(message))
        cda = check_documents(transmission, raw, self.book, layers=self._layers, sets=self._sets)
        findings.extend(cda.findings)
        rules = verdict_of(f for f in cda.findings if f.rule != XSD_RULE)
        states = self._states(profile, rules, cda, transmission.action, len(transmission.parts))
        return Checked(transmission, cda, findings, states)

    def _check_adt(self, message: Message) -> Checked:
        """An ADT has a profile, and no document."""
        reading = read_adt(message, self.book)
        findings = reading.findings
        again = next((s for s in message.segments[1:] if s.name == "MSH"), None)
        if again is not None:
            # two messages in one frame: nothing says which segments are whose
            findings.add("SEG-REPEATED", again.place(), segment="MSH")
        findings.extend(self._not_served(message))
        states = dict.fromkeys(LAYERS, Layer.NOT_APPLICABLE) | {"profile": verdict_of(findings)}
        return Checked(None, None, list(findings), states, adt=reading.event)

    def _not_served(self, message: Message) -> Findings:
        """MSH-11 is one of the profile's, and not one of ours."""
        found = Findings(self.book)
        if message.processing_id in {"P", "T", "D"} - self._served:
            found.add("EXC-PROCESSING", message.msh.place(11), value=message.processing_id)
        return found

    def _states(
        self,
        profile: Layer,
        rules: Layer,
        cda: CdaCheck | None = None,
        action: Action | None = None,
        parts: int = 0,
    ) -> dict[str, Layer]:
        """The layers' states before the worker was asked; `parts`: documents that came."""
        xsd = schematron = Layer.NOT_CONFIGURED
        # a deletion must stay deletable: the official layers do not judge it
        none = Layer.NOT_APPLICABLE if action is Action.DELETE else Layer.NOT_RUN
        if self._layers.xsd is not None:
            xsd = none
            if cda is not None and cda.xsd_checked:
                xsd = verdict_of(f for f in cda.findings if f.rule == XSD_RULE)
                if xsd is Layer.PASSED and cda.xsd_checked < parts:
                    xsd = Layer.NOT_RUN
        if self._layers.schematron:
            schematron = none
        return dict(zip(LAYERS, (profile, rules, xsd, schematron), strict=True))

    async def _with_schematron(self, checked: Checked) -> Checked:
        """What the worker says, added."""
        cda = checked.cda
        if self._schematron is None or cda is None or not cda.inputs:
            return checked
        reports = await self._schematron.check(cda.inputs)
        found: list[Finding] = []
        circumstances: list[Finding] = []
        for given, report in zip(cda.inputs, reports, strict=True):
            more, unavailable = findings_of(report, given.place, self.book)
            found.extend(more)
            circumstances.extend(unavailable)
        state = verdict_of(found)
        documents = len(checked.transmission.parts) if checked.transmission else 1
        all_ran = len(reports) == documents and all(r.complete for r in reports)
        any_ran = any(f.ran for r in reports for f in r.families)
        if not any(r.families for r in reports):
            state = Layer.NOT_APPLICABLE
        elif state is not Layer.FAILED and (not any_ran or (state is Layer.PASSED and not all_ran)):
            state = Layer.NOT_RUN
        return replace(
            checked,
            findings=[*checked.findings, *found],
            checks=checked.checks | {"schematron": state},
            unavailable=circumstances,
            schematron=tuple(reports),
        )


async def in_thread_if_big(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function`, in a thread when `size` bytes are too many for the event loop."""
    if size <= INLINE_BYTES:
        return function(*args, **kwargs)
    threads = _THREADS if size <= BIG_BYTES else _BIG
    return await asyncio.get_running_loop().run_in_executor(threads, partial(function, *args, **kwargs))
