"""Saxon behind one small face: compile the schematrons of a package, run them on a document.

Purpose: the only module that imports saxonche. It runs inside the worker process (saxonche holds the GIL for
the whole of a call) and inside the command that audits a package.

Guarantee: Saxon gets text that lxml wrote (no DOCTYPE) and opens nothing: value sets are read by us and handed
over as nodes, its protocols are shut, DOCTYPE is refused. What comes out are numbers of assertions and paths.

Fails: `ConfigurationFault` when saxonche is missing. A schematron that cannot be used is a report with
`ran = False`; so is a run that broke.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.cda.package.folder import BadReference, Package
from gateway.cda.package.reports import Assertion, Family, FamilyReport, applicable
from gateway.cda.package.schema import Defect, Schema, read_schema
from gateway.cda.package.transpile import FILES, OWN, Sheet, transpile
from gateway.cda.package.valuesets import ValueSets
from gateway.cda.package.volets import VoletMap
from gateway.errors import ConfigurationFault

PROFILES = {
    Family.STRUCMIN: "schematrons/profils/structurationMinimale/ASIP-STRUCT-MIN-StrucMin.sch",
    Family.IHE: "schematrons/profils/IHE.sch",
    Family.MODELS: "schematrons/profils/CI-SIS_ModelesDeContenusCDA.sch",
    Family.ANS: "schematrons/profils/CI-SIS_Modeles_ANS.sch",
}
"""The families that are one file."""
QUOTED = 200
"""Failed assertions of a family that a report carries; the rest is a number."""
_STEP = re.compile(r"Q\{[^}]*\}")
_ALONE = re.compile(r"\[1\]")
_BARE = re.compile(r"^@|\[\d+\]$")


_BROKEN = {
    "missing-file": "jeu de valeurs absent du paquet",
    "pattern-missing": "une partie du schématron est absente du paquet",
}
"""Why a run is not whole, by code."""


@dataclass(slots=True)
class Compiled:
    """A schematron, compiled; `executable` is None when it cannot be used."""

    file: str
    sheet: Sheet | None
    executable: Any
    defects: list[Defect]


def available() -> bool:
    """True when saxonche is installed."""
    return importlib.util.find_spec("saxonche") is not None


class Engine:
    """The schematrons of one package in one process. Not thread-safe."""

    def __init__(self, package: Package, families: Sequence[Family]) -> None:
        """Compiles the profiles of `families` (about 1 s for four); volets are compiled at their first use."""
        try:
            import saxonche
        except ImportError:
            raise ConfigurationFault("cda.schematron: saxonche is not installed (extra schematron)") from None
        self._package = package
        self._families = tuple(families)
        self._api_error: type[Exception] = saxonche.PySaxonApiError
        self._saxon = saxonche.PySaxonProcessor(license=False)
        for feature, value in _FEATURES.items():
            self._saxon.set_configuration_property(feature, value)
        self._compiler = self._saxon.new_xslt30_processor()
        self._value_sets = ValueSets(package)
        self._nodes: dict[str, Any] = {}
        self._compiled: dict[str, Compiled] = {}
        self._known = package.vocabulary() | {"ClinicalDocument"}
        self._volets = VoletMap.of(package) if Family.VOLET in families else None
        for family in families:
            if family in PROFILES:
                self.compiled(PROFILES[family])

    def compiled(self, file: str) -> Compiled:
        """The schematron of `file`, compiled once."""
        found = self._compiled.get(file)
        if found is None:
            found = self._compiled[file] = self._compile(file)
        return found

    def all_compiled(self) -> list[Compiled]:
        """What was compiled so far."""
        return list(self._compiled.values())

    def run(self, xml: str, level: int, templates: Sequence[tuple[str, str]]) -> list[FamilyReport]:
        """What the families that apply to `level` say of a document."""
        wanted = applicable(self._families, level)
        try:
            node = self._saxon.parse_xml(xml_text=xml)
        except self._api_error:
            return [FamilyReport(f, False, reason="document refusé par l'analyseur") for f in wanted]
        return [self._family(f, node, templates) for f in wanted]

    # --- inside ---------------------------------------------------------------------------------------------

    def _family(self, family: Family, node: Any, templates: Sequence[tuple[str, str]]) -> FamilyReport:
        note = ""
        if family is Family.VOLET:
            assert self._volets is not None
            choice = self._volets.choose(templates)
            if choice.volet is None:
                return FamilyReport(family, False, reason=choice.note)
            file, note = choice.volet.file, choice.note
        else:
            file = PROFILES[family]
        compiled = self.compiled(file)
        name = file.rsplit("/", 1)[-1]
        if compiled.executable is None or compiled.sheet is None:
            return FamilyReport(family, False, schema=name, reason="schématron du paquet inutilisable")
        try:
            output: str = compiled.executable.transform_to_string(xdm_node=node) or ""
        except self._api_error:
            # its text may quote the document
            return FamilyReport(family, False, schema=name, reason="erreur d'exécution du schématron")
        if any(d.kind == "pattern-missing" for d in compiled.defects):
            # what its phase activates is not all there: what failed is told, but it did not run as it should
            output += "!\t\tpattern-missing\n"
        return self._report(family, name, compiled.sheet, output, note)

    def _report(self, family: Family, name: str, sheet: Sheet, output: str, note: str) -> FamilyReport:
        """The lines that a style sheet wrote, counted."""
        failed = remarks = 0
        assertions: list[Assertion] = []
        broken: set[str] = set()
        for line in output.splitlines():
            number, _, rest = line.partition("\t")
            if number == "!":
                broken.add(rest.rpartition("\t")[2])
                continue
            check = sheet.checks[int(number)]
            if check.weight == "remark":
                remarks += 1
                continue
            failed += 1
            if len(assertions) < QUOTED:
                assertions.append(Assertion(check.text, self._path(rest), check.identifier or check.pattern))
        if broken:
            codes = ", ".join(sorted(broken)[:3])
            known = next((text for code, text in _BROKEN.items() if code in broken), None)
            note = known or f"une règle n'a pas pu être évaluée ({codes})"
        return FamilyReport(family, not broken, failed, remarks, tuple(assertions), name, note)

    def _path(self, path: str) -> str:
        """`ClinicalDocument/author[2]/time` from Saxon's `/Q{urn:hl7-org:v3}ClinicalDocument[1]/…`; names that the
        XSD do not know are not repeated.
        """
        steps = _ALONE.sub("", _STEP.sub("", path)).lstrip("/").split("/")
        return "/".join(s if _BARE.sub("", s) in self._known else "(nom inconnu)" for s in steps)

    def _compile(self, file: str) -> Compiled:
        try:
            schema = read_schema(self._package, file)
        except BadReference:
            return Compiled(file, None, None, [Defect("schema-missing", file, file, fatal=True)])
        sheet = transpile(schema)
        if sheet is None:
            return Compiled(file, None, None, schema.defects)
        try:
            executable = self._compiler.compile_stylesheet(
                stylesheet_text=sheet.xslt.decode(), encoding="UTF-8"
            )
        except self._api_error:
            return Compiled(
                file, None, None, [*schema.defects, Defect("not-compilable", file, file, fatal=True)]
            )
        files = self._files(schema, sheet)
        executable.set_parameter(f"{{{OWN}}}{FILES}", self._saxon.make_map2(files, encoding="UTF-8"))
        return Compiled(file, sheet, executable, schema.defects)

    def _files(self, schema: Schema, sheet: Sheet) -> dict[str, Any]:
        """The value sets that a style sheet names, as nodes; one that is missing makes its rule break when it
        is used, and is a defect.
        """
        named, defects = self._value_sets.named(schema.name, sheet.references)
        schema.defects.extend(defects)
        for key, xml in named.values():
            if key not in self._nodes:
                self._nodes[key] = self._saxon.parse_xml(xml_text=xml.decode())
        return {reference: self._nodes[key] for reference, (key, _) in named.items()}


_FEATURES = {
    # the document is lxml's serialisation and has no DOCTYPE; Saxon's own parser must not take one anyway
    "http://saxon.sf.net/feature/parserFeature?uri=http%3A//apache.org/xml/features/disallow-doctype-decl": "true",
    # no protocol at all: value sets are handed over, nothing is fetched
    "http://saxon.sf.net/feature/allowedProtocols": "",
}
