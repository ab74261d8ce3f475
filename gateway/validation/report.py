"""The report of a validation: verdict, the ACK that the gateway would give, errors with their places, layers.

Purpose: one shape for the command, the API and the page; its JSON is a contract (docs/schemas/validate.schema.json).
Pure.

Guarantee: `errors` are the findings in the order of the ACK, rejections and tolerances; no value of the message nor
of the document is in it (rule ids, codes, places, sentences of the rule tables, sizes, digests).
Fails: never.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.cda.document import Document
from gateway.cda.package.reports import DocumentReport, FamilyReport
from gateway.errors import Finding, Place, Severity
from gateway.exchange.checking import Layer
from gateway.hl7.transmission import Action
from gateway.validation.source import Kind

Verdict = Literal["accept", "warn", "reject"]
VERDICTS: tuple[Verdict, ...] = ("accept", "warn", "reject")
"""From the best to the worst."""
_CODES = ("AA", "AR", "AE")
_WORST = (
    Layer.NOT_APPLICABLE,
    Layer.PASSED,
    Layer.WARNED,
    Layer.NOT_CONFIGURED,
    Layer.NOT_RUN,
    Layer.FAILED,
)
"""Of several messages, the layer that says least: one that did not run for one of them never reads as passed."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What was found in one message or one document."""

    kind: Kind
    payload: bytes
    """What was checked."""
    code: str
    """AA, AE or AR."""
    findings: Sequence[Finding]
    checks: Mapping[str, Layer]
    type: str = ""
    """`MDM^T02`; empty for a document."""
    control_id: str = ""
    action: Action | None = None
    destinations: Sequence[str] | None = None
    """None: not said (a document alone, without that option): rules on destinations were not judged."""
    processing: str | None = None
    documents: Sequence[Document] = ()
    places: Mapping[int, str] = field(default_factory=dict)
    """Index of a document → its place in the message, as ERL."""
    notes: Sequence[str] = ()
    schematron: Sequence[DocumentReport] = ()
    """What each family of official schematrons gave, one report per document that was given to them."""
    schematron_places: Sequence[Place | None] = ()
    """Where those documents stand in the message: the place of the findings on each; empty for a document alone."""

    @property
    def verdict(self) -> Verdict:
        """`reject` when it would not be accepted, `warn` when something is tolerated."""
        if self.code != "AA":
            return "reject"
        return "warn" if self.findings else "accept"


@dataclass(frozen=True, slots=True)
class Report:
    """The report of one file."""

    units: Sequence[Unit]
    conformance: str
    notes: Sequence[str] = ()
    file: str | None = None

    @property
    def kind(self) -> Kind:
        """What the file holds."""
        return self.units[0].kind

    @property
    def verdict(self) -> Verdict:
        """The worst of all messages."""
        return max((u.verdict for u in self.units), key=VERDICTS.index)

    @property
    def code(self) -> str:
        """The worst ACK of all messages: an error is worse than "send again later"."""
        return max((u.code for u in self.units), key=_CODES.index)

    @property
    def checks(self) -> dict[str, Layer]:
        """Each layer's worst of all messages."""
        names = dict.fromkeys(name for unit in self.units for name in unit.checks)
        return {
            name: max((u.checks[name] for u in self.units if name in u.checks), key=_WORST.index)
            for name in names
        }

    def as_json(self) -> dict[str, Any]:
        """The contract: `verdict`, `ack`, `errors`, `checks` first, then what explains them."""
        if len(self.units) == 1:
            body = _unit(self.units[0])
        else:
            units = [_unit(u) for u in self.units]
            body = {
                "verdict": self.verdict,
                "ack": self.code,
                "errors": [
                    error | {"message": number} for number, u in enumerate(units, 1) for error in u["errors"]
                ],
                "checks": {name: layer.value for name, layer in self.checks.items()},
                "kind": self.kind.value,
                "counts": _counts(f for u in self.units for f in u.findings),
                "messages": units,
            }
        body["conformance"] = self.conformance
        body["file"] = self.file
        body["notes"] = [*self.notes, *(body.get("notes") or ())]
        return body


def _unit(unit: Unit) -> dict[str, Any]:
    return {
        "verdict": unit.verdict,
        "ack": unit.code,
        "errors": [error_as_json(f) for f in unit.findings],
        "checks": {name: layer.value for name, layer in unit.checks.items()},
        "kind": unit.kind.value,
        "type": unit.type or None,
        "control_id": unit.control_id or None,
        "action": unit.action.value if unit.action else None,
        "destinations": None if unit.destinations is None else list(unit.destinations),
        "processing": unit.processing or None,
        "counts": _counts(unit.findings),
        "documents": [_document(d, unit.places.get(d.part)) for d in unit.documents],
        "schematron": [[_family(f) for f in report.families] for report in unit.schematron],
        "notes": list(unit.notes),
    }


def error_as_json(finding: Finding) -> dict[str, Any]:
    """One entry of `errors`. `line` and `path` stand inside the document, when they are known."""
    body: dict[str, Any] = {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "err2": finding.place.erl() if finding.place else None,
        "err3": finding.err3,
        "err5": finding.err5,
        "text": finding.text,
    }
    if finding.line is not None:
        body["line"] = finding.line
    if finding.path is not None:
        body["path"] = finding.path
    return body


def _family(family: FamilyReport) -> dict[str, Any]:
    return {
        "family": family.family.value,
        "ran": family.ran,
        "schema": family.schema or None,
        "failed": family.failed,
        "remarks": family.remarks,
        "assertions": [
            {"text": a.text, "id": a.identifier or None, "path": a.path, "line": a.line}
            for a in family.assertions
        ],
        "cut": family.failed > len(family.assertions),
        "reason": family.reason or None,
    }


def _document(document: Document, place: str | None) -> dict[str, Any]:
    header = document.header
    return {
        "place": place,
        "body": header.body.kind,
        "type_code": header.code.code if header.code else None,
        "version": header.version,
        "bytes": len(document.content),
        "sha256": document.sha256,
    }


def _counts(findings: Iterable[Finding]) -> dict[str, int]:
    severities = [f.severity for f in findings]
    return {s.value: severities.count(s) for s in (Severity.REJECT, Severity.WARN)}
