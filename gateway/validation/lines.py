"""On which line of a document the failed assertions of the schematrons stand.

Purpose: the worker judges a re-serialised document and answers with paths; people look for lines in their own file.
Only the report asks for them: an ACK never pays for it.

Guarantee: a line is that of the deepest element of the path that is found in the document's own bytes; a path that
leads nowhere gets none. Pure.
Fails: never.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lxml import etree

from gateway.cda.document import Document
from gateway.cda.package.reports import Assertion, DocumentReport
from gateway.cda.reader import V3, read
from gateway.errors import Place
from gateway.rules import RuleBook

_STEP = re.compile(r"(?P<name>[^\[\]@()]+)(?:\[(?P<number>\d+)\])?$")


def with_lines(report: DocumentReport, document: Document, book: RuleBook) -> DocumentReport:
    """`report` with the lines of its assertions in `document` (parsed again, only when there is an assertion)."""
    if not any(family.assertions for family in report.families):
        return report
    root = read(document.content, book, Place("OBX")).clinical_document
    if root is None:
        return report
    found: dict[str, int | None] = {}

    def placed(one: Assertion) -> Assertion:
        if one.path not in found:
            found[one.path] = line_of(root, one.path.split("/"))
        return replace(one, line=found[one.path])

    families = tuple(
        replace(family, assertions=tuple(placed(a) for a in family.assertions)) for family in report.families
    )
    return DocumentReport(families)


def line_of(root: etree._Element, steps: Sequence[str]) -> int | None:
    """Line of the element that `ClinicalDocument/author[2]/time/@value` names, as far as it can be followed."""
    if not steps or steps[0] != etree.QName(root).localname:
        return None
    element = root
    for step in steps[1:]:
        wanted = _STEP.match(step)
        child = wanted and _child(element, wanted["name"], int(wanted["number"] or 1))
        if child is None:
            break
        element = child
    line = element.sourceline
    return line if isinstance(line, int) else None


def _child(element: etree._Element, name: str, number: int) -> etree._Element | None:
    """The child of that local name and number among those of one namespace: HL7's first, as paths have none."""
    by_namespace: dict[str | None, list[etree._Element]] = {V3: []}
    for child in element.iterchildren(f"{{*}}{name}"):
        by_namespace.setdefault(etree.QName(child).namespace, []).append(child)
    return next((group[number - 1] for group in by_namespace.values() if number <= len(group)), None)
