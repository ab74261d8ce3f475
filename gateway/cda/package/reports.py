"""What the schematron layer says of a document, and the findings that follow.

Purpose: shapes shared by the layer's worker, the checker and the report to people; the one place where a
report becomes findings.

Guarantee: a family that did not run never reads as passed: it leaves `CDA-SCH-NOT-RUN`, or, when the family
rejects and the cause is a circumstance (worker dead, late), `CDA-SCH-UNAVAILABLE`, which makes the ACK an AR.
Results with role `warning` or `info` (closed patterns: elements that CDA allows and the volet does not know)
never reject: refusing them is itself an error (CI-SIS, IG-document-core).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gateway.errors import Finding, Place, Severity
from gateway.rules import RuleBook

SHOWN = 2
"""Assertions that a finding quotes; the rest is a number."""


class Family(StrEnum):
    """A family of official schematrons."""

    STRUCMIN = "strucmin"
    """Structuration minimale: the header."""
    VOLET = "volet"
    """The document's own model, found by its templateId."""
    IHE = "ihe"
    """Sections and entries of IHE."""
    MODELS = "models"
    """ModelesDeContenusCDA: sections and entries of the CI-SIS."""
    ANS = "ans"
    """Modeles_ANS: header elements and entries of the ANS."""

    @property
    def rule(self) -> str:
        """The rule that a failed assertion of this family breaks."""
        return f"CDA-SCH-{self.name}"


NAMES = {
    Family.STRUCMIN: "Structuration minimale",
    Family.VOLET: "volet du document",
    Family.IHE: "IHE",
    Family.MODELS: "ModelesDeContenusCDA",
    Family.ANS: "Modeles_ANS",
}
"""Families as people read them."""


@dataclass(frozen=True, slots=True)
class SchematronInput:
    """One document, ready for the worker: no DOCTYPE, no payload."""

    place: Place
    """Where its findings stand (OBX-5)."""
    xml: bytes
    """The ClinicalDocument, UTF-8, base64 payloads replaced by a stub."""
    level: int
    """1: nonXMLBody, 3: structuredBody."""
    templates: tuple[tuple[str, str], ...]
    """templateId of the document: (root, extension or '')."""
    key: str
    """SHA-256 (hex) of the whole document."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """One failed assertion: its fixed text (what came from the document left out) and where it stands."""

    text: str
    path: str
    identifier: str = ""
    line: int | None = None
    """In the document as it was sent; None until a report asks for it (`gateway.validation.lines`)."""


@dataclass(frozen=True, slots=True)
class FamilyReport:
    """What one family gave for one document."""

    family: Family
    ran: bool
    failed: int = 0
    """Failed assertions that count."""
    remarks: int = 0
    """Results with role warning or info."""
    assertions: tuple[Assertion, ...] = ()
    """The failed assertions, in the schematron's order; of very many the first ones (`gateway.schematron.engine`)."""
    schema: str = ""
    """The schematron that was used: its file name."""
    reason: str = ""
    """Why it did not run, or what is to be known about the run; French, without patient data."""
    unavailable: bool = False
    """Not run because of a circumstance: it may run when the message comes again."""


@dataclass(frozen=True, slots=True)
class DocumentReport:
    """All families asked for, for one document."""

    families: tuple[FamilyReport, ...]

    @property
    def complete(self) -> bool:
        """True when every family asked for ran."""
        return all(f.ran for f in self.families)


def applicable(families: Sequence[Family], level: int) -> tuple[Family, ...]:
    """The families that judge a document of `level`: 1, the Structuration minimale alone; 3, all (ANS, LISEZ-MOI)."""
    return tuple(f for f in families if level == 3 or f is Family.STRUCMIN)


def unavailable(families: Sequence[Family], reason: str) -> DocumentReport:
    """The report of a document that no worker could take."""
    return DocumentReport(tuple(FamilyReport(f, False, reason=reason, unavailable=True) for f in families))


def findings_of(report: DocumentReport, place: Place, book: RuleBook) -> tuple[list[Finding], list[Finding]]:
    """(findings of the document, findings that make the ACK an AR) at `place`."""
    found: list[Finding] = []
    circumstances: list[Finding] = []

    def add(target: list[Finding], rule: str, path: str | None = None, **words: object) -> None:
        finding = book.finding(rule, place, **words)
        if finding is not None:
            target.append(replace(finding, path=path))

    not_run: dict[tuple[str, str], list[str]] = {}
    for one in report.families:
        name = NAMES[one.family]
        if one.failed:
            path = one.assertions[0].path if one.assertions else None
            add(found, one.family.rule, path, count=one.failed, first=_quoted(one))
        if not one.ran:
            stops = one.unavailable and book.severity(one.family.rule) is Severity.REJECT
            rule = "CDA-SCH-UNAVAILABLE" if stops else "CDA-SCH-NOT-RUN"
            not_run.setdefault((rule, one.reason), []).append(name)
        elif one.reason:
            add(found, "CDA-SCH-NOTE", family=name, reason=one.reason)
        if one.remarks:
            remark = book.finding("CDA-SCH-REMARKS", place, family=name, count=one.remarks)
            if remark is not None:
                found.append(replace(remark, severity=Severity.WARN))
    for (rule, reason), names in not_run.items():
        target = circumstances if rule == "CDA-SCH-UNAVAILABLE" else found
        add(target, rule, family=", ".join(names), reason=reason)
    return found, circumstances


def _quoted(report: FamilyReport) -> str:
    """`« text » (path) ; …` of the first failed assertions."""
    parts = [f"« {a.text} » ({a.path})" for a in report.assertions[:SHOWN]]
    return " ; ".join(parts) + (" ; …" if report.failed > len(parts) else "")
