"""Which schematron of a volet judges a document: by templateId, then by version.

Purpose: the map from the templateId of a document to the file `CI-SIS_<volet>_<version>.sch`, computed from
what the files themselves assert of the ClinicalDocument (nothing is written by hand: a new package brings its
own map). Source: spec/cda.md §3.

Guarantee: pure. A document whose volet is not in the package, or in another version, or that two volets claim,
gets no file and a reason in French: never another volet's rules. Without any version in its templateIds (some
official examples) it gets the newest version, and that is said.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.cda.package.folder import SCHEMATRONS, Package
from gateway.cda.package.schema import Schema, q, read_schema

MODELS_ARC = "1.2.250.1.213.1.1.1."
"""Document models of the CI-SIS."""
COMMON = frozenset({"2.16.840.1.113883.2.8.2.1", "1.2.250.1.213.1.1.1.1"})
"""templateId of every French document: they name no volet."""
_FILE = re.compile(r"^CI-SIS_(?P<name>.+)_(?P<version>\d{4}\.\d{2})\.sch$")
_VERSION = re.compile(r"\d{4}\.\d{2}")
_CONTEXT = re.compile(r"(?:^|[/:])ClinicalDocument(?:\[.*\])?$", re.DOTALL)
_OWN = re.compile(
    r"""^\s*(?:count\(\s*)?(?:\./)?(?:\w+:)?templateId\s*\[\s*@root\s*=\s*["']([0-9.]+)["'](?:\s+and\s+@extension\b[^\]]*)?\]"""
)
_CARRIER = re.compile(r"""^\*\[\s*(?:\w+:)?templateId/@root\s*=\s*["']([0-9.]+)["']\s*\]$""")


@dataclass(frozen=True, slots=True, order=True)
class Volet:
    """One file of a volet."""

    name: str
    version: str
    file: str
    roots: tuple[str, ...] = ()
    """templateId that it wants on the ClinicalDocument."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The volet of a document, or why there is none; `note`: what is to be said of the choice."""

    volet: Volet | None
    note: str = ""


class VoletMap:
    """templateId → volets."""

    def __init__(self, volets: Iterable[Volet]) -> None:
        self.volets = sorted(volets)
        names: dict[str, set[str]] = defaultdict(set)
        for volet in self.volets:
            for root in volet.roots:
                names[root].add(volet.name)
        self.by_root: dict[str, list[Volet]] = defaultdict(list)
        """The templateId that tells a volet from the others → its versions, oldest first."""
        for volet in self.volets:
            own = [r for r in volet.roots if r.startswith(MODELS_ARC)] or list(volet.roots)
            fewest = min((len(names[r]) for r in own), default=0)
            for root in own:
                if len(names[root]) == fewest:
                    self.by_root[root].append(volet)

    @classmethod
    def of(cls, package: Package) -> VoletMap:
        """The map of a package (0.5 s: every volet is read)."""
        return cls(volet for name in volet_files(package) if (volet := volet_of(read_schema(package, name))))

    def choose(self, templates: Sequence[tuple[str, str]]) -> Choice:
        """The volet for the templateId (root, extension or '') of a document."""
        claimed = {v for root, _ in templates for v in self.by_root.get(root, ())}
        if not claimed:
            return Choice(None, "aucun volet du paquet ne correspond au templateId du document")
        versions = {extension for _, extension in templates if extension}
        fitting = sorted(v for v in claimed if v.version in versions)
        note = ""
        if not fitting:
            if versions:
                # of the document only what has the form of a version is repeated
                own = {extension for root, extension in templates if root in self.by_root} - {""}
                said = ", ".join(sorted(v for v in own or versions if _VERSION.fullmatch(v))) or "inconnue"
                there = ", ".join(sorted({v.version for v in claimed}))
                return Choice(
                    None, f"version du volet absente du paquet (document : {said} ; paquet : {there})"
                )
            newest = max(v.version for v in claimed)
            fitting = sorted(v for v in claimed if v.version == newest)
            note = f"version absente du templateId, contrôlé avec la plus récente ({newest})"
        if len({v.name for v in fitting}) > 1:
            return Choice(None, "plusieurs volets du paquet correspondent au templateId du document")
        return Choice(fitting[0], note)


def volet_files(package: Package) -> list[str]:
    """The schematrons that are named as volets."""
    return [
        n for n in package.under(SCHEMATRONS, ".sch") if n.count("/") == 1 and _FILE.match(n.split("/")[1])
    ]


def volet_of(schema: Schema) -> Volet | None:
    """What the file of a volet says of itself; None when its name is not one."""
    found = _FILE.match(schema.name.rsplit("/", 1)[-1])
    if found is None:
        return None
    roots: dict[str, None] = {}
    for rule in schema.root.iter(q("rule")):
        context = (rule.get("context") or "").strip()
        carrier = _CARRIER.match(context)
        if carrier and carrier[1].startswith(MODELS_ARC):
            roots[carrier[1]] = None
        if _CONTEXT.search(context):
            for check in rule.iter(q("assert")):
                own = _OWN.match(check.get("test") or "")
                if own:
                    roots[own[1]] = None
    return Volet(found["name"], found["version"], schema.name, tuple(r for r in roots if r not in COMMON))
