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
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import ParamSpec, TypeVar

from gateway.cda.check import CdaCheck, check_content, check_documents
from gateway.errors import Finding, Place
from gateway.hl7.message import Message
from gateway.hl7.profile import Reading, read_transmission
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import Findings, RuleBook

_THREADS = ThreadPoolExecutor(min(4, os.cpu_count() or 2), thread_name_prefix="intake")
"""The intake's own: name look-ups and mails being built use the loop's, and must not be in the way of an ACK."""
INLINE_BYTES = 32_768
"""Up to this size a message is read in the event loop (well under 1 ms); above, in a thread."""
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


@dataclass(frozen=True, slots=True)
class Checked:
    """What reading a message gave: all findings so far, and the documents when they could be read."""

    transmission: Transmission | None
    cda: CdaCheck | None
    findings: list[Finding]
    checks: dict[str, Layer] = field(default_factory=dict)
    """Layer → what became of it, in the order of `LAYERS`."""


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

    def __init__(self, book: RuleBook) -> None:
        self.book = book

    async def check(self, raw: bytes, message: Message) -> Checked:
        """All layers; in a thread when the message is big."""
        return await in_thread_if_big(len(raw), self.check_now, raw, message)

    async def check_document(
        self, content: bytes, action: Action, dmp: bool = False, processing: str | None = None
    ) -> Checked:
        """The same for one CDA without a message (its exact bytes); the layers of the message do not apply.

        `dmp`: the DMP is a destination. `processing`: MSH-11 as it will be; None: rules on it are not judged.
        """
        return await in_thread_if_big(
            len(content), self.check_document_now, content, action, dmp=dmp, processing=processing
        )

    def check_document_now(
        self, content: bytes, action: Action, dmp: bool = False, processing: str | None = None
    ) -> Checked:
        """`check_document` without the layers that need a worker."""
        checked = check_content(content, self.book, DOCUMENT, action=action, dmp=dmp, processing=processing)
        findings, documents = checked.findings, (checked.document,) if checked.document else ()
        if checked.document and action is Action.REPLACE and checked.document.header.replaced_id is None:
            findings.add("CDA-V03-RPLC", DOCUMENT)
        layers = _layers(Layer.NOT_APPLICABLE, verdict_of(findings))
        return Checked(None, CdaCheck(documents, findings), list(findings), layers)

    def check_now(self, raw: bytes, message: Message) -> Checked:
        """The layers that need no worker (CPU work, synchronous)."""
        if _CONTROL.search(message.msh.raw):
            # an ACK repeats fields of MSH: a control character there could end its frame
            broken = Findings(self.book)
            broken.add("EXC-UNREADABLE", Place("MSH"))
            return Checked(None, None, broken, _layers(Layer.FAILED, Layer.NOT_RUN))
        reading: Reading = read_transmission(message, self.book)
        findings = list(reading.findings)
        profile = verdict_of(findings)
        if reading.transmission is None:
            return Checked(None, None, findings, _layers(profile, Layer.NOT_RUN))
        cda = check_documents(reading.transmission, raw, self.book)
        findings.extend(cda.findings)
        return Checked(reading.transmission, cda, findings, _layers(profile, verdict_of(cda.findings)))


def _layers(profile: Layer, rules: Layer) -> dict[str, Layer]:
    return dict(zip(LAYERS, (profile, rules, Layer.NOT_CONFIGURED, Layer.NOT_CONFIGURED), strict=True))


async def in_thread_if_big(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function`, in a thread when `size` bytes are too many for the event loop."""
    if size <= INLINE_BYTES:
        return function(*args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(function, *args, **kwargs))
