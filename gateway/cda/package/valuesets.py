"""Value sets that schematrons read with `doc()`: the files of the package, and those that can be rebuilt.

Purpose: the published package lacks `voc-1.2.250.1.213.1.1.5.471-DYNAMIC.xml` (XdsTypeCode), without which
the schematron of the Structuration minimale stops on every document; the same value set stands in
`jeuxDeValeurs/JDV_J07_XdsTypeCode_CISIS.xml` (spec/cda.md §1). Any missing `voc-<OID>-DYNAMIC.xml` is rebuilt
from the JDV that has its OID.

Guarantee: in memory only. Fails: `BadReference` when there is neither file nor JDV; `UnreadableValueSet` for a
file that is not XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast

from lxml import etree

from gateway.cda.package.folder import VALUE_SETS, BadReference, Package, same_case
from gateway.cda.package.schema import Defect
from gateway.safexml import safe_parser

_VOC = re.compile(r"(?:^|/)voc-([0-9.]+)-DYNAMIC\.xml$", re.IGNORECASE)
_ID = re.compile(rb"""<(?:\w+:)?ValueSet\b[^>]*?\bid\s*=\s*["']([0-9.]+)["']""")
_HEAD = 4096
_SVS = "urn:ihe:iti:svs:2008"


class UnreadableValueSet(Exception):
    """A value set that is there and cannot be used: empty, or not XML. `args[0]`: its file."""


class ValueSets:
    """The value sets of one package."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._by_oid: dict[str, str] | None = None

    def read(self, base: str, reference: str) -> tuple[str, bytes]:
        """(key, XML without DOCTYPE) of the value set that `reference`, written in the schema `base`, means.

        The key is the file's name, or `rebuilt:<OID>`. Raises `BadReference`, `UnreadableValueSet`.
        """
        try:
            name = self._package.resolve(base, reference)
        except BadReference as e:
            oid = _VOC.search(reference)
            if e.outside or oid is None or oid[1] not in self.by_oid():
                raise
            return f"rebuilt:{oid[1]}", self._rebuilt(oid[1])
        return name, etree.tostring(self._parsed(name), encoding="UTF-8")

    def named(
        self, base: str, references: Iterable[str]
    ) -> tuple[dict[str, tuple[str, bytes]], list[Defect]]:
        """What the schema `base` names: reference → (key, XML), and what is wrong with the others.

        A missing one makes the rule that uses it break (and be reported as not run); it does not stop the schema.
        """
        found: dict[str, tuple[str, bytes]] = {}
        defects = []
        for reference in sorted(references):
            try:
                key, _ = found[reference] = self.read(base, reference)
            except BadReference as e:
                kind = "value-set-outside" if e.outside else "value-set-missing"
                defects.append(Defect(kind, base, reference))
            except UnreadableValueSet:
                defects.append(Defect("value-set-unreadable", base, reference))
            else:
                if key.startswith("rebuilt:"):
                    defects.append(Defect("value-set-rebuilt", base, reference))
                elif not same_case(reference, key):
                    defects.append(Defect("value-set-case", base, reference))
        return found, defects

    def by_oid(self) -> dict[str, str]:
        """OID → file of `jeuxDeValeurs/` (the first in order)."""
        if self._by_oid is None:
            self._by_oid = {}
            for name in self._package.under(VALUE_SETS, ".xml"):
                with self._package.path(name).open("rb") as f:
                    found = _ID.search(f.read(_HEAD))
                if found:
                    self._by_oid.setdefault(found[1].decode(), name)
        return self._by_oid

    def unreadable(self) -> list[str]:
        """The files of `jeuxDeValeurs/` that are not XML (the published package has empty ones)."""
        found = []
        for name in self._package.under(VALUE_SETS, ".xml"):
            try:
                self._parsed(name)
            except UnreadableValueSet:
                found.append(name)
        return found

    def _parsed(self, name: str) -> etree._Element:
        try:
            content = self._package.path(name).read_bytes()
            root = cast("etree._Element", etree.fromstring(content, safe_parser(len(content))))
        except (OSError, etree.XMLSyntaxError, ValueError):
            raise UnreadableValueSet(name) from None
        if root.getroottree().docinfo.internalDTD is not None:
            raise UnreadableValueSet(name)
        return root

    def _rebuilt(self, oid: str) -> bytes:
        """The form of ART-DECOR (`valueSets/valueSet/conceptList/concept`) from the form of IHE SVS."""
        source = self._parsed(self.by_oid()[oid])
        root = etree.Element("{urn:hl7-org:v3}valueSets", nsmap={"v": "urn:hl7-org:v3"})
        value_set = etree.SubElement(root, "valueSet", id=oid)
        concepts = etree.SubElement(value_set, "conceptList")
        for concept in source.iter(f"{{{_SVS}}}Concept"):
            etree.SubElement(
                concepts,
                "concept",
                code=concept.get("code", ""),
                codeSystem=concept.get("codeSystem", ""),
                displayName=concept.get("displayName", ""),
                level="0",
                type="L",
            )
        return etree.tostring(root, encoding="UTF-8")
