"""The XSD layer: the official `CDA_extended.xsd` on a document that our own reader accepted.

Purpose: what XML structure the CDA allows. Source: CI-SIS (any XSD deviation makes a document invalid,
EX_2.1-1071); measurements in spec/cda.md §2.

Guarantee: no text of the document leaves this module: libxml2's messages quote values, so sentences are made
anew from the kind of fault and the path of element names, and only names that the XSD declare are repeated.
`xsi:schemaLocation` of the document is not followed. One schema object per thread: libxml2's error log is
shared between the users of one object (measured: logs mixed up).

Fails: `ConfigurationFault` when the XSD cannot be compiled. A document is never a failure.

What it does not see: time stamps of more than 14 digits pass libxml2 (our own rule CDA-H11 refuses them).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from lxml import etree

from gateway.cda.package.folder import XSD, BadReference, Package
from gateway.errors import ConfigurationFault, Place
from gateway.rules import Findings
from gateway.safexml import safe_parser

_XS = "http://www.w3.org/2001/XMLSchema"
SHOWN = 3
"""Places that a finding names; the rest is a number."""
MAX_SIBLINGS = 10_000
"""Children of one element: libxml2 writes a path for each fault and counts the siblings before it, so that 100,000
faults among as many siblings take it half a minute. No document of this world has a list that long."""
_TOO_WIDE = etree.XPath(f"boolean(//*[{MAX_SIBLINGS + 1}])")
_STEP = re.compile(r"^(?:[^/:\[]+:)?([^/\[]+)(\[\d+\])?$")

KINDS = {
    "SCHEMAV_ELEMENT_CONTENT": "élément inattendu ou manquant",
    "SCHEMAV_CVC_ELT_1": "élément inconnu",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_1": "contenu interdit dans un élément vide",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_2": "contenu interdit",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": "texte interdit à cet endroit",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_4": "élément inattendu",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_1": "attribut dont la valeur est imposée",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1": "attribut non admis",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_2": "attribut non admis",
    "SCHEMAV_CVC_COMPLEX_TYPE_4": "attribut obligatoire absent",
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_1": "valeur qui n'a pas la forme attendue",
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_2": "valeur qui n'a pas la forme attendue",
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_3": "valeur qui n'a pas la forme attendue",
    "SCHEMAV_CVC_ENUMERATION_VALID": "valeur hors de la liste admise",
    "SCHEMAV_CVC_PATTERN_VALID": "valeur qui n'a pas la forme attendue",
    "SCHEMAV_CVC_LENGTH_VALID": "valeur de longueur non admise",
    "SCHEMAV_CVC_MINLENGTH_VALID": "valeur trop courte",
    "SCHEMAV_CVC_MAXLENGTH_VALID": "valeur trop longue",
    "SCHEMAV_CVC_IDC": "identifiant XML en double",
    "SCHEMAV_CVC_ATTRIBUTE_3": "attribut dont la valeur n'a pas la forme attendue",
    "SCHEMAV_CVC_ATTRIBUTE_4": "attribut dont la valeur est imposée",
    "SCHEMAV_CVC_TYPE_2": "type abstrait (xsi:type attendu)",
    "SCHEMAV_CVC_TYPE_3_1_1": "attribut non admis",
    "SCHEMAV_CVC_TYPE_3_1_2": "élément dans une valeur simple",
    "SCHEMAV_CVC_ELT_4_1": "xsi:type inconnu",
    "SCHEMAV_CVC_ELT_4_2": "xsi:type inconnu",
    "SCHEMAV_CVC_ELT_4_3": "xsi:type non admis à cet endroit",
}
_FOLLOWS = frozenset(
    {"SCHEMAV_CVC_PATTERN_VALID", "SCHEMAV_CVC_ENUMERATION_VALID", "SCHEMAV_CVC_ATTRIBUTE_3",
     "SCHEMAV_CVC_DATATYPE_VALID_1_2_3", "SCHEMAV_CVC_LENGTH_VALID", "SCHEMAV_CVC_MINLENGTH_VALID",
     "SCHEMAV_CVC_MAXLENGTH_VALID"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class XsdFault:
    """One fault: the kind in French, the line in the document, the path of element names ("" after `SHOWN` faults)."""

    kind: str
    line: int
    path: str

    def __str__(self) -> str:
        where = f"ligne {self.line}, " if self.line else ""
        return f"{self.kind} ({where}{self.path})"


class XsdLayer:
    """The schema of one package, compiled once per thread that uses it (about 50 ms, 6 MB each)."""

    def __init__(self, package: Package) -> None:
        """Compiles the schema for this thread at once. Raises `ConfigurationFault` when it cannot be."""
        self._package = package
        self._local = threading.local()
        self._known = package.vocabulary()
        _stays_inside(package)
        self._schema()

    def check(self, root: etree._Element, findings: Findings, place: Place) -> None:
        """Validate the ClinicalDocument `root`; one finding `CDA-XSD` at `place` tells all its faults."""
        faults = self.faults(root)
        if faults:
            findings.add_inside(
                (faults[0].path, faults[0].line or None),
                "CDA-XSD",
                place,
                count=len(faults),
                first=" ; ".join(str(fault) for fault in faults[:SHOWN])
                + (" ; …" if len(faults) > SHOWN else ""),
            )

    def faults(self, root: etree._Element) -> list[XsdFault]:
        """The faults of the ClinicalDocument `root`, in the order of the document."""
        if _TOO_WIDE(root):
            # not judged, and never said to be valid
            return [
                XsdFault(
                    f"plus de {MAX_SIBLINGS} éléments voisins, contrôle impossible", 0, "ClinicalDocument"
                )
            ]
        schema = self._schema()
        if schema.validate(root):
            return []
        found: list[XsdFault] = []
        seen: set[tuple[int, str]] = set()
        for entry in cast("Iterable[Any]", schema.error_log):
            # libxml2 tells one bad value twice (facet, then type): once is enough
            where = (entry.line, entry.path or "")
            if entry.type_name in _FOLLOWS and where in seen:
                continue
            seen.add(where)
            kind = KINDS.get(entry.type_name, "écart de structure")
            path = self._path(root, entry.path or "") if len(found) < SHOWN else ""
            found.append(XsdFault(kind, entry.line, path))
        return found

    def _path(self, root: etree._Element, path: str) -> str:
        """libxml2's path of a node, with the names that the XSD know instead of `*`."""
        steps = path.strip("/").split("/")
        node: etree._Element | None = root
        out: list[str] = []
        # the path starts at the element that was validated, or at the root of the tree around it
        for step in steps:
            if step.startswith("@"):
                out.append("@" + self._name(step[1:].rpartition(":")[2]))
            elif not out:
                out.append("ClinicalDocument")
            elif node is not None:
                node = _child(node, step)
                out.append("*" if node is None else self._name(etree.QName(node).localname) + _index(node))
        return "/".join(out)

    def _name(self, name: str) -> str:
        return name if name in self._known else "(nom inconnu)"

    def _schema(self) -> etree.XMLSchema:
        schema = getattr(self._local, "schema", None)
        if schema is None:
            schema = self._local.schema = _compile(self._package)
        return cast(etree.XMLSchema, schema)


def _child(node: etree._Element, step: str) -> etree._Element | None:
    """The child that `*[3]` or `pfx:name[2]` means: `*` counts all elements without a prefix."""
    found = _STEP.match(step)
    if found is None:
        return None
    position = int(found[2][1:-1]) if found[2] else 1
    for child in node.iterchildren(etree.Element):
        if found[1] != "*" and etree.QName(child).localname != found[1]:
            continue
        position -= 1
        if position == 0:
            return child
    return None


def _index(node: etree._Element) -> str:
    """`[2]` for the second of several siblings of one name, else nothing."""
    before = sum(1 for _ in node.itersiblings(str(node.tag), preceding=True))
    after = next(node.itersiblings(str(node.tag)), None)
    return f"[{before + 1}]" if before or after is not None else ""


def _stays_inside(package: Package) -> None:
    """No XSD of the package may bring in one from elsewhere: libxml2 would open it."""
    for name in package.under("infrastructure", ".xsd"):
        try:
            root = etree.parse(str(package.path(name)), safe_parser()).getroot()
        except (OSError, etree.LxmlError):
            continue  # told by the compilation, when it is needed
        for element in root.iter(
            *(f"{{{_XS}}}{tag}" for tag in ("include", "import", "redefine", "override"))
        ):
            try:
                package.resolve(name, element.get("schemaLocation", "") or name.rsplit("/", 1)[-1])
            except BadReference as e:
                if e.outside:
                    raise ConfigurationFault(f"cda.package: {name} brings in a file from elsewhere") from None


def _compile(package: Package) -> etree.XMLSchema:
    try:
        path = package.path(package.find(XSD))
        return etree.XMLSchema(etree.parse(str(path), safe_parser()))
    except (BadReference, OSError, etree.LxmlError) as e:
        raise ConfigurationFault(f"cda.package: {XSD} cannot be used ({type(e).__name__})") from e
