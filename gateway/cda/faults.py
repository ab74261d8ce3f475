"""The faults of one document: findings that say where inside the document they stand.

Purpose: what the rules of this room write into. Each rule is told at most once per document (the first place), at the
OBX-5 that carried it, with the element's path and line for reports.

Guarantee: paths hold names of elements and their rank only, never a value.
"""

from __future__ import annotations

from typing import cast

from lxml import etree

from gateway.errors import Place
from gateway.rules import Findings


class Faults:
    """`root` is the ClinicalDocument, `place` its OBX-5; findings go to `findings`."""

    def __init__(self, findings: Findings, place: Place, root: etree._Element) -> None:
        self._findings = findings
        self._place = place
        self._root = root
        self._told: set[str] = set()

    def add(self, rule: str, at: etree._Element | None = None, inside: str = "", **words: object) -> None:
        """Tell `rule` at the element `at` (None: the ClinicalDocument), or at its absent child `inside`."""
        if rule in self._told:
            return
        self._told.add(rule)
        element = self._root if at is None else at
        path = "/".join(part for part in (self._path(element), inside) if part)
        line = cast("int | None", element.sourceline)
        self._findings.add_inside((path, line), rule, self._place, **words)

    def _path(self, element: etree._Element) -> str:
        """`recordTarget/patientRole/id[2]`; empty for the ClinicalDocument."""
        parts: list[str] = []
        node: etree._Element | None = element
        while node is not None and node is not self._root:
            before = sum(1 for _ in node.itersiblings(node.tag, preceding=True))
            alone = before == 0 and next(node.itersiblings(node.tag), None) is None
            name = etree.QName(node).localname
            parts.append(name if alone else f"{name}[{before + 1}]")
            node = node.getparent()
        return "/".join(reversed(parts))
