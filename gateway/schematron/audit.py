"""`segur-gateway cda-package check DIR`: what is in a package, what is wrong with it, what can be used.

Purpose: an operator knows before the gateway does which checks a package allows, and can name its defects to
whoever publishes it.

Guarantee: reads only. Every schematron is transpiled, and compiled when saxonche is there; when it is not, that
is said. Fails: never for what is in the folder; `usable` says the verdict.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gateway.cda.package.folder import SCHEMATRONS, XSD, BadReference, Package
from gateway.cda.package.reports import NAMES
from gateway.cda.package.schema import Defect, read_schema
from gateway.cda.package.transpile import transpile
from gateway.cda.package.valuesets import ValueSets
from gateway.cda.package.volets import VoletMap, volet_files, volet_of
from gateway.cda.package.xsd import XsdLayer
from gateway.errors import ConfigurationFault
from gateway.schematron.engine import PROFILES, Engine, available

KINDS = {
    "include-case": "inclusion écrite dans une autre casse que le fichier (tolérée)",
    "include-missing": "fichier inclus absent",
    "include-outside": "inclusion hors du paquet (refusée)",
    "include-loop": "inclusion en boucle",
    "unreadable": "fichier illisible (XML)",
    "doctype": "DOCTYPE (refusé)",
    "schema-missing": "schématron absent",
    "not-compilable": "XSLT refusé par Saxon",
    "abstract-pattern-missing": "motif abstrait absent",
    "abstract-rule-missing": "règle abstraite absente",
    "pattern-missing": "motif activé mais absent (ses règles ne sont pas contrôlées)",
    "phase-missing": "phase par défaut absente",
    "let-twice": "variable définie deux fois",
    "function-refused": "fonction XPath refusée",
    "value-set-missing": "jeu de valeurs absent (la règle qui l'utilise n'est pas contrôlée)",
    "value-set-outside": "jeu de valeurs hors du paquet (refusé)",
    "value-set-unreadable": "jeu de valeurs vide ou illisible",
    "value-set-case": "jeu de valeurs écrit dans une autre casse que le fichier (toléré)",
    "value-set-rebuilt": "jeu de valeurs absent, reconstruit depuis jeuxDeValeurs (toléré)",
    "volet-unmapped": "volet sans templateId connu : jamais choisi",
    "volet-twice": "deux volets pour un même templateId et une même version",
    "same-name": "fichiers dont les noms ne diffèrent que par la casse",
    "link-outside": "lien symbolique hors du paquet, ou vers un dossier (ignoré)",
    "xsd-unusable": "XSD inutilisable",
}
"""Kinds of defects, for people."""


@dataclass(slots=True)
class Audit:
    """What an audit found."""

    folder: str
    digest: str = ""
    files: int = 0
    xsd: bool = False
    compiled_with_saxon: bool = False
    """False: saxonche is missing; schematrons were transpiled only."""
    usable_schematrons: list[str] = field(default_factory=list)
    unusable_schematrons: list[str] = field(default_factory=list)
    volets: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """templateId → (version, file)."""
    defects: list[Defect] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """True when the XSD loads and at least one schematron can be used."""
        return self.xsd and bool(self.usable_schematrons)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "usable": self.usable}


def audit(folder: Path) -> Audit:
    """Look at everything in `folder` (10 s for the published package with saxonche)."""
    found = Audit(str(folder))
    try:
        package = Package.open(folder)
    except ConfigurationFault:
        found.defects.append(Defect("xsd-unusable", str(folder), XSD, fatal=True))
        return found
    found.digest, found.files = package.digest, len(package.files)
    try:
        XsdLayer(package)
        found.xsd = True
    except ConfigurationFault:
        found.defects.append(Defect("xsd-unusable", XSD, XSD, fatal=True))
    defects: set[Defect] = set(found.defects)
    found.compiled_with_saxon = available()
    for file, usable, more in _schematrons(package):
        (found.usable_schematrons if usable else found.unusable_schematrons).append(file)
        defects.update(more)
    _volets(package, found, defects)
    sets = ValueSets(package)
    defects.update(Defect("value-set-unreadable", name, name) for name in sets.unreadable())
    defects.update(
        Defect("same-name", names[0], ", ".join(names[1:])) for names in package.same_but_for_case()
    )
    defects.update(Defect("link-outside", name, name) for name in package.refused_links)
    found.defects = sorted(defects)
    return found


def _schematrons(package: Package) -> Iterable[tuple[str, bool, list[Defect]]]:
    """(file, usable, defects) of every schematron that can be run."""
    engine = Engine(package, ()) if available() else None
    sets = ValueSets(package)
    for file in [*PROFILES.values(), *_others(package)]:
        if engine is not None:
            compiled = engine.compiled(file)
            yield file, compiled.executable is not None, compiled.defects
            continue
        try:
            schema = read_schema(package, file)
        except BadReference:
            yield file, False, [Defect("schema-missing", file, file, fatal=True)]
            continue
        sheet = transpile(schema)
        if sheet is not None:
            schema.defects.extend(sets.named(schema.name, sheet.references)[1])
        yield file, sheet is not None, schema.defects


def _others(package: Package) -> list[str]:
    """Schematrons that are not one of the known profiles: the volets first, then the rest."""
    known = {name.lower() for name in PROFILES.values()}
    tops = [
        n
        for n in package.under(SCHEMATRONS, ".sch")
        if n.lower() not in known and (n.count("/") == 1 or n.rsplit("/", 1)[0] == f"{SCHEMATRONS}/profils")
    ]
    return sorted(tops, key=lambda n: (n not in volet_files(package), n))


def _volets(package: Package, found: Audit, defects: set[Defect]) -> None:
    volets = [v for f in volet_files(package) if (v := volet_of(read_schema(package, f)))]
    chosen = VoletMap(volets)
    found.volets = {
        root: [(v.version, v.file) for v in versions] for root, versions in sorted(chosen.by_root.items())
    }
    defects.update(Defect("volet-unmapped", v.file, v.name) for v in volets if not v.roots)
    for root, versions in chosen.by_root.items():
        by_version: dict[str, list[str]] = defaultdict(list)
        for volet in versions:
            by_version[volet.version].append(volet.file)
        defects.update(
            Defect("volet-twice", files[0], f"{root} {version}: {', '.join(files[1:])}")
            for version, files in by_version.items()
            if len(files) > 1
        )


def in_words(found: Audit) -> str:
    """The audit for people, in French."""
    lines = [f"Paquet CDA : {found.folder}"]
    if found.digest:
        lines.append(f"Manifeste : sha256 {found.digest} ({found.files} fichiers)")
    lines.append(f"XSD (CDA_extended.xsd) : {'utilisable' if found.xsd else 'INUTILISABLE'}")
    total = len(found.usable_schematrons) + len(found.unusable_schematrons)
    how = "compilés" if found.compiled_with_saxon else "lus mais non compilés (saxonche absent)"
    lines.append(f"Schématrons : {len(found.usable_schematrons)} utilisables sur {total}, {how}")
    names = {file: NAMES[family] for family, file in PROFILES.items()}
    lines.extend(
        f"  inutilisable : {file}{f' ({names[file]})' if file in names else ''}"
        for file in found.unusable_schematrons
    )
    lines.append(f"Volets : {len(found.volets)} templateId")
    for root, versions in found.volets.items():
        lines.append(f"  {root} → " + ", ".join(file.rsplit("/", 1)[-1] for _, file in versions))
    lines.append(f"Défauts : {len(found.defects)}")
    counts = Counter(d.kind for d in found.defects)
    for kind, count in sorted(counts.items()):
        lines.append(f"- {KINDS.get(kind, kind)} : {count}")
        lines.extend(
            f"    {d.where}" + (f" : {d.what}" if d.what != d.where else "")
            for d in found.defects
            if d.kind == kind
        )
    lines.append("Verdict : " + ("utilisable" if found.usable else "INUTILISABLE"))
    return "\n".join(lines)
