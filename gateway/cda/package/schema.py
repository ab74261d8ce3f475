"""Reading a Schematron schema of the package: includes, abstract patterns, default phase.

Purpose: from a file of the package to the patterns that are to be applied, as lxml elements (ISO 19757-3 with
queryBinding xslt2). Includes are resolved by `Package` (letter case forgiven, nothing outside).

Guarantee: pure apart from reading files of the package. Everything that does not hold together is a `Defect`
by name; nothing is dropped in silence.

Fails: `BadReference` when the schema itself is not in the package. What is wrong inside becomes a defect; a
`fatal` one means that the schema must not be used (a rule of it would be missing).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from lxml import etree

from gateway.cda.package.folder import BadReference, Package, same_case
from gateway.safexml import safe_parser

NS = "http://purl.oclc.org/dsdl/schematron"
_DEPTH = 20


def q(name: str) -> str:
    """The Schematron element `name` in Clark notation."""
    return f"{{{NS}}}{name}"


@dataclass(frozen=True, slots=True, order=True)
class Defect:
    """Something wrong in the package. `kind`: a word for machines; `where`: the file; `what`: the reference or name."""

    kind: str
    where: str
    what: str
    fatal: bool = False


@dataclass(slots=True)
class Schema:
    """A schema whose includes are in place."""

    name: str
    """File of the package."""
    root: etree._Element
    defects: list[Defect] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    """Files that were read."""

    def namespaces(self) -> dict[str, str]:
        """Prefix → namespace, of all `ns` elements (those of includes too)."""
        found = {n.get("prefix", ""): n.get("uri", "") for n in self.root.iter(q("ns"))}
        return {prefix: uri for prefix, uri in found.items() if prefix and prefix != "xml"}

    def patterns(self) -> list[etree._Element]:
        """The patterns to apply, in order: abstract ones instantiated, those of the default phase only."""
        abstract = {p.get("id"): p for p in self.root.iter(q("pattern")) if p.get("abstract") == "true"}
        found: list[etree._Element] = []
        for pattern in self.root.iter(q("pattern")):
            if pattern.get("abstract") == "true":
                continue
            model = pattern.get("is-a")
            if model is None:
                found.append(pattern)
            elif model in abstract:
                params = {p.get("name", ""): p.get("value", "") for p in pattern.iter(q("param"))}
                found.append(_instance(abstract[model], pattern.get("id"), params))
            else:
                self.defects.append(Defect("abstract-pattern-missing", self.name, model, fatal=True))
        return self._active(found)

    def abstract_rules(self) -> dict[str, etree._Element]:
        """Abstract rules by id."""
        return {r.get("id", ""): r for r in self.root.iter(q("rule")) if r.get("abstract") == "true"}

    def _active(self, patterns: list[etree._Element]) -> list[etree._Element]:
        phase = self.root.get("defaultPhase")
        if not phase or phase == "#ALL":
            return patterns
        phases = [p for p in self.root.iter(q("phase")) if p.get("id") == phase]
        if not phases:
            self.defects.append(Defect("phase-missing", self.name, phase, fatal=True))
            return []
        active = [a.get("pattern", "") for p in phases for a in p.iter(q("active"))]
        known = {p.get("id") for p in patterns}
        # the pattern would have come with an include that is not there, or has another name
        self.defects.extend(Defect("pattern-missing", self.name, a) for a in active if a not in known)
        return [p for p in patterns if p.get("id") in active]


def read_schema(package: Package, name: str) -> Schema:
    """The schema of the file `name` with all its includes. Raises `BadReference` when there is no such file."""
    name = package.find(name)
    schema = Schema(name, etree.Element(q("schema")))
    root = _load(package, name, schema, ())
    if root is not None:
        schema.root = root
    return schema


def _load(package: Package, name: str, schema: Schema, above: tuple[str, ...]) -> etree._Element | None:
    schema.files.add(name)
    try:
        content = package.path(name).read_bytes()
        root = cast(
            "etree._Element",
            etree.fromstring(content, safe_parser(len(content), remove_comments=True, remove_pis=True)),
        )
    except (OSError, etree.XMLSyntaxError, ValueError):
        schema.defects.append(Defect("unreadable", above[-1] if above else name, name, fatal=True))
        return None
    if root.getroottree().docinfo.internalDTD is not None:
        schema.defects.append(Defect("doctype", name, name, fatal=True))
        return None
    for include in list(root.iter(q("include"))):
        parent = include.getparent()
        if parent is None:
            continue
        loaded = _include(package, name, include.get("href", ""), schema, (*above, name))
        if loaded is None:
            parent.remove(include)
        else:
            parent.replace(include, loaded)
    return root


def _include(
    package: Package, name: str, href: str, schema: Schema, above: tuple[str, ...]
) -> etree._Element | None:
    try:
        target = package.resolve(name, href)
    except BadReference as e:
        kind = "include-outside" if e.outside else "include-missing"
        schema.defects.append(Defect(kind, name, href, fatal=True))
        return None
    if not same_case(href, target):
        schema.defects.append(Defect("include-case", name, href))
    if target in above or len(above) > _DEPTH:
        schema.defects.append(Defect("include-loop", name, href, fatal=True))
        return None
    return _load(package, target, schema, above)


def _instance(model: etree._Element, name: str | None, params: Mapping[str, str]) -> etree._Element:
    """The abstract pattern with its parameters replaced by text (ISO 19757-3 §5.4.8)."""
    pattern = copy.deepcopy(model)
    pattern.attrib.pop("abstract")
    pattern.set("id", name or "")
    longest_first = sorted(params, key=len, reverse=True)
    for element in _elements(pattern):
        for key, value in element.attrib.items():
            if "$" in value:
                text = str(value)
                for param in longest_first:
                    text = text.replace(f"${param}", params[param])
                element.set(key, text)
    return pattern


def _elements(root: etree._Element) -> Iterator[etree._Element]:
    return root.iter(etree.Element)
