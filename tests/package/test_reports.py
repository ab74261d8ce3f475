"""From a report to findings: what did not run is named, what is a remark never rejects, one finding per cause."""

from __future__ import annotations

from gateway.cda.package.reports import (
    Assertion,
    DocumentReport,
    Family,
    FamilyReport,
    findings_of,
    unavailable,
)
from gateway.errors import Place, Severity
from gateway.rules import RuleBook, load_rulebook

OBX = Place("OBX", 2, 5)


def book(**severities: str) -> RuleBook:
    given = {rule.replace("_", "-"): Severity(value) for rule, value in severities.items()}
    return load_rulebook(overrides=given)


def of(*families: FamilyReport) -> DocumentReport:
    return DocumentReport(families)


def test_failed_assertions_are_one_finding_with_the_first_places() -> None:
    first = tuple(Assertion(f"texte {n}", f"ClinicalDocument/author[{n}]") for n in (1, 2, 3))
    found, stops = findings_of(of(FamilyReport(Family.IHE, True, failed=7, assertions=first)), OBX, book())
    (finding,) = found
    assert (finding.rule, finding.severity, finding.place) == ("CDA-SCH-IHE", Severity.WARN, OBX)
    assert finding.path == "ClinicalDocument/author[1]"
    assert "7 écart(s) : « texte 1 » (ClinicalDocument/author[1]) ; « texte 2 »" in finding.text
    assert "texte 3" not in finding.text
    assert stops == []


def test_remarks_never_reject() -> None:
    """IG-document-core: rejecting what CDA allows is an error; even an override only warns."""
    report = of(FamilyReport(Family.STRUCMIN, True, remarks=3))
    assert findings_of(report, OBX, book()) == ([], [])
    ((finding,), stops) = findings_of(report, OBX, book(CDA_SCH_REMARKS="reject"))
    assert (finding.rule, finding.severity, stops) == ("CDA-SCH-REMARKS", Severity.WARN, [])


def test_a_circumstance_stops_only_families_that_reject() -> None:
    report = unavailable([Family.STRUCMIN, Family.IHE, Family.ANS], "délai dépassé")
    ((one,), stops) = findings_of(report, OBX, book())
    assert one.rule == "CDA-SCH-NOT-RUN"
    assert "Structuration minimale, IHE, Modeles_ANS" in one.text
    assert stops == []
    ((one,), (stop,)) = findings_of(report, OBX, book(CDA_SCH_IHE="reject"))
    assert "Structuration minimale, Modeles_ANS" in one.text
    assert (stop.rule, stop.rejects) == ("CDA-SCH-UNAVAILABLE", True)
    assert "(IHE)" in stop.text


def test_a_fault_of_the_package_is_no_circumstance() -> None:
    """Sending again would not help: a warning, unless the operator wants it refused."""
    report = of(FamilyReport(Family.VOLET, False, reason="schématron du paquet inutilisable"))
    ((one,), stops) = findings_of(report, OBX, book(CDA_SCH_VOLET="reject"))
    assert (one.rule, one.rejects, stops) == ("CDA-SCH-NOT-RUN", False, [])
    ((one,), stops) = findings_of(report, OBX, book(CDA_SCH_NOT_RUN="reject"))
    assert one.rejects


def test_what_failed_is_told_although_the_run_is_not_whole() -> None:
    report = of(FamilyReport(Family.MODELS, False, failed=1, assertions=(Assertion("t", "p"),), reason="r"))
    found, _ = findings_of(report, OBX, book())
    assert [f.rule for f in found] == ["CDA-SCH-MODELS", "CDA-SCH-NOT-RUN"]
